/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Channels, connections, tokens and the platform come and go while requests are at every step of their way,
 * in an order that a seed decides (IOTHSM_TURMOIL_SEED; printed). What is asked for at the end is answered,
 * twice the same; that nothing is used after its end is the sanitizer's to say. */

#include "tests/unit/link/request-scene.h"

#define STEPS 300
#define REQUESTS 60
#define TOKENS "fake:serial=F1,delay-ms=3;fake:serial=F2,delay-ms=3"

static const char *const serials[] = {"F1", "F2"};

typedef struct Turmoil {
    Scene scene;
    GRand *dice;
    Config configs[2]; /* that differ enough for new channels */
    guint config;
    bool plugged[G_N_ELEMENTS(serials)];
    char *thumbprint;
    char *solicitation; /* its signed content */
} Turmoil;

static void ask(Turmoil *self, guint number)
{
    ScriptedPlatform *platform = self->scene.platform;
    if (!platform->link->connection || !platform->agent)
        return;
    g_autofree char *siguuid = g_strdup_printf("r-%u", number);
    if (number % 5 > 0) {
        send_csr(&self->scene, siguuid);
        return;
    }
    g_autofree char *crl = g_strdup_printf("{'siguuid':'%s','request':{'database':'','days':30}}", siguuid);
    send_content(&self->scene, siguuid, "crl", crl, "");
}

static void solicit(Turmoil *self)
{
    if (self->scene.platform->link->connection)
        scripted_platform_send(self->scene.platform, &(ScriptedMessage){.type = "solicit signature",
                                                                        .channel = self->scene.channel,
                                                                        .content = self->solicitation});
}

static void end_connection(Turmoil *self)
{
    static const gushort codes[] = {1001, 1008, 1011};
    SoupWebsocketConnection *connection = self->scene.platform->link->connection;
    if (connection && soup_websocket_connection_get_state(connection) == SOUP_WEBSOCKET_STATE_OPEN)
        soup_websocket_connection_close(connection,
                                        codes[g_rand_int_range(self->dice, 0, G_N_ELEMENTS(codes))], NULL);
}

static void plug(Turmoil *self, guint which, bool in)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *spec = g_strconcat("fake:serial=", serials[which], NULL);
    const Token *token = agent_token(self->scene.agent, serials[which]);
    if (self->plugged[which] == in || (token && token_state(token) == TOKEN_STATE_STARTING))
        return;
    self->plugged[which] = in;
    if (in)
        fake_source_plug(self->scene.agent->source, spec, &error);
    else
        fake_source_unplug(self->scene.agent->source, serials[which]);
    g_assert_no_error(error);
}

static void reload(Turmoil *self)
{
    agent_reload(self->scene.agent, &self->configs[self->config]);
}

static void step(Turmoil *self)
{
    ScriptedPlatform *platform = self->scene.platform;
    guint which = (guint)g_rand_int_range(self->dice, 0, G_N_ELEMENTS(serials));
    switch (g_rand_int_range(self->dice, 0, 20)) {
    case 0:
        self->config = !self->config;
        reload(self);
        break;
    case 1:
        end_connection(self);
        break;
    case 2:
        plug(self, which, false);
        break;
    case 3:
    case 4:
        plug(self, which, true);
        break;
    case 5:
        hold(&self->scene, serials[which], true);
        break;
    case 6:
    case 7:
        hold(&self->scene, serials[which], false);
        break;
    case 8:
        platform->link->confirms = !platform->link->confirms;
        break;
    case 9:
        platform->holds = true;
        break;
    case 10:
        scripted_platform_release(platform);
        break;
    case 11:
        reload(self); /* nothing waits any longer */
        break;
    case 12:
        solicit(self);
        break;
    default:
        ask(self, (guint)g_rand_int_range(self->dice, 0, REQUESTS));
        break;
    }
    for (gint i = g_rand_int_range(self->dice, 0, 60); i > 0; i--)
        g_main_context_iteration(NULL, FALSE);
    test_let_pass((guint)g_rand_int_range(self->dice, 0, 12));
}

static void calm_down(Turmoil *self)
{
    for (guint i = 0; i < G_N_ELEMENTS(serials); i++) {
        hold(&self->scene, serials[i], false);
        plug(self, i, true);
        agent_wait_ready(self->scene.agent, serials[i]);
    }
    self->scene.platform->link->confirms = true;
    scripted_platform_release(self->scene.platform);
    self->config = !self->config;
    reload(self);
}

static bool is_idle(void *userdata)
{
    const Scene *scene = userdata;
    return link_queue_length(scene->agent->link, scene->authority) == 0;
}

/* The answer that comes now. Transfer full. */
static char *ask_and_wait(Turmoil *self, guint number)
{
    g_autofree char *siguuid = g_strdup_printf("r-%u", number);
    guint answers = count_answers(&self->scene);
    ask(self, number);
    wait_answers(&self->scene, answers + 1);
    return answer(&self->scene, siguuid, true);
}

static void nothing_is_lost_when_everything_changes(void)
{
    Turmoil self = {.plugged = {true, true}};
    const char *given = g_getenv("IOTHSM_TURMOIL_SEED");
    guint32 seed = given ? (guint32)g_ascii_strtoull(given, NULL, 10) : g_random_int();
    g_test_message("IOTHSM_TURMOIL_SEED=%u", seed);
    self.dice = g_rand_new_with_seed(seed);
    open_scene_with(&self.scene, TOKENS, &(Config){.default_ttl = 600});
    self.thumbprint = g_strdup(authority_thumbprint(self.scene.authority));
    self.solicitation = g_strdup_printf("{'serial':'%s','thumbprint':'%s','siguuid':'s'}",
                                        authority_serial(self.scene.authority), self.thumbprint);
    self.configs[0] = self.configs[1] = self.scene.agent->config;
    self.configs[1].message_size /= 2;
    for (guint i = 0; i < STEPS; i++)
        step(&self);
    calm_down(&self);
    self.scene.authority = authority_set_find(self.scene.agent->authorities, self.thumbprint);
    agent_wait_link(self.scene.authority, AUTHORITY_CONNECTED);
    test_wait_for(is_idle, &self.scene, 30);
    for (guint i = 0; i < REQUESTS; i++) {
        g_autofree char *first = ask_and_wait(&self, i);
        g_autofree char *second = ask_and_wait(&self, i);
        g_assert_cmpstr(first, ==, second);
    }
    scene_clear(&self.scene);
    g_rand_free(self.dice);
    g_free(self.thumbprint);
    g_free(self.solicitation);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define TEST(name) g_test_add_func("/link-turmoil/" #name, name)
    TEST(nothing_is_lost_when_everything_changes);
    return g_test_run();
}

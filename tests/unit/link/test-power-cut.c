/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The power goes at each write and at each fsync in turn, and the disk keeps what it likes of what was not
 * synced. Then the same requests come again. What counts is what the token was asked for: of each request one
 * content and no second, and what the platform was told stays what it is told. */

#include "daemon/error.h"
#include "daemon/link/journal/journal-store.h"
#include "tests/unit/link/agent.h"
#include "tests/unit/link/power.h"
#include <string.h>

enum { REQUESTS = 6, WAVE = 3, DAY = 86400, CUTS_MAX = 2000, SEEDS = 4 };

/* --- the journal alone ------------------------------------------------------------------------------- */

typedef struct Request {
    char *siguuid;
    GHashTable *asked; /* what the token was asked to sign */
    char *told;        /* to the platform */
} Request;

typedef struct World {
    char *path;
    gint64 now;
    guint serials;
    Request requests[REQUESTS];
} World;

typedef struct Step {
    World *world;
    Request *request;
    bool done;
    bool failed;
    JournalVerdict verdict;
    char *intent;
    char *answer;
} Step;

static void step_clear(Step *step)
{
    g_free(step->intent);
    g_free(step->answer);
}

static void world_init(World *world, const char *directory)
{
    *world = (World){.path = g_build_filename(directory, "journal.sqlite", NULL),
                     .now = g_get_real_time() / G_USEC_PER_SEC + 60};
    for (guint i = 0; i < REQUESTS; i++) {
        world->requests[i].siguuid = g_strdup_printf("request-%u", i);
        world->requests[i].asked = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    }
}

static void world_clear(World *world)
{
    for (guint i = 0; i < REQUESTS; i++) {
        g_free(world->requests[i].siguuid);
        g_free(world->requests[i].told);
        g_hash_table_unref(world->requests[i].asked);
    }
    g_free(world->path);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(World, world_clear)

static void on_found(JournalVerdict verdict, const char *intent, const char *answer, const GError *error,
                     void *userdata)
{
    Step *step = userdata;
    step->done = true;
    step->failed = error != NULL;
    step->verdict = verdict;
    step->intent = g_strdup(intent);
    step->answer = g_strdup(answer);
}

static void on_done(const GError *error, void *userdata)
{
    Step *step = userdata;
    step->done = true;
    step->failed = error != NULL;
}

static void digest_of(const char *text, guint8 digest[32])
{
    gsize size = 32;
    g_autoptr(GChecksum) checksum = g_checksum_new(G_CHECKSUM_SHA256);
    g_checksum_update(checksum, (const guchar *)text, -1);
    g_checksum_get_digest(checksum, digest, &size);
}

static void wait_for_all(Step *steps)
{
    for (guint i = 0; i < WAVE; i++)
        test_wait(&steps[i].done, 30);
}

static void tell(Request *request, const char *answer)
{
    if (request->told)
        g_assert_cmpstr(request->told, ==, answer);
    else
        request->told = g_strdup(answer);
}

/* Several at a time, as far as the disk lets them. */
static void handle_wave(Journal *journal, World *world, guint first)
{
    Step steps[WAVE] = {0};
    guint8 digest[32];
    for (guint i = 0; i < WAVE; i++) {
        steps[i] = (Step){.world = world, .request = &world->requests[first + i]};
        digest_of(steps[i].request->siguuid, digest);
        journal_look_up(journal, "aa", steps[i].request->siguuid, digest, world->now, world->now, on_found,
                        &steps[i]);
    }
    wait_for_all(steps);
    for (guint i = 0; i < WAVE; i++) {
        Step *step = &steps[i];
        g_assert_true(step->failed || step->verdict == JOURNAL_NEW || step->verdict == JOURNAL_INTENDED ||
                      step->verdict == JOURNAL_ANSWERED);
        if (step->failed || step->verdict != JOURNAL_NEW)
            continue;
        digest_of(step->request->siguuid, digest);
        step->intent = g_strdup_printf("{\"serial\":%u}", ++world->serials);
        step->done = false;
        journal_intend(journal, "aa", step->request->siguuid, digest, world->now, step->intent, on_done,
                       step);
    }
    wait_for_all(steps);
    for (guint i = 0; i < WAVE; i++) {
        Step *step = &steps[i];
        if (step->failed || step->verdict == JOURNAL_ANSWERED)
            continue;
        g_hash_table_add(step->request->asked, g_strdup(step->intent));
        g_free(step->answer);
        step->answer = g_strconcat("signed ", step->intent, NULL);
        step->done = false;
        journal_answer(journal, "aa", step->request->siguuid, step->answer, on_done, step);
    }
    wait_for_all(steps);
    for (guint i = 0; i < WAVE; i++) {
        if (!steps[i].failed)
            tell(steps[i].request, steps[i].answer);
        journal_release(journal, "aa", steps[i].request->siguuid);
        journal_set_since(journal, "channel", steps[i].request->siguuid);
        step_clear(&steps[i]);
    }
    journal_flush(journal);
}

/* False: not even the journal could be opened. */
static bool live(World *world)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Journal) journal = journal_open(world->path, 30 * DAY, &error);
    g_assert_true(journal || power_is_off());
    for (guint wave = 0; journal && wave < REQUESTS; wave += WAVE)
        handle_wave(journal, world, wave);
    return journal != NULL;
}

static guint asked_at_all(const World *world)
{
    guint count = 0;
    for (guint i = 0; i < REQUESTS; i++)
        count += g_hash_table_size(world->requests[i].asked) > 0;
    return count;
}

static guint set_aside(const char *directory)
{
    guint count = 0;
    const char *name;
    g_autoptr(GDir) files = g_dir_open(directory, 0, NULL);
    while ((name = g_dir_read_name(files)))
        count += strstr(name, "unreadable") != NULL;
    return count;
}

/* False: the power would not have gone before the end. */
static bool cut_journal_at(guint operation, PowerLoss loss, guint32 seed)
{
    g_autofree char *directory = test_directory();
    g_auto(World) world;
    world_init(&world, directory);
    power_cut_at(operation);
    live(&world);
    bool went_off = power_is_off();
    guint asked = asked_at_all(&world);
    power_restore(loss, seed);
    g_assert_true(live(&world));
    /* A journal that something hung on is never taken for damaged. */
    g_assert_true(asked == 0 || set_aside(directory) == 0);
    for (guint i = 0; i < REQUESTS; i++) {
        g_assert_cmpuint(g_hash_table_size(world.requests[i].asked), ==, 1);
        g_assert_nonnull(world.requests[i].told);
    }
    power_restore(POWER_LOSES_NOTHING, 0);
    return went_off;
}

static void each_request_is_signed_once(gconstpointer loss)
{
    guint operation = 0;
    guint seeds = GPOINTER_TO_INT(loss) == POWER_LOSES_SOME ? SEEDS : 1;
    bool went_off = true;
    while (went_off) {
        operation++;
        g_assert_cmpuint(operation, <, CUTS_MAX);
        for (guint seed = 0; seed < seeds; seed++)
            went_off = cut_journal_at(operation, GPOINTER_TO_INT(loss), operation * 100 + seed);
    }
    g_test_message("the power went at each of %u operations", operation - 1);
    g_assert_cmpuint(operation, >, 30);
}

/* --- eviction ---------------------------------------------------------------------------------------- */

/* Intends |count| requests, signed a second apart, one transaction each. Those that are reported are added to
 * |reported|. */
static void fill(JournalStore *store, guint count, gint64 first, GArray *reported)
{
    guint8 digest[JOURNAL_DIGEST_SIZE] = {0};
    for (guint i = 0; i < count; i++) {
        bool more = true;
        g_autofree char *siguuid = g_strdup_printf("request-%u", i);
        if (!journal_store_begin(store, NULL) ||
            !journal_store_intend(store, "aa", siguuid, digest, first + i, "{}", NULL) ||
            !journal_store_evict(store, 0, &more, NULL) || !journal_store_commit(store, NULL))
            return;
        g_array_append_val(reported, i);
    }
}

static bool cut_eviction_at(guint operation, PowerLoss loss, guint32 seed)
{
    static const JournalBounds bounds = {.rows = 5, .bytes = 1 << 20};
    enum { FIRST = 1000 };
    g_autofree char *directory = test_directory();
    g_autofree char *path = g_build_filename(directory, "journal.sqlite", NULL);
    g_autoptr(GError) error = NULL;
    g_autoptr(GArray) reported = g_array_new(FALSE, FALSE, sizeof(guint));
    JournalStore *store = journal_store_open(path, &bounds, FIRST, &error);
    g_assert_no_error(error);
    power_cut_at(operation);
    fill(store, 20, FIRST, reported);
    journal_store_close(store);
    bool went_off = power_is_off();
    power_restore(loss, seed);
    store = journal_store_open(path, &bounds, FIRST + DAY, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(set_aside(directory), ==, 0);
    g_assert_cmpuint(journal_store_rows(store), <=, bounds.rows + 1);
    for (guint i = 0; i < reported->len; i++) {
        g_auto(JournalRow) row = {0};
        bool found = false;
        g_autofree char *siguuid = g_strdup_printf("request-%u", g_array_index(reported, guint, i));
        g_assert_true(journal_store_find(store, "aa", siguuid, &found, &row, &error));
        if (!found && FIRST + (gint64)i > journal_store_line(store))
            g_error("request %u is forgotten and would be signed again", i);
    }
    journal_store_close(store);
    power_restore(POWER_LOSES_NOTHING, 0);
    return went_off;
}

static void what_was_evicted_stays_refused(void)
{
    guint operation = 0;
    bool went_off = true;
    while (went_off) {
        operation++;
        g_assert_cmpuint(operation, <, CUTS_MAX);
        for (PowerLoss loss = POWER_LOSES_NOTHING; loss <= POWER_LOSES_SOME; loss++)
            went_off = cut_eviction_at(operation, loss, operation);
    }
    g_test_message("the power went at each of %u operations", operation - 1);
    g_assert_cmpuint(operation, >, 30);
}

/* --- link, authority and token on top of it ---------------------------------------------------------- */

enum { SIGNED_REQUESTS = 2 };

typedef struct Answers {
    ScriptedPlatform *platform;
    guint wanted;
} Answers;

static bool has_answers(void *userdata)
{
    const Answers *answers = userdata;
    return scripted_platform_count(answers->platform, "signature response") >= answers->wanted;
}

static void send_requests(ScriptedPlatform *platform, const char *channel, const char *csr)
{
    guint before = scripted_platform_count(platform, "signature response");
    for (guint i = 0; i < SIGNED_REQUESTS; i++) {
        g_autofree char *content = g_strdup_printf("{'siguuid':'r-%u','request':{'csr':'%s'}}", i, csr);
        g_autofree char *envelope = g_strdup_printf("'siguuid':'r-%u','signtype':'csr','ttl':60", i);
        scripted_platform_send(platform, &(ScriptedMessage){.type = "signature request",
                                                            .channel = channel,
                                                            .content = content,
                                                            .envelope = envelope});
    }
    test_wait_for(has_answers, &(Answers){platform, before + SIGNED_REQUESTS}, 30);
}

/* The certificate that the newest answer has; NULL: it was a refusal. Transfer full. */
static char *told(ScriptedPlatform *platform, guint request)
{
    g_autofree char *siguuid = g_strdup_printf("r-%u", request);
    g_autoptr(JsonObject) answer = scripted_platform_answer(platform, siguuid);
    return json_object_get_boolean_member(answer, "success")
               ? g_strdup(json_object_get_string_member(answer, "message"))
               : NULL;
}

static char *csr_for_json(void)
{
    g_autofree char *pem = test_request_pem("CN=power.example.test", test_key("p256"));
    g_auto(GStrv) lines = g_strsplit(pem, "\n", -1);
    return g_strjoinv("\\n", lines);
}

static void restore(void *loss)
{
    power_restore(GPOINTER_TO_INT(loss), 7);
}

static bool cut_link_at(guint operation, PowerLoss loss)
{
    g_autoptr(ScriptedPlatform) platform = scripted_platform_new();
    g_autoptr(Agent) agent = agent_new(platform, "fake:serial=F1");
    Authority *authority = agent_provision(agent, platform, "F1", "p256", "Power");
    agent_wait_link(authority, AUTHORITY_CONNECTED);
    g_autofree char *channel = scripted_platform_channel(authority_thumbprint(authority));
    g_autofree char *csr = csr_for_json();
    guint before = fake_source_contents_signed(agent->source, "F1");
    power_cut_at(operation);
    send_requests(platform, channel, csr);
    bool went_off = power_is_off();
    char *first[SIGNED_REQUESTS];
    for (guint i = 0; i < SIGNED_REQUESTS; i++)
        first[i] = told(platform, i);
    agent_restart_after(agent, restore, GINT_TO_POINTER(loss));
    agent_wait_link(authority, AUTHORITY_CONNECTED);
    send_requests(platform, channel, csr);
    for (guint i = 0; i < SIGNED_REQUESTS; i++) {
        g_autofree char *now = told(platform, i);
        g_assert_nonnull(now);
        if (first[i])
            g_assert_cmpstr(now, ==, first[i]);
        g_free(first[i]);
    }
    /* One content a request, and one more channel certificate. */
    g_assert_cmpuint(fake_source_contents_signed(agent->source, "F1") - before, ==, SIGNED_REQUESTS + 1);
    return went_off;
}

static void the_token_is_asked_for_one_content_a_request(void)
{
    bool thorough = g_strcmp0(g_getenv("IOTHSM_CHECK_LONG"), "yes") == 0;
    guint step = thorough ? 1 : 4;
    guint cuts = 0;
    while (cut_link_at(1 + cuts * step, cuts % 3))
        g_assert_cmpuint(++cuts, <, CUTS_MAX);
    g_test_message("the power went at %u operations, every %u", cuts, step);
    g_assert_cmpuint(cuts, >=, 3);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    power_install();
#define EACH(name, loss)                                                                                     \
    g_test_add_data_func("/power-cut/each-request-is-signed-once/" name, GINT_TO_POINTER(loss),              \
                         each_request_is_signed_once)
    EACH("nothing-unsynced-is-lost", POWER_LOSES_NOTHING);
    EACH("all-unsynced-is-lost", POWER_LOSES_ALL);
    EACH("some-unsynced-is-lost", POWER_LOSES_SOME);
    g_test_add_func("/power-cut/what-was-evicted-stays-refused", what_was_evicted_stays_refused);
    g_test_add_func("/power-cut/the-token-is-asked-for-one-content-a-request",
                    the_token_is_asked_for_one_content_a_request);
    return g_test_run();
}

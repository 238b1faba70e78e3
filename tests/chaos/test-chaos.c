/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Everything goes wrong at once: messages are lost, late, doubled, out of order and forged, calls fail,
 * connections are reset and cut, clocks jump on both sides, and the daemon is killed at random. What must
 * come of it: every request is answered rightly, none is signed twice, and all start in the order in which
 * they came.
 *
 * What was signed is counted where it happens: each token writes the digest of every content into a ledger
 * that survives the daemon. A request that was signed again with another serial number or date would be one
 * digest more.
 *
 * "chaos" is for a build with sanitizers, "endurance" for one without: more requests at a time, thousands of
 * them. The dice of faults, kills and clocks begin with a seed that is printed. $IOTHSM_CHAOS_SEED repeats
 * it, $IOTHSM_CHAOS_SECONDS says how long, in the place of what each test usually takes. */

#include "daemon/openssl-cleanup.h"
#include "tests/end-to-end/scene.h"
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SECONDS 20
#define SECONDS_ENDURANCE 25
#define SECONDS_LONG 300
#define AUTHORITIES 2
/* The protocol allows clocks to be five minutes apart; those of platform and daemon each jump for less than
 * half. */
#define CLOCK_JUMP_MAX 90
/* design: a silent connection is noticed within 50 s; the rest is the scheduler's. */
#define HALF_OPEN_SECONDS 50
#define SCHEDULER_SECONDS 3

typedef struct Signer {
    char *name; /* the CA's at the platform */
    char *key;  /* files */
    char *certificate;
    char *ledger;
    char *thumbprint;
    GSubprocess *drive;
    gint64 requests;
} Signer;

typedef struct Chaos {
    Scene *scene;
    Signer signers[AUTHORITIES];
    char *configuration;
    char *clock_file;
    int64_t *clock; /* seconds that the daemon's clock is off */
    GRand *dice;
    guint starts;
    GArray *lifetimes; /* gsize: where in the log a daemon begins */
    gint64 until;
} Chaos;

static guint32 choose_seed(void)
{
    const char *given = g_getenv("IOTHSM_CHAOS_SEED");
    return given && *given ? (guint32)g_ascii_strtoull(given, NULL, 10) : g_random_int();
}

static guint choose_seconds(guint usual)
{
    const char *given = g_getenv("IOTHSM_CHAOS_SECONDS");
    if (given && *given)
        return (guint)g_ascii_strtoull(given, NULL, 10);
    return g_strcmp0(g_getenv("IOTHSM_CHECK_LONG"), "yes") == 0 ? SECONDS_LONG : usual;
}

/* --- the daemon -------------------------------------------------------------------------------------- */

static void start_with(Chaos *chaos, bool provisioned)
{
    g_autoptr(GPtrArray) arguments = g_ptr_array_new_with_free_func(g_free);
    for (guint i = 0; i < AUTHORITIES; i++) {
        const Signer *signer = &chaos->signers[i];
        g_autofree char *more =
            provisioned ? g_strdup_printf(",certificate=%s,ledger=%s", signer->certificate, signer->ledger)
                        : g_strdup("");
        g_ptr_array_add(arguments,
                        g_strdup_printf("--fake=fake:serial=F%u,key=%s%s", i + 1, signer->key, more));
    }
    g_ptr_array_add(arguments, g_strdup("--log-level=debug"));
    g_ptr_array_add(arguments, NULL);
    const char *asan = g_getenv("ASAN_OPTIONS");
    g_autofree char *options = g_strdup_printf("%s:verify_asan_link_order=0", asan ? asan : "");
    const char *const environment[] = {"LD_PRELOAD",
                                       g_getenv("JUMPING_CLOCK_PRELOAD"),
                                       "JUMPING_CLOCK",
                                       chaos->clock_file,
                                       "ASAN_OPTIONS",
                                       options,
                                       NULL};
    fixture_start_daemon(scene_fixture(chaos->scene), NULL, chaos->configuration,
                         (const char *const *)arguments->pdata, environment);
}

static void start(Chaos *chaos)
{
    g_autofree char *log = fixture_log(scene_fixture(chaos->scene));
    gsize begin = strlen(log);
    g_array_append_val(chaos->lifetimes, begin);
    chaos->starts++;
    start_with(chaos, true);
}

static char *thumbprint_of(const char *certificate)
{
    g_autofree char *text =
        TEST_RUN("openssl", "x509", "-in", certificate, "-noout", "-fingerprint", "-sha1");
    g_auto(GStrv) pairs = g_strsplit(g_strchomp(strchr(text, '=') + 1), ":", -1);
    g_autofree char *joined = g_strjoinv("", pairs);
    return g_ascii_strdown(joined, -1);
}

static void provision(Chaos *chaos, guint number)
{
    Signer *signer = &chaos->signers[number];
    g_autofree char *template_file = scene_path(chaos->scene, "template.pem");
    g_autofree char *slot = g_strdup_printf("F%u/01", number + 1);
    g_autofree char *created =
        scene_platform(chaos->scene, 0, "create-ca --name=$1 --out=$2", signer->name, template_file, NULL);
    g_autofree char *made =
        scene_control("self-sign $1 $2 --output=$3", slot, template_file, signer->certificate, NULL);
    g_autofree char *known = scene_platform(chaos->scene, 0, "import-certificate --ca=$1 $2", signer->name,
                                            signer->certificate, NULL);
    signer->thumbprint = thumbprint_of(signer->certificate);
}

static void open_clock(Chaos *chaos)
{
    static const char zero[sizeof *chaos->clock];
    g_autoptr(GError) error = NULL;
    chaos->clock_file = scene_path(chaos->scene, "clock");
    g_file_set_contents(chaos->clock_file, zero, sizeof zero, &error);
    g_assert_no_error(error);
    int fd = open(chaos->clock_file, O_RDWR | O_CLOEXEC);
    g_assert_cmpint(fd, >=, 0);
    chaos->clock = mmap(NULL, sizeof *chaos->clock, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    g_assert_true(chaos->clock != MAP_FAILED);
    close(fd);
}

static void begin(Chaos *chaos, const char *serve)
{
    *chaos = (Chaos){.scene = scene_new(serve), .lifetimes = g_array_new(FALSE, FALSE, sizeof(gsize))};
    chaos->configuration = scene_configuration(chaos->scene, "[Tokens]\nSoftHsm=no\n");
    open_clock(chaos);
    for (guint i = 0; i < AUTHORITIES; i++) {
        g_autoptr(EVP_PKEY) key = test_new_key("p256");
        g_autofree char *pem = test_key_pem(key, NULL);
        g_autofree char *key_name = g_strdup_printf("key-%u.pem", i);
        g_autofree char *certificate_name = g_strdup_printf("ca-%u.pem", i);
        g_autofree char *ledger_name = g_strdup_printf("ledger-%u", i);
        chaos->signers[i] = (Signer){.name = g_strdup_printf("CA%u", i),
                                     .key = scene_write(chaos->scene, key_name, pem),
                                     .certificate = scene_path(chaos->scene, certificate_name),
                                     .ledger = scene_path(chaos->scene, ledger_name)};
    }
    *chaos->clock = -3600; /* the CAs are older than any certificate that is issued while the clock is slow */
    start_with(chaos, false);
    for (guint i = 0; i < AUTHORITIES; i++)
        provision(chaos, i);
    fixture_stop_daemon(scene_fixture(chaos->scene));
    *chaos->clock = 0;
}

static void end(Chaos *chaos)
{
    for (guint i = 0; i < AUTHORITIES; i++) {
        Signer *signer = &chaos->signers[i];
        g_free(signer->name);
        g_free(signer->key);
        g_free(signer->certificate);
        g_free(signer->ledger);
        g_free(signer->thumbprint);
    }
    munmap(chaos->clock, sizeof *chaos->clock);
    g_free(chaos->clock_file);
    g_free(chaos->configuration);
    g_array_unref(chaos->lifetimes);
    if (chaos->dice)
        g_rand_free(chaos->dice);
    scene_free(chaos->scene);
}

static void connect_all(Chaos *chaos)
{
    for (guint i = 0; i < AUTHORITIES; i++) {
        g_autofree char *there =
            scene_platform(chaos->scene, 0, "wait --ca=$1", chaos->signers[i].name, NULL);
    }
    Fixture *fixture = scene_fixture(chaos->scene);
    g_auto(GStrv) paths = fixture_objects(fixture, AUTHORITY_INTERFACE);
    g_assert_cmpuint(g_strv_length(paths), ==, AUTHORITIES);
    for (char **path = paths; *path; path++)
        fixture_wait_string(fixture, *path, AUTHORITY_INTERFACE, "LinkState", "connected", 20);
}

/* --- what happens to it ------------------------------------------------------------------------------ */

static bool is_over(void *until)
{
    return g_get_monotonic_time() >= *(gint64 *)until;
}

static void pass_time(Chaos *chaos, double seconds)
{
    gint64 until = MIN(g_get_monotonic_time() + (gint64)(seconds * G_USEC_PER_SEC), chaos->until);
    fixture_wait(scene_fixture(chaos->scene), is_over, &until, 60);
}

typedef struct Progress {
    Chaos *chaos;
    gint64 answers;
} Progress;

static bool has_answered(void *userdata)
{
    const Progress *progress = userdata;
    return is_over(&progress->chaos->until) ||
           scene_counter(progress->chaos->scene, "answers") >= progress->answers;
}

/* The clock jumps; then the daemon is killed, after a while and not before it has done something, however
 * slow the machine is. */
static void torment(Chaos *chaos)
{
    while (!is_over(&chaos->until)) {
        Progress progress = {chaos,
                             scene_counter(chaos->scene, "answers") + g_rand_int_range(chaos->dice, 1, 30)};
        *chaos->clock = g_rand_int_range(chaos->dice, -CLOCK_JUMP_MAX, CLOCK_JUMP_MAX + 1);
        pass_time(chaos, g_rand_double_range(chaos->dice, 0.2, 3));
        *chaos->clock = g_rand_int_range(chaos->dice, -CLOCK_JUMP_MAX, CLOCK_JUMP_MAX + 1);
        pass_time(chaos, g_rand_double_range(chaos->dice, 0.2, 3));
        fixture_wait(scene_fixture(chaos->scene), has_answered, &progress, G_MAXINT);
        fixture_kill_daemon(scene_fixture(chaos->scene));
        start(chaos);
    }
}

/* --- what came of it --------------------------------------------------------------------------------- */

static guint count_distinct_lines(const char *path)
{
    g_autofree char *text = NULL;
    g_autoptr(GError) error = NULL;
    g_file_get_contents(path, &text, NULL, &error);
    g_assert_no_error(error);
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    g_autoptr(GHashTable) distinct = g_hash_table_new(g_str_hash, g_str_equal);
    for (char **line = lines; *line; line++)
        if (**line)
            g_hash_table_add(distinct, *line);
    return g_hash_table_size(distinct);
}

static guint count_text(const char *text, const char *part)
{
    guint count = 0;
    for (const char *at = text; (at = strstr(at, part)); at += strlen(part))
        count++;
    return count;
}

/* One content for each request, and one for each channel certificate. A certificate that was asked for may
 * not have been made, as the daemon was killed in that moment. */
static void assert_signed_once(Chaos *chaos, const Signer *signer)
{
    g_autofree char *log = fixture_log(scene_fixture(chaos->scene));
    g_autofree char *issued = g_strdup_printf("A channel certificate of %s is issued", signer->thumbprint);
    guint contents = count_distinct_lines(signer->ledger);
    guint asked = count_text(log, issued);
    g_test_message("%s: %" G_GINT64_FORMAT
                   " requests, %u contents signed, of them at most %u channel certificates",
                   signer->name, signer->requests, contents, asked);
    g_assert_cmpint(contents, <=, signer->requests + asked);
    g_assert_cmpint(contents, >=, signer->requests + 1);
}

/* "Request ID, number N for THUMBPRINT, goes to the token": N rises in the life of one daemon. */
static void assert_order_between(const char *from, const char *to, const Signer *signer, guint *ret_count)
{
    g_autofree char *mark = g_strdup_printf(" for %s, goes to the token", signer->thumbprint);
    guint64 last = 0;
    for (const char *at = from; (at = strstr(at, mark)) && at < to; at += strlen(mark)) {
        const char *digit = at;
        while (digit > from && g_ascii_isdigit(digit[-1]))
            digit--;
        guint64 number = g_ascii_strtoull(digit, NULL, 10);
        g_assert_cmpuint(number, >, last);
        last = number;
        (*ret_count)++;
    }
}

static void assert_order(Chaos *chaos, const Signer *signer)
{
    g_autofree char *log = fixture_log(scene_fixture(chaos->scene));
    guint count = 0;
    for (guint i = 0; i < chaos->lifetimes->len; i++) {
        gsize next =
            i + 1 < chaos->lifetimes->len ? g_array_index(chaos->lifetimes, gsize, i + 1) : strlen(log);
        assert_order_between(log + g_array_index(chaos->lifetimes, gsize, i), log + next, signer, &count);
    }
    g_assert_cmpint(count, >=, signer->requests); /* each was at the token, some more than once */
}

/* The client's exit status says that everything was answered rightly, and nothing twice with different
 * answers. */
static void collect(Chaos *chaos, Signer *signer)
{
    g_autofree char *json = scene_end(chaos->scene, g_steal_pointer(&signer->drive), 0);
    g_autoptr(JsonNode) node = json_from_string(json, NULL);
    g_assert_nonnull(node);
    JsonObject *figures = json_node_get_object(node);
    signer->requests = json_object_get_int_member(figures, "ok");
    g_assert_cmpint(json_object_get_int_member(figures, "failed"), ==, 0);
    g_assert_cmpint(json_object_get_int_member(figures, "conflicts"), ==, 0);
}

static void drive_all(Chaos *chaos, guint seconds, guint at_once)
{
    g_autofree char *seconds_text = g_strdup_printf("%u", seconds);
    g_autofree char *at_once_text = g_strdup_printf("%u", at_once);
    for (guint i = 0; i < AUTHORITIES; i++)
        chaos->signers[i].drive = scene_begin_platform(
            chaos->scene,
            "drive --ca=$1 --kind=mixed --seconds=$2 --concurrency=$3 --attempts=1000 --timeout=2 --ttl=30 "
            "--retry-refused --linger=300 --json",
            chaos->signers[i].name, seconds_text, at_once_text, NULL);
}

/* How often a fault struck; then there are none. */
static gint64 end_faults(Chaos *chaos)
{
    *chaos->clock = 0;
    g_autofree char *json = scene_platform(chaos->scene, 0, "status --json", NULL);
    g_autofree char *cleared = scene_platform(chaos->scene, 0, "misbehave --clear --json", NULL);
    g_autoptr(JsonNode) node = json_from_string(json, NULL);
    g_assert_nonnull(node);
    JsonArray *faults = json_object_get_array_member(json_node_get_object(node), "faults");
    gint64 struck = 0;
    for (guint i = 0; i < json_array_get_length(faults); i++)
        struck += json_object_get_int_member(json_array_get_object_element(faults, i), "struck");
    return struck;
}

typedef struct Story {
    const char *name;
    const char *serve;
    guint seconds;
    guint at_once; /* of each CA */
} Story;

static void assert_all_well(Chaos *chaos, const Story *story, gint64 faults)
{
    gint64 requests = 0;
    for (guint i = 0; i < AUTHORITIES; i++) {
        collect(chaos, &chaos->signers[i]);
        requests += chaos->signers[i].requests;
    }
    test_figure("%s: %" G_GINT64_FORMAT " requests, %" G_GINT64_FORMAT " faults, %u kills; %" G_GINT64_FORMAT
                " requests were asked for again, %" G_GINT64_FORMAT " refused for the moment",
                story->name, requests, faults, chaos->starts - 1,
                scene_counter(chaos->scene, "exchanges begun again"),
                scene_counter(chaos->scene, "refusals"));
    for (guint i = 0; i < AUTHORITIES; i++) {
        assert_signed_once(chaos, &chaos->signers[i]);
        assert_order(chaos, &chaos->signers[i]);
    }
    g_assert_cmpint(scene_counter(chaos->scene, "conflicts"), ==, 0);
    g_assert_cmpint(requests, >=, AUTHORITIES * story->at_once); /* a machine that is busy does few */
    g_assert_cmpint(faults, >, 0);
}

static void test_chaos(gconstpointer data)
{
    const Story *story = data;
    Chaos chaos;
    guint32 seed = choose_seed();
    guint seconds = choose_seconds(story->seconds);
    g_autofree char *seed_text = g_strdup_printf("%u", seed);
    test_figure("%s: %u s, IOTHSM_CHAOS_SEED=%u repeats it", story->name, seconds, seed);
    begin(&chaos, story->serve);
    chaos.dice = g_rand_new_with_seed(seed);
    start(&chaos);
    connect_all(&chaos);
    chaos.until = g_get_monotonic_time() + (gint64)seconds * G_USEC_PER_SEC;
    g_autofree char *set =
        scene_platform(chaos.scene, 0, "misbehave --chaos --seed=$1 --json", seed_text, NULL);
    drive_all(&chaos, seconds, story->at_once);
    torment(&chaos);
    gint64 faults = end_faults(&chaos);
    assert_all_well(&chaos, story, faults);
    end(&chaos);
}

/* --- connections that stand and say nothing ---------------------------------------------------------- */

/* The way is frozen: sockets stay open, new ones too, and no byte comes through. Each transport says that it
 * is connected for at most 50 s more. Both wait at the same time. */
static void test_half_open(void)
{
    static const char *const serve[] = {"--transports=websocket --relay",
                                        "--transports=pubnub --relay --poll=280000"};
    Chaos chaos[G_N_ELEMENTS(serve)];
    for (gsize i = 0; i < G_N_ELEMENTS(serve); i++) {
        begin(&chaos[i], serve[i]);
        start(&chaos[i]);
        connect_all(&chaos[i]);
    }
    gint64 began = g_get_monotonic_time();
    for (gsize i = 0; i < G_N_ELEMENTS(serve); i++) {
        g_autofree char *frozen =
            scene_platform(chaos[i].scene, 0, "misbehave relay-freeze --count=0 --json", NULL);
    }
    for (gsize i = 0; i < G_N_ELEMENTS(serve); i++) {
        Fixture *fixture = scene_fixture(chaos[i].scene);
        g_auto(GStrv) paths = fixture_objects(fixture, AUTHORITY_INTERFACE);
        gint64 left =
            HALF_OPEN_SECONDS + SCHEDULER_SECONDS - (g_get_monotonic_time() - began) / G_USEC_PER_SEC;
        for (char **path = paths; *path; path++)
            fixture_wait_string(fixture, *path, AUTHORITY_INTERFACE, "LinkState", "not-connected",
                                (guint)MAX(left, 1));
        test_figure("half-open, %s: noticed after %.1f s or less", serve[i],
                    (double)(g_get_monotonic_time() - began) / G_USEC_PER_SEC);
    }
    for (gsize i = 0; i < G_N_ELEMENTS(serve); i++)
        end(&chaos[i]);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    static const Story stories[] = {
        {"/chaos/websocket", "--transports=websocket --relay --tls", SECONDS, 12},
        {"/chaos/pubnub", "--transports=pubnub --relay --tls --key-sets=2", SECONDS, 12},
        {"/endurance/pubnub", "--transports=pubnub --relay --tls --key-sets=2", SECONDS_ENDURANCE, 30},
        {"/endurance/both", "--transports=both --relay --tls --key-sets=2", SECONDS_ENDURANCE, 30},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(stories); i++)
        g_test_add_data_func(stories[i].name, &stories[i], test_chaos);
    g_test_add_func("/half-open/is-noticed-within-50-s", test_half_open);
    return g_test_run();
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What a confused platform, or somebody who pretends to be the platform, can send: every message gets a short
 * stable refusal, or silence where nobody has proved to be the platform; the daemon stays, and signs the next
 * good request. One scene serves all, because that is the point. */

#include "daemon/openssl-cleanup.h"
#include "tests/end-to-end/scene.h"
#include <string.h>

#define CA "Steady"

static Scene *scene;

static void open_scene(void)
{
    if (scene != NULL)
        return;
    scene = scene_begin();
    g_autofree char *ca_file = scene_root(scene, CA, "Home/01", "p256");
    g_autoptr(EVP_PKEY) key = test_new_key("p256");
    g_autoptr(EVP_PKEY) weak = test_new_key("rsa1024");
    g_autofree char *good = test_request_pem("CN=good", key);
    g_autofree char *short_key = test_request_pem("CN=weak", weak);
    g_autofree char *good_file = scene_write(scene, "good.csr", good);
    g_autofree char *weak_file = scene_write(scene, "weak.csr", short_key);
    /* Another key's request under the signature of this one: the same length, so only the signature tells. */
    g_autofree char *der_file = scene_path(scene, "good.der");
    g_autofree char *bad_file = scene_path(scene, "bad.csr");
    g_autofree char *converted =
        TEST_RUN("openssl", "req", "-in", good_file, "-outform", "DER", "-out", der_file);
    g_autoptr(GError) error = NULL;
    g_autofree char *der = NULL;
    gsize size;
    g_file_get_contents(der_file, &der, &size, &error);
    g_assert_no_error(error);
    char *name = memmem(der, size, "good", 4);
    g_assert_nonnull(name);
    memcpy(name, "evil", 4);
    g_file_set_contents(der_file, der, (gssize)size, &error);
    g_assert_no_error(error);
    g_autofree char *back = TEST_RUN("openssl", "req", "-inform", "DER", "-in", der_file, "-out", bad_file);
    g_autofree char *offered = scene_sign(scene, CA); /* so that there is an offer to be reused */
    g_test_set_nonfatal_assertions();                 /* one row that fails does not hide the others */
}

/* "@good.csr@" becomes the JSON text of that file's contents. */
static char *fill_in(const char *text)
{
    g_autoptr(GString) filled = g_string_new(text);
    for (char *mark; (mark = strchr(filled->str, '@')) != NULL;) {
        char *end = strchr(mark + 1, '@');
        g_assert_nonnull(end);
        g_autofree char *name = g_strndup(mark + 1, (gsize)(end - mark - 1));
        g_autofree char *path = scene_path(scene, name);
        g_autofree char *contents = NULL;
        g_assert_true(g_file_get_contents(path, &contents, NULL, NULL));
        g_autoptr(JsonNode) node = json_node_init_string(json_node_alloc(), contents);
        g_autofree char *json = json_to_string(node, FALSE);
        gssize at = mark - filled->str;
        g_string_erase(filled, at, end - mark + 1);
        g_string_insert(filled, at, json);
    }
    return g_string_free(g_steal_pointer(&filled), FALSE);
}

/* --- requests that say something wrong --------------------------------------------------------------- */

typedef struct Refusal {
    const char *name;
    const char *signtype;
    const char *request; /* ' for " */
    const char *message;
} Refusal;

#define OPTIONS(options) "{'csr':@good.csr@,'options':" options "}"
#define EXTENSIONS(extensions) OPTIONS("{'extensions':" extensions "}")
#define ROW(columns) "{'database':'V\\t271120000000Z\\t\\t01\\tunknown\\t/CN=a\\n" columns "\\n','days':7}"

static const Refusal refusals[] = {
    {"csr-with-a-bad-signature", "csr", "{'csr':@bad.csr@}",
     "Invalid csr: its signature does not match its key"},
    {"csr-with-a-weak-key", "csr", "{'csr':@weak.csr@}", "Invalid csr: a RSA key of 1024 bits is too weak"},
    {"csr-missing", "csr", "{}", "Invalid csr: missing"},
    {"csr-that-is-a-number", "csr", "{'csr':5}", "Invalid csr: not a text"},
    {"csr-that-is-garbage", "csr", "{'csr':'garbage'}", "Invalid csr: not a certificate request in PEM form"},
    {"request-that-is-a-list", "csr", "[]", "request is not an object"},
    {"request-that-is-null", "csr", "null", "request is missing"},
    {"request-for-another-ca", "csr", "{'csr':@good.csr@,'ca':{'serial':'01','thumbprint':'02'}}",
     "The request is for another certificate authority"},
    {"options-that-are-a-list", "csr", OPTIONS("[]"), "Invalid options: not an object"},
    {"days-zero", "csr", OPTIONS("{'days':0}"), "Invalid days: not a positive integer"},
    {"days-negative", "csr", OPTIONS("{'days':-1}"), "Invalid days: not a positive integer"},
    {"days-with-a-fraction", "csr", OPTIONS("{'days':1.5}"), "Invalid days: not a positive integer"},
    {"days-that-are-a-word", "csr", OPTIONS("{'days':'many'}"), "Invalid days: not a positive integer"},
    {"startdate-that-is-no-date", "csr", OPTIONS("{'startdate':'soon','enddate':'later'}"),
     "Invalid startdate: not an ISO 8601 date with a time and a zone"},
    {"startdate-alone", "csr", OPTIONS("{'startdate':'2026-01-01T00:00:00Z'}"), "Invalid enddate: missing"},
    {"enddate-before-startdate", "csr",
     OPTIONS("{'startdate':'2030-01-01T00:00:00Z','enddate':'2029-01-01T00:00:00Z'}"),
     "Invalid enddate: before startdate"},
    {"subject-that-is-a-list", "csr", OPTIONS("{'subject':[]}"), "Invalid subject: not an object"},
    {"subject-with-an-unknown-name", "csr", OPTIONS("{'subject':{'organizationIdentifier':'x'}}"),
     "Invalid subject: organizationIdentifier"},
    {"common-name-of-65-characters", "csr",
     OPTIONS(
         "{'subject':{'commonName':'aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffggggg'}}"),
     "Invalid subject value of commonName: it is longer than 64 characters"},
    {"extension-that-nobody-knows", "csr", EXTENSIONS("{'nameConstraints':{}}"),
     "Invalid extension: nameConstraints"},
    {"key-usage-that-nobody-knows", "csr", EXTENSIONS("{'keyUsage':{'usages':['everything']}}"),
     "Invalid keyUsage: everything"},
    {"extended-key-usage-that-nobody-knows", "csr",
     EXTENSIONS("{'extendedKeyUsage':{'usages':['everything']}}"), "Invalid extendedKeyUsage: everything"},
    {"alternative-name-that-nobody-knows", "csr", EXTENSIONS("{'SANs':{'X400':['x']}}"),
     "Invalid SANs type : \"X400\""},
    {"basic-constraints-with-a-text", "csr", EXTENSIONS("{'basicConstraints':{'CA':'true'}}"),
     "Provided basicConstraints parameter 'CA' is type string, boolean required"},
    {"basic-constraints-only-critical", "csr", EXTENSIONS("{'basicConstraints':{'critical':true}}"),
     "Basic constraints cannot contain only 'critical'"},
    {"tls-feature-that-nobody-knows", "csr", EXTENSIONS("{'tlsfeature':['other']}"),
     "Invalid tlsfeature: other"},
    {"custom-extension-with-a-section", "csr",
     EXTENSIONS("{'customOIDs':[{'OID':'1.2.3','value':'ASN1:SEQUENCE:s'}]}"),
     "Invalid customOIDs: the value of 1.2.3 is not DER:hex or ASN1:TYPE:value"},
    {"crl-without-days", "crl", "{'database':''}", "Invalid days: missing"},
    {"crl-for-no-days", "crl", "{'database':'','days':0}", "Invalid days: not a positive integer"},
    {"crl-for-a-day-and-a-half", "crl", "{'database':'','days':1.5}", "Invalid days: not a positive integer"},
    {"crl-database-that-is-a-number", "crl", "{'database':5,'days':7}", "Invalid database: not a text"},
    {"crl-row-of-five-columns", "crl", ROW("V\\t271120000000Z\\t\\t02\\tunknown"),
     "Invalid database: line 2: not six fields with tabs between"},
    {"crl-row-with-an-odd-serial", "crl", ROW("V\\t271120000000Z\\t\\t123\\tunknown\\t/CN=b"),
     "Invalid database: line 2: bad serial number length (3)"},
    {"crl-row-without-a-reason", "crl",
     ROW("R\\t271120000000Z\\t261119000000Z,undefined\\t02\\tunknown\\t/CN=b"),
     "Invalid database: line 2: invalid reason code undefined"},
    {"crl-row-with-a-bad-date", "crl", ROW("R\\t271120000000Z\\tyesterday\\t02\\tunknown\\t/CN=b"),
     "Invalid database: line 2: invalid revocation date yesterday"},
    {"cms-without-data", "cms", "{'options':{}}", "Invalid data: missing"},
    {"cms-with-bad-base64url", "cms", "{'options':{'data':'*','encoding':'binary'}}",
     "Invalid data: not base64url"},
    {"cms-in-an-unknown-form", "cms", "{'options':{'data':'x','outform':'XML'}}", "Invalid outform: XML"},
    {"cms-with-a-bad-content-type", "cms", "{'options':{'data':'x','contenttype':'nonsense'}}",
     "Invalid contenttype: nonsense"},
    {"cms-with-garbage-for-certificates", "cms", "{'options':{'data':'x','addcerts':'garbage'}}",
     "Invalid addcerts: not 1 to 64 certificates in PEM form"},
    {"signtype-that-nobody-knows", "poem", "{}", "Invalid signtype: poem"},
};

static void test_refused(gconstpointer data)
{
    const Refusal *refusal = data;
    open_scene();
    g_autofree char *quoted = g_strdelimit(g_strdup(refusal->request), "'", '"');
    g_autofree char *request = fill_in(quoted);
    g_autofree char *file = scene_write(scene, "request.json", request);
    scene_assert_refused(scene, refusal->message, "--ca=$1 --signtype=$2 --json=$3 --reuse-offer", CA,
                         refusal->signtype, file, NULL);
}

/* --- messages that are made wrongly ------------------------------------------------------------------ */

static void misbehave(const char *line)
{
    g_autofree char *words = g_strdup_printf("misbehave %s --json", line);
    g_autofree char *out = scene_platform(scene, 0, words, NULL);
}

typedef struct Flaw {
    const char *fault;
    const char *message; /* NULL: silence */
} Flaw;

static const Flaw flaws[] = {
    {"wrong-signer", NULL},
    {"rogue-signer", NULL},
    {"expired-signer", NULL},
    {"tls-signer", NULL},
    {"two-signers", NULL},
    {"no-signer", NULL},
    {"sha1", NULL},
    {"no-attributes", NULL},
    {"detached", NULL},
    {"altered", NULL},
    {"truncated", NULL},
    {"not-smime", NULL},
    {"unknown-type", NULL},
    {"other-uuid", NULL},
    {"no-smime", NULL},
    {"smime-number", NULL},
    {"not-encrypted", NULL},
    {"wrong-recipient", NULL},
    {"gcm", NULL},
    {"truncated-inner", NULL},
    {"bad-padding", NULL},
    {"bad-zlib", NULL},
    {"raw-deflate", NULL},
    {"gzip", NULL},
    {"empty", NULL},
    {"zip-bomb", "The message is larger than 201326592 bytes once it is uncompressed"},
    {"deep-json", "JSON is nested too deeply"},
    {"not-json", "not valid JSON"},
    {"bad-utf8", "JSON is not valid UTF-8"},
    {"wrong-caindex", "Failed to find CA on HSM"},
    {"wrong-caindex=-1", "Failed to find CA on HSM"},
    {"other-signtype", "Invalid signtype: poem"},
    {"old-signing-time", "The request is too old, or its signing time is missing or in the future"},
    {"future-signing-time", "The request is too old, or its signing time is missing or in the future"},
};

static void test_flaw(gconstpointer data)
{
    const Flaw *flaw = data;
    open_scene();
    g_autofree char *request = fill_in("{\"csr\":@good.csr@}");
    g_autofree char *file = scene_write(scene, "request.json", request);
    misbehave(flaw->fault);
    if (flaw->message != NULL)
        scene_assert_refused(scene, flaw->message, "--ca=$1 --json=$2 --reuse-offer", CA, file, NULL);
    else
        scene_assert_silence(scene, "--ca=$1 --json=$2 --reuse-offer --timeout=1", CA, file, NULL);
    scene_assert_works(scene, CA);
}

static const char *const solicitation_flaws[] = {
    "rogue-signer", "wrong-ca",         "deep-json",           "not-json",      "bad-utf8",
    "other-uuid",   "old-signing-time", "future-signing-time", "no-attributes",
};

static void test_solicitation_flaw(gconstpointer data)
{
    const char *fault = data;
    open_scene();
    g_autofree char *request = fill_in("{\"csr\":@good.csr@}");
    g_autofree char *file = scene_write(scene, "request.json", request);
    g_autofree char *line = g_strdup_printf("%s --at=solicit", fault);
    gint64 offers = scene_counter(scene, "offers");
    misbehave(line);
    scene_assert_silence(scene, "--ca=$1 --json=$2 --timeout=1", CA, file, NULL);
    scene_assert_works(scene, CA);
    g_assert_cmpint(scene_counter(scene, "offers"), ==, offers + 1);
}

/* Frames of the carrier that make no sense, or close the connection: the next request is served all the same.
 */
static const char *const frames[] = {"frame-not-json", "frame-array",    "frame-empty-object",
                                     "frame-binary",   "frame-bad-utf8", "frame-large"};

static void test_frame(gconstpointer data)
{
    open_scene();
    misbehave(data);
    g_autofree char *pem =
        scene_platform(scene, 0, "sign-csr --ca=$1 --name=www --attempts=5 --timeout=6", CA, NULL);
    scene_wait_connected(scene, CA);
    scene_assert_works(scene, CA);
}

static void test_ttl(void)
{
    open_scene();
    g_autofree char *request = fill_in("{\"csr\":@good.csr@}");
    g_autofree char *file = scene_write(scene, "request.json", request);
    misbehave("delay=1500 --at=request");
    scene_assert_silence(scene, "--ca=$1 --json=$2 --reuse-offer --ttl=1 --timeout=2", CA, file, NULL);
    scene_wait_log(scene, "It waited longer than its ttl");
    scene_assert_works(scene, CA);
}

/* --- the end ----------------------------------------------------------------------------------------- */

static void test_still_works(void)
{
    open_scene();
    scene_assert_works(scene, CA);
    g_autofree char *drive =
        scene_platform(scene, 0, "drive --ca=$1 --kind=mixed --requests=20 --concurrency=8 --json", CA, NULL);
    g_autofree char *clear = scene_control_member("denied", "status", NULL);
    g_assert_cmpint(g_ascii_strtoll(clear, NULL, 10), >=, (gint64)G_N_ELEMENTS(refusals));
    g_assert_cmpint(scene_counter(scene, "conflicts"), ==, 0);
    g_assert_cmpint(scene_counter(scene, "late answers"), ==, 0);
}

static void add(const char *group, const char *name, gconstpointer data, GTestDataFunc function)
{
    g_autofree char *path = g_strdup_printf("/bad-requests/%s/%s", group, name);
    g_test_add_data_func(path, data, function);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(refusals); i++)
        add("is-refused", refusals[i].name, &refusals[i], test_refused);
    for (gsize i = 0; i < G_N_ELEMENTS(flaws); i++)
        add(flaws[i].message != NULL ? "is-refused" : "meets-silence", flaws[i].fault, &flaws[i], test_flaw);
    for (gsize i = 0; i < G_N_ELEMENTS(solicitation_flaws); i++)
        add("solicitation-meets-silence", solicitation_flaws[i], solicitation_flaws[i],
            test_solicitation_flaw);
    for (gsize i = 0; i < G_N_ELEMENTS(frames); i++)
        add("is-survived", frames[i], frames[i], test_frame);
    g_test_add_func("/bad-requests/too-late/what-waited-longer-than-its-ttl", test_ttl);
    g_test_add_func("/bad-requests/after-all-of-them/requests-are-served", test_still_works);
    int status = g_test_run();
    scene_free(scene);
    return status;
}

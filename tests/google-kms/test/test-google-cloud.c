/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The stand-in as a client of Google's would find it, with a client of its own: assertions, lists by the
 * page, signatures that OpenSSL verifies, and what goes wrong on request. */

#include "tests/google-kms/crc32c.h"
#include "tests/google-kms/openssl-types.h"
#include "tests/google-kms/test/google-cloud.h"
#include <openssl/rsa.h>
#include <string.h>

#define RING "projects/home-pki/locations/europe-west3/keyRings/authorities"
#define SCOPE "https://www.googleapis.com/auth/cloud-platform"
#define GRANT "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion="

static GoogleCloud *cloud; /* one for all tests, which clean up behind themselves */

/* ---- a client ---- */

static JsonObject *parse(const char *text)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonNode) node = json_from_string(text, &error);
    g_assert_no_error(error);
    return json_node_dup_object(node);
}

static char *base64url(const void *data, gsize size)
{
    char *text = g_base64_encode(data, size);
    g_strdelimit(text, "+", '-');
    g_strdelimit(text, "/", '_');
    text[strcspn(text, "=")] = '\0';
    return text;
}

static EVP_PKEY *private_key(const char *pem)
{
    g_autoptr(BIO) memory = BIO_new_mem_buf(pem, -1);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(memory, NULL, NULL, NULL);
    g_assert_nonnull(key);
    return key;
}

/* A form with an assertion of |account|, some of whose claims are as wanted. */
static char *assertion_form(const char *account, const char *audience, const char *scope, gint64 lasts)
{
    g_autofree char *path = google_cloud_credentials(cloud, account);
    g_autofree char *text = NULL;
    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    g_autoptr(JsonObject) credentials = parse(text);
    gint64 now = g_get_real_time() / G_USEC_PER_SEC;
    g_autofree char *header = g_strdup_printf("{\"alg\":\"RS256\",\"typ\":\"JWT\",\"kid\":\"%s\"}",
                                              json_object_get_string_member(credentials, "private_key_id"));
    g_autofree char *claims = g_strdup_printf(
        "{\"iss\":\"%s\",\"scope\":\"%s\",\"aud\":\"%s\",\"iat\":%" G_GINT64_FORMAT
        ",\"exp\":%" G_GINT64_FORMAT "}",
        json_object_get_string_member(credentials, "client_email"), scope,
        audience ?: json_object_get_string_member(credentials, "token_uri"), now, now + lasts);
    g_autofree char *header_part = base64url(header, strlen(header));
    g_autofree char *claims_part = base64url(claims, strlen(claims));
    g_autofree char *input = g_strdup_printf("%s.%s", header_part, claims_part);
    g_autoptr(EVP_PKEY) key = private_key(json_object_get_string_member(credentials, "private_key"));
    g_autoptr(EVP_MD_CTX) context = EVP_MD_CTX_new();
    guint8 signature[256];
    gsize size = sizeof signature;
    g_assert_cmpint(EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, key), ==, 1);
    g_assert_cmpint(EVP_DigestSign(context, signature, &size, (guint8 *)input, strlen(input)), ==, 1);
    g_autofree char *signature_part = base64url(signature, size);
    return g_strdup_printf("%s%s.%s", GRANT, input, signature_part);
}

static char *post_form(const char *form, guint expected)
{
    guint status;
    char *answer =
        google_cloud_call(cloud, "POST", "/token", NULL, "application/x-www-form-urlencoded", form, &status);
    g_assert_cmpuint(status, ==, expected);
    return answer;
}

static char *token_of(const char *answer)
{
    g_autoptr(JsonObject) object = parse(answer);
    g_assert_cmpstr(json_object_get_string_member(object, "token_type"), ==, "Bearer");
    return g_strdup(json_object_get_string_member(object, "access_token"));
}

static char *new_token(const char *account)
{
    g_autofree char *form = assertion_form(account, NULL, SCOPE, 3600);
    g_autofree char *answer = post_form(form, 200);
    return token_of(answer);
}

static JsonObject *get(const char *token, guint expected, const char *path)
{
    guint status;
    g_autofree char *answer = google_cloud_call(cloud, "GET", path, token, NULL, NULL, &status);
    if (status != expected)
        g_error("%s was answered with %u: %s", path, status, answer);
    return parse(answer);
}

static void assert_refused(JsonObject *answer, gint64 code, const char *status)
{
    JsonObject *error = json_object_get_object_member(answer, "error");
    g_assert_cmpint(json_object_get_int_member(error, "code"), ==, code);
    g_assert_cmpstr(json_object_get_string_member(error, "status"), ==, status);
    g_assert_cmpint(strlen(json_object_get_string_member(error, "message")), >, 10);
}

/* The names in the member |list| of all pages of |path|, joined; how many pages in |ret_pages|. */
static char *list_all(const char *token, const char *path, const char *list, guint *ret_pages)
{
    GString *names = g_string_new(NULL);
    g_autofree char *page_token = NULL;
    *ret_pages = 0;
    do {
        g_autofree char *url = g_strconcat(path, page_token ? "?pageToken=" : "", page_token, NULL);
        g_autoptr(JsonObject) answer = get(token, 200, url);
        JsonArray *array =
            json_object_has_member(answer, list) ? json_object_get_array_member(answer, list) : NULL;
        for (guint i = 0; array && i < json_array_get_length(array); i++) {
            JsonObject *one = json_array_get_object_element(array, i);
            const char *name = json_object_get_string_member(one, "name");
            g_string_append_printf(names, "%s ", strrchr(name, '/') ? strrchr(name, '/') + 1 : name);
        }
        g_free(page_token);
        page_token = g_strdup(json_object_get_string_member_with_default(answer, "nextPageToken", NULL));
        ++*ret_pages;
    } while (page_token);
    return g_string_free(names, FALSE);
}

static EVP_PKEY *public_key(const char *token, const char *version)
{
    g_autofree char *path = g_strdup_printf("/v1/%s/publicKey", version);
    g_autoptr(JsonObject) answer = get(token, 200, path);
    const char *pem = json_object_get_string_member(answer, "pem");
    g_autofree char *sum = g_strdup_printf("%u", crc32c(pem, strlen(pem)));
    g_assert_cmpstr(json_object_get_string_member(answer, "pemCrc32c"), ==, sum);
    g_assert_cmpstr(json_object_get_string_member(answer, "name"), ==, version);
    g_autoptr(BIO) memory = BIO_new_mem_buf(pem, -1);
    EVP_PKEY *key = PEM_read_bio_PUBKEY(memory, NULL, NULL, NULL);
    g_assert_nonnull(key);
    return key;
}

/* A request to sign |input|, named |field| ("sha256", …, "data"). */
static char *sign_body(const char *field, const void *input, gsize size)
{
    g_autofree char *text = g_base64_encode(input, size);
    guint32 sum = crc32c(input, size);
    return g_str_equal(field, "data")
               ? g_strdup_printf("{\"data\":\"%s\",\"dataCrc32c\":\"%u\"}", text, sum)
               : g_strdup_printf("{\"digest\":{\"%s\":\"%s\"},\"digestCrc32c\":\"%u\"}", field, text, sum);
}

static JsonObject *post_sign(const char *token, const char *version, const char *body, guint expected)
{
    g_autofree char *path = g_strdup_printf("/v1/%s:asymmetricSign", version);
    guint status;
    g_autofree char *answer = google_cloud_call(cloud, "POST", path, token, NULL, body, &status);
    if (status != expected)
        g_error("%s was answered with %u: %s", body, status, answer);
    return parse(answer);
}

/* ---- access tokens ---- */

static void refuse_form(char *form, const char *error)
{
    g_autofree char *owned = form;
    g_autofree char *answer = post_form(owned, 400);
    g_autoptr(JsonObject) object = parse(answer);
    g_assert_cmpstr(json_object_get_string_member(object, "error"), ==, error);
}

static void test_assertions(void)
{
    g_autofree char *token = new_token("signer");
    g_autoptr(JsonObject) projects = get(token, 200, "/v1/projects");
    g_assert_true(json_object_has_member(projects, "projects"));
    refuse_form(assertion_form("signer", "https://elsewhere.example/token", SCOPE, 3600), "invalid_grant");
    refuse_form(assertion_form("signer", NULL, "https://www.googleapis.com/auth/drive", 3600),
                "invalid_scope");
    refuse_form(assertion_form("signer", NULL, SCOPE, -10), "invalid_grant");
    refuse_form(assertion_form("signer", NULL, SCOPE, 3700), "invalid_grant");
    char *forged = assertion_form("signer", NULL, SCOPE, 3600);
    forged[strlen(forged) - 20] ^= 1;
    refuse_form(forged, "invalid_grant");
    refuse_form(g_strdup("grant_type=password"), "unsupported_grant_type");
    refuse_form(g_strdup(GRANT "a.b"), "invalid_request");
}

static void test_tokens_end(void)
{
    google_cloud_tell(cloud, "{'do': 'tokens', 'seconds': 100}");
    g_autofree char *token = new_token("signer");
    json_object_unref(get(token, 200, "/v1/projects"));
    google_cloud_tell(cloud, "{'do': 'tokens', 'seconds': 3599, 'expire': true}");
    g_autoptr(JsonObject) answer = get(token, 401, "/v1/projects");
    assert_refused(answer, 401, "UNAUTHENTICATED");
    g_autoptr(JsonObject) without = get(NULL, 401, "/v1/projects");
    assert_refused(without, 401, "UNAUTHENTICATED");
}

static void test_metadata(void)
{
    static const char path[] = "/computeMetadata/v1/instance/service-accounts/default/token";
    guint status;
    g_autofree char *answer = google_cloud_call(cloud, "GET", path, NULL, "Google", NULL, &status);
    g_assert_cmpuint(status, ==, 200);
    g_autofree char *token = token_of(answer);
    json_object_unref(get(token, 200, "/v1/projects"));
    g_free(google_cloud_call(cloud, "GET", path, NULL, "Other", NULL, &status));
    g_assert_cmpuint(status, ==, 403);
    g_autofree char *email =
        google_cloud_call(cloud, "GET", "/computeMetadata/v1/instance/service-accounts/default/email", NULL,
                          "Google", NULL, &status);
    g_assert_cmpstr(email, ==, "machine@home-pki.iam.gserviceaccount.com");
}

/* ---- lists ---- */

static void test_walk(void)
{
    g_autofree char *token = new_token("signer");
    guint pages;
    g_autofree char *projects = list_all(token, "/v1/projects", "projects", &pages);
    g_assert_cmpstr(projects, ==, "home-pki shop blog weather ");
    g_assert_cmpuint(pages, ==, 2);
    g_autofree char *found = list_all(token, "/v3/projects:search", "projects", &pages);
    g_assert_cmpstr(found, ==, "415104041 415104042 415104043 415104044 ");
    g_autofree char *locations = list_all(token, "/v1/projects/home-pki/locations", "locations", &pages);
    g_assert_cmpstr(locations, ==, "asia-east1 europe-west3 europe-west4 global us-east1 ");
    g_autofree char *rings =
        list_all(token, "/v1/projects/home-pki/locations/europe-west3/keyRings", "keyRings", &pages);
    g_assert_cmpstr(rings, ==, "authorities backup empty test ");
    g_assert_cmpuint(pages, ==, 2);
    g_autofree char *keys = list_all(token, "/v1/" RING "/cryptoKeys", "cryptoKeys", &pages);
    g_assert_cmpstr(keys, ==, "p256 p384 p521 rsa2048 rsa4096-sha512 disk ");
    g_autofree char *none =
        list_all(token, "/v1/projects/home-pki/locations/europe-west3/keyRings/empty/cryptoKeys",
                 "cryptoKeys", &pages);
    g_assert_cmpstr(none, ==, "");
    g_autoptr(JsonObject) bad = get(token, 400, "/v1/projects?pageToken=nonsense");
    assert_refused(bad, 400, "INVALID_ARGUMENT");
    g_autoptr(JsonObject) missing =
        get(token, 404, "/v1/projects/home-pki/locations/global/keyRings/nowhere/cryptoKeys");
    assert_refused(missing, 404, "NOT_FOUND");
}

static void test_versions(void)
{
    g_autofree char *token = new_token("signer");
    guint pages;
    google_cloud_tell(cloud, "{'do': 'create-key', 'key': 'turning=EC_SIGN_P256_SHA256'}");
    google_cloud_tell(cloud, "{'do': 'rotate', 'key': 'turning'}");
    google_cloud_tell(cloud, "{'do': 'state', 'version': 'turning/1', 'state': 'DISABLED'}");
    static const char path[] = "/v1/" RING "/cryptoKeys/turning/cryptoKeyVersions";
    g_autofree char *all = list_all(token, path, "cryptoKeyVersions", &pages);
    g_assert_cmpstr(all, ==, "1 2 ");
    g_autoptr(JsonObject) enabled =
        get(token, 200, "/v1/" RING "/cryptoKeys/turning/cryptoKeyVersions?filter=state%3DENABLED");
    g_assert_cmpint(json_object_get_int_member(enabled, "totalSize"), ==, 1);
    g_autoptr(JsonObject) disabled =
        get(token, 400, "/v1/" RING "/cryptoKeys/turning/cryptoKeyVersions/1/publicKey");
    assert_refused(disabled, 400, "FAILED_PRECONDITION");
    g_autoptr(JsonObject) unknown =
        get(token, 404, "/v1/" RING "/cryptoKeys/turning/cryptoKeyVersions/7/publicKey");
    assert_refused(unknown, 404, "NOT_FOUND");
    google_cloud_tell(cloud, "{'do': 'forget-key', 'key': 'turning'}");
}

static void test_permissions(void)
{
    g_autofree char *signer = new_token("signer");
    g_autofree char *viewer = new_token("viewer");
    g_autofree char *stranger = new_token("stranger");
    static const char path[] = "/v1/" RING ":testIamPermissions";
    static const char body[] =
        "{\"permissions\":[\"cloudkms.cryptoKeys.list\",\"cloudkms.cryptoKeyVersions.useToSign\"]}";
    guint status;
    g_autofree char *all = google_cloud_call(cloud, "POST", path, signer, NULL, body, &status);
    g_assert_nonnull(strstr(all, "useToSign"));
    g_autofree char *some = google_cloud_call(cloud, "POST", path, viewer, NULL, body, &status);
    g_assert_true(strstr(some, "cryptoKeys.list") && !strstr(some, "useToSign"));
    g_autofree char *none = google_cloud_call(cloud, "POST", path, stranger, NULL, body, &status);
    g_assert_cmpuint(status, ==, 200);
    g_assert_null(strstr(none, "permissions"));
    g_autoptr(JsonObject) denied = get(stranger, 403, "/v1/" RING "/cryptoKeys");
    assert_refused(denied, 403, "PERMISSION_DENIED");
    google_cloud_tell(cloud, "{'do': 'grant', 'account': 'stranger', 'grants': "
                             "'cloudkms.cryptoKeys.list@projects/shop'}");
    json_object_unref(get(stranger, 200, "/v1/projects/shop/locations/us-east1/keyRings/orders/cryptoKeys"));
    json_object_unref(get(stranger, 403, "/v1/" RING "/cryptoKeys"));
    google_cloud_tell(cloud, "{'do': 'grant', 'account': 'stranger', 'grants': ''}");
}

/* ---- signing ---- */

typedef struct Documented {
    const char *algorithm;
    const char *digest; /* or NULL: data */
    int padding;
    bool slow; /* a key that takes long to make */
} Documented;

static const Documented documented[] = {
    {"EC_SIGN_P256_SHA256", "sha256", 0, false},
    {"EC_SIGN_P384_SHA384", "sha384", 0, false},
    {"EC_SIGN_P521_SHA512", "sha512", 0, false},
    {"EC_SIGN_SECP256K1_SHA256", "sha256", 0, false},
    {"EC_SIGN_ED25519", NULL, 0, false},
    {"RSA_SIGN_PKCS1_2048_SHA256", "sha256", RSA_PKCS1_PADDING, false},
    {"RSA_SIGN_PKCS1_3072_SHA256", "sha256", RSA_PKCS1_PADDING, true},
    {"RSA_SIGN_PKCS1_4096_SHA256", "sha256", RSA_PKCS1_PADDING, true},
    {"RSA_SIGN_PKCS1_4096_SHA512", "sha512", RSA_PKCS1_PADDING, true},
    {"RSA_SIGN_PSS_2048_SHA256", "sha256", RSA_PKCS1_PSS_PADDING, false},
    {"RSA_SIGN_PSS_3072_SHA256", "sha256", RSA_PKCS1_PSS_PADDING, true},
    {"RSA_SIGN_PSS_4096_SHA256", "sha256", RSA_PKCS1_PSS_PADDING, true},
    {"RSA_SIGN_PSS_4096_SHA512", "sha512", RSA_PKCS1_PSS_PADDING, true},
};

/* The digest that a caller makes, or the data itself. */
static gsize make_input(const Documented *what, const char *data, guint8 *input)
{
    guint size = (guint)strlen(data);
    if (what->digest)
        g_assert_cmpint(
            EVP_Digest(data, strlen(data), input, &size, EVP_get_digestbyname(what->digest), NULL), ==, 1);
    else
        memcpy(input, data, size);
    return size;
}

static void assert_verifies(const Documented *what, EVP_PKEY *key, const char *data, const char *signature)
{
    gsize size;
    g_autofree guint8 *bytes = g_base64_decode(signature, &size);
    g_autoptr(EVP_MD_CTX) context = EVP_MD_CTX_new();
    EVP_PKEY_CTX *details;
    const EVP_MD *digest = what->digest ? EVP_get_digestbyname(what->digest) : NULL;
    g_assert_cmpint(EVP_DigestVerifyInit(context, &details, digest, NULL, key), ==, 1);
    if (what->padding)
        g_assert_cmpint(EVP_PKEY_CTX_set_rsa_padding(details, what->padding), ==, 1);
    if (what->padding == RSA_PKCS1_PSS_PADDING)
        g_assert_cmpint(EVP_PKEY_CTX_set_rsa_pss_saltlen(details, RSA_PSS_SALTLEN_DIGEST), ==, 1);
    g_assert_cmpint(EVP_DigestVerify(context, bytes, size, (const guint8 *)data, strlen(data)), ==, 1);
}

static void check_algorithm(const char *token, const Documented *what)
{
    static const char data[] = "what is to be signed";
    g_autofree char *create = g_strdup_printf("{'do': 'create-key', 'key': 'trial=%s'}", what->algorithm);
    google_cloud_tell(cloud, create);
    static const char version[] = RING "/cryptoKeys/trial/cryptoKeyVersions/1";
    guint8 input[EVP_MAX_MD_SIZE];
    gsize size = make_input(what, data, input);
    g_autofree char *body = sign_body(what->digest ?: "data", input, size);
    g_autoptr(JsonObject) answer = post_sign(token, version, body, 200);
    const char *signature = json_object_get_string_member(answer, "signature");
    gsize signature_size;
    g_autofree guint8 *bytes = g_base64_decode(signature, &signature_size);
    g_autofree char *sum = g_strdup_printf("%u", crc32c(bytes, signature_size));
    g_assert_cmpstr(json_object_get_string_member(answer, "signatureCrc32c"), ==, sum);
    g_assert_cmpstr(json_object_get_string_member(answer, "name"), ==, version);
    g_assert_true(
        json_object_get_boolean_member(answer, what->digest ? "verifiedDigestCrc32c" : "verifiedDataCrc32c"));
    g_autoptr(EVP_PKEY) key = public_key(token, version);
    assert_verifies(what, key, data, signature);
    google_cloud_tell(cloud, "{'do': 'forget-key', 'key': 'trial'}");
}

static void test_algorithms(void)
{
    g_autofree char *token = new_token("signer");
    bool long_run = g_strcmp0(g_getenv("IOTHSM_CHECK_LONG"), "yes") == 0;
    for (gsize i = 0; i < G_N_ELEMENTS(documented); i++)
        if (!documented[i].slow || long_run)
            check_algorithm(token, &documented[i]);
}

static void refuse_sign(const char *token, const char *key, const char *body, const char *status)
{
    g_autofree char *version = g_strdup_printf("%s/cryptoKeys/%s/cryptoKeyVersions/1", RING, key);
    g_autoptr(JsonObject) answer = post_sign(token, version, body, 400);
    assert_refused(answer, 400, status);
}

static void test_bad_sign_requests(void)
{
    g_autofree char *token = new_token("signer");
    static const guint8 digest[64] = "anything";
    g_autofree char *short_digest = sign_body("sha256", digest, 20);
    g_autofree char *other_digest = sign_body("sha512", digest, 64);
    refuse_sign(token, "p256", short_digest, "INVALID_ARGUMENT");
    refuse_sign(token, "p256", other_digest, "INVALID_ARGUMENT");
    refuse_sign(token, "p256", "{}", "INVALID_ARGUMENT");
    refuse_sign(token, "p256", "[1", "INVALID_ARGUMENT");
    refuse_sign(token, "p256", "{\"digest\":{\"sha256\":\"!!!\"}}", "INVALID_ARGUMENT");
    g_autofree char *right = sign_body("sha256", digest, 32);
    g_autofree char *wrong_sum = g_strdup(right);
    *strrchr(wrong_sum, '"') = '7';
    wrong_sum[strlen(wrong_sum) - 1] = '"';
    g_autofree char *closed = g_strconcat(wrong_sum, "}", NULL);
    refuse_sign(token, "p256", closed, "INVALID_ARGUMENT");
    refuse_sign(token, "disk", right, "FAILED_PRECONDITION");
    g_autofree char *big = g_malloc0(64 * 1024 + 1);
    g_autofree char *big_body = sign_body("data", big, 64 * 1024 + 1);
    refuse_sign(token, "p256", big_body, "INVALID_ARGUMENT");
}

/* ---- faults ---- */

static JsonObject *sign_once(const char *token, guint expected)
{
    static const guint8 digest[32] = "anything";
    g_autofree char *body = sign_body("sha256", digest, sizeof digest);
    return post_sign(token, RING "/cryptoKeys/p256/cryptoKeyVersions/1", body, expected);
}

static void test_faults_of_status(void)
{
    g_autofree char *token = new_token("signer");
    static const struct {
        guint code;
        const char *status;
    } cases[] = {{401, "UNAUTHENTICATED"},    {403, "PERMISSION_DENIED"}, {404, "NOT_FOUND"},
                 {429, "RESOURCE_EXHAUSTED"}, {500, "INTERNAL"},          {503, "UNAVAILABLE"}};
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *tell =
            g_strdup_printf("{'do': 'fault', 'kind': 'status', 'at': 'sign', 'status': %u}", cases[i].code);
        google_cloud_tell(cloud, tell);
        g_autoptr(JsonObject) answer = sign_once(token, cases[i].code);
        assert_refused(answer, cases[i].code, cases[i].status);
        json_object_unref(sign_once(token, 200));
    }
}

static bool sum_is_right(JsonObject *answer)
{
    gsize size;
    g_autofree guint8 *bytes = g_base64_decode(json_object_get_string_member(answer, "signature"), &size);
    g_autofree char *sum = g_strdup_printf("%u", crc32c(bytes, size));
    return g_str_equal(json_object_get_string_member(answer, "signatureCrc32c"), sum);
}

static void test_faults_of_content(void)
{
    g_autofree char *token = new_token("signer");
    google_cloud_tell(cloud, "{'do': 'fault', 'kind': 'wrong-crc', 'at': 'sign'}");
    g_autoptr(JsonObject) wrong = sign_once(token, 200);
    g_assert_false(sum_is_right(wrong));
    google_cloud_tell(cloud, "{'do': 'fault', 'kind': 'damaged', 'at': 'sign'}");
    g_autoptr(JsonObject) damaged = sign_once(token, 200);
    g_assert_false(sum_is_right(damaged));
    google_cloud_tell(cloud, "{'do': 'fault', 'kind': 'unverified', 'at': 'sign'}");
    g_autoptr(JsonObject) unverified = sign_once(token, 200);
    g_assert_false(json_object_has_member(unverified, "verifiedDigestCrc32c"));
    google_cloud_tell(cloud, "{'do': 'fault', 'kind': 'wrong-name', 'at': 'sign'}");
    g_autoptr(JsonObject) other = sign_once(token, 200);
    g_assert_cmpstr(json_object_get_string_member(other, "name"), !=,
                    RING "/cryptoKeys/p256/cryptoKeyVersions/1");
    google_cloud_tell(cloud, "{'do': 'fault', 'kind': 'request-damaged', 'at': 'sign'}");
    g_autoptr(JsonObject) refused = sign_once(token, 400);
    assert_refused(refused, 400, "INVALID_ARGUMENT");
    g_autoptr(JsonObject) right = sign_once(token, 200);
    g_assert_true(sum_is_right(right));
}

static void test_faults_of_transport(void)
{
    g_autofree char *token = new_token("signer");
    guint status;
    google_cloud_tell(cloud, "{'do': 'fault', 'kind': 'drop', 'at': 'projects', 'count': 9}");
    g_free(google_cloud_call(cloud, "GET", "/v1/projects", token, NULL, NULL, &status));
    g_assert_cmpuint(status, ==, 0);
    google_cloud_tell(cloud, "{'do': 'clear-faults'}");
    google_cloud_tell(cloud, "{'do': 'fault', 'kind': 'truncated', 'at': 'projects'}");
    g_autofree char *half = google_cloud_call(cloud, "GET", "/v1/projects", token, NULL, NULL, &status);
    g_autoptr(JsonParser) parser = json_parser_new();
    g_assert_false(json_parser_load_from_data(parser, half, -1, NULL));
    google_cloud_tell(cloud, "{'do': 'fault', 'kind': 'large', 'at': 'projects'}");
    g_autofree char *large = google_cloud_call(cloud, "GET", "/v1/projects", token, NULL, NULL, &status);
    g_assert_cmpuint(strlen(large), >, 16 * 1024 * 1024);
    google_cloud_tell(cloud, "{'do': 'fault', 'kind': 'not-json', 'at': 'projects'}");
    g_autofree char *page = google_cloud_call(cloud, "GET", "/v1/projects", token, NULL, NULL, &status);
    g_assert_true(g_str_has_prefix(page, "<html>"));
    google_cloud_tell(cloud, "{'do': 'fault', 'kind': 'slow', 'at': 'projects', 'milliseconds': 50}");
    gint64 before = g_get_monotonic_time();
    json_object_unref(get(token, 200, "/v1/projects"));
    g_assert_cmpint(g_get_monotonic_time() - before, >=, 45 * 1000);
}

static void test_quotas(void)
{
    g_autofree char *token = new_token("signer");
    google_cloud_tell(cloud, "{'do': 'quota', 'at': 'signs', 'left': 2}");
    json_object_unref(sign_once(token, 200));
    json_object_unref(sign_once(token, 200));
    g_autoptr(JsonObject) answer = sign_once(token, 429);
    assert_refused(answer, 429, "RESOURCE_EXHAUSTED");
    json_object_unref(get(token, 200, "/v1/" RING "/cryptoKeys"));
    google_cloud_tell(cloud, "{'do': 'quota', 'at': 'signs'}");
    json_object_unref(sign_once(token, 200));
}

static void test_counts(void)
{
    g_autofree char *token = new_token("signer");
    google_cloud_tell(cloud, "{'do': 'reset-counts'}");
    json_object_unref(sign_once(token, 200));
    g_autoptr(EVP_PKEY) key = public_key(token, RING "/cryptoKeys/p256/cryptoKeyVersions/1");
    json_object_unref(get(token, 200, "/v1/" RING "/cryptoKeys"));
    g_assert_cmpint(google_cloud_count(cloud, "sign"), ==, 1);
    g_assert_cmpint(google_cloud_count(cloud, "signatures"), ==, 1);
    g_assert_cmpint(google_cloud_count(cloud, "public-key"), ==, 1);
    g_assert_cmpint(google_cloud_count(cloud, "reads"), ==, 2);
    g_assert_cmpint(google_cloud_count(cloud, "token"), ==, 0);
}

static void test_same_after_a_restart(void)
{
    g_autofree char *token = new_token("signer");
    g_autoptr(EVP_PKEY) before = public_key(token, RING "/cryptoKeys/p256/cryptoKeyVersions/1");
    google_cloud_stop(cloud);
    google_cloud_start_again(cloud);
    json_object_unref(get(token, 401, "/v1/projects"));
    g_autofree char *new = new_token("signer");
    g_autoptr(EVP_PKEY) after = public_key(new, RING "/cryptoKeys/p256/cryptoKeyVersions/1");
    g_assert_cmpint(EVP_PKEY_eq(before, after), ==, 1);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_autofree char *directory = test_directory();
    cloud = google_cloud_start(directory, NULL);
    g_test_add_func("/google-cloud/an-assertion-is-checked", test_assertions);
    g_test_add_func("/google-cloud/access-tokens-end", test_tokens_end);
    g_test_add_func("/google-cloud/the-metadata-server-wants-its-header", test_metadata);
    g_test_add_func("/google-cloud/lists-come-by-the-page", test_walk);
    g_test_add_func("/google-cloud/versions-have-states", test_versions);
    g_test_add_func("/google-cloud/permissions-come-from-roles", test_permissions);
    g_test_add_func("/google-cloud/every-algorithm-signs", test_algorithms);
    g_test_add_func("/google-cloud/a-bad-request-is-refused", test_bad_sign_requests);
    g_test_add_func("/google-cloud/a-status-on-request", test_faults_of_status);
    g_test_add_func("/google-cloud/wrong-content-on-request", test_faults_of_content);
    g_test_add_func("/google-cloud/bad-transport-on-request", test_faults_of_transport);
    g_test_add_func("/google-cloud/quotas", test_quotas);
    g_test_add_func("/google-cloud/counts", test_counts);
    g_test_add_func("/google-cloud/the-same-after-a-restart", test_same_after_a_restart);
    int status = g_test_run();
    google_cloud_free(cloud);
    return status;
}

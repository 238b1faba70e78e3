/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What Google says, read; and what we say to it: names, checksums, the JWT of a service account. */

#include "daemon/json.h"
#include "daemon/openssl-cleanup.h"
#include "daemon/token/google-kms/crc32c.h"
#include "daemon/token/google-kms/google-credentials.h"
#include "daemon/token/google-kms/google-kms-answer.h"
#include "tests/support/support.h"
#include <string.h>

#define RING "projects/p/locations/l/keyRings/r"
#define KEY RING "/cryptoKeys/k"
#define VERSION KEY "/cryptoKeyVersions/1"
#define TOKEN_URL "https://oauth2.googleapis.com/token"

/* RFC 3720, appendix B.4, and the check value of the catalogues. */
static void checksums_are_those_of_the_standard(void)
{
    guint8 bytes[32] = {0};
    g_assert_cmphex(crc32c("", 0), ==, 0);
    g_assert_cmphex(crc32c("123456789", 9), ==, 0xe3069283);
    g_assert_cmphex(crc32c(bytes, sizeof bytes), ==, 0x8a9136aa);
    memset(bytes, 0xff, sizeof bytes);
    g_assert_cmphex(crc32c(bytes, sizeof bytes), ==, 0x62a8ab43);
    for (guint i = 0; i < sizeof bytes; i++)
        bytes[i] = (guint8)i;
    g_assert_cmphex(crc32c(bytes, sizeof bytes), ==, 0x46dd794e);
}

static void key_rings_have_exact_names(void)
{
    static const char *const bad[] = {
        "",
        "r",
        "projects/p/locations/l/keyRings/",
        "projects/p/locations/l/keyRings/r/",
        "projects/p/locations/l/keyRings/r/cryptoKeys/k",
        "projects/../locations/l/keyRings/r",
        "projects/p/locations/l/keyRings/r?x",
        "projects/p/locations/l/keyRings/a:b",
        "projects/p/keyRings/l/locations/r",
        "/projects/p/locations/l/keyRings/r",
        "projects/p/locations/l/keyRings/r\n",
    };
    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_false(kms_key_ring_check(bad[i], &error));
        g_assert_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID);
    }
    g_assert_true(
        kms_key_ring_check("projects/example.com:old/locations/europe-west3/keyRings/My_Ring-1", NULL));
    g_autofree char *serial = kms_key_ring_serial("projects/p/locations/europe-west3/keyRings/r");
    g_assert_cmpstr(serial, ==, "p:europe-west3:r");
    g_assert_true(kms_parent_check("", NULL));
    g_assert_true(kms_parent_check("projects/p", NULL));
    g_assert_true(kms_parent_check("projects/p/locations/l", NULL));
    g_assert_false(kms_parent_check("projects", NULL));
    g_assert_false(kms_parent_check("folders/1", NULL));
}

static GPtrArray *versions_of(const char *text, GError **error)
{
    g_autofree char *next = NULL;
    g_autoptr(GPtrArray) versions = g_ptr_array_new_with_free_func((GDestroyNotify)kms_version_free);
    bool read = kms_read_versions(text, strlen(text), KEY, versions, &next, error);
    return read ? g_steal_pointer(&versions) : NULL;
}

static void versions_that_can_not_sign_say_why(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) versions = versions_of(
        "{\"cryptoKeyVersions\":["
        "{\"name\":\"" VERSION "\",\"state\":\"ENABLED\",\"algorithm\":\"EC_SIGN_P384_SHA384\"},"
        "{\"name\":\"" KEY
        "/cryptoKeyVersions/2\",\"state\":\"DISABLED\",\"algorithm\":\"EC_SIGN_P384_SHA384\"},"
        "{\"name\":\"" KEY
        "/cryptoKeyVersions/3\",\"state\":\"ENABLED\",\"algorithm\":\"RSA_SIGN_RAW_PKCS1_2048\"}]}",
        &error);
    g_assert_no_error(error);
    g_assert_cmpuint(versions->len, ==, 3);
    const KmsVersion *first = versions->pdata[0];
    g_assert_cmpstr(first->slot, ==, "k:1");
    g_assert_cmpstr(first->signs->member, ==, "sha384");
    g_assert_null(first->reason);
    g_assert_nonnull(strstr(((const KmsVersion *)versions->pdata[1])->reason, "DISABLED"));
    g_assert_nonnull(strstr(((const KmsVersion *)versions->pdata[2])->reason, "RSA_SIGN_RAW_PKCS1_2048"));
}

/* A name that is somewhere else would be signed with, or written to a path. */
static void a_list_names_nothing_outside_of_what_was_asked(void)
{
    static const char *const names[] = {RING "/cryptoKeys/other/cryptoKeyVersions/1",
                                        KEY "/cryptoKeyVersions/",
                                        KEY "/cryptoKeyVersions/1/2",
                                        KEY "/cryptoKeyVersions/..",
                                        "https://example.test/" VERSION,
                                        ""};
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *text = g_strdup_printf("{\"cryptoKeyVersions\":[{\"name\":\"%s\",\"state\":"
                                                "\"ENABLED\",\"algorithm\":\"EC_SIGN_P256_SHA256\"}]}",
                                                names[i]);
        g_autoptr(GError) error = NULL;
        g_assert_null(versions_of(text, &error));
        g_assert_error(error, IOTHSM_ERROR, IOTHSM_ERROR_FAILED);
    }
}

static void a_signature_is_used_with_all_its_checks_only(void)
{
    static const struct {
        const char *text;
        bool good;
    } cases[] = {
        /* CRC-32C of "123456789" */
        {"\"signature\":\"MTIzNDU2Nzg5\",\"signatureCrc32c\":\"3808858755\",\"verifiedDigestCrc32c\":true,"
         "\"name\":\"" VERSION "\"",
         true},
        {"\"signature\":\"MTIzNDU2Nzg5\",\"signatureCrc32c\":3808858755,\"verifiedDigestCrc32c\":true,"
         "\"name\":\"" VERSION "\"",
         true},
        {"\"signature\":\"MTIzNDU2Nzg4\",\"signatureCrc32c\":\"3808858755\",\"verifiedDigestCrc32c\":true,"
         "\"name\":\"" VERSION "\"",
         false},
        {"\"signature\":\"MTIzNDU2Nzg5\",\"signatureCrc32c\":\"3808858755\",\"verifiedDigestCrc32c\":false,"
         "\"name\":\"" VERSION "\"",
         false},
        {"\"signature\":\"MTIzNDU2Nzg5\",\"signatureCrc32c\":\"3808858755\",\"verifiedDataCrc32c\":true,"
         "\"name\":\"" VERSION "\"",
         false},
        {"\"signature\":\"MTIzNDU2Nzg5\",\"signatureCrc32c\":\"3808858755\",\"verifiedDigestCrc32c\":true,"
         "\"name\":\"" KEY "/cryptoKeyVersions/2\"",
         false},
        {"\"signature\":\"MTIzNDU2Nzg5\",\"verifiedDigestCrc32c\":true,\"name\":\"" VERSION "\"", false},
        {"\"signature\":\"\",\"signatureCrc32c\":\"0\",\"verifiedDigestCrc32c\":true,\"name\":\"" VERSION
         "\"",
         false},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *text = g_strdup_printf("{%s}", cases[i].text);
        g_autoptr(GError) error = NULL;
        g_autoptr(GBytes) signature = kms_read_signature(text, strlen(text), VERSION, false, &error);
        g_assert_cmpint(signature != NULL, ==, cases[i].good);
        if (!cases[i].good)
            g_assert_error(error, IOTHSM_ERROR, (int)KMS_DAMAGED);
    }
}

static char *public_key_answer(const char *pem, const char *algorithm, guint32 sum)
{
    g_autoptr(JsonObject) object = json_object_new();
    g_autofree char *text = g_strdup_printf("%u", sum);
    json_object_set_string_member(object, "pem", pem);
    json_object_set_string_member(object, "algorithm", algorithm);
    json_object_set_string_member(object, "pemCrc32c", text);
    json_object_set_string_member(object, "name", VERSION);
    return json_object_to_text(object);
}

static void a_public_key_is_of_its_algorithm_and_undamaged(void)
{
    KmsVersion version = {.resource = (char *)VERSION,
                          .slot = (char *)"k:1",
                          .algorithm = (char *)"EC_SIGN_P384_SHA384",
                          .signs = kms_algorithm_find("EC_SIGN_P384_SHA384")};
    g_autoptr(EVP_PKEY) key = test_key("p384");
    g_autoptr(EVP_PKEY) other = test_key("p256");
    g_autofree char *pem = test_public_key_pem(key);
    g_autofree char *wrong_pem = test_public_key_pem(other);
    g_autofree char *good = public_key_answer(pem, version.algorithm, crc32c(pem, strlen(pem)));
    g_autofree char *damaged = public_key_answer(pem, version.algorithm, crc32c(pem, strlen(pem)) ^ 1);
    g_autofree char *wrong =
        public_key_answer(wrong_pem, version.algorithm, crc32c(wrong_pem, strlen(wrong_pem)));
    g_autofree char *algorithm = public_key_answer(pem, "EC_SIGN_P256_SHA256", crc32c(pem, strlen(pem)));
    g_autoptr(EVP_PKEY) read = kms_read_public_key(good, strlen(good), &version, NULL);
    g_assert_cmpint(EVP_PKEY_eq(read, key), ==, 1);
    g_autoptr(GError) error = NULL;
    g_assert_null(kms_read_public_key(damaged, strlen(damaged), &version, &error));
    g_assert_error(error, IOTHSM_ERROR, (int)KMS_DAMAGED);
    g_clear_error(&error);
    g_assert_null(kms_read_public_key(wrong, strlen(wrong), &version, &error));
    g_assert_error(error, IOTHSM_ERROR, IOTHSM_ERROR_BAD_KEY);
    g_clear_error(&error);
    g_assert_null(kms_read_public_key(algorithm, strlen(algorithm), &version, &error));
    g_assert_nonnull(error);
}

/* It becomes a header, and is never repeated in a sentence. */
static void an_access_token_can_not_end_its_header(void)
{
    static const char *const bad[] = {
        "{\"access_token\":\"a\\r\\nX: y\",\"expires_in\":1,\"token_type\":\"Bearer\"}",
        "{\"access_token\":\"\",\"expires_in\":1,\"token_type\":\"Bearer\"}",
        "{\"access_token\":\"SECRET\",\"expires_in\":0,\"token_type\":\"Bearer\"}",
        "{\"access_token\":\"SECRET\",\"expires_in\":10,\"token_type\":\"mac\"}",
        "{\"access_token\":\"SECRET\"}",
        "SECRET",
    };
    gint64 seconds = 0;
    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_null(kms_read_access_token(bad[i], strlen(bad[i]), &seconds, &error));
        g_assert_null(strstr(error->message, "SECRET"));
    }
    const char *good = "{\"access_token\":\"ya29.a\",\"expires_in\":3599,\"token_type\":\"Bearer\"}";
    g_autoptr(Secret) token = kms_read_access_token(good, strlen(good), &seconds, NULL);
    g_assert_cmpstr(secret_data(token), ==, "ya29.a");
    g_assert_cmpint(seconds, ==, 3599);
}

static void googles_words_fit_on_a_line(void)
{
    static const struct {
        const char *text;
        const char *words;
        const char *status;
    } cases[] = {
        {"{\"error\":{\"code\":403,\"message\":\"No\\nway\",\"status\":\"PERMISSION_DENIED\"}}", "No way",
         "PERMISSION_DENIED"},
        {"{\"error\":\"invalid_grant\",\"error_description\":\"Bad JWT\"}", "Bad JWT", "invalid_grant"},
        {"<html>", "without a word about why", ""},
        {"{\"error\":[]}", "without a word about why", ""},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *status = NULL;
        g_autofree char *words = kms_read_error(cases[i].text, strlen(cases[i].text), &status);
        g_assert_cmpstr(words, ==, cases[i].words);
        g_assert_cmpstr(status, ==, cases[i].status);
    }
}

/* --- credentials -------------------------------------------------------------------------------------- */

static Secret *key_file(const char *type, EVP_PKEY *key, const char *token_url)
{
    g_autoptr(JsonObject) object = json_object_new();
    g_autofree char *pem = key ? test_key_pem(key, NULL) : NULL;
    json_object_set_string_member(object, "type", type);
    json_object_set_string_member(object, "client_email", "signer@p.iam.gserviceaccount.com");
    json_object_set_string_member(object, "private_key_id", "0123abcd");
    if (pem)
        json_object_set_string_member(object, "private_key", pem);
    json_object_set_string_member(object, "token_uri", token_url);
    g_autofree char *text = json_object_to_text(object);
    return secret_new(text, strlen(text));
}

static guchar *base64url_decode(const char *text, gsize *size)
{
    g_autofree char *padded = g_strconcat(text, "===", NULL);
    gsize length = strlen(text);
    padded[length + (4 - length % 4) % 4] = '\0';
    g_strdelimit(padded, "-", '+');
    g_strdelimit(padded, "_", '/');
    return g_base64_decode(padded, size);
}

static void the_assertion_is_a_jwt_signed_by_the_account(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(EVP_PKEY) key = test_key("rsa2048");
    g_autoptr(Secret) json = key_file("service_account", key, TOKEN_URL);
    g_autoptr(GoogleCredentials) credentials = google_credentials_parse(json, &error);
    g_assert_no_error(error);
    g_autoptr(Secret) assertion = google_credentials_assertion(credentials, 1700000000, &error);
    g_assert_no_error(error);
    g_auto(GStrv) parts = g_strsplit(secret_data(assertion), ".", -1);
    g_assert_cmpuint(g_strv_length(parts), ==, 3);

    gsize size = 0;
    g_autofree guchar *header = base64url_decode(parts[0], &size);
    g_assert_cmpmem(header, size, "{\"alg\":\"RS256\",\"typ\":\"JWT\",\"kid\":\"0123abcd\"}", 44);
    g_autofree guchar *claims = base64url_decode(parts[1], &size);
    g_autoptr(JsonObject) read = json_object_parse((const char *)claims, size, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(json_object_get_string_member(read, "iss"), ==, "signer@p.iam.gserviceaccount.com");
    g_assert_cmpstr(json_object_get_string_member(read, "aud"), ==, TOKEN_URL);
    g_assert_cmpstr(json_object_get_string_member(read, "scope"), ==,
                    "https://www.googleapis.com/auth/cloud-platform");
    g_assert_cmpint(json_object_get_int_member(read, "iat"), ==, 1700000000);
    g_assert_cmpint(json_object_get_int_member(read, "exp"), ==, 1700003600);

    g_autofree guchar *signature = base64url_decode(parts[2], &size);
    g_autoptr(EVP_MD_CTX) check = EVP_MD_CTX_new();
    gsize signed_size = strlen(parts[0]) + 1 + strlen(parts[1]);
    g_assert_cmpint(EVP_DigestVerifyInit(check, NULL, EVP_sha256(), NULL, key), ==, 1);
    g_assert_cmpint(
        EVP_DigestVerify(check, signature, size, (const unsigned char *)secret_data(assertion), signed_size),
        ==, 1);
}

static void what_are_no_credentials_is_said(void)
{
    g_autoptr(EVP_PKEY) rsa = test_key("rsa2048");
    g_autoptr(EVP_PKEY) weak = test_key("rsa1024");
    g_autoptr(EVP_PKEY) ec = test_key("p256");
    Secret *bad[] = {
        secret_new("", 0),
        secret_new("[]", 2),
        secret_new("{}", 2),
        key_file("authorized_user", rsa, TOKEN_URL),
        key_file("service_account", NULL, TOKEN_URL),
        key_file("service_account", weak, TOKEN_URL),
        key_file("service_account", ec, TOKEN_URL),
        key_file("service_account", rsa, "http://oauth2.googleapis.com/token"),
        key_file("service_account", rsa, "https://user@evil.example/token"),
        key_file("service_account", rsa, "token"),
    };
    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_null(google_credentials_parse(bad[i], &error));
        g_assert_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID);
        g_assert_null(strstr(error->message, "PRIVATE KEY"));
        secret_unref(bad[i]);
    }
}

static void credentials_are_told_apart(void)
{
    g_autoptr(EVP_PKEY) key = test_key("rsa2048");
    g_autoptr(EVP_PKEY) other_key = test_key("rsa3072");
    g_autoptr(Secret) json = key_file("service_account", key, TOKEN_URL);
    g_autoptr(Secret) other_json = key_file("service_account", other_key, TOKEN_URL);
    g_autoptr(GoogleCredentials) one = google_credentials_parse(json, NULL);
    g_autoptr(GoogleCredentials) same = google_credentials_parse(json, NULL);
    g_autoptr(GoogleCredentials) other = google_credentials_parse(other_json, NULL);
    g_autoptr(GoogleCredentials) machine = google_credentials_new_metadata("http://metadata.google.internal");
    g_assert_true(google_credentials_equal(one, same));
    g_assert_false(google_credentials_equal(one, other));
    g_assert_false(google_credentials_equal(one, machine));
    g_assert_true(google_credentials_equal(machine, machine));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(function) g_test_add_func("/google-answers/" #function, function)
    ADD(checksums_are_those_of_the_standard);
    ADD(key_rings_have_exact_names);
    ADD(versions_that_can_not_sign_say_why);
    ADD(a_list_names_nothing_outside_of_what_was_asked);
    ADD(a_signature_is_used_with_all_its_checks_only);
    ADD(a_public_key_is_of_its_algorithm_and_undamaged);
    ADD(an_access_token_can_not_end_its_header);
    ADD(googles_words_fit_on_a_line);
    ADD(the_assertion_is_a_jwt_signed_by_the_account);
    ADD(what_are_no_credentials_is_said);
    ADD(credentials_are_told_apart);
    return g_test_run();
}

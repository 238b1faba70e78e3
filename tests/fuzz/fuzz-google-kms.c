/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Whatever Google answers, and the key file of a service account that a person gives. */

#include "daemon/openssl-cleanup.h"
#include "daemon/token/google-kms/google-credentials.h"
#include "daemon/token/google-kms/google-kms-answer.h"
#include "tests/fuzz/fuzz.h"

#define RING "projects/p/locations/l/keyRings/r"
#define KEY RING "/cryptoKeys/k"
#define VERSION KEY "/cryptoKeyVersions/1"

static void read_lists(const char *text, size_t size)
{
    static const struct {
        const char *member;
        const char *parent;
    } lists[] = {{"projects", ""},
                 {"locations", "projects/p"},
                 {"keyRings", "projects/p/locations/l"},
                 {"cryptoKeys", RING}};
    for (gsize i = 0; i < G_N_ELEMENTS(lists); i++) {
        g_autoptr(GPtrArray) entries = g_ptr_array_new_with_free_func((GDestroyNotify)kms_entry_free);
        g_autofree char *next = NULL;
        g_autoptr(GError) error = NULL;
        bool read = kms_read_entries(text, size, lists[i].member, lists[i].parent, entries, &next, &error);
        g_assert_true(read == (error == NULL));
        g_assert_true(read || !next);
    }
    g_autoptr(GPtrArray) versions = g_ptr_array_new_with_free_func((GDestroyNotify)kms_version_free);
    g_autofree char *next = NULL;
    g_autoptr(GError) error = NULL;
    g_assert_true(kms_read_versions(text, size, KEY, versions, &next, &error) == (error == NULL));
    for (guint i = 0; i < versions->len; i++) {
        const KmsVersion *version = g_ptr_array_index(versions, i);
        g_assert_true((version->signs == NULL) == (version->reason != NULL));
        g_assert_true(g_str_has_prefix(version->slot, "k:"));
    }
}

static void read_key_and_signature(const char *text, size_t size)
{
    KmsVersion version = {.resource = (char *)VERSION,
                          .slot = (char *)"k:1",
                          .algorithm = (char *)"EC_SIGN_P256_SHA256",
                          .signs = kms_algorithm_find("EC_SIGN_P256_SHA256")};
    g_autoptr(GError) no_key = NULL;
    g_autoptr(EVP_PKEY) key = kms_read_public_key(text, size, &version, &no_key);
    g_assert_true((key == NULL) == (no_key != NULL));
    for (int data = 0; data < 2; data++) {
        g_autoptr(GError) no_signature = NULL;
        g_autoptr(GBytes) signature = kms_read_signature(text, size, VERSION, data, &no_signature);
        g_assert_true((signature == NULL) == (no_signature != NULL));
    }
}

static void read_the_rest(const char *text, size_t size)
{
    static const char *const wanted[] = {"cloudkms.cryptoKeys.list", NULL};
    g_autoptr(GError) no_list = NULL;
    g_auto(GStrv) missing = kms_read_missing(text, size, wanted, &no_list);
    g_assert_true((missing == NULL) == (no_list != NULL));
    gint64 seconds = 0;
    g_autoptr(GError) no_token = NULL;
    g_autoptr(Secret) token = kms_read_access_token(text, size, &seconds, &no_token);
    g_assert_true((token == NULL) == (no_token != NULL));
    g_assert_true(!token || seconds > 0);
    g_autofree char *status = NULL;
    g_autofree char *words = kms_read_error(text, size, &status);
    g_assert_true(words && *words && status && g_utf8_validate(words, -1, NULL));
}

static void read_credentials(const char *text, size_t size)
{
    if (size > SECRET_SIZE_MAX)
        return;
    g_autoptr(Secret) json = secret_new(text, size);
    g_autoptr(GError) error = NULL;
    g_autoptr(GoogleCredentials) credentials = google_credentials_parse(json, &error);
    g_assert_true((credentials == NULL) == (error != NULL));
    if (!credentials)
        return;
    g_autoptr(Secret) assertion = google_credentials_assertion(credentials, 1700000000, &error);
    g_assert_nonnull(assertion);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    read_lists(text, size);
    read_key_and_signature(text, size);
    read_the_rest(text, size);
    read_credentials(text, size);
    return 0;
}

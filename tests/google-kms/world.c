/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The lists, and world.json. */

#include "tests/google-kms/world.h"
#include "tests/google-kms/openssl-types.h"
#include <json-glib/json-glib.h>
#include <openssl/rsa.h>
#include <string.h>

static const char *const usual_accounts[] = {
    "signer:roles/cloudkms.viewer,roles/cloudkms.signerVerifier,roles/browser",
    "machine:roles/cloudkms.viewer,roles/cloudkms.signerVerifier,roles/browser",
    "viewer:roles/cloudkms.viewer,roles/browser",
    "stranger:",
    NULL,
};
static const char *const usual_rings[] = {
    WORLD_RING,
    "projects/home-pki/locations/europe-west3/keyRings/backup",
    "projects/home-pki/locations/europe-west3/keyRings/empty",
    "projects/home-pki/locations/europe-west3/keyRings/test",
    "projects/home-pki/locations/global/keyRings/everywhere",
    "projects/shop/locations/us-east1/keyRings/orders",
    NULL,
};
static const char *const usual_keys[] = {
    "p256=EC_SIGN_P256_SHA256",
    "p384=EC_SIGN_P384_SHA384",
    "p521=EC_SIGN_P521_SHA512",
    "rsa2048=RSA_SIGN_PKCS1_2048_SHA256",
    "rsa4096-sha512=RSA_SIGN_PKCS1_4096_SHA512",
    "disk=GOOGLE_SYMMETRIC_ENCRYPTION/SOFTWARE",
    NULL,
};
static const char *const usual_projects[] = {"home-pki", "shop", "blog", "weather", NULL};

static void version_free(gpointer data)
{
    KeyVersion *version = data;
    g_free(version->name);
    g_free(version->state);
    EVP_PKEY_free(version->key);
    g_free(version);
}

static void key_free(gpointer data)
{
    CryptoKey *key = data;
    g_free(key->name);
    g_free(key->protection);
    g_ptr_array_unref(key->versions);
    g_free(key);
}

static void account_free(gpointer data)
{
    Account *account = data;
    g_free(account->name);
    g_free(account->email);
    g_free(account->key_id);
    EVP_PKEY_free(account->key);
    g_strfreev(account->grants);
    g_free(account);
}

void world_free(World *world)
{
    if (!world)
        return;
    g_free(world->path);
    g_ptr_array_unref(world->projects);
    g_ptr_array_unref(world->rings);
    g_ptr_array_unref(world->keys);
    g_ptr_array_unref(world->accounts);
    g_free(world);
}

static World *world_new(const char *directory)
{
    World *world = g_new0(World, 1);
    world->path = g_build_filename(directory, "world.json", NULL);
    world->projects = g_ptr_array_new_with_free_func(g_free);
    world->rings = g_ptr_array_new_with_free_func(g_free);
    world->keys = g_ptr_array_new_with_free_func(key_free);
    world->accounts = g_ptr_array_new_with_free_func(account_free);
    return world;
}

/* ---- looking up ---- */

CryptoKey *world_key(World *world, const char *name)
{
    for (guint i = 0; i < world->keys->len; i++) {
        CryptoKey *key = world->keys->pdata[i];
        if (g_str_equal(key->name, name))
            return key;
    }
    return NULL;
}

KeyVersion *world_version(World *world, const char *name)
{
    for (guint i = 0; i < world->keys->len; i++) {
        CryptoKey *key = world->keys->pdata[i];
        for (guint n = 0; n < key->versions->len; n++) {
            KeyVersion *version = key->versions->pdata[n];
            if (g_str_equal(version->name, name))
                return version;
        }
    }
    return NULL;
}

bool world_has_ring(World *world, const char *name)
{
    for (guint i = 0; i < world->rings->len; i++)
        if (g_str_equal(world->rings->pdata[i], name))
            return true;
    return false;
}

Account *world_account_by_name(World *world, const char *name)
{
    for (guint i = 0; i < world->accounts->len; i++) {
        Account *account = world->accounts->pdata[i];
        if (g_str_equal(account->name, name))
            return account;
    }
    return NULL;
}

Account *world_account_by_email(World *world, const char *email)
{
    for (guint i = 0; i < world->accounts->len; i++) {
        Account *account = world->accounts->pdata[i];
        if (g_str_equal(account->email, email))
            return account;
    }
    return NULL;
}

char *world_whole_name(const char *name)
{
    if (g_str_has_prefix(name, "projects/"))
        return g_strdup(name);
    const char *slash = strchr(name, '/');
    return slash ? g_strdup_printf("%s/cryptoKeys/%.*s/cryptoKeyVersions/%s", WORLD_RING, (int)(slash - name),
                                   name, slash + 1)
                 : g_strdup_printf("%s/cryptoKeys/%s", WORLD_RING, name);
}

/* ---- making ---- */

KeyVersion *world_rotate(CryptoKey *key, const Algorithm *algorithm)
{
    KeyVersion *version = g_new0(KeyVersion, 1);
    const KeyVersion *last = key->versions->len ? key->versions->pdata[key->versions->len - 1] : NULL;
    version->name = g_strdup_printf("%s/cryptoKeyVersions/%u", key->name, key->versions->len + 1);
    version->algorithm = algorithm ?: last->algorithm;
    version->state = g_strdup("ENABLED");
    g_ptr_array_add(key->versions, version);
    return version;
}

static CryptoKey *key_new(World *world, const char *name, const char *protection)
{
    CryptoKey *key = g_new0(CryptoKey, 1);
    key->name = g_strdup(name);
    key->protection = g_strdup(protection);
    key->versions = g_ptr_array_new_with_free_func(version_free);
    g_ptr_array_add(world->keys, key);
    return key;
}

CryptoKey *world_add_key(World *world, const char *spec, GError **error)
{
    g_auto(GStrv) parts = g_strsplit(spec, "=", 2);
    g_auto(GStrv) how = g_strsplit(parts[0] && parts[1] ? parts[1] : "", "/", 2);
    const Algorithm *algorithm = how[0] ? algorithm_by_name(how[0]) : NULL;
    if (!algorithm) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                    "\"%s\" is not NAME=ALGORITHM[/PROTECTION] with an algorithm of Cloud KMS", spec);
        return NULL;
    }
    g_autofree char *name = world_whole_name(parts[0]);
    if (world_key(world, name)) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_EXISTS, "There is a key %s already", name);
        return NULL;
    }
    CryptoKey *key = key_new(world, name, how[1] ?: "HSM");
    world_rotate(key, algorithm);
    return key;
}

EVP_PKEY *world_version_key(World *world, KeyVersion *version)
{
    if (!version->key) {
        version->key = algorithm_new_key(version->algorithm);
        world_save(world);
    }
    return version->key;
}

static bool add_account(World *world, const char *spec, GError **error)
{
    g_auto(GStrv) parts = g_strsplit(spec, ":", 2);
    if (!parts[0] || !*parts[0] || !parts[1]) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                    "\"%s\" is not an account as NAME:GRANT,GRANT", spec);
        return false;
    }
    Account *account = g_new0(Account, 1);
    account->name = g_strdup(parts[0]);
    account->email = g_strdup_printf("%s@%s.iam.gserviceaccount.com", account->name, WORLD_PROJECT);
    account->key_id = g_compute_checksum_for_string(G_CHECKSUM_SHA1, account->email, -1);
    const Account *first = world->accounts->len > 0 ? world->accounts->pdata[0] : NULL;
    account->key = first ? EVP_PKEY_dup(first->key) : EVP_RSA_gen(2048);
    account->grants = g_strsplit(parts[1], ",", -1);
    g_ptr_array_add(world->accounts, account);
    return true;
}

/* ---- world.json ---- */

static char *key_to_pem(EVP_PKEY *key)
{
    g_autoptr(BIO) memory = BIO_new(BIO_s_mem());
    g_assert_cmpint(PEM_write_bio_PKCS8PrivateKey(memory, key, NULL, NULL, 0, NULL, NULL), ==, 1);
    char *text;
    long size = BIO_get_mem_data(memory, &text);
    return g_strndup(text, (gsize)size);
}

static EVP_PKEY *key_from_pem(const char *pem)
{
    g_autoptr(BIO) memory = BIO_new_mem_buf(pem, -1);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(memory, NULL, NULL, NULL);
    g_assert_nonnull(key);
    return key;
}

static void set_texts(JsonObject *object, const char *name, char **texts, guint count)
{
    JsonArray *array = json_array_new();
    for (guint i = 0; i < count; i++)
        json_array_add_string_element(array, texts[i]);
    json_object_set_array_member(object, name, array);
}

static JsonObject *version_to_json(const KeyVersion *version)
{
    JsonObject *object = json_object_new();
    json_object_set_string_member(object, "algorithm", version->algorithm->name);
    json_object_set_string_member(object, "state", version->state);
    if (version->key) {
        g_autofree char *pem = key_to_pem(version->key);
        json_object_set_string_member(object, "key", pem);
    }
    return object;
}

static JsonObject *crypto_key_to_json(const CryptoKey *key)
{
    JsonObject *object = json_object_new();
    JsonArray *versions = json_array_new();
    for (guint i = 0; i < key->versions->len; i++)
        json_array_add_object_element(versions, version_to_json(key->versions->pdata[i]));
    json_object_set_string_member(object, "name", key->name);
    json_object_set_string_member(object, "protection", key->protection);
    json_object_set_array_member(object, "versions", versions);
    return object;
}

static JsonObject *account_to_json(const Account *account)
{
    JsonObject *object = json_object_new();
    g_autofree char *pem = key_to_pem(account->key);
    json_object_set_string_member(object, "name", account->name);
    json_object_set_string_member(object, "email", account->email);
    json_object_set_string_member(object, "key_id", account->key_id);
    json_object_set_string_member(object, "key", pem);
    set_texts(object, "grants", account->grants, g_strv_length(account->grants));
    return object;
}

void world_save(World *world)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonObject) object = json_object_new();
    set_texts(object, "projects", (char **)world->projects->pdata, world->projects->len);
    set_texts(object, "rings", (char **)world->rings->pdata, world->rings->len);
    JsonArray *keys = json_array_new();
    for (guint i = 0; i < world->keys->len; i++)
        json_array_add_object_element(keys, crypto_key_to_json(world->keys->pdata[i]));
    json_object_set_array_member(object, "keys", keys);
    JsonArray *accounts = json_array_new();
    for (guint i = 0; i < world->accounts->len; i++)
        json_array_add_object_element(accounts, account_to_json(world->accounts->pdata[i]));
    json_object_set_array_member(object, "accounts", accounts);
    g_autoptr(JsonNode) root = json_node_new(JSON_NODE_OBJECT);
    json_node_set_object(root, object);
    g_autofree char *text = json_to_string(root, TRUE);
    if (!g_file_set_contents_full(world->path, text, -1, G_FILE_SET_CONTENTS_CONSISTENT, 0600, &error))
        g_error("%s", error->message);
}

static void get_texts(JsonObject *object, const char *name, GPtrArray *texts)
{
    JsonArray *array = json_object_get_array_member(object, name);
    for (guint i = 0; i < json_array_get_length(array); i++)
        g_ptr_array_add(texts, g_strdup(json_array_get_string_element(array, i)));
}

static void load_key(World *world, JsonObject *object)
{
    CryptoKey *key = key_new(world, json_object_get_string_member(object, "name"),
                             json_object_get_string_member(object, "protection"));
    JsonArray *versions = json_object_get_array_member(object, "versions");
    for (guint i = 0; i < json_array_get_length(versions); i++) {
        JsonObject *one = json_array_get_object_element(versions, i);
        const char *pem = json_object_get_string_member_with_default(one, "key", NULL);
        KeyVersion *version =
            world_rotate(key, algorithm_by_name(json_object_get_string_member(one, "algorithm")));
        g_free(version->state);
        version->state = g_strdup(json_object_get_string_member(one, "state"));
        version->key = pem ? key_from_pem(pem) : NULL;
    }
}

static void load_account(World *world, JsonObject *object)
{
    Account *account = g_new0(Account, 1);
    GPtrArray *grants = g_ptr_array_new();
    account->name = g_strdup(json_object_get_string_member(object, "name"));
    account->email = g_strdup(json_object_get_string_member(object, "email"));
    account->key_id = g_strdup(json_object_get_string_member(object, "key_id"));
    account->key = key_from_pem(json_object_get_string_member(object, "key"));
    get_texts(object, "grants", grants);
    g_ptr_array_add(grants, NULL);
    account->grants = (GStrv)g_ptr_array_free(grants, FALSE);
    g_ptr_array_add(world->accounts, account);
}

static bool load(World *world, GError **error)
{
    g_autoptr(JsonParser) parser = json_parser_new();
    if (!json_parser_load_from_file(parser, world->path, error))
        return false;
    JsonObject *object = json_node_get_object(json_parser_get_root(parser));
    get_texts(object, "projects", world->projects);
    get_texts(object, "rings", world->rings);
    JsonArray *keys = json_object_get_array_member(object, "keys");
    for (guint i = 0; i < json_array_get_length(keys); i++)
        load_key(world, json_array_get_object_element(keys, i));
    JsonArray *accounts = json_object_get_array_member(object, "accounts");
    for (guint i = 0; i < json_array_get_length(accounts); i++)
        load_account(world, json_array_get_object_element(accounts, i));
    return true;
}

static bool make(World *world, const char *const *accounts, const char *const *rings, const char *const *keys,
                 GError **error)
{
    for (const char *const *project = usual_projects; *project; project++)
        g_ptr_array_add(world->projects, g_strdup(*project));
    for (const char *const *ring = rings ?: usual_rings; *ring; ring++)
        g_ptr_array_add(world->rings, g_strdup(*ring));
    for (const char *const *key = keys ?: usual_keys; *key; key++)
        if (!world_add_key(world, *key, error))
            return false;
    for (const char *const *account = accounts ?: usual_accounts; *account; account++)
        if (!add_account(world, *account, error))
            return false;
    return true;
}

/* A service account's key file, as the console of Google Cloud hands it out. */
static bool write_credentials(const Account *account, const char *directory, const char *url, GError **error)
{
    g_autofree char *pem = key_to_pem(account->key);
    g_autofree char *token_uri = g_strconcat(url, "/token", NULL);
    g_autofree char *name = g_strconcat(account->name, ".json", NULL);
    g_autofree char *path = g_build_filename(directory, name, NULL);
    g_autofree char *certificate_url =
        g_strconcat("https://www.googleapis.com/robot/v1/metadata/x509/", account->email, NULL);
    const char *const members[][2] = {
        {"type", "service_account"},
        {"project_id", WORLD_PROJECT},
        {"private_key_id", account->key_id},
        {"private_key", pem},
        {"client_email", account->email},
        {"client_id", "112233445566778899000"},
        {"auth_uri", "https://accounts.google.com/o/oauth2/auth"},
        {"token_uri", token_uri},
        {"auth_provider_x509_cert_url", "https://www.googleapis.com/oauth2/v1/certs"},
        {"client_x509_cert_url", certificate_url},
        {"universe_domain", "googleapis.com"},
    };
    g_autoptr(JsonObject) object = json_object_new();
    for (gsize i = 0; i < G_N_ELEMENTS(members); i++)
        json_object_set_string_member(object, members[i][0], members[i][1]);
    g_autoptr(JsonNode) root = json_node_new(JSON_NODE_OBJECT);
    json_node_set_object(root, object);
    g_autofree char *text = json_to_string(root, TRUE);
    return g_file_set_contents_full(path, text, -1, G_FILE_SET_CONTENTS_CONSISTENT, 0600, error);
}

World *world_open(const char *directory, const char *url, const char *const *accounts,
                  const char *const *rings, const char *const *keys, GError **error)
{
    g_autoptr(World) world = world_new(directory);
    bool there = g_file_test(world->path, G_FILE_TEST_EXISTS);
    if (!(there ? load(world, error) : make(world, accounts, rings, keys, error)))
        return NULL;
    world_save(world);
    for (guint i = 0; i < world->accounts->len; i++)
        if (!write_credentials(world->accounts->pdata[i], directory, url, error))
            return NULL;
    return g_steal_pointer(&world);
}

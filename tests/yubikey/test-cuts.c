/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The card is pulled out before and after each command of an operation. The operation ends with a clear
 * error, works when it is done again after the replug, and no cut costs a PIN try. Some cuts of each
 * operation are made always, all of them with IOTHSM_CHECK_LONG=yes. */

#include "tests/yubikey/scene.h"

/* Makes ready for one more run of the operation. */
typedef void (*Prepare)(Scene *scene);
typedef bool (*Operation)(Scene *scene, GError **error);

static guint all_cuts;
static EVP_PKEY *key;
static X509 *certificate;

static void nothing(Scene *scene)
{
}

static void clear(Scene *scene)
{
    g_autoptr(GError) error = NULL;
    if (!scene->backend->class->clear_slot(scene->backend, "82", &error))
        assert_code(error, IOTHSM_ERROR_SLOT_EMPTY);
}

static void have_key(Scene *scene)
{
    clear(scene);
    generate(scene, "82", KEY_TYPE_P256, NULL);
}

static bool probing(Scene *scene, GError **error)
{
    g_autoptr(TokenInfo) info = scene->backend->class->probe(scene->backend, error);
    return info != NULL;
}

static bool signing(Scene *scene, GError **error)
{
    return try_sign(scene, "9c", NULL, error);
}

static bool generating(Scene *scene, GError **error)
{
    KeyOptions none = {NULL, NULL, NULL};
    return scene->backend->class->generate_key(scene->backend, "82", KEY_TYPE_P256, &none, NULL, error);
}

static bool importing(Scene *scene, GError **error)
{
    KeyOptions none = {NULL, NULL, NULL};
    return scene->backend->class->import_key(scene->backend, "82", key, &none, error);
}

static bool writing(Scene *scene, GError **error)
{
    return scene->backend->class->write_certificate(scene->backend, "9c", certificate, error);
}

/* A CA from nothing to its place in the list: key, signature, certificate, and what is shown of it. What an
 * interrupted one has done already is gone on with. */
static bool provisioning(Scene *scene, GError **error)
{
    g_autoptr(GError) failure = NULL;
    if (!generating(scene, &failure) && !g_error_matches(failure, IOTHSM_ERROR, IOTHSM_ERROR_SLOT_OCCUPIED)) {
        g_propagate_error(error, g_steal_pointer(&failure));
        return false;
    }
    return try_sign(scene, "82", NULL, error) &&
           scene->backend->class->write_certificate(scene->backend, "82", certificate, error) &&
           probing(scene, error);
}

static bool clearing(Scene *scene, GError **error)
{
    return scene->backend->class->clear_slot(scene->backend, "82", error);
}

static bool attesting(Scene *scene, GError **error)
{
    g_autoptr(GPtrArray) chain = scene->backend->class->attest(scene->backend, "9c", error);
    return chain != NULL;
}

/* |stride|: every which command when not all are cut. |done_error|: what the repetition may say because the
 * first run was through when the answer got lost. */
static const struct {
    const char *name;
    const char *firmware;
    Prepare prepare;
    Operation run;
    guint stride;
    IothsmError done_error;
} operations[] = {
    {"provision", FIRMWARE_57, clear, provisioning, 25, IOTHSM_ERROR_FAILED},
    {"probe", FIRMWARE_5, nothing, probing, 60, IOTHSM_ERROR_FAILED},
    {"probe", FIRMWARE_4, nothing, probing, 60, IOTHSM_ERROR_FAILED},
    {"sign", FIRMWARE_5, nothing, signing, 1, IOTHSM_ERROR_FAILED},
    {"sign", FIRMWARE_4, nothing, signing, 2, IOTHSM_ERROR_FAILED},
    {"generate", FIRMWARE_57, clear, generating, 4, IOTHSM_ERROR_SLOT_OCCUPIED},
    {"import", FIRMWARE_57, clear, importing, 6, IOTHSM_ERROR_SLOT_OCCUPIED},
    {"import", FIRMWARE_4, clear, importing, 8, IOTHSM_ERROR_SLOT_OCCUPIED},
    {"certificate", FIRMWARE_5, nothing, writing, 4, IOTHSM_ERROR_FAILED},
    {"clear", FIRMWARE_57, have_key, clearing, 4, IOTHSM_ERROR_SLOT_EMPTY},
    {"clear", FIRMWARE_5, have_key, clearing, 6, IOTHSM_ERROR_SLOT_EMPTY},
    {"attest", FIRMWARE_5, nothing, attesting, 3, IOTHSM_ERROR_FAILED},
};

static void heal_and_repeat(Scene *scene, guint i)
{
    g_autoptr(GError) error = NULL;
    pcsc_wait_card(scene->pcsc, 0, false);
    scene_plug(scene);
    if (!operations[i].run(scene, &error)) {
        g_assert_cmpint(operations[i].done_error, !=, IOTHSM_ERROR_FAILED);
        assert_code(error, operations[i].done_error);
    }
    assert_signs(scene, "9c", NULL);
    g_assert_cmpint(pin_tries(scene), ==, 3);
}

/* False: it went through before command |at| came. */
static bool cut(Scene *scene, guint i, guint at, bool after)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *request = g_strdup_printf("cut %u %s", at, after ? "after" : "before");
    operations[i].prepare(scene);
    virtual_key_tell(scene->key, request);
    bool done = operations[i].run(scene, &error);
    virtual_key_tell(scene->key, "clear");
    if (done)
        return false;
    assert_code(error, IOTHSM_ERROR_TOKEN_GONE);
    heal_and_repeat(scene, i);
    return true;
}

static void cut_everywhere(gconstpointer data)
{
    guint i = GPOINTER_TO_UINT(data);
    bool thorough = g_strcmp0(g_getenv("IOTHSM_CHECK_LONG"), "yes") == 0;
    guint stride = thorough ? 1 : operations[i].stride;
    guint cuts = 0;
    g_autoptr(Scene) scene = scene_new(operations[i].firmware);
    generate(scene, "9c", KEY_TYPE_P256, NULL);
    log_in(scene);
    for (guint at = 1; cut(scene, i, at, false); at += stride) {
        cuts++;
        if (thorough && cut(scene, i, at, true))
            cuts++;
    }
    g_test_message("%u cuts tried, %u survived", cuts, cuts);
    g_assert_cmpuint(cuts, >, 0);
    all_cuts += cuts;
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);
    if (pcsc_is_missing())
        return 0;
    key = test_key("p384");
    certificate = test_ca("A CA", key);
    for (guint i = 0; i < G_N_ELEMENTS(operations); i++) {
        g_autofree char *path = g_strdup_printf("/cuts/%s on %s", operations[i].name, operations[i].firmware);
        g_test_add_data_func(path, GUINT_TO_POINTER(i), cut_everywhere);
    }
    int result = g_test_run();
    g_print("# %u cuts tried, %u survived\n", all_cuts, result == 0 ? all_cuts : 0);
    X509_free(certificate);
    EVP_PKEY_free(key);
    return result;
}

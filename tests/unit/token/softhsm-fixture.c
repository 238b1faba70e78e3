/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "tests/unit/token/softhsm-fixture.h"
#include <dlfcn.h>
#include <string.h>

static const char *module_path;

/* SoftHSM2 2.6.1 loses 37 bytes at each Ed25519 signature. Leaks are told by who allocated, so the module
 * stays loaded (softhsm_test_prepare) and stacks are walked through libraries without frame pointers. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libsofthsm2.so\n";
}

const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "fast_unwind_on_malloc=0:malloc_context_size=14";
}

bool softhsm_test_prepare(void)
{
    module_path = g_getenv("IOTHSM_TEST_SOFTHSM_MODULE");
    if (!module_path || !g_file_test(module_path, G_FILE_TEST_EXISTS)) {
        g_print("1..0 # SKIP no SoftHSM2 module\n");
        return false;
    }
    g_assert_nonnull(dlopen(module_path, RTLD_LAZY | RTLD_LOCAL | RTLD_NODELETE));
    g_autoptr(GError) error = NULL;
    g_autofree char *directory = test_directory();
    g_unsetenv("SOFTHSM2_CONF");
    secret_memory_init();
    if (!softhsm_prepare(directory, &error))
        g_error("%s", error->message);
    return true;
}

const char *softhsm_module(void)
{
    return module_path;
}

CK_FUNCTION_LIST *softhsm_functions(GArray **ret_slots)
{
    void *library = dlopen(module_path, RTLD_LAZY | RTLD_LOCAL);
    CK_C_GetFunctionList get_function_list;
    CK_FUNCTION_LIST *functions = NULL;
    CK_SLOT_ID slots[64];
    CK_ULONG n_slots = G_N_ELEMENTS(slots);
    *(void **)&get_function_list = dlsym(library, "C_GetFunctionList");
    dlclose(library); /* it stays */
    g_assert_cmpuint(get_function_list(&functions), ==, CKR_OK);
    g_assert_cmpuint(functions->C_GetSlotList(CK_TRUE, slots, &n_slots), ==, CKR_OK);
    *ret_slots = g_array_new(FALSE, FALSE, sizeof slots[0]);
    g_array_append_vals(*ret_slots, slots, (guint)n_slots);
    return functions;
}

Fixture *softhsm_fixture(void)
{
    return fixture_new(pkcs11_source_new(module_path, true), true);
}

char *create_token(Fixture *fixture, const char *label)
{
    g_autoptr(Secret) so_pin = secret_of(SO_PIN);
    g_autoptr(Secret) pin = secret_of(PIN);
    g_auto(Ending) created = {0};
    softhsm_create_token(fixture->source, label, so_pin, pin, ending_text, &created);
    g_assert_false(created.done);
    ending_ok(&created);
    return g_steal_pointer(&created.text);
}

void delete_token(Fixture *fixture, const char *serial)
{
    g_auto(Ending) deleted = {0};
    softhsm_delete_token(fixture->source, serial, ending_done, &deleted);
    ending_ok(&deleted);
}

Token *soft_token_new(SoftToken *soft, const char *label)
{
    soft->fixture = softhsm_fixture();
    soft->serial = create_token(soft->fixture, label);
    return fixture_token(soft->fixture, soft->serial);
}

Token *soft_token_ready(SoftToken *soft, const char *label)
{
    Token *token = soft_token_new(soft, label);
    set_pin(token, PIN);
    return token;
}

Token *soft_token_restart(SoftToken *soft, bool softhsm)
{
    g_autofree char *directory = g_strdup(soft->fixture->directory);
    g_clear_pointer(&soft->fixture, fixture_free);
    soft->fixture = fixture_new_in(pkcs11_source_new(module_path, softhsm), directory, true);
    return fixture_token(soft->fixture, soft->serial);
}

void soft_token_delete(SoftToken *soft)
{
    if (soft->serial)
        delete_token(soft->fixture, soft->serial);
    g_clear_pointer(&soft->serial, g_free);
}

void soft_token_clear(SoftToken *soft)
{
    soft_token_delete(soft);
    g_clear_pointer(&soft->fixture, fixture_free);
}

static void set_pin_of_slot(CK_FUNCTION_LIST *functions, CK_SLOT_ID slot, const char *new_pin)
{
    CK_SESSION_HANDLE session;
    CK_FLAGS flags = CKF_SERIAL_SESSION | CKF_RW_SESSION;
    g_assert_cmpuint(functions->C_OpenSession(slot, flags, NULL, NULL, &session), ==, CKR_OK);
    g_assert_cmpuint(functions->C_SetPIN(session, (CK_UTF8CHAR *)PIN, strlen(PIN), (CK_UTF8CHAR *)new_pin,
                                         strlen(new_pin)),
                     ==, CKR_OK);
    g_assert_cmpuint(functions->C_CloseAllSessions(slot), ==, CKR_OK);
}

void change_pin_elsewhere(const SoftToken *soft, const char *new_pin)
{
    g_autoptr(GArray) slots = NULL;
    CK_FUNCTION_LIST *functions = softhsm_functions(&slots);
    guint changed = 0;
    for (guint i = 0; i < slots->len; i++) {
        CK_TOKEN_INFO info;
        CK_SLOT_ID slot = g_array_index(slots, CK_SLOT_ID, i);
        g_assert_cmpuint(functions->C_GetTokenInfo(slot, &info), ==, CKR_OK);
        g_autofree char *found = module_token_serial(&info);
        if (!g_str_equal(found, soft->serial))
            continue;
        set_pin_of_slot(functions, slot, new_pin);
        changed++;
    }
    g_assert_cmpuint(changed, ==, 1);
}

void keep_pin(Token *token)
{
    g_autoptr(Secret) pin = secret_of(PIN);
    g_auto(Ending) set = {0};
    token_set_pin(token, pin, true, NULL, ending_done, &set);
    ending_ok(&set);
}

void refresh(Token *token)
{
    g_auto(Ending) refreshed = {0};
    token_refresh(token, ending_done, &refreshed);
    ending_ok(&refreshed);
}

void clear(Slot *slot)
{
    g_auto(Ending) cleared = {0};
    slot_clear(slot, NULL, ending_done, &cleared);
    ending_ok(&cleared);
}

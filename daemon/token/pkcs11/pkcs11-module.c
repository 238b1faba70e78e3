/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* libp11 loads the module and knows its slots; the library is opened a second time here for the function
 * list, which libp11 does not give away. Both see the same library, as the dynamic linker loads it once.
 *
 * The library is never unmapped: modules start threads and register handlers that outlive C_Finalize.
 *
 * To re-initialise, C_Finalize and C_Initialize are called directly: PKCS11_CTX_unload would unload it, too.
 */

#include "daemon/token/pkcs11/pkcs11-module.h"
#include <dlfcn.h>
#include <string.h>

/* More slots than any module has; bounds what a broken one can make us read. */
#define SLOTS_MAX 4096

Module *module_new(const char *path, bool softhsm)
{
    Module *module = g_new0(Module, 1);
    module->references = 1;
    module->path = g_strdup(path);
    module->softhsm = softhsm;
    g_mutex_init(&module->gate_lock);
    g_cond_init(&module->gate_changed);
    g_mutex_init(&module->clients_lock);
    module->clients = g_ptr_array_new();
    return module;
}

Module *module_ref(Module *module)
{
    g_atomic_int_inc(&module->references);
    return module;
}

static void release_slots(Module *module)
{
    if (module->slots)
        PKCS11_release_all_slots(module->context, module->slots, module->n_slots);
    module->slots = NULL;
    module->n_slots = 0;
}

void module_unref(Module *module)
{
    if (!module || !g_atomic_int_dec_and_test(&module->references))
        return;
    release_slots(module);
    if (module->functions)
        PKCS11_CTX_unload(module->context);
    if (module->context)
        PKCS11_CTX_free(module->context);
    if (module->library)
        dlclose(module->library);
    g_ptr_array_unref(module->clients);
    g_mutex_clear(&module->clients_lock);
    g_mutex_clear(&module->gate_lock);
    g_cond_clear(&module->gate_changed);
    g_free(module->path);
    g_free(module);
}

void module_enter(Module *module)
{
    g_mutex_lock(&module->gate_lock);
    while (module->alone || module->waiting_alone > 0)
        g_cond_wait(&module->gate_changed, &module->gate_lock);
    module->inside++;
    g_mutex_unlock(&module->gate_lock);
}

bool module_try_enter(Module *module)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&module->gate_lock);
    if (module->alone || module->waiting_alone > 0)
        return false;
    module->inside++;
    return true;
}

void module_leave(Module *module)
{
    g_mutex_lock(&module->gate_lock);
    if (--module->inside == 0)
        g_cond_broadcast(&module->gate_changed);
    g_mutex_unlock(&module->gate_lock);
}

void module_enter_alone(Module *module)
{
    g_mutex_lock(&module->gate_lock);
    module->waiting_alone++;
    while (module->alone || module->inside > 0)
        g_cond_wait(&module->gate_changed, &module->gate_lock);
    module->waiting_alone--;
    module->alone = true;
    g_mutex_unlock(&module->gate_lock);
}

void module_leave_alone(Module *module)
{
    g_mutex_lock(&module->gate_lock);
    module->alone = false;
    g_cond_broadcast(&module->gate_changed);
    g_mutex_unlock(&module->gate_lock);
}

void module_add_client(Module *module, ModuleClient *client)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&module->clients_lock);
    g_ptr_array_add(module->clients, client);
}

void module_remove_client(Module *module, ModuleClient *client)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&module->clients_lock);
    g_ptr_array_remove_fast(module->clients, client);
}

static void forget_handles(Module *module)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&module->clients_lock);
    for (guint i = 0; i < module->clients->len; i++) {
        ModuleClient *client = g_ptr_array_index(module->clients, i);
        client->forget(client);
    }
}

static bool load(Module *module, GError **error)
{
    CK_C_GetFunctionList get_function_list = NULL;
    CK_FUNCTION_LIST *functions = NULL;
    if (!module->library)
        module->library = dlopen(module->path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (module->library)
        *(void **)&get_function_list = dlsym(module->library, "C_GetFunctionList");
    if (!get_function_list || get_function_list(&functions) != CKR_OK || !functions) {
        const char *reason = dlerror();
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_FAILED, "The PKCS#11 module %s can't be loaded: %s",
                    module->path, reason ? reason : "it gives no function list");
        return false;
    }
    if (!module->context)
        module->context = PKCS11_CTX_new();
    if (!module->context || PKCS11_CTX_load(module->context, module->path) < 0) {
        error_set_openssl(error, IOTHSM_ERROR_FAILED, "The PKCS#11 module %s can't be initialised",
                          module->path);
        return false;
    }
    module->functions = functions;
    return true;
}

static bool initialise_again(Module *module, GError **error)
{
    CK_C_INITIALIZE_ARGS arguments = {.flags = CKF_OS_LOCKING_OK};
    release_slots(module);
    (void)module->functions->C_Finalize(NULL);
    CK_RV result = module->functions->C_Initialize(&arguments);
    return result == CKR_CRYPTOKI_ALREADY_INITIALIZED ||
           module_check(result, error, "The PKCS#11 module %s can't be initialised again", module->path);
}

bool module_initialise(Module *module, GError **error)
{
    forget_handles(module);
    if (module->functions ? !initialise_again(module, error) : !load(module, error))
        return false;
    if (PKCS11_enumerate_slots(module->context, &module->slots, &module->n_slots) < 0) {
        module->slots = NULL;
        module->n_slots = 0;
        error_set_openssl(error, IOTHSM_ERROR_FAILED, "The PKCS#11 module %s can't list its slots",
                          module->path);
        return false;
    }
    module->n_slots = MIN(module->n_slots, SLOTS_MAX);
    return true;
}

static bool token_info(const Module *module, PKCS11_SLOT *slot, CK_TOKEN_INFO *ret_info)
{
    return module->functions->C_GetTokenInfo(PKCS11_get_slotid_from_slot(slot), ret_info) == CKR_OK &&
           (ret_info->flags & CKF_TOKEN_INITIALIZED) != 0;
}

GPtrArray *module_serials(const Module *module)
{
    GPtrArray *serials = g_ptr_array_new_with_free_func(g_free);
    CK_TOKEN_INFO info;
    for (unsigned int i = 0; i < module->n_slots; i++) {
        if (!token_info(module, &module->slots[i], &info))
            continue;
        g_autofree char *serial = module_token_serial(&info);
        if (serial[0] && !g_ptr_array_find_with_equal_func(serials, serial, g_str_equal, NULL))
            g_ptr_array_add(serials, g_steal_pointer(&serial));
    }
    return serials;
}

bool module_find_slot(const Module *module, const char *serial, CK_SLOT_ID *ret_slot, CK_TOKEN_INFO *ret_info)
{
    for (unsigned int i = 0; i < module->n_slots; i++) {
        CK_TOKEN_INFO info;
        if (!token_info(module, &module->slots[i], &info))
            continue;
        g_autofree char *found = module_token_serial(&info);
        if (!g_str_equal(found, serial))
            continue;
        *ret_slot = PKCS11_get_slotid_from_slot(&module->slots[i]);
        *ret_info = info;
        return true;
    }
    return false;
}

char *module_text(const CK_UTF8CHAR *field, gsize size)
{
    while (size > 0 && (field[size - 1] == ' ' || field[size - 1] == '\0'))
        size--;
    return g_utf8_make_valid((const char *)field, (gssize)size);
}

char *module_token_serial(const CK_TOKEN_INFO *info)
{
    g_autofree char *serial = module_text(info->serialNumber, sizeof info->serialNumber);
    return serial[0] ? g_steal_pointer(&serial) : module_text(info->label, sizeof info->label);
}

/* What the results mean that people meet; the others are shown by number. */
static const struct {
    CK_RV result;
    IothsmError code;
    const char *meaning;
} meanings[] = {
    {CKR_TOKEN_NOT_PRESENT, IOTHSM_ERROR_TOKEN_GONE, "the token is not there"},
    {CKR_TOKEN_NOT_RECOGNIZED, IOTHSM_ERROR_TOKEN_GONE, "the token is not recognised"},
    {CKR_DEVICE_REMOVED, IOTHSM_ERROR_TOKEN_GONE, "the token was removed"},
    {CKR_SESSION_HANDLE_INVALID, IOTHSM_ERROR_TOKEN_GONE, "the session was lost"},
    {CKR_SESSION_CLOSED, IOTHSM_ERROR_TOKEN_GONE, "the session was closed"},
    {CKR_SLOT_ID_INVALID, IOTHSM_ERROR_TOKEN_GONE, "the token's slot is not there any more"},
    {CKR_CRYPTOKI_NOT_INITIALIZED, IOTHSM_ERROR_TOKEN_GONE, "the module is not initialised"},
    {CKR_USER_NOT_LOGGED_IN, IOTHSM_ERROR_PIN_REQUIRED, "the PIN is needed first"},
    {CKR_USER_PIN_NOT_INITIALIZED, IOTHSM_ERROR_PIN_REQUIRED, "the token has no PIN yet"},
    {CKR_PIN_EXPIRED, IOTHSM_ERROR_PIN_REQUIRED, "the PIN has to be changed first"},
    {CKR_PIN_INCORRECT, IOTHSM_ERROR_PIN_WRONG, "the PIN is wrong"},
    {CKR_PIN_LOCKED, IOTHSM_ERROR_PIN_BLOCKED, "the PIN is blocked"},
    {CKR_PIN_INVALID, IOTHSM_ERROR_INVALID, "the token does not allow this PIN"},
    {CKR_PIN_LEN_RANGE, IOTHSM_ERROR_INVALID, "the token wants a PIN of another length"},
    {CKR_MECHANISM_INVALID, IOTHSM_ERROR_UNSUPPORTED, "the token can't do this"},
    {CKR_FUNCTION_NOT_SUPPORTED, IOTHSM_ERROR_UNSUPPORTED, "the token can't do this"},
    {CKR_KEY_SIZE_RANGE, IOTHSM_ERROR_UNSUPPORTED, "the token has no keys of this size"},
    {CKR_DOMAIN_PARAMS_INVALID, IOTHSM_ERROR_UNSUPPORTED, "the token does not know this curve"},
    {CKR_CURVE_NOT_SUPPORTED, IOTHSM_ERROR_UNSUPPORTED, "the token does not know this curve"},
    {CKR_TOKEN_WRITE_PROTECTED, IOTHSM_ERROR_UNSUPPORTED, "the token is write-protected"},
    {CKR_SESSION_READ_ONLY, IOTHSM_ERROR_UNSUPPORTED, "the token is write-protected"},
    {CKR_DEVICE_MEMORY, IOTHSM_ERROR_LIMITS_EXCEEDED, "the token is full"},
    {CKR_SESSION_COUNT, IOTHSM_ERROR_TOKEN_BUSY, "the token has no session left"},
    {CKR_DEVICE_ERROR, IOTHSM_ERROR_FAILED, "the token reports a fault"},
    {CKR_FUNCTION_FAILED, IOTHSM_ERROR_FAILED, "the token failed"},
    {CKR_GENERAL_ERROR, IOTHSM_ERROR_FAILED, "the module failed"},
    {CKR_HOST_MEMORY, IOTHSM_ERROR_FAILED, "the module is out of memory"},
};

bool module_check(CK_RV result, GError **error, const char *format, ...)
{
    if (result == CKR_OK)
        return true;
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *what = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    for (gsize i = 0; i < G_N_ELEMENTS(meanings); i++) {
        if (meanings[i].result == result) {
            g_set_error(error, IOTHSM_ERROR, (int)meanings[i].code, "%s: %s", what, meanings[i].meaning);
            return false;
        }
    }
    g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_FAILED, "%s: PKCS#11 result 0x%lx", what, result);
    return false;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Opening, and everything about PINs.
 *
 * PINs go to C_Login straight from locked memory; PKCS11_login would keep a copy. Logging out makes all
 * private objects' handles invalid, and so happens with nobody else inside the module. */

#include "daemon/token/pkcs11/pkcs11-token.h"

#define IDLE_SESSIONS_MAX 16

static Pkcs11Token *token_of(Backend *backend)
{
    return (Pkcs11Token *)backend;
}

static void drop_pin(Pkcs11Token *token)
{
    secret_unref(g_steal_pointer(&token->pin));
}

/* The handles are about to die, or are dead. */
static void drop_handles(Pkcs11Token *token)
{
    g_hash_table_remove_all(token->keys);
    g_array_set_size(token->idle, 0);
    token->open = false;
}

static void on_forget(ModuleClient *client)
{
    Pkcs11Token *token = (Pkcs11Token *)((char *)client - offsetof(Pkcs11Token, client));
    drop_handles(token);
}

static CK_RV log_in(Pkcs11Token *token, CK_USER_TYPE user, const Secret *pin)
{
    return token->module->functions->C_Login(token->session, user, (CK_UTF8CHAR *)secret_data(pin),
                                             secret_size(pin));
}

/* Alone. */
static void log_out(Pkcs11Token *token)
{
    g_hash_table_remove_all(token->keys);
    (void)token->module->functions->C_Logout(token->session);
}

/* A PIN that was accepted before. Somebody may have changed it elsewhere meanwhile: then it is never
 * presented again. */
static void log_in_again(Pkcs11Token *token)
{
    CK_RV result = log_in(token, CKU_USER, token->pin);
    if (result == CKR_PIN_INCORRECT) {
        secret_unref(token->refused);
        token->refused = secret_ref(token->pin);
    }
    if (result != CKR_OK && result != CKR_USER_ALREADY_LOGGED_IN)
        drop_pin(token);
}

static Secret *pkcs11_take_refused(Backend *backend)
{
    Pkcs11Token *token = token_of(backend);
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&token->lock);
    return g_steal_pointer(&token->refused);
}

static bool is_user_session(Pkcs11Token *token, CK_SESSION_HANDLE session, bool *ret_lost)
{
    CK_SESSION_INFO info;
    CK_RV result = token->module->functions->C_GetSessionInfo(session, &info);
    if (ret_lost)
        *ret_lost = result != CKR_OK;
    return result == CKR_OK && (info.state == CKS_RW_USER_FUNCTIONS || info.state == CKS_RO_USER_FUNCTIONS);
}

/* The serial number is looked at on the token itself, so that no PIN meets another one in the same reader. */
static bool find_slot(Pkcs11Token *token, CK_TOKEN_INFO *ret_info, GError **error)
{
    if (token->module->functions && module_find_slot(token->module, token->serial, &token->slot_id, ret_info))
        return true;
    g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_TOKEN_GONE, "Token %s is gone; plug it in again",
                token->serial);
    return false;
}

static CK_RV open_session(const Pkcs11Token *token, CK_SESSION_HANDLE *ret_session)
{
    return token->module->functions->C_OpenSession(
        token->slot_id, CKF_SERIAL_SESSION | (token->writable ? CKF_RW_SESSION : 0), NULL, NULL, ret_session);
}

static bool open_token(Pkcs11Token *token, GError **error)
{
    CK_TOKEN_INFO info;
    if (!find_slot(token, &info, error))
        return false;
    token->writable = (info.flags & CKF_WRITE_PROTECTED) == 0;
    token->login_required = (info.flags & CKF_LOGIN_REQUIRED) != 0;
    if (!module_check(open_session(token, &token->session), error, "Token %s can't be opened", token->serial))
        return false;
    token->open = true;
    int retries = pkcs11_pin_retries(token->module, info.flags);
    if (token->pin && retries >= 0 && retries <= 2)
        drop_pin(token); /* not when tries are short */
    else if (token->pin)
        log_in_again(token);
    return true;
}

/* Inside the gate, with the lock. */
static bool ensure_open(Pkcs11Token *token, GError **error)
{
    bool lost = true;
    if (token->open) {
        bool user = is_user_session(token, token->session, &lost);
        if (!lost && (user || !token->pin))
            return true;
        if (!lost)
            (void)token->module->functions->C_CloseSession(token->session);
        drop_handles(token);
    }
    return open_token(token, error);
}

bool pkcs11_token_enter(Pkcs11Token *token, GError **error)
{
    module_enter(token->module);
    g_mutex_lock(&token->lock);
    bool open = ensure_open(token, error);
    g_mutex_unlock(&token->lock);
    if (!open)
        module_leave(token->module);
    return open;
}

void pkcs11_token_leave(Pkcs11Token *token)
{
    module_leave(token->module);
}

/* For what nobody else may see half done. */
static bool enter_alone(Pkcs11Token *token, GError **error)
{
    module_enter_alone(token->module);
    g_mutex_lock(&token->lock);
    if (ensure_open(token, error))
        return true;
    g_mutex_unlock(&token->lock);
    module_leave_alone(token->module);
    return false;
}

static bool leave_alone(Pkcs11Token *token, bool result)
{
    g_mutex_unlock(&token->lock);
    module_leave_alone(token->module);
    return result;
}

static bool take_idle(Pkcs11Token *token, CK_SESSION_HANDLE *ret_handle)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&token->lock);
    if (token->idle->len == 0)
        return false;
    *ret_handle = g_array_index(token->idle, CK_SESSION_HANDLE, token->idle->len - 1);
    g_array_set_size(token->idle, token->idle->len - 1);
    return true;
}

bool pkcs11_session_open(Pkcs11Token *token, Session *ret_session, GError **error)
{
    CK_SESSION_HANDLE handle;
    if (!take_idle(token, &handle) &&
        !module_check(open_session(token, &handle), error, "No session with token %s", token->serial))
        return false;
    *ret_session =
        (Session){.functions = token->module->functions, .handle = handle, .serial = token->serial};
    return true;
}

void pkcs11_session_close(Pkcs11Token *token, Session *session, bool again)
{
    g_mutex_lock(&token->lock);
    again = again && token->idle->len < IDLE_SESSIONS_MAX;
    if (again)
        g_array_append_val(token->idle, session->handle);
    g_mutex_unlock(&token->lock);
    if (!again)
        (void)session->functions->C_CloseSession(session->handle);
}

static bool run_once(Pkcs11Token *token, SessionFunc work, void *data, GError **error)
{
    Session session;
    if (!pkcs11_token_enter(token, error))
        return false;
    bool done = pkcs11_session_open(token, &session, error);
    if (done) {
        done = work(token, &session, data, error);
        pkcs11_session_close(token, &session, done);
    }
    pkcs11_token_leave(token);
    return done;
}

bool pkcs11_token_run(Pkcs11Token *token, SessionFunc work, void *data, GError **error)
{
    g_autoptr(GError) failure = NULL;
    if (run_once(token, work, data, &failure))
        return true;
    if (!g_error_matches(failure, IOTHSM_ERROR, IOTHSM_ERROR_TOKEN_GONE)) {
        g_propagate_error(error, g_steal_pointer(&failure));
        return false;
    }
    return run_once(token, work, data, error);
}

bool pkcs11_token_is_logged_in(Pkcs11Token *token, const Session *session, GError **error)
{
    if (!token->login_required || is_user_session(token, session->handle, NULL))
        return true;
    g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_PIN_REQUIRED,
                "Token %s needs its PIN first; give it with: iothsmctl pin set %s", token->serial,
                token->serial);
    return false;
}

EVP_PKEY *pkcs11_token_take_key(Pkcs11Token *token, const char *slot)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&token->lock);
    EVP_PKEY *key = g_hash_table_lookup(token->keys, slot);
    if (key)
        EVP_PKEY_up_ref(key);
    return key;
}

void pkcs11_token_keep_key(Pkcs11Token *token, const char *slot, EVP_PKEY *key)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&token->lock);
    EVP_PKEY_up_ref(key);
    g_hash_table_replace(token->keys, g_strdup(slot), key);
}

void pkcs11_token_drop_key(Pkcs11Token *token, const char *slot)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&token->lock);
    g_hash_table_remove(token->keys, slot);
}

static bool may_try(Pkcs11Token *token, bool insist, GError **error)
{
    CK_TOKEN_INFO info;
    CK_RV result = token->module->functions->C_GetTokenInfo(token->slot_id, &info);
    if (!module_check(result, error, "The PIN tries of token %s can't be read", token->serial))
        return false;
    int retries = pkcs11_pin_retries(token->module, info.flags);
    if (retries < 0 || retries > 2 || (insist && retries > 0))
        return true;
    if (retries == 0)
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_PIN_BLOCKED,
                    "The PIN of token %s is blocked; unblock it with its security officer's PIN: iothsmctl "
                    "pin unblock %s",
                    token->serial, token->serial);
    else
        g_set_error(
            error, IOTHSM_ERROR, IOTHSM_ERROR_PIN_BLOCKED,
            "Token %s has few PIN tries left, so the stored PIN was not tried; give the PIN yourself with: "
            "iothsmctl pin set %s",
            token->serial, token->serial);
    return false;
}

static void keep_pin(Pkcs11Token *token, Secret *pin)
{
    secret_ref(pin);
    drop_pin(token);
    token->pin = pin;
}

/* Opening the token again presented what it had accepted before, in this same call: the caller, who looked
 * whether |pin| had been refused, could not know yet. */
static bool was_just_refused(const Pkcs11Token *token, const Secret *pin, GError **error)
{
    if (!secret_equal(token->refused, pin))
        return false;
    g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_PIN_WRONG,
                "Token %s has another PIN now and refused this one a moment ago; it was not tried again",
                token->serial);
    return true;
}

/* Logged in already, a token would take any PIN for granted: it is logged out to try a new one. */
static bool try_login(Pkcs11Token *token, Secret *pin, bool insist, GError **error)
{
    bool user = is_user_session(token, token->session, NULL);
    if (user && secret_equal(token->pin, pin))
        return true;
    if (was_just_refused(token, pin, error) || !may_try(token, insist, error))
        return false;
    if (user)
        log_out(token);
    CK_RV result = log_in(token, CKU_USER, pin);
    if (result == CKR_OK)
        keep_pin(token, pin);
    else if (user && token->pin)
        log_in_again(token);
    return module_check(result, error, "Token %s did not accept the PIN", token->serial);
}

static bool pkcs11_login(Backend *backend, Secret *pin, bool insist, GError **error)
{
    Pkcs11Token *token = token_of(backend);
    return enter_alone(token, error) && leave_alone(token, try_login(token, pin, insist, error));
}

static bool pkcs11_logout(Backend *backend, GError **error)
{
    Pkcs11Token *token = token_of(backend);
    if (!enter_alone(token, error))
        return false;
    drop_pin(token);
    log_out(token);
    return leave_alone(token, true);
}

/* Once, whatever becomes of the session: the old PIN was compared, perhaps. */
static bool set_pin(Pkcs11Token *token, Secret *old_pin, Secret *new_pin, GError **error)
{
    if (was_just_refused(token, old_pin, error) || !may_try(token, true, error))
        return false;
    CK_RV result = token->module->functions->C_SetPIN(
        token->session, (CK_UTF8CHAR *)secret_data(old_pin), secret_size(old_pin),
        (CK_UTF8CHAR *)secret_data(new_pin), secret_size(new_pin));
    if (result == CKR_OK && token->pin)
        keep_pin(token, new_pin);
    return module_check(result, error, "The PIN of token %s was not changed", token->serial);
}

static bool pkcs11_change_pin(Backend *backend, Secret *old_pin, Secret *new_pin, GError **error)
{
    Pkcs11Token *token = token_of(backend);
    return enter_alone(token, error) && leave_alone(token, set_pin(token, old_pin, new_pin, error));
}

static bool reset_pin(Pkcs11Token *token, Secret *so_pin, Secret *new_pin, GError **error)
{
    CK_FUNCTION_LIST *functions = token->module->functions;
    log_out(token);
    CK_RV result = log_in(token, CKU_SO, so_pin);
    if (!module_check(result, error, "Token %s did not accept the security officer PIN", token->serial)) {
        if (token->pin)
            log_in_again(token);
        return false;
    }
    result = functions->C_InitPIN(token->session, (CK_UTF8CHAR *)secret_data(new_pin), secret_size(new_pin));
    (void)functions->C_Logout(token->session);
    drop_pin(token);
    return module_check(result, error, "The PIN of token %s was not set", token->serial);
}

static bool pkcs11_unblock_pin(Backend *backend, Secret *puk, Secret *new_pin, GError **error)
{
    Pkcs11Token *token = token_of(backend);
    return enter_alone(token, error) && leave_alone(token, reset_pin(token, puk, new_pin, error));
}

/* Inside the gate: the handles go before the module may be initialised again. */
static void close_and_free(Pkcs11Token *token)
{
    for (guint i = 0; i < token->idle->len; i++)
        (void)token->module->functions->C_CloseSession(g_array_index(token->idle, CK_SESSION_HANDLE, i));
    if (token->open)
        (void)token->module->functions->C_CloseSession(token->session);
    module_remove_client(token->module, &token->client);
    module_leave(token->module);
    g_hash_table_unref(token->keys);
    g_array_unref(token->idle);
    drop_pin(token);
    secret_unref(token->refused);
    g_mutex_clear(&token->lock);
    g_free(token->serial);
    module_unref(token->module);
    g_free(token);
}

static gpointer close_when_let_in(gpointer token)
{
    module_enter(((Pkcs11Token *)token)->module);
    close_and_free(token);
    return NULL;
}

/* The main thread does not wait for the gate, which another token's long work may keep shut. */
static void pkcs11_free(Backend *backend)
{
    Pkcs11Token *token = token_of(backend);
    if (module_try_enter(token->module))
        close_and_free(token);
    else
        g_thread_unref(g_thread_new("pkcs11-close", close_when_let_in, token));
}

#define PKCS11_CLASS(name)                                                                                   \
    {                                                                                                        \
        .kind = (name), .threads = 0, .free = pkcs11_free, .probe = pkcs11_probe, .login = pkcs11_login,     \
        .logout = pkcs11_logout, .change_pin = pkcs11_change_pin, .unblock_pin = pkcs11_unblock_pin,         \
        .take_refused = pkcs11_take_refused, .generate_key = pkcs11_generate_key,                            \
        .import_key = pkcs11_import_key, .write_certificate = pkcs11_write_certificate,                      \
        .clear_slot = pkcs11_clear_slot, .open_key = pkcs11_open_key, .close_key = pkcs11_close_key          \
    }

Backend *pkcs11_token_new(Module *module, const char *serial)
{
    static const BackendClass softhsm = PKCS11_CLASS("softhsm2");
    static const BackendClass other = PKCS11_CLASS("pkcs11");
    Pkcs11Token *token = g_new0(Pkcs11Token, 1);
    token->backend.class = module->softhsm ? &softhsm : &other;
    token->client.forget = on_forget;
    token->module = module_ref(module);
    token->serial = g_strdup(serial);
    g_mutex_init(&token->lock);
    token->keys = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, (GDestroyNotify)EVP_PKEY_free);
    token->idle = g_array_new(FALSE, FALSE, sizeof(CK_SESSION_HANDLE));
    module_add_client(module, &token->client);
    return &token->backend;
}

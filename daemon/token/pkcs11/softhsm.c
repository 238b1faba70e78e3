/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* SoftHSM2's own: where its tokens are kept, how one is made and how one is deleted. */

#include "daemon/state-file.h"
#include "daemon/token/pkcs11/pkcs11-source.h"
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#define DELETE_SECONDS_MAX 30

bool softhsm_prepare(const char *state_directory, GError **error)
{
    if (g_getenv("SOFTHSM2_CONF"))
        return true;
    g_autofree char *tokens = g_build_filename(state_directory, "softhsm", NULL);
    g_autofree char *file = g_build_filename(state_directory, "softhsm2.conf", NULL);
    g_autofree char *text = g_strdup_printf("directories.tokendir = %s\n"
                                            "objectstore.backend = file\n"
                                            "log.level = ERROR\n"
                                            "slots.removable = false\n",
                                            tokens);
    if (g_mkdir_with_parents(tokens, 0700) < 0 || chmod(tokens, 0700) < 0) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_FAILED,
                    "The folder %s for SoftHSM2's tokens can't be made: %s", tokens, g_strerror(errno));
        return false;
    }
    if (!state_file_write(file, text, strlen(text), error))
        return false;
    if (!g_setenv("SOFTHSM2_CONF", file, FALSE)) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_FAILED, "SOFTHSM2_CONF can't be set: %s",
                    g_strerror(errno));
        return false;
    }
    return true;
}

/* The slot that SoftHSM2 keeps uninitialised for the next token. */
static bool find_free_slot(const Module *module, CK_SLOT_ID *ret_slot, GError **error)
{
    CK_TOKEN_INFO info;
    for (unsigned int i = 0; i < module->n_slots; i++) {
        CK_SLOT_ID slot = PKCS11_get_slotid_from_slot(&module->slots[i]);
        if (module->functions->C_GetTokenInfo(slot, &info) == CKR_OK &&
            !(info.flags & CKF_TOKEN_INITIALIZED)) {
            *ret_slot = slot;
            return true;
        }
    }
    g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_LIMITS_EXCEEDED,
                "SoftHSM2 has no free slot for another token");
    return false;
}

static bool set_first_pin(const Module *module, CK_SLOT_ID slot, const ModuleJob *job, GError **error)
{
    CK_FUNCTION_LIST *functions = module->functions;
    CK_SESSION_HANDLE session;
    CK_RV result = functions->C_OpenSession(slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &session);
    if (!module_check(result, error, "The new SoftHSM2 token can't be opened"))
        return false;
    result = functions->C_Login(session, CKU_SO, (CK_UTF8CHAR *)secret_data(job->so_pin),
                                secret_size(job->so_pin));
    if (result == CKR_OK) {
        result = functions->C_InitPIN(session, (CK_UTF8CHAR *)secret_data(job->pin), secret_size(job->pin));
        (void)functions->C_Logout(session);
    }
    (void)functions->C_CloseSession(session);
    return module_check(result, error, "The PIN of the new SoftHSM2 token was not set");
}

static bool create(Module *module, ModuleJob *job, GError **error)
{
    CK_UTF8CHAR label[32];
    CK_SLOT_ID slot;
    CK_TOKEN_INFO info;
    memset(label, ' ', sizeof label);
    memcpy(label, job->label, strlen(job->label));
    /* What other processes made meanwhile takes the slot that looked free. */
    if (!module_initialise(module, error) || !find_free_slot(module, &slot, error))
        return false;
    CK_RV result = module->functions->C_InitToken(slot, (CK_UTF8CHAR *)secret_data(job->so_pin),
                                                  secret_size(job->so_pin), label);
    if (!module_check(result, error, "SoftHSM2 did not make the token"))
        return false;
    bool done = set_first_pin(module, slot, job, error);
    if (module->functions->C_GetTokenInfo(slot, &info) == CKR_OK)
        job->serial = module_token_serial(&info);
    return module_initialise(module, done ? error : NULL) && done;
}

static bool check_request(const Source *source, const char *label, const Secret *so_pin, const Secret *pin,
                          GError **error)
{
    if (!pkcs11_source_is_softhsm(source))
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_UNSUPPORTED, "Only SoftHSM2 tokens can be made here");
    else if (!label[0] || strlen(label) > 32 || !g_utf8_validate(label, -1, NULL))
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID, "A token's label has 1 to 32 bytes of UTF-8");
    else if (secret_size(so_pin) < 4 || secret_size(so_pin) > 255 || secret_size(pin) < 4 ||
             secret_size(pin) > 255)
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID,
                    "SoftHSM2 wants 4 to 255 bytes for the PIN and the security officer PIN");
    else
        return true;
    return false;
}

void softhsm_create_token(Source *source, const char *label, Secret *so_pin, Secret *pin, TextDoneFunc done,
                          void *userdata)
{
    GError *error = NULL;
    ModuleJob *job = g_new0(ModuleJob, 1);
    *job = (ModuleJob){.work = create,
                       .label = g_strdup(label),
                       .so_pin = secret_ref(so_pin),
                       .pin = secret_ref(pin),
                       .text_done = done,
                       .userdata = userdata};
    if (check_request(source, label, so_pin, pin, &error))
        pkcs11_source_submit(source, job);
    else
        pkcs11_source_reject(source, job, error);
}

/* softhsm2-util at work. */
typedef struct Deletion {
    Source *source;
    char *serial;
    GCancellable *too_long;
    guint timer;
    DoneFunc done;
    void *userdata;
} Deletion;

static void deletion_end(Deletion *deletion, const GError *error)
{
    if (deletion->timer)
        g_source_remove(deletion->timer);
    if (error)
        deletion->done(error, deletion->userdata);
    else
        deletion->source->class->reload(deletion->source, deletion->done, deletion->userdata);
    g_object_unref(deletion->too_long);
    g_free(deletion->serial);
    g_free(deletion);
}

static gboolean on_too_long(gpointer data)
{
    Deletion *deletion = data;
    deletion->timer = 0;
    g_cancellable_cancel(deletion->too_long);
    return G_SOURCE_REMOVE;
}

static void on_deleted(GObject *object, GAsyncResult *result, gpointer data)
{
    Deletion *deletion = data;
    GSubprocess *process = G_SUBPROCESS(object);
    g_autofree char *output = NULL;
    g_autoptr(GError) failure = NULL;
    g_autoptr(GError) error = NULL;
    if (!g_subprocess_communicate_utf8_finish(process, result, &output, NULL, &failure)) {
        g_subprocess_force_exit(process);
        g_set_error(&error, IOTHSM_ERROR, IOTHSM_ERROR_FAILED, "softhsm2-util did not delete token %s: %s",
                    deletion->serial, failure->message);
    } else if (!g_subprocess_get_successful(process)) {
        g_set_error(&error, IOTHSM_ERROR, IOTHSM_ERROR_FAILED, "softhsm2-util did not delete token %s: %s",
                    deletion->serial, g_strstrip(output));
    }
    deletion_end(deletion, error);
}

void softhsm_delete_token(Source *source, const char *serial, DoneFunc done, void *userdata)
{
    g_autoptr(GError) failure = NULL;
    g_autoptr(GSubprocess) process =
        pkcs11_source_is_softhsm(source)
            ? g_subprocess_new(G_SUBPROCESS_FLAGS_STDOUT_PIPE | G_SUBPROCESS_FLAGS_STDERR_MERGE, &failure,
                               "softhsm2-util", "--delete-token", "--serial", serial, NULL)
            : NULL;
    if (!process) {
        ModuleJob *job = g_new0(ModuleJob, 1);
        *job = (ModuleJob){.done = done, .userdata = userdata};
        pkcs11_source_reject(source, job,
                             g_error_new(IOTHSM_ERROR, IOTHSM_ERROR_UNSUPPORTED,
                                         "Token %s can't be deleted: %s", serial,
                                         failure ? failure->message : "it is no SoftHSM2 token"));
        return;
    }
    Deletion *deletion = g_new0(Deletion, 1);
    *deletion = (Deletion){.source = source,
                           .serial = g_strdup(serial),
                           .too_long = g_cancellable_new(),
                           .done = done,
                           .userdata = userdata};
    deletion->timer = g_timeout_add_seconds(DELETE_SECONDS_MAX, on_too_long, deletion);
    g_subprocess_communicate_utf8_async(process, NULL, deletion->too_long, on_deleted, deletion);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What people ask of the daemon as a whole: reload, make and delete a SoftHSM2 token, trust a certificate.
 * Each is handed to the part whose subject it is, and followed until it is over. */

#include "daemon/ca/trust.h"
#include "daemon/error.h"
#include "daemon/manager-private.h"
#include "daemon/message-ids.h"
#include "daemon/token/google-kms/google-kms.h"
#include "daemon/token/pkcs11/pkcs11.h"
#include <string.h>

/* A reload is over when every source has looked again and every token was read again (another program may
 * have changed it); the first thing that went wrong is what the caller gets. */
typedef struct Reload {
    Manager *manager;
    char *config_file;
    char *state_directory;
    Config *config;   /* as read on the thread */
    LinkFiles *files; /* for it */
    guint pending;
    bool tokens_read;
    GError *error;
    DoneFunc done;
    void *userdata;
} Reload;

static void on_reload_step(const GError *error, void *userdata);

static void read_tokens_again(Reload *reload)
{
    GPtrArray *tokens = reload->manager->tokens;
    reload->tokens_read = true;
    reload->pending = tokens->len;
    for (guint i = 0; i < tokens->len; i++)
        token_refresh(g_ptr_array_index(tokens, i), on_reload_step, reload);
}

/* After the thread has let go. */
static void reload_end(Reload *reload)
{
    if (reload->done)
        reload->done(reload->error, reload->userdata);
    config_free(reload->config);
    link_files_free(reload->files);
    g_free(reload->config_file);
    g_free(reload->state_directory);
    g_clear_error(&reload->error);
    g_free(reload);
}

static void on_reload_step(const GError *error, void *userdata)
{
    Reload *reload = userdata;
    if (error && !reload->error)
        reload->error = g_error_copy(error);
    if (--reload->pending > 0)
        return;
    if (!reload->tokens_read && !reload->manager->leaving)
        read_tokens_again(reload);
    if (reload->pending == 0)
        reload_end(reload);
}

/* Modules are loaded once: a change there needs a restart, and says so. SoftHSM2 may come later. */
static void warn_about_restart(const Config *before, const Config *after)
{
    if (before->yubikey != after->yubikey || before->softhsm != after->softhsm ||
        (before->softhsm_module && g_strcmp0(before->softhsm_module, after->softhsm_module) != 0) ||
        !g_strv_equal((const char *const *)before->pkcs11_modules,
                      (const char *const *)after->pkcs11_modules) ||
        g_strcmp0(before->google_kms_url, after->google_kms_url) != 0 ||
        g_strcmp0(before->google_resource_manager_url, after->google_resource_manager_url) != 0 ||
        g_strcmp0(before->google_metadata_url, after->google_metadata_url) != 0 ||
        before->replay_window != after->replay_window)
        log_notice(
            "Changes of [Tokens], [GoogleKms] and [Journal] take effect when the service is restarted");
}

/* On a thread: these are files. */
static bool run_reload(void *data, GCancellable *cancelled, GError **error)
{
    Reload *reload = data;
    reload->config = config_load(reload->config_file, reload->state_directory, error);
    if (!reload->config)
        return false;
    reload->files = link_files_read(reload->config->verification_ca, reload->config->tls_ca);
    return true;
}

static void let_go_of_reload(void *reload)
{
    on_reload_step(NULL, reload);
}

/* A configuration that can't be meant leaves the old one in force; the tokens are looked for all the same. */
static void on_reload_read(const GError *error, void *userdata)
{
    Reload *reload = userdata;
    Manager *self = reload->manager;
    if (!error && !self->leaving) {
        g_autoptr(Config) before = self->config;
        warn_about_restart(before, reload->config);
        self->config = g_steal_pointer(&reload->config);
        if (!self->softhsm && before->softhsm && self->config->softhsm && self->config->softhsm_module)
            manager_begin_softhsm(self);
        link_reload(self->link, self->config, g_steal_pointer(&reload->files));
        manager_emit_changed(self);
    }
    on_reload_step(error, reload);
}

void manager_reload(Manager *self, DoneFunc done, void *userdata)
{
    Reload *reload = g_new0(Reload, 1);
    *reload = (Reload){.manager = self,
                       .config_file = g_strdup(self->config_file),
                       .state_directory = g_strdup(self->state_directory),
                       .pending = self->sources->len + 2,
                       .done = done,
                       .userdata = userdata};
    for (guint i = 0; i < self->sources->len; i++) {
        Source *source = g_ptr_array_index(self->sources, i);
        source->class->reload(source, on_reload_step, reload);
    }
    g_autoptr(GError) error = NULL;
    if (!worker_submit(self->files, run_reload, reload, let_go_of_reload, WORKER_NO_DEADLINE, NULL,
                       on_reload_read, reload, &error))
        on_reload_step(error, reload);
}

/* A new token's PIN is known already: it is used at once, and kept on disk where it can be sealed. */
typedef struct Creation {
    Manager *manager;
    Secret *pin;
    char *serial;
    TextDoneFunc done;
    void *userdata;
} Creation;

static void creation_finish(Creation *creation, const GError *error)
{
    creation->done(error ? NULL : creation->serial, error, creation->userdata);
    secret_unref(creation->pin);
    g_free(creation->serial);
    g_free(creation);
}

static void on_created_logged_in(const GError *error, void *userdata)
{
    creation_finish(userdata, error);
}

static void on_created(const char *serial, const GError *error, void *userdata)
{
    Creation *creation = userdata;
    Token *token = error ? NULL : manager_find_token(creation->manager, serial);
    creation->serial = g_strdup(serial);
    if (token)
        token_set_pin(token, creation->pin, manager_can_persist_pins(creation->manager), NULL,
                      on_created_logged_in, creation);
    else
        creation_finish(creation, error);
}

void manager_create_softhsm_token(Manager *self, const char *label, Secret *so_pin, Secret *pin,
                                  TextDoneFunc done, void *userdata)
{
    if (self->softhsm) {
        Creation *creation = g_new0(Creation, 1);
        *creation = (Creation){.manager = self, .pin = secret_ref(pin), .done = done, .userdata = userdata};
        softhsm_create_token(self->softhsm, label, so_pin, pin, on_created, creation);
        return;
    }
    text_fail_later(
        done, userdata,
        g_error_new_literal(
            IOTHSM_ERROR, IOTHSM_ERROR_UNSUPPORTED,
            manager_config(self)->softhsm
                ? "SoftHSM2 is not installed here; install it (Debian: apt install softhsm2), then run: "
                  "iothsmctl reload"
                : "SoftHSM2 is switched off by [Tokens] SoftHsm=no"));
}

void manager_browse_google_kms(Manager *self, const char *parent, Secret *credentials,
                               GCancellable *cancellable, TextDoneFunc done, void *userdata)
{
    google_kms_browse(self->google_kms, parent, credentials, cancellable, done, userdata);
}

/* A key ring is added when its keys were read: then its slots are there. */
typedef struct Addition {
    Manager *manager;
    char *serial;
    TextDoneFunc done;
    void *userdata;
} Addition;

static void addition_finish(Addition *addition, const GError *error)
{
    addition->done(error ? NULL : addition->serial, error, addition->userdata);
    g_free(addition->serial);
    g_free(addition);
}

static void on_added_read(const GError *error, void *userdata)
{
    addition_finish(userdata, error);
}

static void on_added(const char *serial, const GError *error, void *userdata)
{
    Addition *addition = userdata;
    Token *token = error ? NULL : manager_find_token(addition->manager, serial);
    addition->serial = g_strdup(serial);
    if (token)
        token_refresh(token, on_added_read, addition);
    else
        addition_finish(addition, error);
}

void manager_add_google_kms(Manager *self, const char *key_ring, Secret *credentials,
                            GCancellable *cancellable, TextDoneFunc done, void *userdata)
{
    Addition *addition = g_new0(Addition, 1);
    *addition = (Addition){.manager = self, .done = done, .userdata = userdata};
    google_kms_source_add(self->google_kms, key_ring, credentials, cancellable, on_added, addition);
}

void manager_remove_token(Manager *self, Token *token, DoneFunc done, void *userdata)
{
    if (strcmp(token_kind(token), "softhsm2") == 0) {
        softhsm_delete_token(token_source(token), token_serial(token), done, userdata);
        return;
    }
    if (strcmp(token_kind(token), "google-kms") == 0) {
        google_kms_source_remove(token_source(token), token_serial(token), done, userdata);
        return;
    }
    done_later(done, userdata,
               g_error_new(IOTHSM_ERROR, IOTHSM_ERROR_UNSUPPORTED,
                           "Token %s is a %s token: it is removed by unplugging it; only "
                           "SoftHSM2 tokens can be deleted here, and "
                           "key rings of Google Cloud KMS be forgotten",
                           token_serial(token), token_kind(token)));
}

/* --- draining ---------------------------------------------------------------------------------------- */

typedef struct Draining {
    Token *token; /* a reference */
    GCancellable *cancellable;
    DoneFunc done;
    void *userdata;
} Draining;

static void on_drain_recorded(const GError *failure, void *userdata)
{
    g_autofree Draining *draining = userdata;
    g_autoptr(Token) token = draining->token;
    g_autoptr(GCancellable) cancellable = draining->cancellable;
    if (failure) {
        g_autoptr(GError) error = g_error_new(
            IOTHSM_ERROR, IOTHSM_ERROR_FAILED,
            "Token %s is %s, but only until the service is restarted, for that can't be written "
            "down: %s",
            token_serial(token), token_is_draining(token) ? "drained" : "in use again", failure->message);
        draining->done(error, draining->userdata);
    } else if (token_is_draining(token)) {
        token_wait_drained(token, cancellable, draining->done, draining->userdata);
    } else {
        draining->done(NULL, draining->userdata);
    }
}

void manager_drain_token(Manager *self, Token *token, bool on, GCancellable *cancellable, DoneFunc done,
                         void *userdata)
{
    Draining *draining = g_new0(Draining, 1);
    *draining = (Draining){token_ref(token), g_object_ref(cancellable), done, userdata};
    if (token_is_draining(token) != on)
        log_event(LOG_NOTICE, MESSAGE_TOKEN_DRAINED, LOG_FIELDS({"IOTHSM_TOKEN", token_serial(token)}),
                  on ? "Token %s takes no new work from now on" : "Token %s takes work again",
                  token_serial(token));
    token_set_draining(token, on);
    drained_set(self->drained, token_serial(token), on, self->files, on_drain_recorded, draining);
}

/* --- trust ------------------------------------------------------------------------------------------- */

typedef struct AnchorJob {
    Manager *manager;
    char *state_directory;
    char *platform_path;
    char *tls_ca; /* or NULL */
    char *purpose;
    char *pem;
    LinkFiles *files; /* read again where that is for the platform */
    DoneFunc done;
    void *userdata;
} AnchorJob;

static void anchor_job_free(void *data)
{
    AnchorJob *job = data;
    g_free(job->state_directory);
    g_free(job->platform_path);
    g_free(job->tls_ca);
    link_files_free(job->files);
    g_free(job->purpose);
    g_free(job->pem);
    g_free(job);
}

static bool anchor_job_run(void *data, GCancellable *cancelled, GError **error)
{
    AnchorJob *job = data;
    if (!trust_add(job->state_directory, job->platform_path, job->purpose, job->pem, error))
        return false;
    if (strcmp(job->purpose, "platform") == 0)
        job->files = link_files_read(job->platform_path, job->tls_ca);
    return true;
}

static void anchor_job_done(const GError *error, void *userdata)
{
    AnchorJob *job = userdata;
    Manager *manager = job->manager;
    if (!error && job->files && !manager->leaving)
        link_reload(manager->link, manager->config, g_steal_pointer(&job->files));
    job->done(error, job->userdata);
}

void manager_add_trust_anchor(Manager *self, const char *purpose, const char *pem, DoneFunc done,
                              void *userdata)
{
    AnchorJob *job = g_new0(AnchorJob, 1);
    *job = (AnchorJob){
        .manager = self,
        .state_directory = g_strdup(self->state_directory),
        .platform_path = g_strdup(self->config->verification_ca),
        .tls_ca = g_strdup(self->config->tls_ca),
        .purpose = g_strdup(purpose),
        .pem = g_strdup(pem),
        .done = done,
        .userdata = userdata,
    };
    GError *error = NULL;
    if (!worker_submit(self->files, anchor_job_run, job, anchor_job_free, WORKER_NO_DEADLINE, NULL,
                       anchor_job_done, job, &error))
        done_later(done, userdata, error);
}

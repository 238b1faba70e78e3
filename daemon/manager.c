/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Wiring, and nothing else: what a part reports is passed on to the parts that care, to the journal and to
 * the bus. Every decision lives in the part whose subject it is. */

#include "daemon/manager.h"
#include "daemon/error.h"
#include "daemon/message-ids.h"
#include "daemon/state-file.h"
#include "daemon/token/pkcs11.h"
#include "daemon/trust.h"
#include "daemon/worker.h"
#include <string.h>
#include <systemd/sd-daemon.h>

struct Manager {
    char *config_file; /* or NULL */
    char *state_directory;
    GPtrArray *configs; /* Config; the last one holds, earlier ones may still be read by work in flight */
    PinStore *pins;
    Identity *identity;
    Journal *journal;
    Worker *files;      /* small file work that must not wait in the main loop */
    GPtrArray *sources; /* Source */
    Source *softhsm;    /* one of them, or NULL */
    GPtrArray *tokens;  /* Token, by serial */
    AuthoritySet *authorities;
    Link *link;
    ManagerEvents events;
    guint settling; /* sources and tokens of the first enumeration that are not done */
    DoneFunc settled;
    void *settled_userdata;
    guint64 signatures;
    guint64 denied;
    char *status; /* as last told to systemd */
};

static void emit_event(Manager *self, const char *id, const LogField *fields)
{
    if (self->events.event)
        self->events.event(id, fields, self->events.userdata);
}

/* systemd's STATUS= follows; most changes (counters) leave it as it is. */
static void tell_systemd(Manager *self)
{
    g_autofree char *status = manager_status_text(self);
    if (g_strcmp0(status, self->status) == 0)
        return;
    (void)sd_notifyf(0, "STATUS=%s", status);
    g_free(self->status);
    self->status = g_steal_pointer(&status);
}

static void emit_changed(Manager *self)
{
    tell_systemd(self);
    if (self->events.changed)
        self->events.changed(self->events.userdata);
}

/* --- slots and authorities -------------------------------------------------------------------------------
 */

static void on_slot_added(Token *token, Slot *slot, void *userdata)
{
    Manager *self = userdata;
    authority_set_update(self->authorities, slot, true);
    if (self->events.slot_added)
        self->events.slot_added(slot, self->events.userdata);
}

static void on_slot_removed(Token *token, Slot *slot, void *userdata)
{
    Manager *self = userdata;
    authority_set_update(self->authorities, slot, false);
    if (self->events.slot_removed)
        self->events.slot_removed(slot, self->events.userdata);
}

static void on_slot_changed(Token *token, Slot *slot, void *userdata)
{
    Manager *self = userdata;
    authority_set_update(self->authorities, slot, true);
    if (self->events.slot_changed)
        self->events.slot_changed(slot, self->events.userdata);
}

/* A PIN was given or a token came back to life: what waited for that can go on. */
static void retry_authorities(Manager *self, Token *token)
{
    GPtrArray *slots = token_slots(token);
    for (guint i = 0; i < slots->len; i++) {
        Authority *authority = authority_set_of_slot(self->authorities, g_ptr_array_index(slots, i));
        if (authority)
            link_authority_changed(self->link, authority);
    }
}

static void on_token_changed(Token *token, void *userdata)
{
    Manager *self = userdata;
    if (token_state(token) == TOKEN_STATE_READY)
        retry_authorities(self, token);
    if (self->events.token_changed)
        self->events.token_changed(token, self->events.userdata);
    emit_changed(self);
}

static void on_authority_added(Authority *authority, void *userdata)
{
    Manager *self = userdata;
    if (self->events.authority_added)
        self->events.authority_added(authority, self->events.userdata);
    link_add_authority(self->link, authority);
    emit_changed(self);
}

static void on_authority_removed(Authority *authority, void *userdata)
{
    Manager *self = userdata;
    link_remove_authority(self->link, authority);
    if (self->events.authority_removed)
        self->events.authority_removed(authority, self->events.userdata);
    emit_changed(self);
}

/* What a slot shows of its authority (link state, counters) changes with it. */
static void on_authority_changed(Authority *authority, void *userdata)
{
    Manager *self = userdata;
    if (self->events.authority_changed)
        self->events.authority_changed(authority, self->events.userdata);
    GPtrArray *slots = authority_slots(authority);
    for (guint i = 0; i < slots->len && self->events.slot_changed; i++)
        self->events.slot_changed(g_ptr_array_index(slots, i), self->events.userdata);
    emit_changed(self);
}

/* --- tokens ----------------------------------------------------------------------------------------------
 */

static Token *find_token(const Manager *self, const char *serial)
{
    for (guint i = 0; i < self->tokens->len; i++)
        if (strcmp(token_serial(g_ptr_array_index(self->tokens, i)), serial) == 0)
            return g_ptr_array_index(self->tokens, i);
    return NULL;
}

static void settle_one(Manager *self)
{
    if (self->settling == 0 || --self->settling > 0 || !self->settled)
        return;
    DoneFunc settled = g_steal_pointer(&self->settled);
    settled(NULL, self->settled_userdata);
}

static int by_serial(gconstpointer a, gconstpointer b)
{
    return strcmp(token_serial(*(Token *const *)a), token_serial(*(Token *const *)b));
}

static void on_token_started(const GError *error, void *userdata)
{
    Manager *self = userdata;
    if (error)
        log_event(LOG_WARNING, MESSAGE_TOKEN_FAILED, NULL, "A token can't be used: %s", error->message);
    settle_one(self);
}

static void on_appeared(Source *source, Backend *backend, const char *serial, void *userdata)
{
    Manager *self = userdata;
    if (find_token(self, serial)) {
        log_warning("Token %s was found a second time, through %s; the first way to it is kept", serial,
                    source->class->name);
        backend->class->free(backend);
        return;
    }
    const TokenEvents events = {on_token_changed, on_slot_added, on_slot_removed, on_slot_changed, self};
    Token *token = token_new(backend, serial, source, self->pins, &events);
    g_ptr_array_add(self->tokens, token);
    g_ptr_array_sort(self->tokens, by_serial);
    log_event(LOG_INFO, MESSAGE_TOKEN_APPEARED,
              LOG_FIELDS({"IOTHSM_TOKEN", serial}, {"IOTHSM_KIND", token_kind(token)}),
              "Token %s (%s) appeared", serial, token_kind(token));
    if (self->events.token_added)
        self->events.token_added(token, self->events.userdata);
    emit_event(self, "token-added", LOG_FIELDS({"token", serial}, {"kind", token_kind(token)}));
    emit_changed(self);
    self->settling++;
    token_start(token, on_token_started, self);
}

static void on_gone(Source *source, const char *serial, void *userdata)
{
    Manager *self = userdata;
    g_autoptr(Token) token = find_token(self, serial);
    if (!token || token_source(token) != source) {
        (void)g_steal_pointer(&token);
        return;
    }
    token_gone(token);
    g_ptr_array_remove(self->tokens, token);
    log_event(LOG_INFO, MESSAGE_TOKEN_GONE, LOG_FIELDS({"IOTHSM_TOKEN", serial}), "Token %s is gone", serial);
    if (self->events.token_removed)
        self->events.token_removed(token, self->events.userdata);
    emit_event(self, "token-removed", LOG_FIELDS({"token", serial}));
    emit_changed(self);
}

static void on_source_started(const GError *error, void *userdata)
{
    if (error)
        log_error("%s", error->message);
    settle_one(userdata);
}

/* --- link ------------------------------------------------------------------------------------------------
 */

static void on_link_changed(Link *link, void *userdata)
{
    Manager *self = userdata;
    emit_event(
        self, "link",
        LOG_FIELDS({"state", link_state_to_string(link_state(link))}, {"message", link_message(link)}));
    emit_changed(self);
}

static void on_signed(Link *link, Authority *authority, const char *siguuid, const char *kind,
                      const char *result, void *userdata)
{
    Manager *self = userdata;
    self->signatures++;
    if (self->events.signed_request)
        self->events.signed_request(authority, siguuid, kind, result, self->events.userdata);
    emit_changed(self);
}

static void on_denied(Link *link, Authority *authority, const char *siguuid, const char *kind,
                      const char *reason, void *userdata)
{
    Manager *self = userdata;
    self->denied++;
    if (self->events.denied_request)
        self->events.denied_request(authority, siguuid, kind, reason, self->events.userdata);
    emit_changed(self);
}

/* --- life ------------------------------------------------------------------------------------------------
 */

static void free_source(void *source)
{
    ((Source *)source)->class->free(source);
}

static void free_config(void *config)
{
    config_free(config);
}

static bool open_state(Manager *self, const ManagerOptions *options, GError **error)
{
    const Config *config = manager_config(self);
    g_autofree char *journal = g_build_filename(self->state_directory, "journal.sqlite", NULL);

    return (!config->softhsm || softhsm_prepare(self->state_directory, error)) &&
           (self->pins = pin_store_new(self->state_directory, options->credentials_directory, error)) &&
           (self->identity = identity_open(self->state_directory, error)) &&
           (self->journal = journal_open(journal, config->replay_window, error));
}

static void add_configured_sources(Manager *self)
{
    const Config *config = manager_config(self);
    if (config->softhsm && config->softhsm_module) {
        self->softhsm = pkcs11_source_new(config->softhsm_module, true);
        manager_add_source(self, self->softhsm);
    }
    for (char **module = config->pkcs11_modules; *module; module++)
        manager_add_source(self, pkcs11_source_new(*module, false));
}

static void make_link(Manager *self)
{
    const AuthorityEvents authority_events = {on_authority_added, on_authority_removed, on_authority_changed,
                                              self};
    const LinkEvents link_events = {on_link_changed, on_signed, on_denied, self};
    self->authorities = authority_set_new(&authority_events);
    self->link = link_new(manager_config(self), self->identity, self->journal, &link_events);
}

Manager *manager_new(const ManagerOptions *options, GError **error)
{
    g_autoptr(Manager) self = g_new0(Manager, 1);
    self->config_file = g_strdup(options->config_file);
    self->state_directory = g_strdup(options->state_directory);
    self->configs = g_ptr_array_new_with_free_func(free_config);
    self->sources = g_ptr_array_new_with_free_func(free_source);
    self->tokens = g_ptr_array_new();

    Config *config = config_load(options->config_file, options->state_directory, error);
    if (!config)
        return NULL;
    g_ptr_array_add(self->configs, config);
    if (!open_state(self, options, error))
        return NULL;
    if (!pin_store_can_persist(self->pins))
        log_event(
            LOG_NOTICE, MESSAGE_PINS_NOT_SEALED, NULL,
            "There is no sealing key (credential iothsm.key): PINs are kept in memory only and must be given "
            "again after a restart");
    self->files = worker_new("files", 1, 64);
    make_link(self);
    add_configured_sources(self);
    return g_steal_pointer(&self);
}

void manager_free(Manager *self)
{
    if (!self)
        return;
    memset(&self->events, 0, sizeof self->events);
    while (self->tokens->len > 0) {
        Token *token = g_ptr_array_steal_index(self->tokens, self->tokens->len - 1);
        token_close_and_join(token);
        token_unref(token);
    }
    link_free(self->link);
    authority_set_free(self->authorities);
    g_ptr_array_unref(self->sources);
    g_ptr_array_unref(self->tokens);
    worker_close_and_join(self->files);
    journal_close(self->journal);
    identity_free(self->identity);
    pin_store_free(self->pins);
    g_ptr_array_unref(self->configs);
    g_free(self->state_directory);
    g_free(self->config_file);
    g_free(self->status);
    g_free(self);
}

void manager_add_source(Manager *self, Source *source)
{
    g_ptr_array_add(self->sources, source);
}

void manager_set_events(Manager *self, const ManagerEvents *events)
{
    self->events = *events;
}

void manager_start(Manager *self, DoneFunc settled, void *userdata)
{
    static const SourceEvents template = {.appeared = on_appeared, .gone = on_gone};
    SourceEvents events = template;
    events.userdata = self;
    self->settled = settled;
    self->settled_userdata = userdata;
    self->settling = self->sources->len;
    for (guint i = 0; i < self->sources->len; i++) {
        Source *source = g_ptr_array_index(self->sources, i);
        source->class->start(source, &events, on_source_started, self);
    }
    if (self->sources->len == 0) {
        self->settling = 1;
        settle_one(self);
    }
}

/* --- reading ---------------------------------------------------------------------------------------------
 */

const Config *manager_config(const Manager *self)
{
    return g_ptr_array_index(self->configs, self->configs->len - 1);
}

const char *manager_state_directory(const Manager *self)
{
    return self->state_directory;
}

Link *manager_link(const Manager *self)
{
    return self->link;
}

AuthoritySet *manager_authorities(const Manager *self)
{
    return self->authorities;
}

GPtrArray *manager_tokens(const Manager *self)
{
    return self->tokens;
}

guint64 manager_signatures(const Manager *self)
{
    return self->signatures;
}

guint64 manager_denied(const Manager *self)
{
    return self->denied;
}

bool manager_can_persist_pins(const Manager *self)
{
    return pin_store_can_persist(self->pins);
}

char *manager_status_text(const Manager *self)
{
    guint ready = 0;
    for (guint i = 0; i < self->tokens->len; i++) {
        TokenState state = token_state(g_ptr_array_index(self->tokens, i));
        ready += state == TOKEN_STATE_READY || state == TOKEN_STATE_BUSY || state == TOKEN_STATE_TOUCH_NEEDED;
    }
    return g_strdup_printf("%u of %u tokens ready; link %s, %u of %u authorities connected", ready,
                           self->tokens->len, link_state_to_string(link_state(self->link)),
                           link_connected(self->link), authority_set_all(self->authorities)->len);
}

/* --- acts ------------------------------------------------------------------------------------------------
 */

/* A reload is over when every source has looked again and every token was read again (another program may
 * have changed it); the first thing that went wrong is what the caller gets. */
typedef struct Reload {
    Manager *manager;
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

static void on_reload_step(const GError *error, void *userdata)
{
    Reload *reload = userdata;
    if (error && !reload->error)
        reload->error = g_error_copy(error);
    if (--reload->pending > 0)
        return;
    if (!reload->tokens_read)
        read_tokens_again(reload);
    if (reload->pending > 0)
        return;
    if (reload->done)
        reload->done(reload->error, reload->userdata);
    g_clear_error(&reload->error);
    g_free(reload);
}

static gboolean reload_idle(gpointer userdata)
{
    on_reload_step(NULL, userdata);
    return G_SOURCE_REMOVE;
}

/* Modules are loaded once: a change there needs a restart, and says so. */
static void warn_about_restart(const Config *before, const Config *after)
{
    if (before->softhsm != after->softhsm || g_strcmp0(before->softhsm_module, after->softhsm_module) != 0 ||
        !g_strv_equal((const char *const *)before->pkcs11_modules,
                      (const char *const *)after->pkcs11_modules) ||
        before->replay_window != after->replay_window)
        log_notice("Changes of [Tokens] and [Journal] take effect when the service is restarted");
}

void manager_reload(Manager *self, DoneFunc done, void *userdata)
{
    Reload *reload = g_new0(Reload, 1);
    *reload =
        (Reload){.manager = self, .pending = self->sources->len + 1, .done = done, .userdata = userdata};

    Config *config = config_load(self->config_file, self->state_directory, &reload->error);
    if (config) {
        warn_about_restart(manager_config(self), config);
        g_ptr_array_add(self->configs, config);
        link_reload(self->link, config);
    }
    for (guint i = 0; i < self->sources->len; i++) {
        Source *source = g_ptr_array_index(self->sources, i);
        source->class->reload(source, on_reload_step, reload);
    }
    g_idle_add(reload_idle, reload);
    emit_changed(self);
}

/* A new token's PIN is known already: it is used at once and kept in memory. Whoever wants it kept on disk
 * says so with token_set_pin. */
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
    Token *token = error ? NULL : find_token(creation->manager, serial);
    creation->serial = g_strdup(serial);
    if (token)
        token_set_pin(token, creation->pin, false, NULL, on_created_logged_in, creation);
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
    g_autoptr(GError) error = g_error_new_literal(
        IOTHSM_ERROR, IOTHSM_ERROR_UNSUPPORTED,
        manager_config(self)->softhsm
            ? "SoftHSM2 is not installed here; install it (Debian: apt install softhsm2) and "
              "restart the service"
            : "SoftHSM2 is switched off by [Tokens] SoftHsm=no");
    done(NULL, error, userdata);
}

void manager_remove_token(Manager *self, Token *token, DoneFunc done, void *userdata)
{
    if (strcmp(token_kind(token), "softhsm2") == 0) {
        softhsm_delete_token(token_source(token), token_serial(token), done, userdata);
        return;
    }
    g_autoptr(GError) error = g_error_new(
        IOTHSM_ERROR, IOTHSM_ERROR_UNSUPPORTED,
        "Token %s is a %s token: it is removed by unplugging it; only SoftHSM2 tokens can be deleted here",
        token_serial(token), token_kind(token));
    done(error, userdata);
}

typedef struct AnchorJob {
    Manager *manager;
    char *state_directory;
    char *platform_path;
    char *purpose;
    char *pem;
    DoneFunc done;
    void *userdata;
} AnchorJob;

static void anchor_job_free(void *data)
{
    AnchorJob *job = data;
    g_free(job->state_directory);
    g_free(job->platform_path);
    g_free(job->purpose);
    g_free(job->pem);
    g_free(job);
}

static bool anchor_job_run(void *data, GCancellable *cancelled, GError **error)
{
    const AnchorJob *job = data;
    return trust_add(job->state_directory, job->platform_path, job->purpose, job->pem, error);
}

static void anchor_job_done(const GError *error, void *userdata)
{
    AnchorJob *job = userdata;
    if (!error && strcmp(job->purpose, "platform") == 0)
        link_reload(job->manager->link, manager_config(job->manager));
    job->done(error, job->userdata);
}

void manager_add_trust_anchor(Manager *self, const char *purpose, const char *pem, DoneFunc done,
                              void *userdata)
{
    AnchorJob *job = g_new0(AnchorJob, 1);
    *job = (AnchorJob){
        .manager = self,
        .state_directory = g_strdup(self->state_directory),
        .platform_path = g_strdup(manager_config(self)->verification_ca),
        .purpose = g_strdup(purpose),
        .pem = g_strdup(pem),
        .done = done,
        .userdata = userdata,
    };
    g_autoptr(GError) error = NULL;
    if (!worker_submit(self->files, anchor_job_run, job, anchor_job_free, WORKER_NO_DEADLINE, NULL,
                       anchor_job_done, job, &error))
        done(error, userdata);
}

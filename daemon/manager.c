/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Wiring, and nothing else: what a part reports is passed on to the parts that care, to the journal and to
 * the bus. Every decision lives in the part whose subject it is. */

#include "daemon/error.h"
#include "daemon/manager-private.h"
#include "daemon/message-ids.h"
#include "daemon/metrics.h"
#include "daemon/notify.h"
#include "daemon/token/google-kms/google-kms.h"
#include "daemon/token/pkcs11/pkcs11.h"
#include "daemon/token/yubikey/yubikey-source.h"
#include "udev/hotplug.h"
#include <string.h>

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
    if (!notify_status(status))
        return;
    g_free(self->status);
    self->status = g_steal_pointer(&status);
}

void manager_emit_changed(Manager *self)
{
    tell_systemd(self);
    if (self->events.changed)
        self->events.changed(self->events.userdata);
}

/* --- slots and authorities --------------------------------------------------------------------------- */

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

/* Once each time that it happens, whoever gave the PIN: a person, or the store at the start. */
static void log_refused_pin(Manager *self, const Token *token)
{
    const char *serial = token_serial(token);
    if (token_pin_state(token) != PIN_STATE_WRONG)
        g_hash_table_remove(self->refused_pins, serial);
    else if (g_hash_table_add(self->refused_pins, g_strdup(serial)))
        log_event(LOG_WARNING, MESSAGE_PIN_WRONG, LOG_FIELDS({"IOTHSM_TOKEN", serial}),
                  "Token %s refused the PIN; it is not tried again", serial);
}

/* Once each time that a wait begins. True when one is over. */
static bool tell_touch(Manager *self, const Token *token)
{
    const char *serial = token_serial(token);
    const char *slot = token_touch_slot(token);
    if (token_state(token) != TOKEN_STATE_TOUCH_NEEDED)
        return g_hash_table_remove(self->touch_asked, serial);
    if (!g_hash_table_add(self->touch_asked, g_strdup(serial)))
        return false;
    log_event(LOG_NOTICE, MESSAGE_TOUCH_NEEDED, LOG_FIELDS({"IOTHSM_TOKEN", serial}, {"IOTHSM_SLOT", slot}),
              "Token %s waits to be touched: slot %s", serial, slot);
    emit_event(self, "touch-needed", LOG_FIELDS({"token", serial}, {"slot", slot}));
    return false;
}

static void on_token_changed(Token *token, void *userdata)
{
    Manager *self = userdata;
    log_refused_pin(self, token);
    authority_set_go_on(self->authorities);
    /* A touch that did not come is no reason to ask for the next one at once. */
    bool touch_over = tell_touch(self, token);
    if (token_state(token) == TOKEN_STATE_READY && !touch_over)
        retry_authorities(self, token);
    if (self->events.token_changed)
        self->events.token_changed(token, self->events.userdata);
    manager_emit_changed(self);
}

static void on_authority_added(Authority *authority, void *userdata)
{
    Manager *self = userdata;
    if (self->events.authority_added)
        self->events.authority_added(authority, self->events.userdata);
    link_add_authority(self->link, authority);
    manager_emit_changed(self);
}

static void on_authority_removed(Authority *authority, void *userdata)
{
    Manager *self = userdata;
    link_remove_authority(self->link, authority);
    if (self->events.authority_removed)
        self->events.authority_removed(authority, self->events.userdata);
    manager_emit_changed(self);
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
    manager_emit_changed(self);
}

/* --- tokens ------------------------------------------------------------------------------------------ */

Token *manager_find_token(const Manager *self, const char *serial)
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

static void on_remote_token_started(const GError *error, void *userdata)
{
    if (error)
        log_event(LOG_WARNING, MESSAGE_TOKEN_FAILED, NULL, "A token can't be used: %s", error->message);
}

static void on_token_started(const GError *error, void *userdata)
{
    on_remote_token_started(error, userdata);
    settle_one(userdata);
}

static void on_appeared(Source *source, Backend *backend, const char *serial, void *userdata)
{
    Manager *self = userdata;
    if (self->leaving) {
        backend->class->free(backend);
        return;
    }
    if (manager_find_token(self, serial)) {
        log_warning("Token %s was found a second time, through %s; the first way to it is kept", serial,
                    source->class->name);
        backend->class->free(backend);
        return;
    }
    const TokenEvents events = {on_token_changed, on_slot_added, on_slot_removed, on_slot_changed, self};
    Token *token = token_new(backend, serial, source, self->pins, &events);
    if (drained_has(self->drained, serial))
        token_set_drained(token);
    g_ptr_array_add(self->tokens, token);
    g_ptr_array_sort(self->tokens, by_serial);
    log_event(LOG_INFO, MESSAGE_TOKEN_APPEARED,
              LOG_FIELDS({"IOTHSM_TOKEN", serial}, {"IOTHSM_KIND", token_kind(token)}),
              "Token %s (%s) appeared", serial, token_kind(token));
    if (self->events.token_added)
        self->events.token_added(token, self->events.userdata);
    emit_event(self, "token-added", LOG_FIELDS({"token", serial}, {"kind", token_kind(token)}));
    manager_emit_changed(self);
    self->settling += !backend->class->remote;
    token_start(token, backend->class->remote ? on_remote_token_started : on_token_started, self);
}

static void on_gone(Source *source, const char *serial, void *userdata)
{
    Manager *self = userdata;
    g_autoptr(Token) token = manager_find_token(self, serial);
    if (!token || token_source(token) != source) {
        (void)g_steal_pointer(&token);
        return;
    }
    token_gone(token);
    g_ptr_array_remove(self->tokens, token);
    g_hash_table_remove(self->refused_pins, serial);
    g_hash_table_remove(self->touch_asked, serial);
    log_event(LOG_INFO, MESSAGE_TOKEN_GONE, LOG_FIELDS({"IOTHSM_TOKEN", serial}), "Token %s is gone", serial);
    if (self->events.token_removed)
        self->events.token_removed(token, self->events.userdata);
    emit_event(self, "token-removed", LOG_FIELDS({"token", serial}));
    manager_emit_changed(self);
}

/* Told when it begins; that it is over shows in the token that appears, or in the device that is gone. */
static void on_trouble(Source *source, const char *place, const char *sentence, void *userdata)
{
    Manager *self = userdata;
    g_autofree char *key = g_strdup_printf("%s: %s", source->class->name, place);
    if (g_strcmp0(g_tree_lookup(self->troubles, key), *sentence ? sentence : NULL) == 0)
        return;
    if (*sentence) {
        log_event(LOG_WARNING, MESSAGE_TOKEN_UNUSABLE, LOG_FIELDS({"IOTHSM_PLACE", place}), "%s", sentence);
        emit_event(self, "trouble", LOG_FIELDS({"place", place}, {"message", sentence}));
        g_tree_insert(self->troubles, g_steal_pointer(&key), g_strdup(sentence));
    } else {
        g_tree_remove(self->troubles, key);
    }
    manager_emit_changed(self);
}

static void on_source_started(const GError *error, void *userdata)
{
    if (error)
        log_error("%s", error->message);
    settle_one(userdata);
}

/* --- USB --------------------------------------------------------------------------------------------- */

static void on_plugged(const HotplugDevice *device, void *userdata)
{
    Manager *self = userdata;
    log_info("A %s was plugged in at %s", device->model, device->devpath);
    yubikey_source_usb_plugged(self->yubikeys, device->devpath, device->model, device->ccid, device->bus,
                               device->number);
}

static void on_unplugged(const HotplugDevice *device, void *userdata)
{
    Manager *self = userdata;
    log_info("The %s at %s was pulled out", device->model, device->devpath);
    yubikey_source_usb_unplugged(self->yubikeys, device->devpath);
}

/* Without udev everything but a few hints works: PC/SC says what is there. */
static void listen_to_udev(Manager *self)
{
    const HotplugEvents events = {on_plugged, on_unplugged, self};
    g_autoptr(GError) error = NULL;
    self->hotplug = hotplug_new(&events, &error);
    if (self->hotplug)
        hotplug_start(self->hotplug);
    else
        log_notice("%s; keys without a smart card interface are not noticed", error->message);
}

/* --- link -------------------------------------------------------------------------------------------- */

static void on_link_changed(Link *link, void *userdata)
{
    Manager *self = userdata;
    emit_event(self, "link",
               LOG_FIELDS({"state", link_state_to_string(link_state(link))}, {"message", link_message(link)},
                          {"transport", link_transport(link)}));
    manager_emit_changed(self);
}

static void on_signed(Link *link, Authority *authority, const char *siguuid, const char *kind,
                      const char *result, void *userdata)
{
    Manager *self = userdata;
    if (self->events.signed_request)
        self->events.signed_request(authority, siguuid, kind, result, self->events.userdata);
    manager_emit_changed(self);
}

static void on_denied(Link *link, Authority *authority, const char *siguuid, const char *kind,
                      const char *reason, void *userdata)
{
    Manager *self = userdata;
    if (self->events.denied_request)
        self->events.denied_request(authority, siguuid, kind, reason, self->events.userdata);
    manager_emit_changed(self);
}

/* --- life -------------------------------------------------------------------------------------------- */

static void free_source(void *source)
{
    ((Source *)source)->class->free(source);
}

static int by_name(gconstpointer one, gconstpointer other, gpointer userdata)
{
    return strcmp(one, other);
}

static bool open_state(Manager *self, const ManagerOptions *options, GError **error)
{
    const Config *config = manager_config(self);
    g_autofree char *journal = g_build_filename(self->state_directory, "journal.sqlite", NULL);

    return (!config->softhsm || softhsm_prepare(self->state_directory, error)) &&
           (self->sealing = sealing_new(self->state_directory, options->credentials_directory, error)) &&
           (self->pins = pin_store_new(self->sealing, error)) &&
           (self->drained = drained_open(self->state_directory, error)) &&
           (self->identity = identity_open(self->state_directory, error)) &&
           (self->journal = journal_open(journal, config->replay_window, error));
}

static void add_softhsm(Manager *self)
{
    self->softhsm = pkcs11_source_new(manager_config(self)->softhsm_module, true);
    manager_add_source(self, self->softhsm);
}

static void add_configured_sources(Manager *self)
{
    const Config *config = manager_config(self);
    if (config->yubikey) {
        self->yubikeys = yubikey_source_new();
        manager_add_source(self, self->yubikeys);
    }
    if (config->softhsm && config->softhsm_module)
        add_softhsm(self);
    const GoogleEndpoints google = {.kms = config->google_kms_url,
                                    .resource_manager = config->google_resource_manager_url,
                                    .metadata = config->google_metadata_url};
    self->google_kms = google_kms_source_new(self->sealing, &google);
    manager_add_source(self, self->google_kms);
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
    self->sources = g_ptr_array_new_with_free_func(free_source);
    self->tokens = g_ptr_array_new();
    self->troubles = g_tree_new_full(by_name, NULL, g_free, g_free);
    self->refused_pins = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    self->touch_asked = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);

    self->config = config_load(options->config_file, options->state_directory, error);
    if (!self->config || !open_state(self, options, error))
        return NULL;
    if (!sealing_available(self->sealing))
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
    self->leaving = true;
    hotplug_free(self->hotplug);
    while (self->tokens->len > 0) {
        Token *token = g_ptr_array_steal_index(self->tokens, self->tokens->len - 1);
        token_close_and_join(token);
        token_unref(token);
    }
    link_free(self->link);
    authority_set_free(self->authorities);
    g_ptr_array_unref(self->sources);
    g_ptr_array_unref(self->tokens);
    g_tree_unref(self->troubles);
    g_hash_table_unref(self->refused_pins);
    g_hash_table_unref(self->touch_asked);
    worker_close_and_join(self->files);
    journal_close(self->journal);
    identity_free(self->identity);
    drained_free(self->drained);
    pin_store_unref(self->pins);
    sealing_unref(self->sealing);
    config_free(self->config);
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

static void start_source(Manager *self, Source *source)
{
    const SourceEvents events = {
        .appeared = on_appeared, .gone = on_gone, .trouble = on_trouble, .userdata = self};
    source->class->start(source, &events, on_source_started, self);
}

void manager_begin_softhsm(Manager *self)
{
    add_softhsm(self);
    self->settling++;
    start_source(self, self->softhsm);
}

void manager_start(Manager *self, DoneFunc settled, void *userdata)
{
    self->settled = settled;
    self->settled_userdata = userdata;
    self->settling = self->sources->len;
    for (guint i = 0; i < self->sources->len; i++)
        start_source(self, g_ptr_array_index(self->sources, i));
    if (self->yubikeys)
        listen_to_udev(self);
    if (self->sources->len == 0) {
        self->settling = 1;
        settle_one(self);
    }
}

/* --- reading ----------------------------------------------------------------------------------------- */

const Config *manager_config(const Manager *self)
{
    return self->config;
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
    return metrics_signed(link_metrics(self->link));
}

guint64 manager_denied(const Manager *self)
{
    return metrics_denied(link_metrics(self->link));
}

static gboolean add_trouble(gpointer key, gpointer sentence, gpointer builder)
{
    g_strv_builder_add(builder, sentence);
    return FALSE;
}

GStrv manager_troubles(const Manager *self)
{
    g_autoptr(GStrvBuilder) builder = g_strv_builder_new();
    g_tree_foreach(self->troubles, add_trouble, builder);
    return g_strv_builder_end(builder);
}

bool manager_can_persist_pins(const Manager *self)
{
    return sealing_available(self->sealing);
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

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The wiring is the manager's in small: slots make authorities, authorities go to the link. */

#include "tests/unit/link/agent.h"

#define PATIENCE 30

static void on_slot_changed(Token *token, Slot *slot, void *userdata)
{
    Agent *agent = userdata;
    authority_set_update(agent->authorities, slot, true);
}

static void on_slot_removed(Token *token, Slot *slot, void *userdata)
{
    Agent *agent = userdata;
    authority_set_update(agent->authorities, slot, false);
}

static void on_token_changed(Token *token, void *userdata)
{
    Agent *agent = userdata;
    authority_set_go_on(agent->authorities);
    for (guint i = 0; agent->link && i < token_slots(token)->len; i++) {
        Authority *authority =
            authority_set_of_slot(agent->authorities, g_ptr_array_index(token_slots(token), i));
        if (authority && token_state(token) == TOKEN_STATE_READY)
            link_authority_changed(agent->link, authority);
    }
}

static void on_started(const GError *error, void *userdata)
{
    g_assert_no_error(error);
}

static void on_appeared(Source *source, Backend *backend, const char *serial, void *userdata)
{
    Agent *agent = userdata;
    const TokenEvents events = {on_token_changed, on_slot_changed, on_slot_removed, on_slot_changed, agent};
    Token *token = token_new(backend, serial, source, agent->pins, &events);
    g_ptr_array_add(agent->tokens, token);
    token_start(token, on_started, NULL);
}

static void on_gone(Source *source, const char *serial, void *userdata)
{
    Agent *agent = userdata;
    Token *token = agent_token(agent, serial);
    token_gone(token);
    g_ptr_array_remove(agent->tokens, token);
}

static void on_authority_added(Authority *authority, void *userdata)
{
    Agent *agent = userdata;
    if (agent->link)
        link_add_authority(agent->link, authority);
}

static void on_authority_removed(Authority *authority, void *userdata)
{
    Agent *agent = userdata;
    if (agent->link)
        link_remove_authority(agent->link, authority);
}

static void on_authority_changed(Authority *authority, void *userdata)
{
}

static void on_link_changed(Link *link, void *userdata)
{
}

static void on_signed(Link *link, Authority *authority, const char *siguuid, const char *kind,
                      const char *result, void *userdata)
{
    Agent *agent = userdata;
    g_ptr_array_add(agent->signed_requests, g_strdup(siguuid));
}

static void on_denied(Link *link, Authority *authority, const char *siguuid, const char *kind,
                      const char *reason, void *userdata)
{
    Agent *agent = userdata;
    g_ptr_array_add(agent->denied_requests, g_strdup_printf("%s: %s", siguuid, reason));
}

static void open_link(Agent *agent)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *journal = g_build_filename(agent->directory, "journal.sqlite", NULL);
    agent->identity = identity_open(agent->directory, &error);
    g_assert_no_error(error);
    agent->journal = journal_open(journal, 30 * 24 * 3600, &error);
    g_assert_no_error(error);
    const LinkEvents events = {on_link_changed, on_signed, on_denied, agent};
    agent->link = link_new(&agent->config, agent->identity, agent->journal, &events);
}

static void close_link(Agent *agent)
{
    link_free(g_steal_pointer(&agent->link));
    journal_close(agent->journal);
    identity_free(agent->identity);
}

Agent *agent_new(ScriptedPlatform *platform, const char *tokens)
{
    g_autoptr(GError) error = NULL;
    Agent *agent = g_new0(Agent, 1);
    g_autofree char *anchor = test_certificate_pem(signer("pinned")->certificate);
    agent->directory = test_directory();
    agent->config = (Config){
        .platform_url = platform->url,
        .verification_ca = test_write(agent->directory, "anchor.pem", anchor),
        .queue_length = 1024,
        .default_ttl = 30,
        .message_size = 4 * 1024 * 1024,
        .inflated_size = 4 * 1024 * 1024,
    };
    agent->signed_requests = g_ptr_array_new_with_free_func(g_free);
    agent->denied_requests = g_ptr_array_new_with_free_func(g_free);
    agent->tokens = g_ptr_array_new_with_free_func((GDestroyNotify)token_unref);
    const AuthorityEvents events = {on_authority_added, on_authority_removed, on_authority_changed, agent};
    agent->authorities = authority_set_new(&events);
    agent->sealing = sealing_new(agent->directory, NULL, &error);
    g_assert_no_error(error);
    agent->pins = pin_store_new(agent->sealing, &error);
    g_assert_no_error(error);
    open_link(agent);
    agent->source = fake_source_new(tokens, &error);
    g_assert_no_error(error);
    const SourceEvents sources = {.appeared = on_appeared, .gone = on_gone, .userdata = agent};
    agent->source->class->start(agent->source, &sources, on_started, NULL);
    return agent;
}

void agent_free(Agent *agent)
{
    if (!agent)
        return;
    for (guint i = 0; i < agent->tokens->len; i++)
        token_close_and_join(g_ptr_array_index(agent->tokens, i));
    close_link(agent);
    authority_set_free(agent->authorities);
    g_ptr_array_unref(agent->tokens);
    while (g_main_context_iteration(NULL, FALSE))
        ;
    agent->source->class->free(agent->source);
    pin_store_unref(agent->pins);
    sealing_unref(agent->sealing);
    g_ptr_array_unref(agent->signed_requests);
    g_ptr_array_unref(agent->denied_requests);
    g_free(agent->config.verification_ca);
    g_free(agent->directory);
    g_free(agent);
}

static void nothing(void *userdata)
{
}

void agent_restart(Agent *agent)
{
    agent_restart_after(agent, nothing, NULL);
}

void agent_restart_after(Agent *agent, void (*meanwhile)(void *userdata), void *userdata)
{
    close_link(agent);
    meanwhile(userdata);
    open_link(agent);
    GPtrArray *all = authority_set_all(agent->authorities);
    for (guint i = 0; i < all->len; i++)
        link_add_authority(agent->link, g_ptr_array_index(all, i));
}

void agent_reload(Agent *agent, const Config *config)
{
    link_reload(agent->link, config, link_files_read(config->verification_ca, config->tls_ca));
}

Token *agent_token(Agent *agent, const char *serial)
{
    for (guint i = 0; i < agent->tokens->len; i++) {
        if (g_str_equal(token_serial(g_ptr_array_index(agent->tokens, i)), serial))
            return g_ptr_array_index(agent->tokens, i);
    }
    return NULL;
}

static void on_done(const GError *error, void *userdata)
{
    bool *done = userdata;
    g_assert_no_error(error);
    *done = true;
}

static void on_text(const char *text, const GError *error, void *userdata)
{
    char **slot = userdata;
    g_assert_no_error(error);
    *slot = g_strdup(text);
}

static bool is_set(void *userdata)
{
    return *(char **)userdata != NULL;
}

typedef struct Presence {
    Agent *agent;
    const char *serial;
} Presence;

static bool is_ready(void *userdata)
{
    const Presence *presence = userdata;
    Token *token = agent_token(presence->agent, presence->serial);
    return token && token_state(token) == TOKEN_STATE_READY;
}

void agent_wait_ready(Agent *agent, const char *serial)
{
    test_wait_for(is_ready, &(Presence){agent, serial}, PATIENCE);
}

void agent_give_pin(Agent *agent, const char *serial, const char *pin)
{
    bool done = false;
    g_autoptr(Secret) secret = secret_new(pin, strlen(pin));
    token_set_pin(agent_token(agent, serial), secret, false, NULL, on_done, &done);
    test_wait(&done, PATIENCE);
}

static Slot *put(Agent *agent, const char *serial, EVP_PKEY *key, const KeyOptions *options, X509 *ca)
{
    agent_wait_ready(agent, serial);
    g_autofree char *pem = test_key_pem(key, NULL);
    g_autoptr(Secret) secret = secret_new(pem, strlen(pem));
    g_autofree char *name = NULL;
    token_import_key(agent_token(agent, serial), "", secret, NULL, options, NULL, on_text, &name);
    test_wait_for(is_set, &name, PATIENCE);
    bool done = false;
    Slot *slot = token_find_slot(agent_token(agent, serial), name);
    slot_write_certificate(slot, ca, NULL, on_done, &done);
    test_wait(&done, PATIENCE);
    return slot;
}

Authority *agent_provision_with(Agent *agent, ScriptedPlatform *platform, const char *serials,
                                const char *key_type, const KeyOptions *options, const char *common_name)
{
    g_autoptr(EVP_PKEY) key = test_new_key(key_type);
    g_autoptr(X509) ca = test_ca(common_name, key);
    g_auto(GStrv) words = g_strsplit(serials, " ", -1);
    Slot *slot = NULL;
    scripted_platform_believe(platform, ca);
    for (char **serial = words; *serial; serial++)
        slot = put(agent, *serial, key, options, ca);
    return authority_set_of_slot(agent->authorities, slot);
}

Authority *agent_provision(Agent *agent, ScriptedPlatform *platform, const char *serials,
                           const char *key_type, const char *common_name)
{
    return agent_provision_with(agent, platform, serials, key_type, &(KeyOptions){0}, common_name);
}

typedef struct Wait {
    Authority *authority;
    Agent *agent;
    int state;
    guint count;
    const char *part;
} Wait;

static bool has_link(void *userdata)
{
    const Wait *wait = userdata;
    return (int)authority_link(wait->authority) == wait->state;
}

static bool has_message(void *userdata)
{
    const Wait *wait = userdata;
    return strstr(authority_link_message(wait->authority), wait->part);
}

static bool has_state(void *userdata)
{
    const Wait *wait = userdata;
    return (int)link_state(wait->agent->link) == wait->state;
}

static bool has_denied(void *userdata)
{
    const Wait *wait = userdata;
    return wait->agent->denied_requests->len >= wait->count;
}

void agent_wait_link(Authority *authority, AuthorityLink state)
{
    test_wait_for(has_link, &(Wait){.authority = authority, .state = (int)state}, PATIENCE);
}

void agent_wait_message(Authority *authority, const char *part)
{
    test_wait_for(has_message, &(Wait){.authority = authority, .part = part}, PATIENCE);
}

void agent_wait_state(Agent *agent, LinkState state)
{
    test_wait_for(has_state, &(Wait){.agent = agent, .state = (int)state}, PATIENCE);
}

void agent_wait_denied(Agent *agent, guint count)
{
    test_wait_for(has_denied, &(Wait){.agent = agent, .count = count}, PATIENCE);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What stands where at this moment, as families of samples, besides what the link has counted. A thousand
 * authorities are a text of a few hundred kilobytes. */

#include "daemon/ca/name.h"
#include "daemon/manager-private.h"
#include "daemon/metrics.h"
#include "iothsm-build.h"

#define DAY_SECONDS (24 * 3600.0)

static void write_link(Exposition *to, const Manager *self)
{
    LinkState state = link_state(self->link);
    gint64 next = link_next_attempt(self->link);
    exposition_family(to, FAMILY_GAUGE, "iothsm_link_state", "", "1 for the state of the link, else 0.");
    for (LinkState one = LINK_UNCONFIGURED; one <= LINK_BACKING_OFF; one++)
        exposition_count(to, one == state, "state", link_state_to_string(one), NULL);
    exposition_family(to, FAMILY_GAUGE, "iothsm_link_next_attempt_timestamp_seconds", "seconds",
                      "When the link is tried again; 0 when nothing is planned.");
    exposition_sample(to, (double)next / G_USEC_PER_SEC, NULL);
    exposition_family(to, FAMILY_GAUGE, "iothsm_authorities", "", "CA certificates whose key is here.");
    exposition_count(to, authority_set_all(self->authorities)->len, NULL);
    exposition_family(to, FAMILY_GAUGE, "iothsm_authorities_connected", "",
                      "Those that the platform has confirmed.");
    exposition_count(to, link_connected(self->link), NULL);
}

static void write_journal(Exposition *to, const Manager *self)
{
    JournalSize size = journal_size(self->journal);
    exposition_family(to, FAMILY_GAUGE, "iothsm_journal_requests", "",
                      "Requests that are remembered, so that none is signed twice.");
    exposition_count(to, size.requests, NULL);
    exposition_family(to, FAMILY_GAUGE, "iothsm_journal_size_bytes", "bytes", "What they take.");
    exposition_count(to, size.bytes, NULL);
}

/* --- authorities ------------------------------------------------------------------------------------- */

static void write_authority_facts(Exposition *to, GPtrArray *authorities)
{
    exposition_family(to, FAMILY_GAUGE, "iothsm_authority_info", "", "Whom the CA certificate names.");
    for (guint i = 0; i < authorities->len; i++) {
        const Authority *authority = g_ptr_array_index(authorities, i);
        exposition_count(to, 1, "authority", authority_thumbprint(authority), "subject",
                         authority_subject(authority), NULL);
    }
    gint64 now = g_get_real_time() / G_USEC_PER_SEC;
    exposition_family(to, FAMILY_GAUGE, "iothsm_authority_days_to_expiry", "",
                      "Days until the CA certificate ends.");
    for (guint i = 0; i < authorities->len; i++) {
        const Authority *authority = g_ptr_array_index(authorities, i);
        gint64 left = certificate_not_after(authority_certificate(authority)) - now;
        exposition_sample(to, (double)left / DAY_SECONDS, "authority", authority_thumbprint(authority), NULL);
    }
}

typedef guint64 (*AuthorityNumber)(const Manager *self, const Authority *authority);

static guint64 is_connected(const Manager *self, const Authority *authority)
{
    return authority_link(authority) == AUTHORITY_CONNECTED;
}

static guint64 tokens_of(const Manager *self, const Authority *authority)
{
    return authority_slots(authority)->len;
}

static guint64 queue_of(const Manager *self, const Authority *authority)
{
    return link_queue_length(self->link, authority);
}

static guint64 signatures_of(const Manager *self, const Authority *authority)
{
    return authority_signatures(authority);
}

static guint64 denied_of(const Manager *self, const Authority *authority)
{
    return authority_denied(authority);
}

static void write_authorities(Exposition *to, const Manager *self)
{
    static const struct {
        const char *name, *help;
        FamilyType type;
        AuthorityNumber number;
    } families[] = {
        {"iothsm_authority_connected", "1 when the platform has confirmed it.", FAMILY_GAUGE, is_connected},
        {"iothsm_authority_slots", "Slots that hold its key.", FAMILY_GAUGE, tokens_of},
        {"iothsm_authority_queue", "Messages that wait or are being handled.", FAMILY_GAUGE, queue_of},
        {"iothsm_authority_signatures", "Requests answered with success.", FAMILY_COUNTER, signatures_of},
        {"iothsm_authority_denied", "Requests refused or failed.", FAMILY_COUNTER, denied_of},
    };
    GPtrArray *authorities = authority_set_all(self->authorities);
    write_authority_facts(to, authorities);
    for (gsize family = 0; family < G_N_ELEMENTS(families); family++) {
        exposition_family(to, families[family].type, families[family].name, "", families[family].help);
        for (guint i = 0; i < authorities->len; i++) {
            const Authority *authority = g_ptr_array_index(authorities, i);
            exposition_count(to, families[family].number(self, authority), "authority",
                             authority_thumbprint(authority), NULL);
        }
    }
}

/* --- tokens ------------------------------------------------------------------------------------------ */

static void write_tries(Exposition *to, GPtrArray *tokens, const char *name, const char *help,
                        int (*tries)(const Token *token))
{
    exposition_family(to, FAMILY_GAUGE, name, "", help);
    for (guint i = 0; i < tokens->len; i++) {
        const Token *token = g_ptr_array_index(tokens, i);
        if (tries(token) >= 0)
            exposition_count(to, (guint64)tries(token), "token", token_serial(token), NULL);
    }
}

static void write_token_states(Exposition *to, GPtrArray *tokens)
{
    exposition_family(to, FAMILY_GAUGE, "iothsm_token_state", "", "1 for the state of the token, else 0.");
    for (guint i = 0; i < tokens->len; i++) {
        const Token *token = g_ptr_array_index(tokens, i);
        for (TokenState state = TOKEN_STATE_STARTING; state < TOKEN_STATE_GONE; state++)
            exposition_count(to, token_state(token) == state, "token", token_serial(token), "state",
                             token_state_to_string(state), NULL);
    }
    exposition_family(to, FAMILY_GAUGE, "iothsm_token_pin_ready", "",
                      "1 when the service can sign with the token: it has the PIN, or none is needed.");
    for (guint i = 0; i < tokens->len; i++) {
        const Token *token = g_ptr_array_index(tokens, i);
        PinState pin = token_pin_state(token);
        exposition_count(to, pin == PIN_STATE_SET || pin == PIN_STATE_NOT_NEEDED, "token",
                         token_serial(token), NULL);
    }
}

static void write_tokens(Exposition *to, const Manager *self)
{
    GPtrArray *tokens = self->tokens;
    exposition_family(to, FAMILY_GAUGE, "iothsm_token_info", "", "What the token is.");
    for (guint i = 0; i < tokens->len; i++) {
        const Token *token = g_ptr_array_index(tokens, i);
        exposition_count(to, 1, "token", token_serial(token), "kind", token_kind(token), "label",
                         token_label(token), "model", token_model(token), "firmware", token_firmware(token),
                         NULL);
    }
    write_token_states(to, tokens);
    write_tries(to, tokens, "iothsm_token_pin_tries_left", "Tries left for the PIN.", token_pin_retries);
    write_tries(to, tokens, "iothsm_token_puk_tries_left",
                "Tries left for the PUK or the security officer's PIN.", token_puk_retries);
    exposition_family(to, FAMILY_GAUGE, "iothsm_token_queue", "", "What waits or runs at the token.");
    for (guint i = 0; i < tokens->len; i++) {
        const Token *token = g_ptr_array_index(tokens, i);
        exposition_count(to, token_load(token), "token", token_serial(token), NULL);
    }
    exposition_family(to, FAMILY_COUNTER, "iothsm_slot_signatures", "",
                      "Signatures made with the slot's key.");
    for (guint i = 0; i < tokens->len; i++) {
        GPtrArray *slots = token_slots(g_ptr_array_index(tokens, i));
        for (guint k = 0; k < slots->len; k++) {
            const Slot *slot = g_ptr_array_index(slots, k);
            exposition_count(to, slot_signatures(slot), "token", token_serial(slot_token(slot)), "slot",
                             slot_name(slot), NULL);
        }
    }
}

char *manager_metrics(const Manager *self)
{
    g_autoptr(Exposition) to = exposition_new();
    exposition_family(to, FAMILY_GAUGE, "iothsm_build_info", "", "The version that runs.");
    exposition_count(to, 1, "version", IOTHSM_VERSION, NULL);
    write_link(to, self);
    exposition_metrics(to, link_metrics(self->link));
    write_journal(to, self);
    write_authorities(to, self);
    write_tokens(to, self);
    return exposition_take(to);
}

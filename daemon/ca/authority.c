/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The set keeps, for each slot, the authority that it belongs to; an authority keeps its slots. Both follow
 * authority_set_update, which is told about slots again and again and works out what is different. */

#include "daemon/ca/authority-private.h"
#include "daemon/ca/name.h"
#include "daemon/error.h"
#include "daemon/openssl-cleanup.h"

/* --- which slots make an authority ------------------------------------------------------------------- */

/* Transfer none: the slot's CA certificate, or NULL. A provisioned slot has its private key and a certificate
 * that is not temporary; whether it is this key's can be said only where the public key is known. */
static X509 *ca_certificate(const Slot *slot)
{
    bool provisioned = slot_state(slot) == SLOT_STATE_PROVISIONED && slot_public_key(slot);
    return provisioned && certificate_is_ca(slot_certificate(slot)) ? slot_certificate(slot) : NULL;
}

/* --- one authority ----------------------------------------------------------------------------------- */

static Authority *authority_new(AuthoritySet *set, X509 *certificate)
{
    Authority *authority = g_new0(Authority, 1);
    authority->references = 1;
    authority->set = set;
    authority->certificate = certificate;
    X509_up_ref(certificate);
    authority->serial = certificate_serial(certificate);
    authority->thumbprint = certificate_thumbprint(certificate);
    authority->subject = certificate_subject(certificate);
    authority->slots = g_ptr_array_new_with_free_func((GDestroyNotify)slot_unref);
    authority->link_message = g_strdup("");
    return authority;
}

Authority *authority_ref(Authority *authority)
{
    authority->references++;
    return authority;
}

void authority_unref(Authority *authority)
{
    if (!authority || --authority->references > 0)
        return;
    X509_free(authority->certificate);
    g_free(authority->serial);
    g_free(authority->thumbprint);
    g_free(authority->subject);
    g_ptr_array_unref(authority->slots);
    g_free(authority->link_message);
    g_free(authority);
}

static void report_changed(Authority *authority)
{
    if (authority->set && authority->set->events.changed)
        authority->set->events.changed(authority, authority->set->events.userdata);
}

X509 *authority_certificate(const Authority *authority)
{
    return authority->certificate;
}

const char *authority_serial(const Authority *authority)
{
    return authority->serial;
}

const char *authority_thumbprint(const Authority *authority)
{
    return authority->thumbprint;
}

const char *authority_subject(const Authority *authority)
{
    return authority->subject;
}

GPtrArray *authority_slots(const Authority *authority)
{
    return authority->slots;
}

/* --- the set ----------------------------------------------------------------------------------------- */

AuthoritySet *authority_set_new(const AuthorityEvents *events)
{
    AuthoritySet *set = g_new0(AuthoritySet, 1);
    set->events = *events;
    set->authorities = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, (GDestroyNotify)authority_unref);
    set->ordered = g_ptr_array_new();
    set->of_slot = g_hash_table_new(NULL, NULL);
    return set;
}

void authority_set_free(AuthoritySet *set)
{
    if (!set)
        return;
    GHashTableIter iterator;
    gpointer authority;
    g_hash_table_iter_init(&iterator, set->authorities);
    while (g_hash_table_iter_next(&iterator, NULL, &authority)) {
        authority_stop_waiting(authority);
        ((Authority *)authority)->set = NULL;
    }
    authority_set_stop_waiting(set);
    g_hash_table_unref(set->of_slot);
    g_ptr_array_unref(set->ordered);
    g_hash_table_unref(set->authorities);
    g_free(set);
}

static void leave(AuthoritySet *set, Authority *member, Slot *slot)
{
    g_autoptr(Authority) authority = authority_ref(member);
    g_hash_table_remove(set->of_slot, slot);
    g_ptr_array_remove(authority->slots, slot);
    if (authority->slots->len > 0) {
        report_changed(authority);
        authority_set_go_on(set);
        return;
    }
    authority_stop_waiting(authority);
    g_ptr_array_remove(set->ordered, authority);
    g_hash_table_remove(set->authorities, authority->thumbprint);
    if (set->events.removed)
        set->events.removed(authority, set->events.userdata);
    authority->set = NULL;
}

static int by_thumbprint(gconstpointer a, gconstpointer b)
{
    const Authority *const *left = a;
    const Authority *const *right = b;
    return g_strcmp0((*left)->thumbprint, (*right)->thumbprint);
}

static void join(AuthoritySet *set, X509 *certificate, const char *thumbprint, Slot *slot)
{
    Authority *authority = g_hash_table_lookup(set->authorities, thumbprint);
    bool is_new = !authority;
    if (is_new) {
        authority = authority_new(set, certificate);
        g_hash_table_insert(set->authorities, authority->thumbprint, authority);
        g_ptr_array_add(set->ordered, authority);
        g_ptr_array_sort(set->ordered, by_thumbprint);
    }
    g_ptr_array_add(authority->slots, slot_ref(slot));
    g_hash_table_insert(set->of_slot, slot, authority);
    authority_set_go_on(set);
    if (!is_new)
        report_changed(authority);
    else if (set->events.added)
        set->events.added(authority, set->events.userdata);
}

void authority_set_update(AuthoritySet *set, Slot *slot, bool present)
{
    g_autoptr(Slot) keep = slot_ref(slot);
    X509 *certificate = present ? ca_certificate(slot) : NULL;
    g_autofree char *thumbprint = certificate ? certificate_thumbprint(certificate) : NULL;
    Authority *before = g_hash_table_lookup(set->of_slot, slot);

    if (before && g_strcmp0(before->thumbprint, thumbprint) == 0)
        return;
    if (before)
        leave(set, before, slot);
    if (thumbprint)
        join(set, certificate, thumbprint, slot);
}

GPtrArray *authority_set_all(const AuthoritySet *set)
{
    return set->ordered;
}

Authority *authority_set_find(const AuthoritySet *set, const char *thumbprint)
{
    return g_hash_table_lookup(set->authorities, thumbprint);
}

Authority *authority_set_of_slot(const AuthoritySet *set, const Slot *slot)
{
    return g_hash_table_lookup(set->of_slot, slot);
}

/* --- what the link says ------------------------------------------------------------------------------ */

void authority_set_link(Authority *authority, AuthorityLink state, const char *message, gint64 next_attempt)
{
    message = message ? message : "";
    if (authority->link == state && authority->next_attempt == next_attempt &&
        g_str_equal(authority->link_message, message))
        return;
    char *copy = g_strdup(message);
    g_free(authority->link_message);
    authority->link_message = copy;
    authority->link = state;
    authority->next_attempt = next_attempt;
    report_changed(authority);
}

AuthorityLink authority_link(const Authority *authority)
{
    return authority->link;
}

const char *authority_link_to_string(AuthorityLink state)
{
    static const char *const names[] = {
        [AUTHORITY_NOT_CONNECTED] = "not-connected",
        [AUTHORITY_CONNECTED] = "connected",
        [AUTHORITY_UNREGISTERED] = "unregistered",
    };
    return names[state];
}

const char *authority_link_message(const Authority *authority)
{
    return authority->link_message;
}

gint64 authority_next_attempt(const Authority *authority)
{
    return authority->next_attempt;
}

void authority_count_signature(Authority *authority)
{
    authority->signatures++;
    authority->last_signature = g_get_real_time();
    report_changed(authority);
}

void authority_count_denied(Authority *authority)
{
    authority->denied++;
    report_changed(authority);
}

guint64 authority_signatures(const Authority *authority)
{
    return authority->signatures;
}

guint64 authority_denied(const Authority *authority)
{
    return authority->denied;
}

gint64 authority_last_signature(const Authority *authority)
{
    return authority->last_signature;
}

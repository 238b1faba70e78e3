/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* org.pkiaas.IoTHSM1.Authority. */

#include "daemon/ca/name.h"
#include "daemon/describe.h"
#include "dbus/bus-private.h"

typedef struct AuthorityObject {
    Object object;
    char *subject;
    char *certificate;
    char *serial_number;
    char *thumbprint;
    int64_t not_after;
    char **slots;
    char *link_state;
    char *link_message;
    uint64_t next_attempt;
    uint64_t signatures;
    uint64_t denied;
    uint64_t last_signature;
} AuthorityObject;

static char **slot_paths(const Authority *authority)
{
    GPtrArray *slots = authority_slots(authority);
    GPtrArray *paths = g_ptr_array_new();
    for (guint i = 0; i < slots->len; i++) {
        const Slot *slot = g_ptr_array_index(slots, i);
        g_ptr_array_add(paths, bus_slot_path(token_serial(slot_token(slot)), slot_name(slot)));
    }
    g_ptr_array_add(paths, NULL);
    return (char **)g_ptr_array_free(paths, FALSE);
}

static void authority_read(Object *object)
{
    AuthorityObject *self = (AuthorityObject *)object;
    const Authority *authority = object->subject;
    X509 *certificate = authority_certificate(authority);
    self->subject = describe_text(authority_subject(authority));
    self->certificate = certificate_to_pem(certificate);
    self->serial_number = describe_text(authority_serial(authority));
    self->thumbprint = describe_text(authority_thumbprint(authority));
    self->not_after = certificate_not_after(certificate);
    self->slots = slot_paths(authority);
    self->link_state = g_strdup(authority_link_to_string(authority_link(authority)));
    self->link_message = describe_text(authority_link_message(authority));
    self->next_attempt = (uint64_t)authority_next_attempt(authority);
    self->signatures = authority_signatures(authority);
    self->denied = authority_denied(authority);
    self->last_signature = (uint64_t)authority_last_signature(authority);
}

static void *ref_authority(void *authority)
{
    return authority_ref(authority);
}

static void unref_authority(void *authority)
{
    authority_unref(authority);
}

#define PROPERTY(name, type, get, member, flags)                                                             \
    SD_BUS_PROPERTY(name, type, get, offsetof(AuthorityObject, member), flags)
#define CONSTANT SD_BUS_VTABLE_PROPERTY_CONST
#define CHANGES SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE
#define OUTCOME SD_BUS_PARAM(request) SD_BUS_PARAM(kind)

static const sd_bus_vtable authority_vtable[] = {
    SD_BUS_VTABLE_START(0),
    PROPERTY("Subject", "s", NULL, subject, CONSTANT),
    PROPERTY("Certificate", "s", NULL, certificate, CONSTANT),
    PROPERTY("SerialNumber", "s", NULL, serial_number, CONSTANT),
    PROPERTY("Thumbprint", "s", NULL, thumbprint, CONSTANT),
    PROPERTY("NotAfter", "x", NULL, not_after, CONSTANT),
    PROPERTY("Slots", "ao", object_get_paths, slots, CHANGES),
    PROPERTY("LinkState", "s", NULL, link_state, CHANGES),
    PROPERTY("LinkMessage", "s", NULL, link_message, CHANGES),
    PROPERTY("NextAttempt", "t", NULL, next_attempt, CHANGES),
    PROPERTY("Signatures", "t", NULL, signatures, CHANGES),
    PROPERTY("Denied", "t", NULL, denied, CHANGES),
    PROPERTY("LastSignature", "t", NULL, last_signature, CHANGES),
    SD_BUS_SIGNAL_WITH_NAMES("SignatureDone", "sss", OUTCOME SD_BUS_PARAM(result), 0),
    SD_BUS_SIGNAL_WITH_NAMES("SignatureDenied", "sss", OUTCOME SD_BUS_PARAM(reason), 0),
    SD_BUS_VTABLE_END,
};

static const Method no_methods[] = {{0}};

const ObjectClass authority_object_class = {
    .interface = BUS_INTERFACE("Authority"),
    .vtable = authority_vtable,
    .methods = no_methods,
    .size = sizeof(AuthorityObject),
    .read = authority_read,
    .ref = ref_authority,
    .unref = unref_authority,
    .add_details = NULL,
};

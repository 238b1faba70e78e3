/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* One function an object of the domain, each a list of members in the order in which people read them. */

#include "daemon/describe.h"
#include "daemon/ca/name.h"
#include "daemon/ca/trust.h"
#include "daemon/openssl-cleanup.h"
#include "daemon/token/attestation.h"
#include "iothsm-build.h"

char *describe_text(const char *text)
{
    return text == NULL ? g_strdup("") : g_utf8_make_valid(text, -1);
}

static void set_text(JsonObject *object, const char *name, const char *text)
{
    g_autofree char *valid = describe_text(text);
    json_object_set_string_member(object, name, valid);
}

static void take_text(JsonObject *object, const char *name, char *text)
{
    set_text(object, name, text);
    g_free(text);
}

static void set_count(JsonObject *object, const char *name, guint64 count)
{
    json_object_set_int_member(object, name, (gint64)MIN(count, (guint64)G_MAXINT64));
}

static void set_list(JsonObject *object, const char *name, const char *const *texts)
{
    JsonArray *array = json_array_new();
    for (; texts != NULL && *texts != NULL; texts++) {
        g_autofree char *valid = describe_text(*texts);
        json_array_add_string_element(array, valid);
    }
    json_object_set_array_member(object, name, array);
}

const char *describe_slot_link(const Manager *manager, const Slot *slot, Authority **ret_authority,
                               const char **ret_message)
{
    Authority *authority = authority_set_of_slot(manager_authorities(manager), slot);
    if (ret_authority != NULL)
        *ret_authority = authority;
    if (ret_message != NULL)
        *ret_message = authority == NULL ? "" : authority_link_message(authority);
    return authority == NULL ? "" : authority_link_to_string(authority_link(authority));
}

guint describe_connected_slots(const Manager *manager)
{
    GPtrArray *authorities = authority_set_all(manager_authorities(manager));
    guint connected = 0;
    for (guint i = 0; i < authorities->len; i++) {
        const Authority *authority = g_ptr_array_index(authorities, i);
        if (authority_link(authority) == AUTHORITY_CONNECTED)
            connected += authority_slots(authority)->len;
    }
    return connected;
}

static void describe_certificate(JsonObject *object, X509 *certificate)
{
    take_text(object, "certificate", certificate == NULL ? NULL : certificate_to_pem(certificate));
    take_text(object, "subject", certificate == NULL ? NULL : certificate_subject(certificate));
    take_text(object, "issuer", certificate == NULL ? NULL : certificate_issuer(certificate));
    take_text(object, "serialNumber", certificate == NULL ? NULL : certificate_serial(certificate));
    take_text(object, "thumbprint", certificate == NULL ? NULL : certificate_thumbprint(certificate));
    take_text(object, "fingerprint", certificate == NULL ? NULL : certificate_fingerprint(certificate));
    json_object_set_int_member(object, "notBefore",
                               certificate == NULL ? 0 : certificate_not_before(certificate));
    json_object_set_int_member(object, "notAfter",
                               certificate == NULL ? 0 : certificate_not_after(certificate));
}

static JsonObject *describe_slot(const Manager *manager, const Slot *slot)
{
    JsonObject *object = json_object_new();
    Authority *authority;
    const char *message;
    const char *link = describe_slot_link(manager, slot, &authority, &message);

    set_text(object, "name", slot_name(slot));
    set_text(object, "otherName", slot_other_name(slot));
    set_text(object, "label", slot_label(slot));
    set_text(object, "keyType", slot_key_type(slot));
    set_text(object, "state", slot_state_to_string(slot_state(slot)));
    describe_certificate(object, slot_certificate(slot));
    set_text(object, "touchPolicy", slot_touch_policy(slot));
    set_text(object, "pinPolicy", slot_pin_policy(slot));
    set_text(object, "origin", key_origin_to_string(slot_origin(slot)));
    set_text(object, "authority", authority == NULL ? NULL : authority_thumbprint(authority));
    set_text(object, "linkState", link);
    set_text(object, "linkMessage", message);
    set_count(object, "signatures", slot_signatures(slot));
    return object;
}

static JsonObject *describe_token(const Manager *manager, const Token *token)
{
    JsonObject *object = json_object_new();
    GPtrArray *slots = token_slots(token);
    JsonArray *array = json_array_sized_new(slots->len);

    set_text(object, "kind", token_kind(token));
    set_text(object, "serial", token_serial(token));
    set_text(object, "label", token_label(token));
    set_text(object, "model", token_model(token));
    set_text(object, "firmware", token_firmware(token));
    set_text(object, "state", token_state_to_string(token_state(token)));
    set_text(object, "message", token_message(token));
    set_text(object, "operation", token_operation(token));
    json_object_set_int_member(object, "operationSince", token_operation_since(token));
    set_text(object, "pinState", pin_state_to_string(token_pin_state(token)));
    json_object_set_int_member(object, "pinRetries", token_pin_retries(token));
    json_object_set_int_member(object, "pukRetries", token_puk_retries(token));
    set_text(object, "managementKeyState", token_management_key_state(token));
    set_list(object, "freeSlots", token_free_slots(token));
    set_list(object, "keyTypes", token_key_types(token));
    for (guint i = 0; i < slots->len; i++)
        json_array_add_object_element(array, describe_slot(manager, g_ptr_array_index(slots, i)));
    json_object_set_array_member(object, "slots", array);
    return object;
}

static JsonObject *describe_authority(const Authority *authority)
{
    JsonObject *object = json_object_new();
    GPtrArray *slots = authority_slots(authority);
    JsonArray *array = json_array_sized_new(slots->len);
    X509 *certificate = authority_certificate(authority);

    set_text(object, "thumbprint", authority_thumbprint(authority));
    set_text(object, "subject", authority_subject(authority));
    take_text(object, "certificate", certificate_to_pem(certificate));
    set_text(object, "serialNumber", authority_serial(authority));
    json_object_set_int_member(object, "notAfter", certificate_not_after(certificate));
    for (guint i = 0; i < slots->len; i++) {
        const Slot *slot = g_ptr_array_index(slots, i);
        g_autofree char *name = g_strdup_printf("%s/%s", token_serial(slot_token(slot)), slot_name(slot));
        g_autofree char *valid = describe_text(name);
        json_array_add_string_element(array, valid);
    }
    json_object_set_array_member(object, "slots", array);
    set_text(object, "linkState", authority_link_to_string(authority_link(authority)));
    set_text(object, "linkMessage", authority_link_message(authority));
    json_object_set_int_member(object, "nextAttempt", authority_next_attempt(authority));
    set_count(object, "signatures", authority_signatures(authority));
    set_count(object, "denied", authority_denied(authority));
    json_object_set_int_member(object, "lastSignature", authority_last_signature(authority));
    return object;
}

JsonObject *describe(const Manager *manager)
{
    JsonObject *object = json_object_new();
    const Link *link = manager_link(manager);
    g_auto(GStrv) troubles = manager_troubles(manager);
    GPtrArray *tokens = manager_tokens(manager);
    GPtrArray *authorities = authority_set_all(manager_authorities(manager));
    JsonArray *token_array = json_array_sized_new(tokens->len);
    JsonArray *authority_array = json_array_sized_new(authorities->len);

    set_text(object, "version", IOTHSM_VERSION);
    set_text(object, "platformUrl", manager_config(manager)->platform_url);
    set_text(object, "linkState", link_state_to_string(link_state(link)));
    set_text(object, "linkTransport", link_transport(link));
    set_text(object, "linkMessage", link_message(link));
    json_object_set_int_member(object, "nextAttempt", link_next_attempt(link));
    json_object_set_int_member(object, "connectedAuthorities", link_connected(link));
    json_object_set_int_member(object, "connectedSlots", describe_connected_slots(manager));
    set_count(object, "signatures", manager_signatures(manager));
    set_count(object, "denied", manager_denied(manager));
    json_object_set_boolean_member(object, "pinsSealed", manager_can_persist_pins(manager));
    set_list(object, "troubles", (const char *const *)troubles);
    for (guint i = 0; i < tokens->len; i++)
        json_array_add_object_element(token_array, describe_token(manager, g_ptr_array_index(tokens, i)));
    json_object_set_array_member(object, "tokens", token_array);
    for (guint i = 0; i < authorities->len; i++)
        json_array_add_object_element(authority_array, describe_authority(g_ptr_array_index(authorities, i)));
    json_object_set_array_member(object, "authorities", authority_array);
    return object;
}

static void judge(JsonObject *object, GPtrArray *chain, EVP_PKEY *public_key, const char *serial,
                  const char *state_directory)
{
    g_autoptr(GError) failure = NULL;
    g_autoptr(X509_STORE) roots = trust_open_yubico(state_directory, &failure);
    if (roots == NULL && failure == NULL)
        failure = g_error_new_literal(
            IOTHSM_ERROR, IOTHSM_ERROR_BAD_CERTIFICATE,
            "no Yubico root was given; get the PIV roots from https://developers.yubico.com/PKI/ and give "
            "them with: iothsmctl trust add --for=yubico FILE");
    bool verified = roots != NULL && attestation_verify(chain, public_key, serial, roots, &failure);
    json_object_set_boolean_member(object, "verified", verified);
    set_text(object, "reason", verified ? NULL : failure->message);
}

JsonObject *describe_attestation(GPtrArray *chain, EVP_PKEY *public_key, const char *serial,
                                 const char *state_directory, GError **error)
{
    if (chain->len == 0) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_BAD_CERTIFICATE, "Token %s gave an empty attestation",
                    serial);
        return NULL;
    }
    g_autoptr(Attestation) claims = attestation_read(g_ptr_array_index(chain, 0), error);
    if (claims == NULL) {
        g_prefix_error(error, "Token %s: ", serial);
        return NULL;
    }
    JsonObject *object = json_object_new();
    judge(object, chain, public_key, serial, state_directory);
    set_text(object, "firmware", claims->firmware);
    take_text(object, "serial",
              claims->serial > 0 ? g_strdup_printf("%" G_GUINT64_FORMAT, claims->serial) : NULL);
    set_text(object, "pinPolicy", claims->pin_policy);
    set_text(object, "touchPolicy", claims->touch_policy);
    set_text(object, "formFactor", claims->form_factor);
    json_object_set_boolean_member(object, "fips", claims->fips);
    return object;
}

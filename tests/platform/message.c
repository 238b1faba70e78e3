/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* JSON around the envelopes. Texts that json-glib could not make (too deep, not UTF-8) are put together by
 * hand. */

#include "tests/platform/message.h"
#include "tests/platform/channel-certificate.h"
#include <string.h>

void offer_free(Offer *offer)
{
    if (!offer)
        return;
    g_free(offer->uuid);
    g_free(offer->siguuid);
    X509_free(offer->signer);
    g_free(offer);
}

void answer_free(Answer *answer)
{
    if (!answer)
        return;
    g_free(answer->siguuid);
    g_free(answer->message);
    g_free(answer);
}

bool members_are(JsonObject *object, const char *const *names)
{
    g_autoptr(GList) members = json_object_get_members(object);
    GList *member = members;
    for (; member && *names; member = member->next, names++)
        if (!g_str_equal(member->data, *names))
            return false;
    return !member && !*names;
}

/* ---- building ---- */

static char *deep_json(gint64 depth)
{
    GString *text = g_string_new("{\"siguuid\":\"deep\",\"request\":");
    for (gint64 i = 0; i < depth; i++)
        g_string_append_c(text, '[');
    for (gint64 i = 0; i < depth; i++)
        g_string_append_c(text, ']');
    g_string_append_c(text, '}');
    return g_string_free(text, FALSE);
}

/* |text|, or what the faults put in its place. */
static GBytes *said(char *text, const MessageFaults *faults)
{
    g_autofree char *owned = text;
    if (faults->flaws & MESSAGE_DEEP_JSON) {
        char *deep = deep_json(faults->depth);
        return g_bytes_new_take(deep, strlen(deep));
    }
    if (faults->flaws & MESSAGE_NOT_JSON)
        return g_bytes_new_static("This is not JSON.", 17);
    if (faults->flaws & MESSAGE_BAD_UTF8)
        return g_bytes_new_static("{\"siguuid\":\"\xff\xfe\",\"request\":{}}", 30);
    gsize size = strlen(owned);
    return g_bytes_new_take(g_steal_pointer(&owned), size);
}

static void set_envelope_smime(JsonObject *envelope, const char *smime, const MessageFaults *faults)
{
    if (faults->flaws & MESSAGE_SMIME_NUMBER)
        json_object_set_int_member(envelope, "smime", 42);
    else if (!(faults->flaws & MESSAGE_NO_SMIME))
        json_object_set_string_member(envelope, "smime", smime);
}

static void set_envelope_type(JsonObject *envelope, const char *type, const MessageFaults *faults)
{
    json_object_set_string_member(envelope, "type",
                                  faults->flaws & MESSAGE_UNKNOWN_TYPE ? "something else" : type);
}

static const char *siguuid_or_other(const char *siguuid, const MessageFaults *faults)
{
    return faults->flaws & MESSAGE_SIGUUID_DIFFERS ? "00000000-0000-4000-8000-000000000000" : siguuid;
}

char *message_solicit(const SolicitText *text, const Pki *pki, const MessageFaults *faults, GError **error)
{
    g_autoptr(JsonObject) inner = json_object_new();
    bool wrong_ca = faults->flaws & MESSAGE_WRONG_CA;
    json_object_set_string_member(inner, "serial", wrong_ca ? MESSAGE_OTHER_SERIAL : text->serial);
    json_object_set_string_member(inner, "thumbprint",
                                  wrong_ca ? MESSAGE_OTHER_THUMBPRINT : text->thumbprint);
    json_object_set_string_member(inner, "siguuid", text->siguuid);
    g_autoptr(GBytes) content = said(object_to_text(inner, false), faults);
    g_autofree char *smime = envelope_sign(content, pki, faults->signing_time, faults->flaw, error);
    if (!smime)
        return NULL;
    g_autoptr(JsonObject) envelope = json_object_new();
    set_envelope_type(envelope, "solicit signature", faults);
    if (faults->flaws & MESSAGE_OTHER_UUID)
        json_object_set_string_member(envelope, "uuid", "11111111-1111-4111-8111-111111111111");
    else
        json_object_set_null_member(envelope, "uuid");
    json_object_set_string_member(envelope, "siguuid", siguuid_or_other(text->siguuid, faults));
    if (text->ttl)
        json_object_set_int_member(envelope, "ttl", text->ttl);
    set_envelope_smime(envelope, smime, faults);
    return object_to_text(envelope, false);
}

static char *request_inner_text(const RequestText *text)
{
    if (text->inner)
        return g_strdup(text->inner);
    g_autoptr(JsonNode) siguuid = json_node_init_string(json_node_alloc(), text->siguuid);
    g_autofree char *quoted = json_to_string(siguuid, FALSE);
    return g_strdup_printf("{\"siguuid\":%s,\"request\":%s}", quoted, text->request);
}

char *message_request(const RequestText *text, const Pki *pki, const MessageFaults *faults, GError **error)
{
    g_autoptr(GBytes) content = said(request_inner_text(text), faults);
    g_autofree char *smime =
        envelope_seal(content, text->recipient, pki, faults->signing_time, faults->flaw, error);
    if (!smime)
        return NULL;
    g_autoptr(JsonObject) envelope = json_object_new();
    set_envelope_type(envelope, "signature request", faults);
    json_object_set_string_member(envelope, "uuid",
                                  faults->flaws & MESSAGE_OTHER_UUID ? "11111111-1111-4111-8111-111111111111"
                                                                     : text->uuid);
    json_object_set_string_member(envelope, "siguuid",
                                  siguuid_or_other(text->outer_siguuid ?: text->siguuid, faults));
    json_object_set_int_member(envelope, "caindex", faults->has_caindex ? faults->caindex : text->caindex);
    json_object_set_string_member(envelope, "signtype",
                                  faults->flaws & MESSAGE_OTHER_SIGNTYPE ? "poem" : text->signtype);
    if (text->ttl)
        json_object_set_int_member(envelope, "ttl", text->ttl);
    set_envelope_smime(envelope, smime, faults);
    return object_to_text(envelope, false);
}

/* ---- reading ---- */

static JsonObject *object_from_bytes(GBytes *bytes, GError **error)
{
    gsize size;
    const char *text = g_bytes_get_data(bytes, &size);
    return object_from_text(text, (gssize)size, error);
}

GBytes *message_verified(const char *smime, X509 *authority, X509_STORE *anchors, X509 **ret_signer,
                         GError **error)
{
    g_autoptr(X509) signer = NULL;
    g_autoptr(GBytes) content = envelope_verify(smime, anchors, &signer, error);
    if (!content || !channel_certificate_check(signer, authority, error))
        return NULL;
    *ret_signer = g_steal_pointer(&signer);
    return g_steal_pointer(&content);
}

Offer *message_read_offer(const char *smime, X509 *authority, X509_STORE *anchors, GError **error)
{
    static const char *const names[] = {"uuid", "caindex", "siguuid", NULL};
    g_autoptr(X509) signer = NULL;
    g_autoptr(GBytes) content = message_verified(smime, authority, anchors, &signer, error);
    g_autoptr(JsonObject) inner = content ? object_from_bytes(content, error) : NULL;
    if (!inner)
        return NULL;
    gint64 caindex = -1;
    if (!members_are(inner, names) || !member_text(inner, "uuid") || !member_text(inner, "siguuid") ||
        !member_integer(inner, "caindex", &caindex) || caindex < 0) {
        g_set_error_literal(error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA,
                            "The offer doesn't say uuid, caindex and siguuid as protocol.md 2.5 wants them");
        return NULL;
    }
    Offer *offer = g_new0(Offer, 1);
    offer->uuid = g_strdup(member_text(inner, "uuid"));
    offer->siguuid = g_strdup(member_text(inner, "siguuid"));
    offer->caindex = caindex;
    offer->signer = g_steal_pointer(&signer);
    return offer;
}

Answer *message_read_answer(const char *smime, X509 *authority, X509_STORE *anchors, const Pki *pki,
                            GError **error)
{
    static const char *const names[] = {"success", "siguuid", "message", NULL};
    g_autoptr(X509) signer = NULL;
    g_autoptr(GBytes) verified = message_verified(smime, authority, anchors, &signer, error);
    g_autoptr(GBytes) content = verified ? envelope_open(verified, pki, error) : NULL;
    g_autoptr(JsonObject) inner = content ? object_from_bytes(content, error) : NULL;
    if (!inner)
        return NULL;
    JsonNode *success = json_object_get_member(inner, "success");
    if (!members_are(inner, names) || !success || json_node_get_value_type(success) != G_TYPE_BOOLEAN ||
        !member_text(inner, "siguuid") || !member_text(inner, "message")) {
        g_set_error_literal(
            error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA,
            "The answer doesn't say success, siguuid and message as protocol.md 2.7 wants them");
        return NULL;
    }
    Answer *answer = g_new0(Answer, 1);
    answer->success = json_node_get_boolean(success);
    answer->siguuid = g_strdup(member_text(inner, "siguuid"));
    answer->message = g_strdup(member_text(inner, "message"));
    return answer;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What a key version does: it shows its public key, and it signs. Each answer is guarded by checksums, and so
 * is each request that brings one. */

#include "tests/google-kms/cloud.h"
#include "tests/google-kms/crc32c.h"
#include "tests/google-kms/openssl-types.h"
#include <string.h>

enum { LARGEST_DATA = 64 * 1024 };

/* The version if it is there, enabled and made for signing, and the caller has |permission| on it. */
static KeyVersion *usable_version(Call *call, const char *name, const char *permission)
{
    KeyVersion *version = world_version(call->cloud->world, name);
    if (!account_may(call->account, permission, name))
        call_refuse(call, SOUP_STATUS_FORBIDDEN, "PERMISSION_DENIED",
                    "Permission '%s' denied on resource '%s' (or it may not exist).", permission, name);
    else if (!version)
        call_refuse(call, SOUP_STATUS_NOT_FOUND, "NOT_FOUND", "CryptoKeyVersion %s not found.", name);
    else if (!g_str_equal(version->state, "ENABLED"))
        call_refuse(call, SOUP_STATUS_BAD_REQUEST, "FAILED_PRECONDITION",
                    "%s is not enabled, current state is: %s.", name, version->state);
    else if (!version->algorithm->signs)
        call_refuse(call, SOUP_STATUS_BAD_REQUEST, "FAILED_PRECONDITION",
                    "The purpose of %s is not ASYMMETRIC_SIGN.", name);
    else
        return version;
    return NULL;
}

/* int64 is a string in Google's JSON. */
static void set_checksum(Call *call, JsonObject *object, const char *name, const void *data, gsize size)
{
    guint32 sum = crc32c(data, size) + (call->fault.kind == FAULT_WRONG_CRC ? 1 : 0);
    g_autofree char *text = g_strdup_printf("%u", sum);
    json_object_set_string_member(object, name, text);
}

static void set_name(Call *call, JsonObject *object, const KeyVersion *version)
{
    g_autofree char *other = g_strconcat(version->name, "0", NULL);
    json_object_set_string_member(object, "name",
                                  call->fault.kind == FAULT_WRONG_NAME ? other : version->name);
}

/* ---- public keys ---- */

void kms_public_key(Call *call, const char *version_name)
{
    KeyVersion *version = usable_version(call, version_name, "cloudkms.cryptoKeyVersions.viewPublicKey");
    if (!version)
        return;
    g_autoptr(BIO) memory = BIO_new(BIO_s_mem());
    g_assert_cmpint(PEM_write_bio_PUBKEY(memory, world_version_key(call->cloud->world, version)), ==, 1);
    char *text;
    long size = BIO_get_mem_data(memory, &text);
    g_autofree char *pem = g_strndup(text, (gsize)size);
    JsonObject *answer = json_object_new();
    set_checksum(call, answer, "pemCrc32c", pem, strlen(pem));
    if (call->fault.kind == FAULT_DAMAGED) {
        char *middle = pem + strlen(pem) / 2;
        *middle = *middle == 'A' ? 'B' : 'A';
    }
    json_object_set_string_member(answer, "pem", pem);
    json_object_set_string_member(answer, "algorithm", version->algorithm->name);
    json_object_set_string_member(answer, "protectionLevel", "HSM");
    set_name(call, answer, version);
    call_answer(call, answer);
}

/* ---- signing ---- */

typedef struct SignRequest {
    GBytes *input; /* digest or data */
    bool is_data;
    bool guarded; /* it brought a checksum, which was right */
} SignRequest;

/* base64 and nothing else; g_base64_decode skips what it doesn't know. */
static GBytes *decode(const char *text)
{
    gsize size;
    guint8 *bytes = g_base64_decode(text, &size);
    g_autofree char *again = g_base64_encode(bytes, size);
    if (g_str_equal(again, text))
        return g_bytes_new_take(bytes, size);
    g_free(bytes);
    return NULL;
}

/* Numbers and strings of digits are both taken for an int64. */
static bool checksum_is(JsonNode *node, guint32 sum)
{
    if (!JSON_NODE_HOLDS_VALUE(node))
        return false;
    if (json_node_get_value_type(node) != G_TYPE_STRING)
        return json_node_get_int(node) == sum;
    guint64 number;
    return g_ascii_string_to_unsigned(json_node_get_string(node), 10, 0, G_MAXUINT32, &number, NULL) &&
           number == sum;
}

static bool check_sum(Call *call, JsonObject *body, SignRequest *request)
{
    const char *field = request->is_data ? "data" : "digest";
    JsonNode *node = json_object_get_member(body, request->is_data ? "dataCrc32c" : "digestCrc32c");
    gsize size;
    const void *bytes = g_bytes_get_data(request->input, &size);
    bool wrong = call->fault.kind == FAULT_REQUEST_DAMAGED;
    if ((node && !checksum_is(node, crc32c(bytes, size))) || wrong) {
        call_refuse(call, SOUP_STATUS_BAD_REQUEST, "INVALID_ARGUMENT",
                    "The checksum in field %s_crc32c did not match the data in field %s.", field, field);
        return false;
    }
    request->guarded = node && call->fault.kind != FAULT_UNVERIFIED;
    return true;
}

static bool check_input(Call *call, const KeyVersion *version, const char *digest_name,
                        const SignRequest *request)
{
    const Algorithm *algorithm = version->algorithm;
    gsize size = request->input ? g_bytes_get_size(request->input) : 0;
    if (!request->input)
        call_refuse(call, SOUP_STATUS_BAD_REQUEST, "INVALID_ARGUMENT", "Invalid value: not base64.");
    else if (request->is_data && size > LARGEST_DATA)
        call_refuse(call, SOUP_STATUS_BAD_REQUEST, "INVALID_ARGUMENT",
                    "The data to be signed is %" G_GSIZE_FORMAT " bytes, which is more than %d.", size,
                    LARGEST_DATA);
    else if (!request->is_data && g_strcmp0(digest_name, algorithm->digest) != 0)
        call_refuse(call, SOUP_STATUS_BAD_REQUEST, "INVALID_ARGUMENT",
                    "The digest type %s does not match the algorithm %s.", digest_name, algorithm->name);
    else if (!request->is_data && size != algorithm_digest_size(algorithm))
        call_refuse(call, SOUP_STATUS_BAD_REQUEST, "INVALID_ARGUMENT",
                    "The digest is %" G_GSIZE_FORMAT " bytes, which doesn't fit %s.", size, algorithm->name);
    else
        return true;
    return false;
}

/* Reads either "data" or "digest": {"sha256": …}; answers where it can't be used. */
static bool read_request(Call *call, const KeyVersion *version, SignRequest *request)
{
    g_autoptr(JsonObject) body = call_body(call);
    const char *data = body ? member_text(body, "data") : NULL;
    JsonNode *node = body ? json_object_get_member(body, "digest") : NULL;
    if (!body || !data == !node || (node && !JSON_NODE_HOLDS_OBJECT(node))) {
        call_refuse(call, SOUP_STATUS_BAD_REQUEST, "INVALID_ARGUMENT",
                    "Exactly one of digest and data must be set.");
        return false;
    }
    JsonObject *digests = node ? json_node_get_object(node) : NULL;
    g_autoptr(GList) names = digests ? json_object_get_members(digests) : NULL;
    const char *name = names ? names->data : NULL;
    const char *text = name && !names->next ? member_text(digests, name) : NULL;
    request->is_data = data != NULL;
    request->input = data || text ? decode(data ?: text) : NULL;
    return check_input(call, version, name, request) && check_sum(call, body, request);
}

static void answer_signature(Call *call, KeyVersion *version, const SignRequest *request)
{
    EVP_PKEY *key = world_version_key(call->cloud->world, version);
    g_autoptr(GBytes) signature = algorithm_sign(version->algorithm, key, request->input, request->is_data);
    gsize size;
    guint8 *bytes = g_bytes_unref_to_data(g_steal_pointer(&signature), &size);
    JsonObject *answer = json_object_new();
    set_checksum(call, answer, "signatureCrc32c", bytes, size);
    if (call->fault.kind == FAULT_DAMAGED)
        bytes[size / 2] ^= 1;
    g_autofree char *text = g_base64_encode(bytes, size);
    g_free(bytes);
    json_object_set_string_member(answer, "signature", text);
    if (request->guarded)
        json_object_set_boolean_member(
            answer, request->is_data ? "verifiedDataCrc32c" : "verifiedDigestCrc32c", TRUE);
    set_name(call, answer, version);
    json_object_set_string_member(answer, "protectionLevel", "HSM");
    call->cloud->signatures++;
    call_answer(call, answer);
}

void kms_sign(Call *call, const char *version_name)
{
    KeyVersion *version = usable_version(call, version_name, "cloudkms.cryptoKeyVersions.useToSign");
    SignRequest request = {NULL};
    if (version && read_request(call, version, &request))
        answer_signature(call, version, &request);
    g_clear_pointer(&request.input, g_bytes_unref);
}

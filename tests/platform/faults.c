/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* One table has every fault: its name, where it can strike (the first place is the usual one), its parameter
 * and what it does. */

#include "tests/platform/faults.h"
#include <string.h>

typedef struct FaultInfo {
    const char *name;
    FaultKind kind;
    Flaw flaw;
    FaultPlace usual;
    FaultPlace possible;
    const char *parameter; /* the usual one, or NULL: it takes none */
    const char *summary;
} FaultInfo;

#define ON_WAY(NAME, KIND, PARAMETER, SUMMARY)                                                               \
    {                                                                                                        \
        NAME, KIND, FLAW_NONE, PLACE_MESSAGE, PLACE_MESSAGE, PARAMETER, SUMMARY                              \
    }
#define SIGNED(NAME, FLAW, SUMMARY)                                                                          \
    {                                                                                                        \
        NAME, FAULT_FLAW, FLAW, PLACE_REQUEST, PLACE_MESSAGE | PLACE_BOOTSTRAP, NULL, SUMMARY                \
    }
#define SEALED(NAME, FLAW, SUMMARY)                                                                          \
    {                                                                                                        \
        NAME, FAULT_FLAW, FLAW, PLACE_REQUEST, PLACE_REQUEST | PLACE_BOOTSTRAP, NULL, SUMMARY                \
    }
#define SAID(NAME, KIND, PARAMETER, POSSIBLE, SUMMARY)                                                       \
    {                                                                                                        \
        NAME, KIND, FLAW_NONE, PLACE_REQUEST, POSSIBLE, PARAMETER, SUMMARY                                   \
    }
#define AT(PLACE, NAME, KIND, PARAMETER, SUMMARY)                                                            \
    {                                                                                                        \
        NAME, KIND, FLAW_NONE, PLACE, PLACE, PARAMETER, SUMMARY                                              \
    }

static const FaultInfo infos[] = {
    ON_WAY("drop", FAULT_DROP, NULL, "lose the message"),
    ON_WAY("delay", FAULT_DELAY, "500", "deliver it that many ms late"),
    ON_WAY("duplicate", FAULT_DUPLICATE, NULL, "deliver it twice"),
    ON_WAY("reorder", FAULT_REORDER, NULL, "deliver it after the next one, or a second later"),
    ON_WAY("close", FAULT_CLOSE, "1001", "close the connections with that code instead of delivering live"),

    SIGNED("wrong-signer", FLAW_WRONG_SIGNER, "another key's signature under the true certificate"),
    SIGNED("rogue-signer", FLAW_ROGUE_SIGNER, "a signer that chains to DIR/rogue-ca.pem"),
    SIGNED("expired-signer", FLAW_EXPIRED_SIGNER, "a signer whose certificate is over"),
    SIGNED("tls-signer", FLAW_TLS_SIGNER, "a signer whose certificate is for TLS servers"),
    SIGNED("two-signers", FLAW_TWO_SIGNERS, "the true one and a rogue one"),
    SIGNED("no-signer", FLAW_NO_SIGNER, "signed data without a signature"),
    SIGNED("sha1", FLAW_SHA1, "a SHA-1 signature"),
    SIGNED("no-attributes", FLAW_NO_ATTRIBUTES, "no signed attributes, so no signing time"),
    SIGNED("detached", FLAW_DETACHED, "multipart/signed"),
    SIGNED("altered", FLAW_ALTERED, "one bit of the signed content changed"),
    SIGNED("truncated", FLAW_TRUNCATED, "the S/MIME text lacks its end"),
    SIGNED("not-smime", FLAW_NOT_SMIME, "a sentence instead of S/MIME"),

    SEALED("not-encrypted", FLAW_NOT_ENCRYPTED, "signed, but not encrypted"),
    SEALED("wrong-recipient", FLAW_WRONG_RECIPIENT, "encrypted to somebody else"),
    SEALED("gcm", FLAW_GCM, "AES-256-GCM AuthEnvelopedData"),
    SEALED("truncated-inner", FLAW_TRUNCATED_INNER, "the encrypted layer lacks its end"),
    SEALED("bad-padding", FLAW_BAD_PADDING, "the encrypted layer is damaged in its last block but one"),
    SAID("old-signing-time", FAULT_OLD_SIGNING_TIME, "31536000", PLACE_MESSAGE,
         "signed that many seconds ago"),
    SAID("future-signing-time", FAULT_FUTURE_SIGNING_TIME, "3600", PLACE_MESSAGE,
         "signed that many seconds from now"),
    {"bad-zlib", FAULT_FLAW, FLAW_BAD_ZLIB, PLACE_REQUEST, PLACE_REQUEST, NULL, "not compressed at all"},
    {"raw-deflate", FAULT_FLAW, FLAW_RAW_DEFLATE, PLACE_REQUEST, PLACE_REQUEST, NULL,
     "deflate without zlib frame"},
    {"gzip", FAULT_FLAW, FLAW_GZIP, PLACE_REQUEST, PLACE_REQUEST, NULL, "gzip instead of zlib"},
    {"zip-bomb", FAULT_FLAW, FLAW_ZIP_BOMB, PLACE_REQUEST, PLACE_REQUEST, NULL, "inflates to 256 MiB"},
    {"empty", FAULT_FLAW, FLAW_EMPTY, PLACE_REQUEST, PLACE_REQUEST, NULL, "nothing where zlib should be"},

    SAID("wrong-caindex", FAULT_WRONG_CAINDEX, "4711", PLACE_REQUEST, "a caindex that was not offered"),
    SAID("wrong-ca", FAULT_WRONG_CA, NULL, PLACE_MESSAGE, "what is signed names another authority"),
    SAID("siguuid-differs", FAULT_SIGUUID_DIFFERS, NULL, PLACE_MESSAGE, "outer and inner siguuid differ"),
    SAID("replay", FAULT_REPLAY, NULL, PLACE_REQUEST, "an earlier request's S/MIME goes out first"),
    SAID("other-signtype", FAULT_OTHER_SIGNTYPE, NULL, PLACE_REQUEST, "a signtype that doesn't exist"),
    SAID("unknown-type", FAULT_UNKNOWN_TYPE, NULL, PLACE_MESSAGE, "an envelope type that doesn't exist"),
    SAID("other-uuid", FAULT_OTHER_UUID, NULL, PLACE_MESSAGE, "addressed to another agent"),
    SAID("no-smime", FAULT_NO_SMIME, NULL, PLACE_MESSAGE, "an envelope without smime"),
    SAID("smime-number", FAULT_SMIME_NUMBER, NULL, PLACE_MESSAGE, "an envelope whose smime is a number"),
    SAID("deep-json", FAULT_DEEP_JSON, "10000", PLACE_MESSAGE, "signed JSON of that depth"),
    SAID("not-json", FAULT_NOT_JSON, NULL, PLACE_MESSAGE, "signed text that isn't JSON"),
    SAID("bad-utf8", FAULT_BAD_UTF8, NULL, PLACE_MESSAGE, "signed JSON that isn't UTF-8"),

    AT(PLACE_BOOTSTRAP, "bootstrap-refuse", FAULT_BOOTSTRAP_REFUSE, "Certificate authority not found",
       "success:false with that text"),
    AT(PLACE_BOOTSTRAP, "bootstrap-status", FAULT_BOOTSTRAP_STATUS, "500",
       "that HTTP status with an HTML page"),
    AT(PLACE_BOOTSTRAP, "bootstrap-not-json", FAULT_BOOTSTRAP_NOT_JSON, NULL,
       "HTTP 200 with a text that isn't JSON"),
    AT(PLACE_BOOTSTRAP, "bootstrap-null", FAULT_BOOTSTRAP_NULL, NULL, "HTTP 200 with the JSON value null"),
    AT(PLACE_BOOTSTRAP, "bootstrap-slow", FAULT_BOOTSTRAP_SLOW, "5000", "answer that many ms late"),
    AT(PLACE_BOOTSTRAP, "bootstrap-redirect", FAULT_BOOTSTRAP_REDIRECT, NULL, "HTTP 302 to another path"),
    AT(PLACE_BOOTSTRAP, "bootstrap-other-channel", FAULT_BOOTSTRAP_OTHER_CHANNEL, NULL,
       "a channel_id that the link doesn't know"),
    AT(PLACE_BOOTSTRAP, "bootstrap-bad-token", FAULT_BOOTSTRAP_BAD_TOKEN, NULL, "a token that opens nothing"),

    AT(PLACE_UPLOAD, "upload-refuse", FAULT_UPLOAD_REFUSE, "The CRL was not accepted",
       "success:false with that text"),
    AT(PLACE_UPLOAD, "upload-status", FAULT_UPLOAD_STATUS, "500", "that HTTP status with an HTML page"),
    AT(PLACE_UPLOAD, "upload-not-json", FAULT_UPLOAD_NOT_JSON, NULL, "HTTP 200 with a text that isn't JSON"),
    AT(PLACE_UPLOAD, "upload-slow", FAULT_UPLOAD_SLOW, "5000", "answer that many ms late"),

    AT(PLACE_LINK, "handshake-status", FAULT_HANDSHAKE_STATUS, "503",
       "refuse the WebSocket with that HTTP status"),
    AT(PLACE_LINK, "welcome-refuse", FAULT_WELCOME_REFUSE, "bad-token",
       "welcome says ok:false with that reason"),
    AT(PLACE_LINK, "welcome-missing", FAULT_WELCOME_MISSING, NULL, "hello and subscribe stay unanswered"),
    AT(PLACE_LINK, "publish-error", FAULT_PUBLISH_ERROR, "rate-limited",
       "answer a publish with that error code"),
    AT(PLACE_LINK, "publish-unacknowledged", FAULT_PUBLISH_UNACKNOWLEDGED, NULL,
       "take a publish, close with 1001 before saying so"),
    AT(PLACE_LINK, "publish-lost", FAULT_PUBLISH_LOST, NULL, "lose a publish and close with 1001"),
    AT(PLACE_LINK, "frame-not-json", FAULT_FRAME_NOT_JSON, NULL,
       "a text frame that isn't JSON before a message"),
    AT(PLACE_LINK, "frame-array", FAULT_FRAME_ARRAY, NULL, "a JSON array before a message"),
    AT(PLACE_LINK, "frame-empty-object", FAULT_FRAME_EMPTY_OBJECT, NULL,
       "{\"op\":\"message\"} before a message"),
    AT(PLACE_LINK, "frame-binary", FAULT_FRAME_BINARY, NULL, "a binary frame before a message"),
    AT(PLACE_LINK, "frame-bad-utf8", FAULT_FRAME_BAD_UTF8, NULL,
       "a text frame that isn't UTF-8 before a message"),
    AT(PLACE_LINK, "frame-large", FAULT_FRAME_LARGE, "67108865",
       "a frame of that many bytes before a message"),

    AT(PLACE_LINK, "poll-status", FAULT_POLL_STATUS, "403",
       "answer a PubNub subscribe with that HTTP status"),
    AT(PLACE_LINK, "poll-silent", FAULT_POLL_SILENT, NULL, "never answer a PubNub subscribe"),
    AT(PLACE_LINK, "poll-not-json", FAULT_POLL_NOT_JSON, NULL, "answer a PubNub subscribe with an HTML page"),
    AT(PLACE_LINK, "poll-truncated", FAULT_POLL_TRUNCATED, NULL,
       "the answer to a PubNub subscribe lacks its end"),
    AT(PLACE_LINK, "poll-odd", FAULT_POLL_ODD, NULL, "presence, a signal and a text before PubNub messages"),
    AT(PLACE_LINK, "poll-cut", FAULT_POLL_CUT, NULL, "reset the connection instead of answering a subscribe"),
    AT(PLACE_LINK, "post-status", FAULT_POST_STATUS, "503", "answer a PubNub publish with that HTTP status"),
    AT(PLACE_LINK, "time-status", FAULT_TIME_STATUS, "503", "answer PubNub's time with that HTTP status"),

    AT(PLACE_LINK, "relay-reset", FAULT_RELAY_RESET, NULL, "reset a connection (serve --relay)"),
    AT(PLACE_LINK, "relay-cut", FAULT_RELAY_CUT, NULL, "lose half of what is sent, and reset the connection"),
    AT(PLACE_LINK, "relay-stall", FAULT_RELAY_STALL, "500",
       "hold a connection's bytes back for that many ms"),
    AT(PLACE_LINK, "relay-freeze", FAULT_RELAY_FREEZE, NULL,
       "leave a connection open and let nothing through"),
};

typedef struct Fault {
    const FaultInfo *info;
    FaultPlace place;
    char *parameter;
    gint64 left; /* -1: for ever */
    double probability;
    gint64 struck;
} Fault;

struct Faults {
    GPtrArray *set;
    GRand *dice;
    guint32 seed;
};

static void fault_free(gpointer data)
{
    Fault *fault = data;
    g_free(fault->parameter);
    g_free(fault);
}

Faults *faults_new(void)
{
    Faults *faults = g_new0(Faults, 1);
    faults->set = g_ptr_array_new_with_free_func(fault_free);
    faults->dice = g_rand_new();
    faults_seed(faults, g_random_int());
    return faults;
}

void faults_free(Faults *faults)
{
    if (!faults)
        return;
    g_ptr_array_unref(faults->set);
    g_rand_free(faults->dice);
    g_free(faults);
}

void faults_seed(Faults *faults, guint32 seed)
{
    faults->seed = seed;
    g_rand_set_seed(faults->dice, seed);
}

guint32 faults_get_seed(const Faults *faults)
{
    return faults->seed;
}

void faults_clear(Faults *faults)
{
    g_ptr_array_set_size(faults->set, 0);
}

static const FaultInfo *find_info(const char *name)
{
    for (gsize i = 0; i < G_N_ELEMENTS(infos); i++)
        if (g_str_equal(infos[i].name, name))
            return &infos[i];
    return NULL;
}

static FaultPlace place_from_name(const char *name)
{
    return g_str_equal(name, "solicit")     ? PLACE_SOLICIT
           : g_str_equal(name, "request")   ? PLACE_REQUEST
           : g_str_equal(name, "message")   ? PLACE_MESSAGE
           : g_str_equal(name, "bootstrap") ? PLACE_BOOTSTRAP
                                            : 0;
}

bool faults_add(Faults *faults, const FaultOrder *order, GError **error)
{
    g_auto(GStrv) parts = g_strsplit(order->text, "=", 2);
    const FaultInfo *info = parts[0] ? find_info(parts[0]) : NULL;
    if (!info || (parts[1] && !info->parameter)) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                    "There is no fault \"%s\"%s; see misbehave --list", parts[0],
                    info ? " with a parameter" : "");
        return false;
    }
    FaultPlace place = order->at ? place_from_name(order->at) : info->usual;
    if (!place || (place & info->possible) != place) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT, "Fault %s can't strike at \"%s\"",
                    info->name, order->at);
        return false;
    }
    Fault *fault = g_new0(Fault, 1);
    *fault = (Fault){.info = info,
                     .place = place,
                     .parameter = g_strdup(parts[1] ?: info->parameter),
                     .left = order->count > 0 ? order->count : -1,
                     .probability = order->probability};
    g_ptr_array_add(faults->set, fault);
    return true;
}

/* What ends a connection or fails a call of PubNub's is rare, because each costs the agent a wait of seconds
 * by protocol; what costs one message is frequent. What makes a request fail for good (a wrong signer, a
 * refused upload) is not here. */
static const struct {
    const char *text;
    const char *at; /* or NULL */
    double probability;
} chaos[] = {
    {"drop", "message", 0.01},
    {"delay=300", "message", 0.05},
    {"duplicate", "message", 0.05},
    {"reorder", "message", 0.03},
    {"replay", NULL, 0.02},
    {"old-signing-time=200", "message", 0.03},
    {"future-signing-time=200", "message", 0.03},
    {"altered", "message", 0.01},
    {"truncated", "message", 0.01},
    {"rogue-signer", "message", 0.01},
    {"close=1001", "message", 0.0002},
    {"bootstrap-status=503", NULL, 0.1},
    {"bootstrap-status=429", NULL, 0.1},
    {"bootstrap-slow=300", NULL, 0.2},
    {"upload-slow=300", NULL, 0.2},
    {"handshake-status=503", NULL, 0.1},
    {"publish-error=rate-limited", NULL, 0.0002},
    {"publish-unacknowledged", NULL, 0.0002},
    {"publish-lost", NULL, 0.0002},
    {"frame-not-json", NULL, 0.0005},
    {"poll-status=403", NULL, 0.001},
    {"poll-status=503", NULL, 0.001},
    {"poll-truncated", NULL, 0.001},
    {"poll-not-json", NULL, 0.001},
    {"poll-cut", NULL, 0.001},
    {"poll-odd", NULL, 0.05},
    {"post-status=503", NULL, 0.001},
    {"post-status=429", NULL, 0.001},
    {"time-status=503", NULL, 0.05},
    {"relay-reset", NULL, 0.0002},
    {"relay-cut", NULL, 0.0002},
    {"relay-stall=300", NULL, 0.003},
};

void faults_add_chaos(Faults *faults)
{
    for (gsize i = 0; i < G_N_ELEMENTS(chaos); i++) {
        FaultOrder order = {.text = chaos[i].text, .at = chaos[i].at, .probability = chaos[i].probability};
        bool added = faults_add(faults, &order, NULL);
        g_assert(added);
    }
}

static Fault *strike(Faults *faults, FaultKind kind, FaultPlace place)
{
    for (guint i = 0; i < faults->set->len; i++) {
        Fault *fault = g_ptr_array_index(faults->set, i);
        if (fault->info->kind != kind || !(fault->place & place) || fault->left == 0)
            continue;
        if (fault->probability < 1 && g_rand_double(faults->dice) >= fault->probability)
            continue;
        fault->left -= fault->left > 0;
        fault->struck++;
        return fault;
    }
    return NULL;
}

bool faults_strike(Faults *faults, FaultKind kind, FaultPlace place, gint64 *ret_parameter)
{
    Fault *fault = strike(faults, kind, place);
    if (fault && ret_parameter)
        *ret_parameter = g_ascii_strtoll(fault->parameter, NULL, 10);
    return fault != NULL;
}

char *faults_strike_text(Faults *faults, FaultKind kind, FaultPlace place)
{
    Fault *fault = strike(faults, kind, place);
    return fault ? g_strdup(fault->parameter) : NULL;
}

Flaw faults_strike_flaw(Faults *faults, FaultPlace place)
{
    Fault *fault = strike(faults, FAULT_FLAW, place);
    return fault ? fault->info->flaw : FLAW_NONE;
}

JsonArray *faults_describe(const Faults *faults)
{
    JsonArray *array = json_array_new();
    for (guint i = 0; i < faults->set->len; i++) {
        const Fault *fault = g_ptr_array_index(faults->set, i);
        JsonObject *object = json_object_new();
        json_object_set_string_member(object, "fault", fault->info->name);
        if (fault->parameter)
            json_object_set_string_member(object, "parameter", fault->parameter);
        json_object_set_int_member(object, "struck", fault->struck);
        if (fault->left >= 0)
            json_object_set_int_member(object, "left", fault->left);
        json_object_set_double_member(object, "probability", fault->probability);
        json_array_add_object_element(array, object);
    }
    return array;
}

char *faults_help(void)
{
    GString *text = g_string_new(NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(infos); i++) {
        g_autofree char *usage = infos[i].parameter
                                     ? g_strdup_printf("%s[=%s]", infos[i].name, infos[i].parameter)
                                     : g_strdup(infos[i].name);
        g_string_append_printf(text, "  %-32s %s%s\n", usage, infos[i].summary,
                               infos[i].possible & PLACE_SOLICIT && infos[i].possible & PLACE_REQUEST
                                   ? "  (--at=solicit, --at=request)"
                                   : "");
    }
    return g_string_free(text, FALSE);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A renewal is the affair of whoever needs a token first. Others go on with the old one while it is good, and
 * wait where there is none. If the renewal fails, those who waited get its error and don't ask again one by
 * one, unless it only ran out of time and they have more. */

#include "daemon/token/google-kms/google-credentials.h"
#include "daemon/error.h"
#include "daemon/json.h"
#include "daemon/openssl-cleanup.h"
#include "daemon/token/google-kms/google-kms-answer.h"
#include "daemon/token/key-file.h"
#include <openssl/crypto.h>
#include <string.h>

#define SCOPE "https://www.googleapis.com/auth/cloud-platform"
#define GRANT "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion="
#define METADATA_PATH "/computeMetadata/v1/instance/service-accounts/default/token"
#define ASSERTION_SECONDS 3600
#define TEXT_MAX_SIZE 512
#define RSA_BITS_MIN 2048
/* Renewed so long before the end, or a quarter of its life where that is less. */
#define EARLY_SECONDS 300
/* Never handed out with less left. */
#define SPARE_SECONDS 10
/* After a renewal that failed while the old token is still good. */
#define PAUSE_SECONDS 30
/* How often somebody who waits for another's renewal looks whether it is still wanted. */
#define LOOK_INTERVAL (50 * G_TIME_SPAN_MILLISECOND)
/* A renewal with less more time than this would end as the one that failed. */
#define MORE_TIME G_TIME_SPAN_SECOND
/* More than a JWT with the longest names and an RSA-4096 signature, so that it is written in one place. */
#define ASSERTION_SIZE 8192

struct GoogleCredentials {
    gatomicrefcount references;
    char *account;
    char *key_id;  /* or NULL */
    EVP_PKEY *key; /* NULL: the metadata server */
    char *token_url;
    GMutex lock;
    GCond renewed;
    bool renewing;   /* guarded by lock, from here */
    guint renewals;  /* that ended */
    GError *failure; /* of the last one */
    gint64 given_up; /* when that would have been, at the latest: µs of g_get_monotonic_time() */
    Secret *access;  /* or NULL */
    gint64 renew_at; /* µs of g_get_monotonic_time() */
    gint64 expires_at;
};

static GoogleCredentials *credentials_new(const char *account, const char *token_url)
{
    GoogleCredentials *credentials = g_new0(GoogleCredentials, 1);
    g_atomic_ref_count_init(&credentials->references);
    g_mutex_init(&credentials->lock);
    g_cond_init(&credentials->renewed);
    credentials->account = g_strdup(account);
    credentials->token_url = g_strdup(token_url);
    return credentials;
}

GoogleCredentials *google_credentials_ref(GoogleCredentials *credentials)
{
    g_atomic_ref_count_inc(&credentials->references);
    return credentials;
}

void google_credentials_unref(GoogleCredentials *credentials)
{
    if (!credentials || !g_atomic_ref_count_dec(&credentials->references))
        return;
    EVP_PKEY_free(credentials->key);
    secret_unref(credentials->access);
    g_clear_error(&credentials->failure);
    g_free(credentials->account);
    g_free(credentials->key_id);
    g_free(credentials->token_url);
    g_mutex_clear(&credentials->lock);
    g_cond_clear(&credentials->renewed);
    g_free(credentials);
}

const char *google_credentials_account(const GoogleCredentials *credentials)
{
    return credentials->account;
}

bool google_credentials_equal(const GoogleCredentials *one, const GoogleCredentials *other)
{
    return g_str_equal(one->account, other->account) && g_str_equal(one->token_url, other->token_url) &&
           g_strcmp0(one->key_id, other->key_id) == 0 && (one->key != NULL) == (other->key != NULL) &&
           (!one->key || EVP_PKEY_eq(one->key, other->key) == 1);
}

/* --- the key file ------------------------------------------------------------------------------------- */

static bool invalid(GError **error, const char *why)
{
    g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID,
                "These are no Google credentials: %s. Give the JSON key file of a service account, as Google "
                "Cloud hands it out",
                why);
    return false;
}

static bool is_name(const char *text)
{
    gsize size = text ? strlen(text) : 0;
    for (gsize i = 0; i < size; i++)
        if (!g_ascii_isgraph(text[i]) || strchr("\"\\", text[i]))
            return false;
    return size > 0 && size <= TEXT_MAX_SIZE;
}

static EVP_PKEY *read_key(const char *pem, GError **error)
{
    g_autoptr(Secret) secret = secret_new(pem, strlen(pem));
    g_autoptr(GError) failure = NULL;
    g_autoptr(EVP_PKEY) key = key_file_parse(secret, NULL, &failure);
    if (key && EVP_PKEY_is_a(key, "RSA") && EVP_PKEY_get_bits(key) >= RSA_BITS_MIN)
        return g_steal_pointer(&key);
    invalid(error, "private_key is no RSA key of 2048 bits or more");
    return NULL;
}

static GoogleCredentials *read_members(JsonObject *file, const char *pem, GError **error)
{
    const char *type = json_get_string(file, "type", NULL);
    const char *email = json_get_string(file, "client_email", NULL);
    const char *key_id = json_get_string(file, "private_key_id", NULL);
    const char *token_url = json_get_string(file, "token_uri", NULL);
    if (g_strcmp0(type, "service_account") != 0)
        return invalid(error, "their type is not service_account"), NULL;
    if (!is_name(email) || !is_name(token_url) || !pem || (key_id && !is_name(key_id)))
        return invalid(error, "client_email, private_key or token_uri is missing or not as it should be"),
               NULL;
    if (!google_url_check(token_url, error))
        return NULL;
    EVP_PKEY *key = read_key(pem, error);
    if (!key)
        return NULL;
    GoogleCredentials *credentials = credentials_new(email, token_url);
    credentials->key = key;
    credentials->key_id = g_strdup(key_id);
    return credentials;
}

GoogleCredentials *google_credentials_parse(const Secret *json, GError **error)
{
    g_autoptr(GError) wrong = NULL;
    g_autoptr(JsonObject) file = json_object_parse(secret_data(json), secret_size(json), &wrong);
    if (!file)
        return invalid(error, wrong->message), NULL;
    const char *pem = json_get_string(file, "private_key", NULL);
    GoogleCredentials *credentials = read_members(file, pem, error);
    if (pem)
        OPENSSL_cleanse((char *)pem, strlen(pem)); /* json-glib's copy */
    return credentials;
}

GoogleCredentials *google_credentials_new_metadata(const char *metadata)
{
    g_autofree char *url = g_strconcat(metadata, METADATA_PATH, NULL);
    return credentials_new("this machine's service account", url);
}

/* --- asking for an access token ----------------------------------------------------------------------- */

/* RFC 7515, section 2: base64url without padding. */
static void append_base64url(GString *text, const void *data, gsize size)
{
    g_autofree char *encoded = g_base64_encode(data, size);
    for (const char *at = encoded; *at && *at != '='; at++)
        g_string_append_c(text, *at == '+' ? '-' : *at == '/' ? '_' : *at);
    OPENSSL_cleanse(encoded, strlen(encoded));
}

static void append_object(GString *text, JsonObject *object)
{
    g_autofree char *json = json_object_to_text(object);
    append_base64url(text, json, strlen(json));
}

static void append_claims(GString *text, const GoogleCredentials *credentials, gint64 now)
{
    g_autoptr(JsonObject) header = json_object_new();
    g_autoptr(JsonObject) claims = json_object_new();
    json_object_set_string_member(header, "alg", "RS256");
    json_object_set_string_member(header, "typ", "JWT");
    if (credentials->key_id)
        json_object_set_string_member(header, "kid", credentials->key_id);
    json_object_set_string_member(claims, "iss", credentials->account);
    json_object_set_string_member(claims, "scope", SCOPE);
    json_object_set_string_member(claims, "aud", credentials->token_url);
    json_object_set_int_member(claims, "iat", now);
    json_object_set_int_member(claims, "exp", now + ASSERTION_SECONDS);
    append_object(text, header);
    g_string_append_c(text, '.');
    append_object(text, claims);
}

static void free_wiped(GString *text)
{
    OPENSSL_cleanse(text->str, text->len);
    g_string_free(text, TRUE);
}

Secret *google_credentials_assertion(const GoogleCredentials *credentials, gint64 now, GError **error)
{
    GString *text = g_string_sized_new(ASSERTION_SIZE);
    g_autoptr(EVP_MD_CTX) signer = EVP_MD_CTX_new();
    unsigned char signature[1024];
    size_t size = sizeof signature;
    append_claims(text, credentials, now);
    bool done = EVP_DigestSignInit(signer, NULL, EVP_sha256(), NULL, credentials->key) > 0 &&
                EVP_DigestSign(signer, signature, &size, (const unsigned char *)text->str, text->len) > 0;
    if (done) {
        g_string_append_c(text, '.');
        append_base64url(text, signature, size);
    } else {
        error_set_openssl(error, IOTHSM_ERROR_FAILED, "The key of %s could not sign", credentials->account);
    }
    Secret *assertion = done ? secret_new(text->str, text->len) : NULL;
    free_wiped(text);
    OPENSSL_cleanse(signature, sizeof signature);
    return assertion;
}

static void free_grant(void *text)
{
    free_wiped(text);
}

/* Wiped with its last reference. Transfer full. */
static GBytes *grant_body(const GoogleCredentials *credentials, GError **error)
{
    g_autoptr(Secret) assertion =
        google_credentials_assertion(credentials, g_get_real_time() / G_USEC_PER_SEC, error);
    if (!assertion)
        return NULL;
    GString *body = g_string_sized_new(strlen(GRANT) + secret_size(assertion) + 1);
    g_string_append(body, GRANT);
    g_string_append_len(body, secret_data(assertion), (gssize)secret_size(assertion));
    return g_bytes_new_with_free_func(body->str, body->len, free_grant, body);
}

static void set_refused(const GoogleCredentials *credentials, const HttpAnswer *answer, GError **error)
{
    g_autofree char *status = NULL;
    g_autofree char *words = kms_read_error(answer->body, answer->size, &status);
    if (credentials->key)
        g_set_error(
            error, IOTHSM_ERROR, IOTHSM_ERROR_CLOUD_REFUSED,
            "Google does not accept the key of %s (%u %s: %s); look at this machine's clock, or make a new "
            "key for the account and add the key ring again with it",
            credentials->account, answer->status, status, words);
    else
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_CLOUD_REFUSED,
                    "The metadata server gives no access token (%u); give this machine a service account in "
                    "Google Cloud, or add the key ring with a service account's key file",
                    answer->status);
}

static void explain_metadata(GError *failure, GError **error)
{
    g_set_error(error, IOTHSM_ERROR, failure->code,
                "There is no access token, because the metadata server does not answer (%s); on a machine "
                "outside Google Cloud give the key file of a service account",
                failure->message);
}

/* Transfer full. */
static Secret *fetch(const GoogleCredentials *credentials, GoogleSession *session, const KeyLimits *limits,
                     gint64 *ret_seconds, GError **error)
{
    g_autoptr(GBytes) body = credentials->key ? grant_body(credentials, error) : NULL;
    if (credentials->key && !body)
        return NULL;
    g_auto(HttpAnswer) answer = {0};
    g_autoptr(GError) failure = NULL;
    const HttpRequest request = {.what = "give an access token",
                                 .url = credentials->token_url,
                                 .type = "application/x-www-form-urlencoded",
                                 .body = body,
                                 .metadata = !credentials->key};
    if (!google_session_send(session, &request, limits, &answer, &failure)) {
        if (!credentials->key && !g_error_matches(failure, IOTHSM_ERROR, IOTHSM_ERROR_CANCELLED))
            explain_metadata(failure, error);
        else
            g_propagate_error(error, g_steal_pointer(&failure));
        return NULL;
    }
    if (answer.status == 200)
        return kms_read_access_token(answer.body, answer.size, ret_seconds, error);
    set_refused(credentials, &answer, error);
    return NULL;
}

/* With the lock. */
static void take_over(GoogleCredentials *credentials, Secret *access, gint64 began, gint64 seconds,
                      GError *failure)
{
    g_clear_error(&credentials->failure);
    if (access) {
        secret_unref(credentials->access);
        credentials->access = access;
        credentials->expires_at = began + seconds * G_TIME_SPAN_SECOND;
        credentials->renew_at =
            credentials->expires_at - MIN(EARLY_SECONDS, seconds / 4) * G_TIME_SPAN_SECOND;
    } else {
        credentials->failure = failure;
        credentials->renew_at = g_get_monotonic_time() + PAUSE_SECONDS * G_TIME_SPAN_SECOND;
    }
    credentials->renewing = false;
    credentials->renewals++;
    g_cond_broadcast(&credentials->renewed);
}

static bool is_good(const GoogleCredentials *credentials)
{
    return credentials->access &&
           g_get_monotonic_time() + SPARE_SECONDS * G_TIME_SPAN_SECOND < credentials->expires_at;
}

/* With the lock, which is let go meanwhile. While there is a good token, half of the time is left for what it
 * is needed for. */
static void renew(GoogleCredentials *credentials, GoogleSession *session, const KeyLimits *limits)
{
    gint64 began = g_get_monotonic_time();
    gint64 seconds = 0;
    GError *failure = NULL;
    KeyLimits own = *limits;
    if (is_good(credentials))
        own.deadline = began + (limits->deadline - began) / 2;
    credentials->renewing = true;
    g_mutex_unlock(&credentials->lock);
    Secret *access = fetch(credentials, session, &own, &seconds, &failure);
    g_mutex_lock(&credentials->lock);
    credentials->given_up = own.deadline;
    take_over(credentials, access, began, seconds, failure);
}

/* With the lock. False with |error|: the time is over, or nobody waits for us any more. Who renews may be a
 * thread of another key ring, which has more time. */
static bool wait_for_renewal(GoogleCredentials *credentials, const KeyLimits *limits, GError **error)
{
    guint before = credentials->renewals;
    while (credentials->renewing && credentials->renewals == before) {
        gint64 now = g_get_monotonic_time();
        if (limits->cancelled && g_cancellable_is_cancelled(limits->cancelled)) {
            g_set_error_literal(error, IOTHSM_ERROR, IOTHSM_ERROR_CANCELLED,
                                "The request to Google was given up");
            return false;
        }
        if (now >= limits->deadline) {
            g_set_error_literal(error, IOTHSM_ERROR, IOTHSM_ERROR_TIMED_OUT,
                                "Google did not give an access token in time; try again");
            return false;
        }
        g_cond_wait_until(&credentials->renewed, &credentials->lock,
                          MIN(limits->deadline, now + LOOK_INTERVAL));
    }
    return true;
}

/* With the lock. What Google refused, it refuses to everybody; that it did not answer, or was busy, up to
 * somebody's deadline says nothing about a later one. */
static bool may_do_better(const GoogleCredentials *credentials, const KeyLimits *limits)
{
    const GError *failure = credentials->failure;
    if (g_error_matches(failure, IOTHSM_ERROR, IOTHSM_ERROR_CANCELLED))
        return true;
    return (g_error_matches(failure, IOTHSM_ERROR, IOTHSM_ERROR_TIMED_OUT) ||
            g_error_matches(failure, IOTHSM_ERROR, IOTHSM_ERROR_LINK_DOWN) ||
            g_error_matches(failure, IOTHSM_ERROR, IOTHSM_ERROR_LIMITS_EXCEEDED)) &&
           limits->deadline - MORE_TIME > credentials->given_up;
}

/* With the lock. */
static bool have_access(GoogleCredentials *credentials, GoogleSession *session, const KeyLimits *limits,
                        GError **error)
{
    for (;;) {
        if (is_good(credentials) && (credentials->renewing || g_get_monotonic_time() < credentials->renew_at))
            return true;
        bool mine = !credentials->renewing;
        if (mine)
            renew(credentials, session, limits);
        else if (!wait_for_renewal(credentials, limits, error))
            return false;
        if (credentials->access && (!credentials->failure || is_good(credentials)))
            return true;
        if (credentials->failure && (mine || !may_do_better(credentials, limits))) {
            g_propagate_error(error, g_error_copy(credentials->failure));
            return false;
        }
    }
}

Secret *google_credentials_access(GoogleCredentials *credentials, GoogleSession *session,
                                  const KeyLimits *limits, GError **error)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&credentials->lock);
    return have_access(credentials, session, limits, error) ? secret_ref(credentials->access) : NULL;
}

void google_credentials_refuse(GoogleCredentials *credentials, const Secret *access)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&credentials->lock);
    if (credentials->access == access)
        secret_unref(g_steal_pointer(&credentials->access));
}

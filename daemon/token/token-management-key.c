/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A token's management key: what PIV wants before keys and certificates are changed. It has no counter of
 * tries, so the kept one is presented each time the token appears. Sealed at rest like a PIN, as raw bytes;
 * from people it comes as hexadecimal digits, as everybody writes these keys. Everything here but the last
 * functions runs on the worker. */

#include "daemon/error.h"
#include "daemon/token/piv/piv-object.h"
#include "daemon/token/token-private.h"

static const SealingKind management_keys = {"management-keys", "management key",
                                            IOTHSM_ERROR_MANAGEMENT_KEY_REQUIRED,
                                            "give it again with iothsmctl management-key set"};

/* Whatever firmware the token has: the backend knows that. NULL with INVALID. */
static const PivManagementAlgorithm *find_algorithm(const char *name, GError **error)
{
    return piv_management_algorithm_find(name, G_MAXUINT32, error);
}

static bool is_key_size(const PivManagementAlgorithm *algorithm, gsize size)
{
    bool found = false;
    for (gsize i = 0; i < PIV_MANAGEMENT_ALGORITHMS; i++)
        found |= piv_management_algorithms[i].key_size == size;
    return algorithm ? algorithm->key_size == size : found;
}

static void set_undecodable(const PivManagementAlgorithm *algorithm, GError **error)
{
    if (algorithm)
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID,
                    "A management key for %s is written as %zu hexadecimal digits without anything between "
                    "them",
                    algorithm->name, 2 * algorithm->key_size);
    else
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID,
                    "A management key is written as 32, 48 or 64 hexadecimal digits without anything between "
                    "them");
}

/* NULL |algorithm|: of any. */
static Secret *decode(const Secret *digits, const PivManagementAlgorithm *algorithm, GError **error)
{
    const char *text = secret_data(digits);
    gsize size = secret_size(digits) / 2;
    char *bytes = NULL;
    bool right = secret_size(digits) % 2 == 0 && is_key_size(algorithm, size);
    g_autoptr(Secret) key = right ? secret_new_blank(size, &bytes) : NULL;
    for (gsize i = 0; right && i < size; i++) {
        int high = g_ascii_xdigit_value(text[2 * i]);
        int low = g_ascii_xdigit_value(text[2 * i + 1]);
        right = high >= 0 && low >= 0;
        if (right)
            bytes[i] = (char)(high << 4 | low);
    }
    if (right)
        return g_steal_pointer(&key);
    set_undecodable(algorithm, error);
    return NULL;
}

static bool has_management_key(const Act *act, GError **error)
{
    if (backend_is_piv(act->driver->backend))
        return true;
    g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_UNSUPPORTED, "Token %s has no management key",
                act->driver->serial);
    return false;
}

static const Sealing *sealing_of(const Act *act)
{
    return pin_store_sealing(act->driver->store);
}

static Secret *load(const Act *act, GError **error)
{
    return sealing_read(sealing_of(act), &management_keys, act->driver->serial, error);
}

static bool forget(const Act *act, GError **error)
{
    return sealing_forget(sealing_of(act), &management_keys, act->driver->serial, error);
}

bool act_present_management_key(Act *act, const TokenInfo *info)
{
    Backend *backend = act->driver->backend;
    bool wanted = g_strcmp0(info->management_key, "missing") == 0;
    g_autoptr(GError) error = NULL;
    g_autoptr(Secret) key = wanted && backend_is_piv(backend) ? load(act, &error) : NULL;
    const ManagementKeyChange use = {.current = key, .unasked = true};
    bool presented = key != NULL;
    if (key && !backend->class->set_management_key(backend, &use, &error) &&
        g_error_matches(error, IOTHSM_ERROR, IOTHSM_ERROR_MANAGEMENT_KEY_WRONG)) {
        g_clear_error(&error);
        g_set_error(&error, IOTHSM_ERROR, IOTHSM_ERROR_MANAGEMENT_KEY_WRONG,
                    "The management key kept for token %s is not the one it has; give the right one with: "
                    "iothsmctl management-key set %s",
                    act->driver->serial, act->driver->serial);
    }
    if (error && !act->note)
        act->note = g_strdup(error->message);
    return presented;
}

/* Without |persist| a sealed key that is another one is of no use any more. */
static bool keep(const Act *act, const Secret *key, bool persist, GError **error)
{
    if (persist)
        return sealing_write(sealing_of(act), &management_keys, act->driver->serial, key, error);
    g_autoptr(Secret) stored = load(act, NULL);
    if (stored && !secret_equal(stored, key))
        return forget(act, error);
    return true;
}

static bool run_set(Act *act, GCancellable *cancelled, GError **error)
{
    Backend *backend = act->driver->backend;
    g_autoptr(Secret) key = decode(act->secret, NULL, error);
    const ManagementKeyChange use = {.current = key};
    return key && has_management_key(act, error) &&
           backend->class->set_management_key(backend, &use, error) && keep(act, key, act->persist, error);
}

/* The token has the new key now. One that was sealed before is sealed anew; one that the token itself keeps
 * is sealed nowhere. */
static bool take_new(const Act *act, const Secret *replacement, GError **error)
{
    if (act->protect)
        return forget(act, error);
    g_autoptr(Secret) stored = load(act, NULL);
    if (keep(act, replacement, act->persist || stored, error))
        return true;
    g_prefix_error(error, "Token %s has the new management key, but it can't be kept: ", act->driver->serial);
    return false;
}

static bool run_change(Act *act, GCancellable *cancelled, GError **error)
{
    Backend *backend = act->driver->backend;
    g_autoptr(Secret) current = act->secret ? decode(act->secret, NULL, error) : NULL;
    if (act->secret && !current)
        return false;
    const PivManagementAlgorithm *algorithm = act->algorithm ? find_algorithm(act->algorithm, error) : NULL;
    if (act->algorithm && !algorithm)
        return false;
    g_autoptr(Secret) replacement = act->other ? decode(act->other, algorithm, error) : NULL;
    if (act->other && !replacement)
        return false;
    const ManagementKeyChange change = {
        .current = current, .replacement = replacement, .algorithm = act->algorithm, .protect = act->protect};
    return has_management_key(act, error) && backend->class->set_management_key(backend, &change, error) &&
           take_new(act, replacement, error);
}

/* From the disk and from memory: what the driver has is of no use any more, whatever the disk says. */
static bool run_forget(Act *act, GCancellable *cancelled, GError **error)
{
    Backend *backend = act->driver->backend;
    if (backend->class->forget_management_key)
        backend->class->forget_management_key(backend);
    return forget(act, error);
}

static void submit(Act *act, GCancellable *cancellable)
{
    if (act->persist && !sealing_available(sealing_of(act)))
        act_refuse(act, g_error_new(IOTHSM_ERROR, IOTHSM_ERROR_INVALID,
                                    "The management key of token %s can't be kept on disk, as this service "
                                    "has no sealing key; give it without keeping it",
                                    act->driver->serial));
    else
        act_submit(act, cancellable);
}

void token_set_management_key(Token *token, Secret *key, bool persist, GCancellable *cancellable,
                              DoneFunc done, void *userdata)
{
    Act *act = act_new(token, run_set);
    act->secret = secret_ref(key);
    act->persist = persist;
    act->done = done;
    act->userdata = userdata;
    submit(act, cancellable);
}

void token_change_management_key(Token *token, const ManagementKeyChange *change, bool persist,
                                 GCancellable *cancellable, DoneFunc done, void *userdata)
{
    Act *act = act_new(token, run_change);
    act->secret = change->current ? secret_ref(change->current) : NULL;
    act->other = change->replacement ? secret_ref(change->replacement) : NULL;
    act->algorithm = g_strdup(change->algorithm);
    act->protect = change->protect;
    act->persist = persist;
    act->done = done;
    act->userdata = userdata;
    GError *error = NULL;
    if (change->algorithm && !find_algorithm(change->algorithm, &error))
        act_refuse(act, error);
    else if (!change->replacement == !change->protect)
        act_refuse(act, g_error_new(IOTHSM_ERROR, IOTHSM_ERROR_INVALID,
                                    "Token %s gets either the new management key that is given, or one that "
                                    "nobody has seen and that it protects with its PIN: one of the two",
                                    token->driver->serial));
    else if (change->protect && persist)
        act_refuse(act, g_error_new(IOTHSM_ERROR, IOTHSM_ERROR_INVALID,
                                    "A management key that token %s protects with its PIN is kept there, "
                                    "not on disk",
                                    token->driver->serial));
    else {
        act->operation = g_strdup("changing the management key");
        submit(act, cancellable);
    }
}

void token_forget_management_key(Token *token, GCancellable *cancellable, DoneFunc done, void *userdata)
{
    Act *act = act_new(token, run_forget);
    act->done = done;
    act->userdata = userdata;
    act_submit(act, cancellable);
}

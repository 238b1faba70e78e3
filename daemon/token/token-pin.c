/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A token's PIN: the one place that hands one to a backend.
 *
 * The rule that all of it serves: no PIN reaches a token twice after the token refused it, and none reaches
 * it unasked but the stored one, once, when the token appears. What a token refused is noted before anything
 * else happens; the store keeps it over restarts. Looking whether it was refused, trying it and noting are
 * one step (|driver->pins|), as a token may have several threads. Everything here but the last functions runs
 * on the worker, since the store reads and writes files. */

#include "daemon/error.h"
#include "daemon/token/piv/piv.h"
#include "daemon/token/token-private.h"
#include <string.h>

#define PIN_SIZE_MAX 255

static bool check_pin(const Secret *pin, const char *what, GError **error)
{
    gsize size = secret_size(pin);
    if (size > 0 && size <= PIN_SIZE_MAX && memchr(secret_data(pin), '\0', size) == NULL)
        return true;
    g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID,
                "The %s has to be 1 to %d bytes long, without a zero byte", what, PIN_SIZE_MAX);
    return false;
}

/* PUKs and security officer PINs are remembered apart: the same digits may be right for the other. */
static char *officer_name(const Act *act)
{
    return g_strconcat(act->driver->serial, ".so", NULL);
}

static bool refused_before(const Act *act, const char *name, const Secret *pin, const char *what,
                           GError **error)
{
    if (!pin_store_was_refused(act->driver->store, name, pin))
        return false;
    g_set_error(
        error, IOTHSM_ERROR, IOTHSM_ERROR_PIN_WRONG,
        "Token %s has refused this %s before; it was not tried again, so no try was lost. Where it became "
        "the right one since, run first: iothsmctl pin forget %s",
        act->driver->serial, what, act->driver->serial);
    return true;
}

/* A refusal that can't be noted on disk is noted for the process; the person is told all the same. */
static void note_refusal(Act *act, const char *name, const Secret *pin)
{
    g_autoptr(GError) error = NULL;
    if (pin_store_note_refused(act->driver->store, name, pin, &error))
        return;
    g_free(act->note);
    act->note = g_strdup_printf("The token refused the PIN, and that could not be noted: %s", error->message);
}

static Secret *take_refused(const Driver *driver)
{
    Backend *backend = driver->backend;
    return backend->class->take_refused ? backend->class->take_refused(backend) : NULL;
}

/* What could not be written is noted for the process all the same. */
void driver_note_refused(Driver *driver)
{
    g_autoptr(Secret) pin = take_refused(driver);
    if (!pin)
        return;
    (void)pin_store_note_refused(driver->store, driver->serial, pin, NULL);
    g_atomic_int_set(&driver->refusal, 1);
}

void act_note_refused(Act *act)
{
    g_autoptr(Secret) pin = take_refused(act->driver);
    bool told = g_atomic_int_compare_and_exchange(&act->driver->refusal, 1, 0);
    if ((pin || told) && act->verdict == PIN_NOT_TRIED)
        act->verdict = PIN_REFUSED;
    if (pin)
        note_refusal(act, act->driver->serial, pin);
}

static bool login(Act *act, Secret *pin, bool insist, GError **error)
{
    Backend *backend = act->driver->backend;
    g_autoptr(GError) failure = NULL;
    if (backend->class->login(backend, pin, insist, &failure)) {
        act->verdict = PIN_ACCEPTED;
        return true;
    }
    if (g_error_matches(failure, IOTHSM_ERROR, IOTHSM_ERROR_PIN_WRONG)) {
        act->verdict = PIN_REFUSED;
        note_refusal(act, act->driver->serial, pin);
    }
    g_propagate_error(error, g_steal_pointer(&failure));
    return false;
}

/* The stored PIN, once. What goes wrong with it is a note, not a failure of the token. */
static void present_stored_pin(Act *act, PinState state)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&act->driver->pins);
    g_autoptr(GError) error = NULL;
    g_autoptr(Secret) pin = pin_store_load(act->driver->store, act->driver->serial, &error);
    if (pin && refused_before(act, act->driver->serial, pin, "PIN", NULL)) {
        act->verdict = PIN_REFUSED;
        return;
    }
    if (pin && state == PIN_STATE_FACTORY && backend_is_piv(act->driver->backend) &&
        !secret_is(pin, PIV_FACTORY_PIN, strlen(PIV_FACTORY_PIN)))
        g_set_error(
            &error, IOTHSM_ERROR, IOTHSM_ERROR_PIN_WRONG,
            "Token %s says that it has its factory PIN, so the PIN kept for it was not tried; give the "
            "right one with: iothsmctl pin set %s",
            act->driver->serial, act->driver->serial);
    else if (pin && check_pin(pin, "stored PIN", &error))
        (void)login(act, pin, false, &error);
    if (error && !act->note)
        act->note = g_strdup(error->message);
}

static bool run_start(Act *act, GCancellable *cancelled, GError **error)
{
    Backend *backend = act->driver->backend;
    gint number = g_atomic_int_add(&act->driver->probes, 1) + 1;
    g_autoptr(TokenInfo) info = backend->class->probe(backend, &act->failure);
    if (!info) {
        act->probe = number;
        g_propagate_error(error, g_error_copy(act->failure));
        return false;
    }
    if (info->pin_state == PIN_STATE_MISSING || info->pin_state == PIN_STATE_FACTORY)
        present_stored_pin(act, info->pin_state);
    if (!act_present_management_key(act, info) && act->verdict == PIN_NOT_TRIED) {
        act->probe = number;
        act->info = g_steal_pointer(&info);
    }
    return true;
}

void token_start(Token *token, DoneFunc done, void *userdata)
{
    Act *act = act_new(token, run_start);
    act->done = done;
    act->userdata = userdata;
    act_submit(act, NULL);
}

/* Without |persist| a sealed PIN that is not this one is known to be wrong, and would cost a try at the next
 * start. */
static bool keep_pin(Act *act, Secret *pin, bool persist, GError **error)
{
    PinStore *store = act->driver->store;
    if (!pin_store_note_accepted(store, act->driver->serial, pin, error))
        return false;
    if (persist)
        return pin_store_save(store, act->driver->serial, pin, error);
    g_autoptr(Secret) stored = pin_store_load(store, act->driver->serial, NULL);
    if (stored && !secret_equal(stored, pin))
        return pin_store_forget(store, act->driver->serial, error);
    return true;
}

static bool take_typed_pin(Act *act, GError **error)
{
    if (!check_pin(act->secret, "PIN", error) ||
        refused_before(act, act->driver->serial, act->secret, "PIN", error))
        return false;
    return login(act, act->secret, true, error) && keep_pin(act, act->secret, act->persist, error);
}

static bool run_set_pin(Act *act, GCancellable *cancelled, GError **error)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&act->driver->pins);
    return take_typed_pin(act, error);
}

/* Asked of the token a moment before, since another one may have been plugged in or its PIN changed. */
static bool has_factory_pin(Act *act, GError **error)
{
    Backend *backend = act->driver->backend;
    g_autoptr(TokenInfo) info = backend->class->probe(backend, error);
    if (!info || (info->pin_state == PIN_STATE_FACTORY && backend_is_piv(backend)))
        return info != NULL;
    g_set_error(
        error, IOTHSM_ERROR, IOTHSM_ERROR_PIN_WRONG,
        "Token %s does not say that it still has the factory PIN, so that was not tried; give its PIN "
        "with: iothsmctl pin set %s",
        act->driver->serial, act->driver->serial);
    return false;
}

static bool run_use_factory_pin(Act *act, GCancellable *cancelled, GError **error)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&act->driver->pins);
    act->secret = secret_new(PIV_FACTORY_PIN, strlen(PIV_FACTORY_PIN));
    return has_factory_pin(act, error) && take_typed_pin(act, error);
}

static void give_pin(Token *token, Secret *pin, bool persist, GCancellable *cancellable, DoneFunc done,
                     void *userdata)
{
    Act *act = act_new(token, pin ? run_set_pin : run_use_factory_pin);
    act->secret = pin ? secret_ref(pin) : NULL;
    act->persist = persist;
    act->done = done;
    act->userdata = userdata;
    if (persist && !sealing_available(pin_store_sealing(token->driver->store)))
        act_refuse(act,
                   g_error_new(IOTHSM_ERROR, IOTHSM_ERROR_INVALID,
                               "The PIN of token %s can't be kept on disk, as this service has no sealing "
                               "key; give it without keeping it",
                               token->driver->serial));
    else
        act_submit(act, cancellable);
}

void token_set_pin(Token *token, Secret *pin, bool persist, GCancellable *cancellable, DoneFunc done,
                   void *userdata)
{
    give_pin(token, pin, persist, cancellable, done, userdata);
}

void token_use_factory_pin(Token *token, bool persist, GCancellable *cancellable, DoneFunc done,
                           void *userdata)
{
    give_pin(token, NULL, persist, cancellable, done, userdata);
}

/* With what the token refused: this is how a person says that the PIN was changed elsewhere. */
static bool run_forget_pin(Act *act, GCancellable *cancelled, GError **error)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&act->driver->pins);
    Backend *backend = act->driver->backend;
    PinStore *store = act->driver->store;
    g_autofree char *officer = officer_name(act);
    if (!pin_store_forget(store, act->driver->serial, error) ||
        !pin_store_clear_refused(store, act->driver->serial, error) ||
        !pin_store_clear_refused(store, officer, error) || !backend->class->logout(backend, error))
        return false;
    act->verdict = PIN_FORGOTTEN;
    return true;
}

void token_forget_pin(Token *token, GCancellable *cancellable, DoneFunc done, void *userdata)
{
    Act *act = act_new(token, run_forget_pin);
    act->done = done;
    act->userdata = userdata;
    act_submit(act, cancellable);
}

/* The token has a new PIN, which it was told a moment ago. One that was sealed before is sealed anew. */
static bool take_new_pin(Act *act, GError **error)
{
    PinStore *store = act->driver->store;
    g_autoptr(Secret) stored = pin_store_load(store, act->driver->serial, NULL);
    return login(act, act->other, true, error) && keep_pin(act, act->other, stored != NULL, error);
}

static bool run_change_pin(Act *act, GCancellable *cancelled, GError **error)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&act->driver->pins);
    Backend *backend = act->driver->backend;
    g_autoptr(GError) failure = NULL;
    if (!check_pin(act->secret, "old PIN", error) || !check_pin(act->other, "new PIN", error) ||
        refused_before(act, act->driver->serial, act->secret, "PIN", error))
        return false;
    if (backend->class->change_pin(backend, act->secret, act->other, &failure))
        return take_new_pin(act, error);
    if (g_error_matches(failure, IOTHSM_ERROR, IOTHSM_ERROR_PIN_WRONG))
        note_refusal(act, act->driver->serial, act->secret);
    g_propagate_error(error, g_steal_pointer(&failure));
    return false;
}

void token_change_pin(Token *token, Secret *old_pin, Secret *new_pin, GCancellable *cancellable,
                      DoneFunc done, void *userdata)
{
    Act *act = act_new(token, run_change_pin);
    act->operation = g_strdup("changing the PIN");
    act->secret = secret_ref(old_pin);
    act->other = secret_ref(new_pin);
    act->done = done;
    act->userdata = userdata;
    act_submit(act, cancellable);
}

static bool run_unblock_pin(Act *act, GCancellable *cancelled, GError **error)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&act->driver->pins);
    Backend *backend = act->driver->backend;
    g_autofree char *officer = officer_name(act);
    g_autoptr(GError) failure = NULL;
    if (!check_pin(act->secret, "PUK", error) || !check_pin(act->other, "new PIN", error) ||
        refused_before(act, officer, act->secret, "PUK", error))
        return false;
    if (backend->class->unblock_pin(backend, act->secret, act->other, &failure))
        return take_new_pin(act, error);
    if (g_error_matches(failure, IOTHSM_ERROR, IOTHSM_ERROR_PIN_WRONG))
        note_refusal(act, officer, act->secret);
    g_propagate_error(error, g_steal_pointer(&failure));
    return false;
}

void token_unblock_pin(Token *token, Secret *puk, Secret *new_pin, GCancellable *cancellable, DoneFunc done,
                       void *userdata)
{
    Act *act = act_new(token, run_unblock_pin);
    act->operation = g_strdup("unblocking the PIN");
    act->secret = secret_ref(puk);
    act->other = secret_ref(new_pin);
    act->done = done;
    act->userdata = userdata;
    act_submit(act, cancellable);
}

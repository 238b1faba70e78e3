/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The errors of IoT-HSM, each under one name everywhere.
 *
 * Inside, a failure is a GError of domain IOTHSM_ERROR whose message is one sentence for the person who has
 * to act: what was tried, on what, and what to do. On the bus it is org.pkiaas.IoTHSM1.Error.NAME; in the
 * shell it is an exit status. One table in error.c holds the three together, and the command line uses the
 * same table. */

#include <glib.h>
#include <stdbool.h>

#define IOTHSM_ERROR (iothsm_error_quark())
GQuark iothsm_error_quark(void);

typedef enum IothsmError {
    IOTHSM_ERROR_FAILED, /* something broke that no other name describes (disk full, library failure) */
    IOTHSM_ERROR_NO_SUCH_TOKEN,
    IOTHSM_ERROR_NO_SUCH_SLOT,
    IOTHSM_ERROR_NO_SUCH_AUTHORITY,
    IOTHSM_ERROR_SLOT_OCCUPIED,
    IOTHSM_ERROR_SLOT_EMPTY,
    IOTHSM_ERROR_TOKEN_GONE,
    IOTHSM_ERROR_TOKEN_BUSY,
    IOTHSM_ERROR_TOKEN_HELD,
    IOTHSM_ERROR_TOKEN_SUSPECT,
    IOTHSM_ERROR_PIN_REQUIRED,
    IOTHSM_ERROR_PIN_WRONG,
    IOTHSM_ERROR_PIN_BLOCKED,
    IOTHSM_ERROR_MANAGEMENT_KEY_REQUIRED,
    IOTHSM_ERROR_MANAGEMENT_KEY_WRONG,
    IOTHSM_ERROR_PASSPHRASE_WRONG,
    IOTHSM_ERROR_TOUCH_TIMEOUT,
    IOTHSM_ERROR_KEY_MISMATCH,
    IOTHSM_ERROR_BAD_CERTIFICATE,
    IOTHSM_ERROR_BAD_KEY,
    IOTHSM_ERROR_TEMPLATE_EXPIRED,
    IOTHSM_ERROR_UNSUPPORTED,
    IOTHSM_ERROR_POLICY_DENIED,
    IOTHSM_ERROR_LINK_DOWN,
    IOTHSM_ERROR_PLATFORM_REFUSED,
    IOTHSM_ERROR_CLOUD_REFUSED,
    IOTHSM_ERROR_LIMITS_EXCEEDED,
    IOTHSM_ERROR_INVALID,
    IOTHSM_ERROR_CANCELLED,
    IOTHSM_ERROR_TIMED_OUT,
    IOTHSM_N_ERRORS
} IothsmError;

/* The D-Bus error name of |error|, never NULL. Errors of foreign domains are reported as Failed. */
const char *error_bus_name(const GError *error);

/* The code behind a D-Bus error name. False for names that are not ours. */
bool error_from_bus_name(const char *name, IothsmError *ret_code);

/* The exit status of iothsmctl for |code| (design: 1 failure, 2 usage, 3 no such thing, 4 not authorised). */
int error_exit_status(IothsmError code);

/* Sets |error| to IOTHSM_ERROR/|code| with the formatted sentence and appends, after a colon, the newest
 * entry of OpenSSL's error queue of this thread, which is emptied. */
void error_set_openssl(GError **error, IothsmError code, const char *format, ...) G_GNUC_PRINTF(3, 4);

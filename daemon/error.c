/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The table that gives each error its name on the bus and its exit status. Adding an error is adding a row.
 */

#include "daemon/error.h"
#include <openssl/err.h>
#include <string.h>

G_DEFINE_QUARK(iothsm - error, iothsm_error)

#define BUS_PREFIX "org.pkiaas.IoTHSM1.Error."

enum { EXIT_OTHER = 1, EXIT_USAGE = 2, EXIT_NO_SUCH = 3, EXIT_REFUSED = 4 };

static const struct {
    const char *bus_name;
    int exit_status;
} errors[IOTHSM_N_ERRORS] = {
    [IOTHSM_ERROR_FAILED] = {BUS_PREFIX "Failed", EXIT_OTHER},
    [IOTHSM_ERROR_NO_SUCH_TOKEN] = {BUS_PREFIX "NoSuchToken", EXIT_NO_SUCH},
    [IOTHSM_ERROR_NO_SUCH_SLOT] = {BUS_PREFIX "NoSuchSlot", EXIT_NO_SUCH},
    [IOTHSM_ERROR_NO_SUCH_AUTHORITY] = {BUS_PREFIX "NoSuchAuthority", EXIT_NO_SUCH},
    [IOTHSM_ERROR_SLOT_OCCUPIED] = {BUS_PREFIX "SlotOccupied", EXIT_OTHER},
    [IOTHSM_ERROR_SLOT_EMPTY] = {BUS_PREFIX "SlotEmpty", EXIT_OTHER},
    [IOTHSM_ERROR_TOKEN_GONE] = {BUS_PREFIX "TokenGone", EXIT_OTHER},
    [IOTHSM_ERROR_TOKEN_BUSY] = {BUS_PREFIX "TokenBusy", EXIT_OTHER},
    [IOTHSM_ERROR_TOKEN_HELD] = {BUS_PREFIX "TokenHeld", EXIT_OTHER},
    [IOTHSM_ERROR_TOKEN_SUSPECT] = {BUS_PREFIX "TokenSuspect", EXIT_OTHER},
    [IOTHSM_ERROR_PIN_REQUIRED] = {BUS_PREFIX "PinRequired", EXIT_OTHER},
    [IOTHSM_ERROR_PIN_WRONG] = {BUS_PREFIX "PinWrong", EXIT_OTHER},
    [IOTHSM_ERROR_PIN_BLOCKED] = {BUS_PREFIX "PinBlocked", EXIT_OTHER},
    [IOTHSM_ERROR_MANAGEMENT_KEY_REQUIRED] = {BUS_PREFIX "ManagementKeyRequired", EXIT_OTHER},
    [IOTHSM_ERROR_MANAGEMENT_KEY_WRONG] = {BUS_PREFIX "ManagementKeyWrong", EXIT_OTHER},
    [IOTHSM_ERROR_PASSPHRASE_WRONG] = {BUS_PREFIX "PassphraseWrong", EXIT_OTHER},
    [IOTHSM_ERROR_TOUCH_TIMEOUT] = {BUS_PREFIX "TouchTimeout", EXIT_OTHER},
    [IOTHSM_ERROR_KEY_MISMATCH] = {BUS_PREFIX "KeyMismatch", EXIT_OTHER},
    [IOTHSM_ERROR_BAD_CERTIFICATE] = {BUS_PREFIX "BadCertificate", EXIT_OTHER},
    [IOTHSM_ERROR_BAD_KEY] = {BUS_PREFIX "BadKey", EXIT_OTHER},
    [IOTHSM_ERROR_TEMPLATE_EXPIRED] = {BUS_PREFIX "TemplateExpired", EXIT_OTHER},
    [IOTHSM_ERROR_UNSUPPORTED] = {BUS_PREFIX "Unsupported", EXIT_OTHER},
    [IOTHSM_ERROR_POLICY_DENIED] = {BUS_PREFIX "PolicyDenied", EXIT_REFUSED},
    [IOTHSM_ERROR_LINK_DOWN] = {BUS_PREFIX "LinkDown", EXIT_OTHER},
    [IOTHSM_ERROR_PLATFORM_REFUSED] = {BUS_PREFIX "PlatformRefused", EXIT_OTHER},
    [IOTHSM_ERROR_CLOUD_REFUSED] = {BUS_PREFIX "CloudRefused", EXIT_OTHER},
    [IOTHSM_ERROR_LIMITS_EXCEEDED] = {BUS_PREFIX "LimitsExceeded", EXIT_OTHER},
    [IOTHSM_ERROR_INVALID] = {BUS_PREFIX "Invalid", EXIT_USAGE},
    [IOTHSM_ERROR_CANCELLED] = {BUS_PREFIX "Cancelled", EXIT_OTHER},
    [IOTHSM_ERROR_TIMED_OUT] = {BUS_PREFIX "TimedOut", EXIT_OTHER},
};

const char *error_bus_name(const GError *error)
{
    if (error->domain != IOTHSM_ERROR || error->code < 0 || error->code >= IOTHSM_N_ERRORS)
        return errors[IOTHSM_ERROR_FAILED].bus_name;
    return errors[error->code].bus_name;
}

bool error_from_bus_name(const char *name, IothsmError *ret_code)
{
    for (int i = 0; i < IOTHSM_N_ERRORS; i++) {
        if (g_strcmp0(errors[i].bus_name, name) == 0) {
            *ret_code = (IothsmError)i;
            return true;
        }
    }
    return false;
}

int error_exit_status(IothsmError code)
{
    g_return_val_if_fail((int)code >= 0 && code < IOTHSM_N_ERRORS, EXIT_OTHER);
    return errors[code].exit_status;
}

void error_set_openssl(GError **error, IothsmError code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *sentence = g_strdup_vprintf(format, arguments);
    va_end(arguments);

    const char *data = NULL;
    int flags = 0;
    unsigned long newest = ERR_peek_last_error_data(&data, &flags);
    const char *reason = newest != 0 ? ERR_reason_error_string(newest) : NULL;
    bool has_data = (flags & ERR_TXT_STRING) && data && *data;
    if (has_data && (!reason || ERR_GET_LIB(newest) == ERR_LIB_USER))
        g_set_error(error, IOTHSM_ERROR, (int)code, "%s: %s", sentence, data);
    else if (reason)
        g_set_error(error, IOTHSM_ERROR, (int)code, "%s: %s", sentence, reason);
    else
        g_set_error_literal(error, IOTHSM_ERROR, (int)code, sentence);
    ERR_clear_error();
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* By code: a new one is "Signing failed" until it has words here. */

#include "daemon/link/refusal.h"

#include "daemon/error.h"

const char *refusal_of_token(const GError *error)
{
    if (error->domain != IOTHSM_ERROR)
        return "Signing failed";
    switch ((IothsmError)error->code) {
    case IOTHSM_ERROR_PIN_REQUIRED:
    case IOTHSM_ERROR_PIN_WRONG:
    case IOTHSM_ERROR_PIN_BLOCKED:
        return "HSM login failed";
    case IOTHSM_ERROR_TOKEN_BUSY:
    case IOTHSM_ERROR_LIMITS_EXCEEDED:
        return "HSM is busy";
    case IOTHSM_ERROR_TOKEN_GONE:
    case IOTHSM_ERROR_TOKEN_HELD:
    case IOTHSM_ERROR_TOKEN_SUSPECT:
    case IOTHSM_ERROR_LINK_DOWN:
    case IOTHSM_ERROR_CLOUD_REFUSED:
        return "HSM is not available";
    case IOTHSM_ERROR_TOUCH_TIMEOUT:
        return "HSM was not touched in time";
    case IOTHSM_ERROR_TIMED_OUT:
        return "HSM did not answer in time";
    default:
        return "Signing failed";
    }
}

const char *refusal_of_request(const GError *error)
{
    if (error->domain != IOTHSM_ERROR)
        return "Signing failed";
    switch ((IothsmError)error->code) {
    case IOTHSM_ERROR_INVALID:
    case IOTHSM_ERROR_UNSUPPORTED:
    case IOTHSM_ERROR_POLICY_DENIED:
    case IOTHSM_ERROR_LIMITS_EXCEEDED:
    case IOTHSM_ERROR_BAD_CERTIFICATE:
    case IOTHSM_ERROR_KEY_MISMATCH:
        return error->message;
    default:
        return refusal_of_token(error);
    }
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The configuration: iothsmd.conf(5) as a plain struct, read once at start and again at Reload.
 *
 * /usr/lib/iothsm/iothsmd.conf is read first where it exists, then /etc/iothsm/iothsmd.conf (or --config=FILE
 * alone). An unknown group or key is logged and skipped; a value that can't be meant is an error that names
 * file, key and what is expected. */

#include <glib.h>
#include <stdbool.h>

typedef enum SignerPurpose { SIGNER_PURPOSE_SMIMESIGN, SIGNER_PURPOSE_ANY } SignerPurpose;
typedef enum ShortSerial { SHORT_SERIAL_HEX, SHORT_SERIAL_ORIGINAL } ShortSerial;
typedef enum TransportChoice {
    TRANSPORT_CHOICE_AUTO,
    TRANSPORT_CHOICE_WEBSOCKET,
    TRANSPORT_CHOICE_PUBNUB
} TransportChoice;
typedef enum CrlForm { CRL_FORM_ORIGINAL, CRL_FORM_RFC5280 } CrlForm;

typedef struct Config {
    /* [Platform] */
    char *platform_url;    /* no trailing slash; https, or http for a loopback host */
    char *tls_ca;          /* NULL: the system's roots */
    char *verification_ca; /* the pinned message verification CA */
    TransportChoice transport;
    char *pubnub_origin; /* as platform_url */
    SignerPurpose signer_purpose;
    ShortSerial short_serial;
    /* [Tokens] */
    bool yubikey;
    bool softhsm;
    char *softhsm_module; /* resolved to a path; NULL where none is installed */
    GStrv pkcs11_modules;
    /* [GoogleKms]; without a slash at the end, NULL: Google's own */
    char *google_kms_url;
    char *google_resource_manager_url;
    char *google_metadata_url;
    /* [Limits] */
    guint queue_length;
    guint default_ttl;     /* seconds */
    guint64 message_size;  /* bytes */
    guint64 inflated_size; /* bytes */
    /* [Crl] */
    CrlForm crl_form;
    /* [Journal] */
    gint64 replay_window; /* seconds */
} Config;

/* |file| NULL: the installed places; a missing file there is no error. |state_directory| gives the default of
 * VerificationCa=. */
Config *config_load(const char *file, const char *state_directory, GError **error);
void config_free(Config *config);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Config, config_free)

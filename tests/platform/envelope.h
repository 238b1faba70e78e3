/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The S/MIME and zlib layers of protocol.md, as the platform makes and reads them.
 *
 * What it makes is right unless a flaw is asked for. What it reads from an agent is held to the letter of 1.5
 * and 1.6 (header lines, one signer, which attributes, which algorithms), so that an agent which is merely
 * good enough for OpenSSL's lenient reader is told so. Pure functions, any thread. */

#include "tests/platform/pki.h"

/* How a message is signed or encrypted wrongly. */
typedef enum Flaw {
    FLAW_NONE,
    /* of the signature */
    FLAW_WRONG_SIGNER, /* the true signer's certificate, another key's signature */
    FLAW_ROGUE_SIGNER, /* chains to another root */
    FLAW_EXPIRED_SIGNER,
    FLAW_TLS_SIGNER, /* below the true anchor, but a TLS server's certificate */
    FLAW_TWO_SIGNERS,
    FLAW_NO_SIGNER,
    FLAW_SHA1,
    FLAW_NO_ATTRIBUTES, /* so without a signing time */
    FLAW_DETACHED,      /* multipart/signed */
    FLAW_ALTERED,       /* one byte of the signed content */
    FLAW_TRUNCATED,
    FLAW_NOT_SMIME,
    /* of the encryption */
    FLAW_NOT_ENCRYPTED,
    FLAW_WRONG_RECIPIENT,
    FLAW_GCM,             /* AuthEnvelopedData instead of EnvelopedData */
    FLAW_TRUNCATED_INNER, /* the encrypted layer */
    FLAW_BAD_PADDING,
    /* of the compression */
    FLAW_BAD_ZLIB,
    FLAW_RAW_DEFLATE,
    FLAW_GZIP,
    FLAW_ZIP_BOMB,
    FLAW_EMPTY,
} Flaw;

/* sign(|content|), with the signing time |signing_time| (seconds since the epoch; 0: now). Transfer full. */
char *envelope_sign(GBytes *content, const Pki *pki, gint64 signing_time, Flaw flaw, GError **error);

/* sign(encrypt(|content|)) to |recipient|. Transfer full. */
char *envelope_sign_encrypted(GBytes *content, X509 *recipient, const Pki *pki, gint64 signing_time,
                              Flaw flaw, GError **error);

/* sign(encrypt(deflate(|content|))). Transfer full. */
char *envelope_seal(GBytes *content, X509 *recipient, const Pki *pki, gint64 signing_time, Flaw flaw,
                    GError **error);

/* The content of an agent's signed message. |anchors| holds the authority's certificate alone; the signer's
 * certificate is checked by the caller (channel-certificate.h). Transfer full. */
GBytes *envelope_verify(const char *smime, X509_STORE *anchors, X509 **ret_signer, GError **error);

/* decrypt and inflate what envelope_verify gave. Transfer full. */
GBytes *envelope_open(GBytes *verified, const Pki *pki, GError **error);

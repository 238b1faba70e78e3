/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Signed messages made to a recipe, good ones and odd ones, and the daemon's judgement on them. */

#include "daemon/error.h"
#include "tests/unit/link/signers.h"

/* What is in them. */
extern const char text[];

/* Transfer full. */
GBytes *content_of(const char *words);

/* A signed message as its parts; what is left zero is as usual. */
typedef struct Recipe {
    const char *by; /* signers.h; or certificate and key */
    X509 *certificate;
    EVP_PKEY *key;
    const char *digest;
    unsigned flags;
    X509 *extra;          /* one more certificate in the message */
    int copies;           /* so many times */
    const Signer *second; /* signs, too */
    const char *type;     /* eContentType */
} Recipe;

/* Transfer full. */
CMS_ContentInfo *cook(const Recipe *recipe);
/* As S/MIME; takes |cms|. Transfer full. */
char *serve(CMS_ContentInfo *cms);
/* Nothing odd about it. Transfer full. */
char *signed_by(const char *name);

/* By who trusts "pinned", for S/MIME. Transfer full. */
EnvelopeSigned *verify(const char *smime, GError **error);
/* Just signed, by |by|. */
void assert_believed(const char *smime, const char *words, const char *by);
void assert_refused(const char *smime, IothsmError code, const char *words);
/* By who trusts "pinned" for |purpose|. */
void assert_refused_by(const char *smime, SignerPurpose purpose, IothsmError code, const char *words);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the messages between platform and agent say (protocol.md section 2), as text: building a solicitation
 * and a request, reading an offer and an answer. Pure functions for any thread; what they need is in their
 * arguments. */

#include "tests/platform/envelope.h"
#include "tests/platform/members.h"

typedef enum MessageFlaw { /* of what is said, beside the S/MIME layers */
                           MESSAGE_FLAW_NONE = 0,
                           MESSAGE_WRONG_CA = 1 << 0,
                           MESSAGE_SIGUUID_DIFFERS = 1 << 1,
                           MESSAGE_UNKNOWN_TYPE = 1 << 2,
                           MESSAGE_OTHER_UUID = 1 << 3,
                           MESSAGE_NO_SMIME = 1 << 4,
                           MESSAGE_SMIME_NUMBER = 1 << 5,
                           MESSAGE_DEEP_JSON = 1 << 6,
                           MESSAGE_NOT_JSON = 1 << 7,
                           MESSAGE_BAD_UTF8 = 1 << 8,
                           MESSAGE_OTHER_SIGNTYPE = 1 << 9,
} MessageFlaw;

/* Of an authority that nobody has. */
#define MESSAGE_OTHER_SERIAL "0123456789abcdef0123"
#define MESSAGE_OTHER_THUMBPRINT "0123456789abcdef0123456789abcdef01234567"

/* How a message is made otherwise than right. All zero: it is right. */
typedef struct MessageFaults {
    Flaw flaw;
    unsigned flaws; /* MessageFlaw */
    gint64 signing_time;
    gint64 depth; /* of MESSAGE_DEEP_JSON */
    bool has_caindex;
    gint64 caindex;
} MessageFaults;

typedef struct SolicitText {
    const char *serial;
    const char *thumbprint;
    const char *siguuid;
    gint64 ttl; /* seconds; 0: none is said */
} SolicitText;

/* The envelope as compact JSON. Transfer full. */
char *message_solicit(const SolicitText *text, const Pki *pki, const MessageFaults *faults, GError **error);

/* The content of an agent's signed |smime|; its signer is a channel certificate of |authority| to the letter.
 * Transfer full. */
GBytes *message_verified(const char *smime, X509 *authority, X509_STORE *anchors, X509 **ret_signer,
                         GError **error);

typedef struct Offer {
    char *uuid; /* the agent's */
    gint64 caindex;
    char *siguuid;
    X509 *signer; /* what requests are encrypted to */
} Offer;
void offer_free(Offer *offer);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Offer, offer_free)

/* Reads the smime of a 'services offerred' from an agent that holds |authority|. Transfer full. */
Offer *message_read_offer(const char *smime, X509 *authority, X509_STORE *anchors, GError **error);

typedef struct RequestText {
    const char *uuid; /* addressee */
    const char *siguuid;
    const char *outer_siguuid; /* NULL: |siguuid| */
    gint64 caindex;
    const char *signtype;
    gint64 ttl;          /* 0: none is said */
    const char *request; /* JSON of the member "request" */
    const char *inner;   /* the whole inner text instead, or NULL */
    X509 *recipient;
} RequestText;

char *message_request(const RequestText *text, const Pki *pki, const MessageFaults *faults, GError **error);

typedef struct Answer {
    bool success;
    char *siguuid;
    char *message;
} Answer;
void answer_free(Answer *answer);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Answer, answer_free)

/* Reads the smime of a 'signature response' or of a delivered CRL. Transfer full. */
Answer *message_read_answer(const char *smime, X509 *authority, X509_STORE *anchors, const Pki *pki,
                            GError **error);

/* Whether the members of |object| are exactly |names| ("type", …, NULL-terminated) in that order. */
bool members_are(JsonObject *object, const char *const *names);

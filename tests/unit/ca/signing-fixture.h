/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A CA for tests, and requests to it written as the platform writes them. */

#include "daemon/ca/signing.h"
#include "tests/support/support.h"

#define NOW G_GINT64_CONSTANT(1795218638) /* 2026-11-20T23:50:38Z */

typedef struct TestAuthority {
    EVP_PKEY *key;
    X509 *certificate;
    char *directory; /* holds the two files */
    char *certificate_path;
    char *key_path;
} TestAuthority;

TestAuthority *test_authority_new(const char *key_type);
/* Takes |certificate|, which must be for |key|. */
TestAuthority *test_authority_of(X509 *certificate, EVP_PKEY *key);
void test_authority_free(TestAuthority *authority);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TestAuthority, test_authority_free)

/* {"csr":…,"options":…}; |options| is JSON or NULL (no such member). Transfer full. */
char *csr_request(const char *pem, const char *options);
/* {"database":…,"days":…}. Transfer full. */
char *crl_request(const char *database, const char *days);
/* {"options":{…}} with `data` and the |more| members, which start with a comma. Transfer full. */
char *cms_request(const char *data, const char *more);
/* Transfer full: |text| as a JSON string, with its quotes. */
char *quoted(const char *text);

/* The answer to |request| (JSON), asserted to succeed. |rules| may be NULL. Transfer full. */
char *sign_with(const TestAuthority *authority, const char *signtype, const char *request,
                const SigningRules *rules);
char *sign(const TestAuthority *authority, const char *signtype, const char *request);
/* Asserts that |request| is refused with exactly |message| before anything is signed. */
void assert_refused(const TestAuthority *authority, const char *signtype, const char *request,
                    const char *message);
/* A certificate for a P-256 key with |options|. Transfer full. */
X509 *issue(const TestAuthority *authority, const char *options);
/* The same, asserted to be refused with |message|. */
void assert_issue_refused(const TestAuthority *authority, const char *options, const char *message);

/* Transfer full. */
X509 *read_certificate(const char *pem);
/* `openssl x509 -text -noout` of |certificate|. Transfer full. */
char *openssl_text(X509 *certificate);
/* What `openssl x509 -text` says on the line(s) after the one that holds |heading|, stripped. Transfer full.
 */
char *extension_text(X509 *certificate, const char *heading);
/* |text| contains |part|, or the test fails and shows both. */
void assert_contains(const char *text, const char *part);
/* The `openssl` command accepts the chain from |pem| to |authority|. */
void assert_chains(const TestAuthority *authority, const char *pem);
/* Until no thread of a fake token (named "F…") is left: those of a token that was pulled out end by
 * themselves, and the leak checker must not find them at it. */
void wait_for_token_threads(void);

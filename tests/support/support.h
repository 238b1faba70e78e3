/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the test programs share: scratch folders, certificates made for the occasion, the openssl command as
 * an independent judge, and waiting for an event instead of sleeping. It links nothing of the daemon. */

#include <gio/gio.h>
#include <openssl/x509.h>
#include <stdbool.h>

/* A fresh folder below $TMPDIR, removed with everything in it at exit. Transfer full. */
char *test_directory(void);

/* Runs |argv| (argv[0] looked up in PATH) with |input| on stdin (NULL: empty); returns stdout and stderr
 * together, asserts the exit status to be |expect_status| (-1: any). Transfer full. */
char *test_run(const char *const *argv, const char *input, int expect_status);
#define TEST_RUN(...) test_run((const char *const[]){__VA_ARGS__, NULL}, NULL, 0)

/* Iterates the default main context until |*flag| is true; the test fails after |seconds|. */
void test_wait(const bool *flag, guint seconds);
/* The same for a condition. */
void test_wait_for(bool (*condition)(void *userdata), void *userdata, guint seconds);
/* The same for what another thread or process makes true: nothing wakes the main loop for it, so it looks
 * every few milliseconds. */
void test_poll_for(bool (*condition)(void *userdata), void *userdata, guint seconds);
/* Iterates the default main context for |milliseconds|: where that time itself is what is tested. */
void test_let_pass(guint milliseconds);

/* What was measured, in a line of its own, at once: ./check prints it again at its end. */
void test_figure(const char *format, ...) G_GNUC_PRINTF(1, 2);

/* Keys: "rsa1024" "rsa2048" "rsa3072" "rsa4096" "p256" "p384" "p521" "ed25519". Transfer full. Each kind is
 * made once a process and shared; test_new_key makes a fresh one. */
EVP_PKEY *test_key(const char *type);
EVP_PKEY *test_new_key(const char *type);

typedef struct TestCertificate {
    const char *subject; /* "CN=Test CA" or "C=US, O=Org, CN=…" as comma-separated pairs */
    const char *serial;  /* hex, or NULL: random 159 bits */
    gint64 not_before;   /* seconds since the epoch; 0: an hour ago */
    gint64 not_after;    /* 0: in ten years */
    const char *const
        *extensions;    /* pairs "basicConstraints", "critical,CA:TRUE", … NULL-terminated; may be NULL */
    const char *digest; /* NULL: sha256 */
} TestCertificate;

/* |issuer| NULL: self-signed. Transfer full. */
X509 *test_certificate(const TestCertificate *what, EVP_PKEY *key, X509 *issuer, EVP_PKEY *issuer_key);
/* A usual CA certificate for |key|: CA:TRUE, keyCertSign, cRLSign, SKI, AKI. Transfer full. */
X509 *test_ca(const char *common_name, EVP_PKEY *key);

/* Transfer full. */
char *test_certificate_pem(X509 *certificate);
char *test_key_pem(EVP_PKEY *key, const char *passphrase);
char *test_public_key_pem(EVP_PKEY *key);
char *test_request_pem(const char *subject, EVP_PKEY *key);
/* Writes |text| to |directory|/|name|, gives the path. Transfer full. */
char *test_write(const char *directory, const char *name, const char *text);

/* A free TCP port of 127.0.0.1 is never guessed: servers bind port 0 and print it. This reads lines of a
 * child's stdout until one starts with |prefix| and returns the rest of it. Transfer full. */
char *test_read_line(GSubprocess *child, const char *prefix, guint seconds);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A secret: the bytes of a PIN, a passphrase or a private key on their way to a token.
 *
 * It lives in OpenSSL's secure heap (locked, surrounded by guard pages, never in a core file), is shared by
 * reference count from any thread, and is wiped with its last reference. Secrets come in as file descriptors
 * only: never as text on the bus, in argv, in the environment or in the log. */

#include <gio/gio.h>
#include <stdbool.h>

typedef struct Secret Secret;

/* Secrets longer than this are refused: PEM keys with headers fit many times over. (With the byte that tells
 * "too long" and the closing NUL it is one block of 64 KiB of the secure heap.) */
#define SECRET_SIZE_MAX (64U * 1024U - 2U)

/* Makes the process undumpable, forbids core files and sets up the secure heap. Call once, first thing in
 * main. False when memory can't be locked at all; secrets then live in ordinary memory, wiped after use, and
 * the caller says so. */
bool secret_memory_init(void);

/* A copy of |size| bytes. */
Secret *secret_new(const void *data, gsize size);
/* |size| zero bytes, for its maker to fill in through |ret_bytes| before anybody else has it. */
Secret *secret_new_blank(gsize size, char **ret_bytes);
Secret *secret_ref(Secret *secret);
void secret_unref(Secret *secret); /* accepts NULL */

/* The bytes, and a NUL behind them that is not part of the size. Valid while a reference is held. */
const char *secret_data(const Secret *secret);
gsize secret_size(const Secret *secret);
/* In a time that does not tell where they differ. NULL equals nothing. */
bool secret_equal(const Secret *one, const Secret *other);
bool secret_is(const Secret *secret, const void *data, gsize size);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Secret, secret_unref)

typedef void (*SecretDoneFunc)(Secret *secret, const GError *error, void *userdata);

/* Reads a secret from |fd|, which is duplicated at once: a memfd sealed against write, grow and shrink, a
 * regular file (read by a thread), or a pipe (read in the main loop, at most 5 s). Anything else, an empty
 * secret or one above SECRET_SIZE_MAX is IOTHSM_ERROR_INVALID. One line end at the end is taken away, so that
 * "echo 123456 | …" means what people expect. |done| owns a reference only if it takes one; CANCELLED,
 * however it ended, where |cancellable| (or NULL) was cancelled meanwhile. */
void secret_read(int fd, GCancellable *cancellable, SecretDoneFunc done, void *userdata);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* How a PIN, a passphrase or a key gets from a person to the daemon: typed on the terminal without echo, from
 * a file or from a descriptor, and always on as a sealed memfd. It never is an argument, never in the
 * environment, and what passes through this process's memory is locked and wiped. */

#include "cli/client.h"

/* Where --X-file and --X-fd say that it comes from. */
typedef struct SecretSource {
    char *file; /* "-": standard input */
    int fd;     /* -1: not given */
} SecretSource;

#define SECRET_SOURCE_NONE                                                                                   \
    {                                                                                                        \
        NULL, -1                                                                                             \
    }

/* The two options of a secret, for a GOptionEntry table: SECRET_OPTIONS("pin", "the PIN", pin_source). */
#define SECRET_OPTIONS(name, what, source)                                                                   \
    {                                                                                                        \
        name "-file",                                                                                        \
        0,                                                                                                   \
        0,                                                                                                   \
        G_OPTION_ARG_FILENAME,                                                                               \
        &(source).file,                                                                                      \
        "Read " what " from FILE (-: standard input)",                                                       \
        "FILE"},                                                                                             \
    {                                                                                                        \
        name "-fd", 0, 0, G_OPTION_ARG_INT, &(source).fd, "Read " what " from the open file descriptor N",   \
            "N"                                                                                              \
    }

typedef struct SecretRequest {
    const char *what;   /* "PIN of token 1234": for the prompt and for errors */
    const char *option; /* "pin": --pin-file and --pin-fd are the ways without a terminal */
    bool twice;         /* a new one: typed twice */
} SecretRequest;

/* A sealed memfd, at its beginning, with the secret as it was given (the daemon takes one line end away). The
 * caller closes it. -1 with an error: none was given and none may be asked for, the two did not match, it is
 * empty. */
int secret_input(Client *client, const SecretSource *source, const SecretRequest *request, GError **error);

/* Does the secret in |fd| contain |text|? For telling an encrypted key from one that is not. */
bool secret_contains(int fd, const char *text);

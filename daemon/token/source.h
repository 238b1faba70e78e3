/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A source makes tokens appear and go: a PKCS#11 module, the YubiKeys in PC/SC's readers, the configured
 * cloud key rings, the fakes of a test. It lives on the main thread, never blocks there, and tells the
 * manager what it found through SourceEvents. */

#include "daemon/done.h"
#include "daemon/token/backend.h"

typedef struct Source Source;
typedef struct SourceEvents {
    /* A token is there. Transfer full of |backend|; |serial| is its identity. */
    void (*appeared)(Source *source, Backend *backend, const char *serial, void *userdata);
    /* It is gone; the manager closes its worker and then frees the backend. */
    void (*gone)(Source *source, const char *serial, void *userdata);
    /* What is at |place| ("reader …", "USB port …") could be a token and can't be used: |sentence| says why
     * and what to do; "" when that is over. */
    void (*trouble)(Source *source, const char *place, const char *sentence, void *userdata);
    void *userdata;
} SourceEvents;

typedef struct SourceClass {
    const char *name; /* for the log: "SoftHSM2", the module's path */
    /* Looks for tokens for the first time; |done| when all that are there were reported, or it can't work. */
    void (*start)(Source *source, const SourceEvents *events, DoneFunc done, void *userdata);
    /* Looks again (Reload): appeared and gone for the differences; requests in flight don't fail. */
    void (*reload)(Source *source, DoneFunc done, void *userdata);
    /* After every backend of it was freed. */
    void (*free)(Source *source);
} SourceClass;

struct Source {
    const SourceClass *class;
};

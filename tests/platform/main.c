/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* iothsm-platform: a stand-in for PKIaaS.io, to play with and to test against. It speaks the wire protocol
 * from the platform's side with its own code (nothing of the daemon is linked in), and lets the openssl
 * command judge what comes back. */

#include "tests/platform/client.h"
#include "tests/platform/serve.h"
#include <glib.h>
#include <locale.h>
#include <stdio.h>

static void print_help(void)
{
    g_autofree char *verbs = client_help();
    printf("iothsm-platform VERB --directory=DIR [OPTION…]\n\n"
           "A stand-in for PKIaaS.io on 127.0.0.1. `serve` runs it and keeps everything in DIR:\n"
           "  DIR/verification-ca.pem  the CA to be pinned ([Platform] VerificationCa=)\n"
           "  DIR/rogue-ca.pem         a root that must not be believed\n"
           "  DIR/tls-ca.pem           the root of its TLS certificate ([Platform] TlsCa=), with --tls\n"
           "The other verbs speak to the running platform through DIR/control.sock (one line of JSON each "
           "way).\n\n"
           "Verbs (VERB --help has the options):\n"
           "  %-20s run the platform; prints \"url http://127.0.0.1:PORT\" when it is ready\n%s\n"
           "Example:\n"
           "  iothsm-platform serve --directory=p &\n"
           "  iothsm-platform create-ca --directory=p --name=Home >template.pem\n"
           "  # provision template.pem on a token, then\n"
           "  iothsm-platform import-certificate --directory=p ca.pem\n"
           "  iothsm-platform sign-csr --directory=p --ca=Home --name=www --dns=www.example.test --days=90\n",
           "serve", verbs);
}

int main(int argc, char **argv)
{
    setlocale(LC_ALL, "");
    if (argc < 2 || g_str_equal(argv[1], "--help") || g_str_equal(argv[1], "help")) {
        print_help();
        return argc < 2 ? 2 : 0;
    }
    if (g_str_equal(argv[1], "serve"))
        return serve_main(argc - 1, argv + 1);
    return client_main(argc - 1, argv + 1);
}

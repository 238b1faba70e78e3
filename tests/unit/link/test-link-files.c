/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the link reads: all of it, or one sentence. */

#include "daemon/link/link-files.h"
#include "daemon/openssl-cleanup.h"
#include "tests/support/support.h"
#include <string.h>
#include <unistd.h>

static char *anchor(const char *directory)
{
    g_autoptr(EVP_PKEY) key = test_key("p256");
    g_autoptr(X509) ca = test_ca("Anchor", key);
    g_autofree char *pem = test_certificate_pem(ca);
    return test_write(directory, "anchor.pem", pem);
}

static void test_the_anchor_alone(void)
{
    g_autofree char *directory = test_directory();
    g_autofree char *file = anchor(directory);
    g_autoptr(LinkFiles) files = link_files_read(file, NULL);
    g_assert_no_error(files->error);
    g_assert_nonnull(files->pinned);
    g_assert_null(files->roots);
    g_autoptr(LinkFiles) missing = link_files_read("/nonexistent/anchor.pem", NULL);
    g_assert_null(missing->pinned);
    g_assert_nonnull(strstr(missing->error->message, "iothsmctl trust add"));
}

/* In a process of its own: leak checks walk the memory of a TLS library that was loaded late. */
static void read_roots(void)
{
    g_autofree char *directory = test_directory();
    g_autofree char *file = anchor(directory);
    g_autoptr(LinkFiles) files = link_files_read(file, file);
    g_assert_no_error(files->error);
    g_assert_nonnull(files->pinned);
    g_assert_true(G_IS_TLS_DATABASE(files->roots));
    g_autoptr(LinkFiles) missing = link_files_read(file, "/nonexistent/roots.pem");
    g_assert_null(missing->pinned);
    g_assert_null(missing->roots);
    g_assert_nonnull(strstr(missing->error->message, "TlsCa="));
    _exit(0);
}

static void test_roots(void)
{
    if (g_test_subprocess())
        read_roots();
    g_test_trap_subprocess(NULL, 0, G_TEST_SUBPROCESS_INHERIT_STDERR);
    g_test_trap_assert_passed();
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/link-files/the-anchor-is-read-or-missed-in-words", test_the_anchor_alone);
    g_test_add_func("/link-files/roots-are-read-or-missed-in-words", test_roots);
    return g_test_run();
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Each judgement has a scratch folder of its own, which goes when it is over. */

#include "tests/platform/judge.h"
#include <glib/gstdio.h>
#include <string.h>

typedef struct Scratch {
    char *folder;
    char *authority;
    char *artefact;
    char *content;
} Scratch;

static void scratch_free(Scratch *scratch)
{
    if (!scratch)
        return;
    g_unlink(scratch->authority);
    g_unlink(scratch->artefact);
    g_unlink(scratch->content);
    g_rmdir(scratch->folder);
    g_free(scratch->folder);
    g_free(scratch->authority);
    g_free(scratch->artefact);
    g_free(scratch->content);
    g_free(scratch);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Scratch, scratch_free)

static Scratch *scratch_new(const char *authority_pem, const void *artefact, gsize size, GError **error)
{
    char *folder = g_dir_make_tmp("iothsm-judge-XXXXXX", error);
    if (!folder)
        return NULL;
    g_autoptr(Scratch) scratch = g_new0(Scratch, 1);
    scratch->folder = folder;
    scratch->authority = g_build_filename(folder, "authority.pem", NULL);
    scratch->artefact = g_build_filename(folder, "artefact", NULL);
    scratch->content = g_build_filename(folder, "content", NULL);
    if (!g_file_set_contents(scratch->authority, authority_pem, -1, error) ||
        !g_file_set_contents(scratch->artefact, artefact, (gssize)size, error))
        return NULL;
    return g_steal_pointer(&scratch);
}

/* Runs |argv|; its output must hold |expected| (NULL: anything) and its status be 0. */
static bool run(const char *const *argv, const char *expected, GError **error)
{
    g_autoptr(GSubprocess) child =
        g_subprocess_newv(argv, G_SUBPROCESS_FLAGS_STDOUT_PIPE | G_SUBPROCESS_FLAGS_STDERR_MERGE, error);
    g_autofree char *output = NULL;
    if (!child || !g_subprocess_communicate_utf8(child, NULL, NULL, &output, NULL, error))
        return false;
    if (g_subprocess_get_if_exited(child) && g_subprocess_get_exit_status(child) == 0 &&
        (!expected || strstr(output, expected)))
        return true;
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA, "`openssl %s` says: %s", argv[1],
                g_strstrip(output));
    return false;
}

bool judge_certificate(const char *pem, const char *authority_pem, bool any_time, GError **error)
{
    g_autoptr(Scratch) scratch = scratch_new(authority_pem, pem, strlen(pem), error);
    if (!scratch)
        return false;
    const char *const now[] = {"openssl",         "verify", "-partial_chain", "-trusted", scratch->authority,
                               scratch->artefact, NULL};
    const char *const ever[] = {"openssl",  "verify",           "-partial_chain",  "-no_check_time",
                                "-trusted", scratch->authority, scratch->artefact, NULL};
    return run(any_time ? ever : now, ": OK", error);
}

bool judge_crl(const char *pem, const char *authority_pem, GError **error)
{
    g_autoptr(Scratch) scratch = scratch_new(authority_pem, pem, strlen(pem), error);
    if (!scratch)
        return false;
    const char *const argv[] = {"openssl",         "crl",     "-noout",           "-no-CApath",
                                "-no-CAstore",     "-CAfile", scratch->authority, "-in",
                                scratch->artefact, NULL};
    return run(argv, "verify OK", error);
}

GBytes *judge_cms(const char *text, const char *form, const char *authority_pem, GError **error)
{
    gsize size = strlen(text);
    g_autofree guchar *der = g_str_equal(form, "DER") ? g_base64_decode(text, &size) : NULL;
    g_autoptr(Scratch) scratch = scratch_new(authority_pem, der ? (const void *)der : text, size, error);
    if (!scratch)
        return NULL;
    const char *const argv[] = {"openssl",
                                "cms",
                                "-verify",
                                "-binary",
                                "-purpose",
                                "any",
                                "-partial_chain",
                                "-no-CApath",
                                "-no-CAstore",
                                "-CAfile",
                                scratch->authority,
                                "-inform",
                                form,
                                "-in",
                                scratch->artefact,
                                "-out",
                                scratch->content,
                                NULL};
    char *content = NULL;
    if (!run(argv, NULL, error) || !g_file_get_contents(scratch->content, &content, &size, error))
        return NULL;
    return g_bytes_new_take(content, size);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The busctl lines of org.pkiaas.IoTHSM(5) do what the page says: each is taken from the page's source, given
 * the names that exist here, and run against the daemon. */

#include "daemon/openssl-cleanup.h"
#include "tests/cli/daemon.h"
#include "tests/cli/run.h"
#include "tests/google-kms/test/google-cloud.h"
#include <string.h>
#include <unistd.h>

/* As the page writes them. */
#define PAGE_TOKEN "f5b1c0a4"
#define PAGE_THUMBPRINT "_34b3a0c9f1e2d3c4b5a69788796a5b4c3d2e1f00"

/* The blocks of the page between fences, with the names of |thumbprint| and token F1. */
static GPtrArray *read_examples(const char *thumbprint)
{
    g_autofree char *page = NULL;
    g_autofree char *id = NULL;
    g_assert_true(g_file_get_contents(g_getenv("IOTHSM_BUS_PAGE"), &page, NULL, NULL));
    g_auto(GStrv) parts = g_strsplit(page, "```\n", -1);
    g_autoptr(GPtrArray) examples = g_ptr_array_new_with_free_func(g_free);
    /* sd_bus_path_encode escapes a digit at the beginning. */
    if (g_ascii_isdigit(thumbprint[0]))
        id = g_strdup_printf("_%02x%s", (unsigned)thumbprint[0], thumbprint + 1);
    for (guint i = 1; parts[i] != NULL; i += 2) {
        GString *example = g_string_new(parts[i]);
        g_string_replace(example, "\\\\", "\\", 0);
        g_string_replace(example, PAGE_TOKEN, "F1", 0);
        g_string_replace(example, PAGE_THUMBPRINT, id != NULL ? id : thumbprint, 0);
        g_ptr_array_add(examples, g_string_free(example, FALSE));
    }
    g_assert_cmpuint(examples->len, >, 10);
    return g_steal_pointer(&examples);
}

static void run_example(const char *example, const char *directory)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GSubprocessLauncher) launcher =
        g_subprocess_launcher_new(G_SUBPROCESS_FLAGS_STDOUT_PIPE | G_SUBPROCESS_FLAGS_STDERR_MERGE);
    g_subprocess_launcher_set_cwd(launcher, directory);
    g_autoptr(GSubprocess) shell = g_subprocess_launcher_spawn(launcher, &error, "sh", "-ec", example, NULL);
    g_assert_no_error(error);
    g_autofree char *said = NULL;
    g_subprocess_communicate_utf8(shell, NULL, NULL, &said, NULL, &error);
    g_assert_no_error(error);
    g_test_message("%s%s", example, said);
    /* A fake token is in hardware, for all that the service knows. */
    bool removal = strstr(example, "RemoveToken") != NULL;
    if (removal ? strstr(said, "is not a SoftHSM2") == NULL && g_subprocess_get_exit_status(shell) == 0
                : g_subprocess_get_exit_status(shell) != 0)
        g_error("this example of the man page does not work: %s%s", example, said);
}

/* Runs the examples that contain |word|; at least one does. */
static void run_examples(GPtrArray *examples, const char *word, const char *directory)
{
    guint n = 0;
    for (guint i = 0; i < examples->len; i++) {
        const char *example = g_ptr_array_index(examples, i);
        if (strstr(example, word) == NULL)
            continue;
        n++;
        run_example(example, directory);
    }
    g_assert_cmpuint(n, >, 0);
}

/* busctl monitor never ends. */
static void drop_monitor(GPtrArray *examples)
{
    for (guint i = 0; i < examples->len; i++) {
        char *line = strstr(g_ptr_array_index(examples, i), "busctl monitor");
        if (line != NULL)
            *line = '\0';
    }
}

static void test_examples(void)
{
    g_autofree char *world = test_directory();
    g_autoptr(GoogleCloud) cloud =
        google_cloud_start(world, (const char *const[]){"--key=root=EC_SIGN_P256_SHA256", NULL});
    g_autoptr(Fixture) fixture = start_daemon_with_google(
        (const char *const[]){"serial=F1,pin=123456,piv=1", NULL}, google_cloud_url(cloud));
    const char *directory = fixture_directory(fixture);
    g_autofree char *template_file = write_template(fixture);
    g_autoptr(X509) anchor = test_ca("Anchor", test_key("rsa2048"));
    g_autofree char *anchor_pem = test_certificate_pem(anchor);
    g_autofree char *anchor_file = test_write(directory, "ca.pem", anchor_pem);
    g_autofree char *signed_file = g_build_filename(directory, "signed.pem", NULL);

    g_autoptr(GPtrArray) before = read_examples("unknown");
    drop_monitor(before);
    run_examples(before, "UseFactoryPin", directory);
    run_examples(before, "GenerateKey", directory);
    run_examples(before, "SelfSign", directory);
    g_autoptr(Run) saved = run_iothsmctl("cert F1/01 --output=$1", signed_file, NULL);
    assert_run(saved, 0);
    g_autoptr(Run) shown = run_iothsmctl("show F1/01 -j", NULL);
    g_autoptr(JsonNode) slot = run_json(shown);
    g_autofree char *thumbprint = json_text(slot, "authority");

    g_autoptr(GPtrArray) examples = read_examples(thumbprint);
    drop_monitor(examples);
    for (guint i = 0; i < examples->len; i++) {
        const char *example = g_ptr_array_index(examples, i);
        if (strstr(example, "GenerateKey") == NULL && strstr(example, "SelfSign") == NULL &&
            strstr(example, "Slot Clear") == NULL)
            run_example(example, directory);
    }
    run_examples(examples, "Slot Clear", directory);
    g_autoptr(Run) cleared = run_iothsmctl("show F1/01", NULL);
    assert_run(cleared, 3);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/man/every-busctl-example-works", test_examples);
    return g_test_run();
}

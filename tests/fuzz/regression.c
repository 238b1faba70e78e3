/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Runs a fuzz target as an ordinary test: every file of its corpus, then as many mutations of them as argv[1]
 * says, the same ones each time. TAP on stdout. The corpus is the folder $IOTHSM_FUZZ_CORPUS.
 *
 * An input that makes the target crash, or run for more than ten seconds, is named on stderr by its file and
 * the number of its mutation before the process dies. */

#include "tests/fuzz/fuzz.h"
#include <glib.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { INPUT_SECONDS = 10, CHANGES_MAX = 6, LONG_FACTOR = 20 };

static char current[512]; /* what is being tried, for the signal handler */

static void on_death(int number)
{
    static const char before[] = "\nfuzz: died on ";
    (void)!write(STDERR_FILENO, before, sizeof before - 1);
    (void)!write(STDERR_FILENO, current, strlen(current));
    (void)!write(STDERR_FILENO, "\n", 1);
    signal(number, SIG_DFL);
    raise(number);
}

static void try_input(const char *name, guint mutation, const guint8 *data, gsize size)
{
    g_snprintf(current, sizeof current, "%s, mutation %u", name, mutation);
    /* A copy of exactly this size, so that a sanitizer sees a read behind its end. */
    g_autofree guint8 *exact = g_memdup2(data, size);
    alarm(INPUT_SECONDS);
    LLVMFuzzerTestOneInput(exact ? exact : (const guint8 *)"", size);
    alarm(0);
}

static guint below(GRand *random, gsize limit)
{
    return limit > 0 ? (guint)g_rand_int_range(random, 0, (gint32)MIN(limit, G_MAXINT32)) : 0;
}

static void insert(GByteArray *input, guint at, const guint8 *data, guint size)
{
    guint tail = input->len - at;
    g_byte_array_set_size(input, input->len + size);
    memmove(input->data + at + size, input->data + at, tail);
    memcpy(input->data + at, data, size);
}

/* One change of the kinds that find bugs in parsers: bits, borders of integers, lengths, repetitions,
 * splices. */
static void change(GByteArray *input, GRand *random, const GBytes *other)
{
    static const guint8 interesting[] = {0x00, 0x01, 0x7f, 0x80, 0x81, 0x84, 0xff,
                                         '0',  '-',  '"',  '\\', '{',  '[',  '\n'};
    gsize other_size = 0;
    const guint8 *other_data = g_bytes_get_data((GBytes *)other, &other_size);
    guint at = below(random, input->len);
    guint length = 1 + below(random, MIN(input->len - at, 64));

    switch (input->len == 0 ? 5 : below(random, 7)) {
    case 0:
        input->data[at] ^= (guint8)(1U << below(random, 8));
        break;
    case 1:
        input->data[at] = interesting[below(random, sizeof interesting)];
        break;
    case 2:
        input->data[at] = (guint8)(input->data[at] + (below(random, 2) ? 1 : 255));
        break;
    case 3:
        g_byte_array_remove_range(input, at, MIN(length, input->len - at));
        break;
    case 4: {
        guint8 piece[64];
        length = MIN(length, input->len - at);
        memcpy(piece, input->data + at, length);
        insert(input, below(random, input->len + 1), piece, length);
        break;
    }
    case 5: {
        guint from = below(random, other_size);
        guint taken = 1 + below(random, 256);
        insert(input, at, other_data + from, (guint)MIN(other_size - from, taken));
        break;
    }
    default:
        g_byte_array_set_size(input, at);
        break;
    }
}

static void mutate(const char *name, guint number, GBytes *seed, GBytes *other)
{
    g_autoptr(GRand) random = g_rand_new_with_seed(g_str_hash(name) ^ (number * 2654435761U));
    g_autoptr(GByteArray) input = g_byte_array_new();
    if (g_bytes_get_size(seed) > 0)
        g_byte_array_append(input, g_bytes_get_data(seed, NULL), (guint)g_bytes_get_size(seed));
    guint changes = 1 + below(random, CHANGES_MAX);
    for (guint i = 0; i < changes; i++)
        change(input, random, other);
    if (input->len <= FUZZ_SIZE_MAX)
        try_input(name, number, input->data, input->len);
}

static gint by_name(gconstpointer a, gconstpointer b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static GPtrArray *file_names(const char *folder)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GDir) files = g_dir_open(folder, 0, &error);
    GPtrArray *names = g_ptr_array_new_with_free_func(g_free);
    g_assert_no_error(error);
    for (const char *name = g_dir_read_name(files); name; name = g_dir_read_name(files))
        g_ptr_array_add(names, g_strdup(name));
    g_ptr_array_sort(names, by_name);
    return names;
}

int main(int argc, char *argv[])
{
    const char *folder = g_getenv("IOTHSM_FUZZ_CORPUS");
    guint mutations = argc > 1 ? (guint)strtoul(argv[1], NULL, 10) : 0;
    if (!folder || argc != 2) {
        fprintf(stderr, "usage: IOTHSM_FUZZ_CORPUS=FOLDER %s MUTATIONS\n", argv[0]);
        return 2;
    }
    if (g_strcmp0(g_getenv("IOTHSM_CHECK_LONG"), "yes") == 0)
        mutations *= LONG_FACTOR;
    signal(SIGSEGV, on_death);
    signal(SIGBUS, on_death);
    signal(SIGABRT, on_death);
    signal(SIGALRM, on_death);

    g_autoptr(GPtrArray) names = file_names(folder);
    g_autoptr(GPtrArray) seeds = g_ptr_array_new_with_free_func((GDestroyNotify)g_bytes_unref);
    printf("TAP version 13\n1..%u\n", names->len + 1);
    for (guint i = 0; i < names->len; i++) {
        g_autofree char *path = g_build_filename(folder, names->pdata[i], NULL);
        char *data = NULL;
        gsize size = 0;
        g_assert_true(g_file_get_contents(path, &data, &size, NULL));
        g_ptr_array_add(seeds, g_bytes_new_take(data, size));
        try_input(names->pdata[i], 0, (const guint8 *)data, size);
        printf("ok %u - %s\n", i + 1, (const char *)names->pdata[i]);
    }
    g_assert_cmpuint(names->len, >, 0);
    gint64 start = g_get_monotonic_time();
    for (guint i = 0; i < mutations; i++) {
        guint at = i % names->len;
        mutate(names->pdata[at], i + 1, seeds->pdata[at], seeds->pdata[(i / names->len) % names->len]);
    }
    printf("# %u mutations in %" G_GINT64_FORMAT " ms\n", mutations, (g_get_monotonic_time() - start) / 1000);
    printf("ok %u - mutations\n", names->len + 1);
    return 0;
}

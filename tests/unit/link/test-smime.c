/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The frame alone: what is written is what the openssl command writes, what is read has one meaning or none.
 */

#include "daemon/error.h"
#include "daemon/link/message/smime.h"
#include "tests/unit/link/signers.h"
#include <string.h>

#define HEADERS                                                                                              \
    "MIME-Version: 1.0\n"                                                                                    \
    "Content-Disposition: attachment; filename=\"smime.p7m\"\n"                                              \
    "Content-Type: application/pkcs7-mime; smime-type=signed-data; name=\"smime.p7m\"\n"                     \
    "Content-Transfer-Encoding: base64\n\n"

static void frame_is_written_byte_for_byte(void)
{
    static const guint8 bytes[49] = {0};
    g_autofree char *one = smime_write(bytes, 1, SMIME_SIGNED_DATA);
    g_autofree char *line = smime_write(bytes, 48, SMIME_SIGNED_DATA);
    g_autofree char *more = smime_write(bytes, 49, SMIME_ENVELOPED_DATA);
    const char *zeros = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n";

    g_assert_cmpstr(one, ==, HEADERS "AA==\n\n");
    g_assert_true(g_str_has_prefix(line, HEADERS));
    g_autofree char *expected = g_strconcat(zeros, "\n", NULL);
    g_assert_cmpstr(line + strlen(HEADERS), ==, expected);
    g_autofree char *expected_more = g_strconcat(zeros, "AA==\n\n", NULL);
    g_assert_cmpstr(strstr(more, "\n\n") + 2, ==, expected_more);
    g_assert_nonnull(strstr(more, "smime-type=enveloped-data; name=\"smime.p7m\"\n"));
}

/* OpenSSL reads our frame and writes it again: the same bytes. */
static void openssl_writes_the_same_frame(void)
{
    g_autofree char *directory = test_directory();
    for (gsize size = 0; size < 150; size += 7) {
        g_autofree guint8 *data = g_malloc0(size + 1);
        g_autoptr(GBytes) content = g_bytes_new(data, size);
        g_autoptr(GError) error = NULL;
        g_autofree char *ours =
            envelope_sign(content, signer("channel")->certificate, signer("channel")->key, &error);
        g_assert_no_error(error);
        g_autofree char *file = test_write(directory, "message", ours);
        g_autofree char *theirs =
            TEST_RUN("openssl", "cms", "-cmsout", "-inform", "SMIME", "-outform", "SMIME", "-in", file);
        g_assert_cmpstr(ours, ==, theirs);
    }
}

static void assert_reads(const char *text, const char *content)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) der = smime_read(text, strlen(text), &error);
    g_assert_no_error(error);
    g_assert_cmpmem(g_bytes_get_data(der, NULL), g_bytes_get_size(der), content, strlen(content));
}

static void lenient_where_mail_is_lenient(void)
{
    assert_reads(HEADERS "aGVsbG8=\n\n", "hello");
    assert_reads(HEADERS "aGVs\nbG8=\n", "hello");
    assert_reads(HEADERS "aGVsbG8=", "hello");
    assert_reads(
        "Content-Type: application/pkcs7-mime\r\nContent-Transfer-Encoding: base64\r\n\r\naGVs\r\nbG8=\r\n",
        "hello");
    assert_reads("content-type: Application/X-PKCS7-MIME\nX-Other: yes\n\naGVsbG8=\n", "hello");
    assert_reads(
        "MIME-Version: 1.0\nContent-Type: application/pkcs7-mime;\n smime-type=signed-data;\n\tname=\"a\"\n\n"
        "aGVsbG8=\n",
        "hello");
}

static void assert_refused(const char *text, gsize size, const char *words)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) der = smime_read(text, size, &error);
    g_assert_null(der);
    g_assert_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID);
    g_assert_null(strchr(error->message, '\n'));
    if (!strstr(error->message, words))
        g_error("\"%s\" does not say \"%s\"", error->message, words);
}

static void anything_else_is_refused_in_words(void)
{
    static const struct {
        const char *text;
        const char *words;
    } cases[] = {
        {"", "headers do not end"},
        {"hello", "headers do not end"},
        {"MIME-Version: 1.0\n", "headers do not end"},
        {"\naGVsbG8=\n", "no Content-Type"},
        {"Content-Type: text/plain\n\naGVsbG8=\n", "not application/pkcs7-mime"},
        {"Content-Type: multipart/signed; protocol=\"application/pkcs7-signature\"\n\n--x\n", "clear-signed"},
        {"Content-Type: application/pkcs7-mime\nContent-Transfer-Encoding: 8bit\n\naGVsbG8=\n", "not base64"},
        {HEADERS, "cut short"},
        {HEADERS "\n\n", "cut short"},
        {HEADERS "aGVsbG8\n", "cut short"},
        {HEADERS "aGVsbG8=\ntrailing words\n", "something else"},
        {HEADERS "aGVsbG8=\naGVsbG8=\n", "something else"},
        {HEADERS "aGVsbG8=\n-----\n", "something else"},
        {HEADERS "aGVs*G8=\n", "something else"},
        {HEADERS "a===", "something else"},
        {HEADERS "====", "something else"},
        {HEADERS "\xc3\xa4GVsbG8=\n", "something else"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++)
        assert_refused(cases[i].text, strlen(cases[i].text), cases[i].words);
    assert_refused(HEADERS "aGVs\0bG8=", sizeof HEADERS "aGVs\0bG8=" - 1, "something else");
}

static void headers_have_a_limit(void)
{
    g_autofree char *padding = g_strnfill(SMIME_HEADERS_MAX, 'x');
    g_autofree char *text = g_strconcat("X-Long: ", padding, "\n", HEADERS, "aGVsbG8=\n", NULL);
    assert_refused(text, strlen(text), "headers do not end");
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/smime/the-frame-is-written-byte-for-byte", frame_is_written_byte_for_byte);
    g_test_add_func("/smime/openssl-writes-the-same-frame", openssl_writes_the_same_frame);
    g_test_add_func("/smime/lenient-where-mail-is-lenient", lenient_where_mail_is_lenient);
    g_test_add_func("/smime/anything-else-is-refused-in-words", anything_else_is_refused_in_words);
    g_test_add_func("/smime/headers-have-a-limit", headers_have_a_limit);
    return g_test_run();
}

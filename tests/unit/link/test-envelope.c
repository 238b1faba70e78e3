/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Signed and sealed messages: ours judged by the openssl command, its messages read by us, and what is no
 * such message or was altered. */

#include "daemon/link/message/cms-content.h"
#include "tests/unit/link/recipe.h"
#include <string.h>

static void openssl_verifies_what_we_sign(void)
{
    g_autofree char *directory = test_directory();
    g_autofree char *pinned = signer_write(directory, "pinned");
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) content = content_of(text);
    g_autofree char *smime =
        envelope_sign(content, signer("channel")->certificate, signer("channel")->key, &error);
    g_assert_no_error(error);
    g_assert_null(strchr(smime, '\r'));

    g_autofree char *file = test_write(directory, "message", smime);
    g_autofree char *out = g_build_filename(directory, "out", NULL);
    g_free(TEST_RUN("openssl", "cms", "-verify", "-no-CApath", "-no-CAstore", "-CAfile", pinned, "-inform",
                    "SMIME", "-binary", "-in", file, "-out", out));
    g_autofree char *back = NULL;
    g_assert_true(g_file_get_contents(out, &back, NULL, NULL));
    g_assert_cmpstr(back, ==, text);
}

/* protocol.md 1.5, field by field. */
static void what_we_sign_has_the_agreed_form(void)
{
    g_autofree char *directory = test_directory();
    g_autoptr(GBytes) content = content_of(text);
    g_autofree char *smime =
        envelope_sign(content, signer("channel")->certificate, signer("channel")->key, NULL);
    g_autofree char *file = test_write(directory, "message", smime);
    signer_assert_printed(
        smime, (const char *const[]){
                   "contentType: pkcs7-signedData", "eContentType: pkcs7-data", "version: 1 digestAlgorithms",
                   "algorithm: sha256 (2.16.840.1.101.3.4.2.1) parameter: <ABSENT> encapContentInfo",
                   "crls: <ABSENT> signerInfos: version: 1 d.issuerAndSerialNumber", "object: contentType",
                   "object: signingTime (1.2.840.113549.1.9.5) set: UTCTIME:", "object: messageDigest",
                   "object: S/MIME Capabilities",
                   "signatureAlgorithm: algorithm: rsaEncryption (1.2.840.113549.1.1.1) parameter: NULL",
                   "unsignedAttrs: <ABSENT>", NULL});
    g_autofree char *certificates = TEST_RUN("openssl", "cms", "-verify", "-noverify", "-inform", "SMIME",
                                             "-in", file, "-certsout", "/dev/stdout", "-out", "/dev/null");
    const char *first = strstr(certificates, "-----BEGIN CERTIFICATE-----");
    g_assert_nonnull(first);
    g_assert_null(strstr(first + 1, "-----BEGIN CERTIFICATE-----"));
}

static void we_believe_what_the_platform_signs_with_openssl(void)
{
    g_autofree char *directory = test_directory();
    static const char *const names[] = {"platform", "platform-ec"};
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *certificate = signer_write(directory, names[i]);
        g_autofree char *key = g_strdup_printf("%s/%s.key", directory, names[i]);
        g_autofree char *data = test_write(directory, "data", text);
        g_autofree char *smime = TEST_RUN("openssl", "cms", "-sign", "-in", data, "-signer", certificate,
                                          "-inkey", key, "-outform", "SMIME", "-binary", "-nodetach");
        assert_believed(smime, text, names[i]);
        g_auto(GStrv) lines = g_strsplit(smime, "\n", -1);
        g_autofree char *with_crlf = g_strjoinv("\r\n", lines);
        assert_believed(with_crlf, text, names[i]);
    }
}

static void content_comes_back_unchanged(void)
{
    static const struct {
        const char *data;
        gsize size;
    } contents[] = {{"", 0}, {"\0", 1}, {"a\nb\r\nc\r\n\0\n", 10}, {"MIME-Version: 1.0\n\nabc", 22}};
    g_autoptr(EnvelopeTrust) trust = signer_trust(SIGNER_PURPOSE_SMIMESIGN);
    for (gsize i = 0; i < G_N_ELEMENTS(contents); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GBytes) content = g_bytes_new_static(contents[i].data, contents[i].size);
        g_autofree char *smime =
            envelope_sign(content, signer("platform")->certificate, signer("platform")->key, &error);
        g_assert_no_error(error);
        g_autoptr(EnvelopeSigned) message = envelope_verify(smime, strlen(smime), trust, &error);
        g_assert_no_error(error);
        g_assert_true(g_bytes_equal(content, message->content));
    }
}

static void clear_signed_and_detached_are_refused(void)
{
    g_autofree char *directory = test_directory();
    g_autofree char *certificate = signer_write(directory, "platform");
    g_autofree char *key = g_strdup_printf("%s/platform.key", directory);
    g_autofree char *data = test_write(directory, "data", text);
    g_autofree char *clear = TEST_RUN("openssl", "cms", "-sign", "-in", data, "-signer", certificate,
                                      "-inkey", key, "-outform", "SMIME", "-binary");
    assert_refused(clear, IOTHSM_ERROR_INVALID, "clear-signed");

    g_autofree char *detached = serve(cook(&(Recipe){.by = "platform", .flags = CMS_DETACHED}));
    assert_refused(detached, IOTHSM_ERROR_INVALID, "detached");
}

static void what_is_not_a_signed_message_is_refused(void)
{
    g_autoptr(GBytes) content = content_of(text);
    g_autofree char *encrypted = envelope_encrypt(content, signer("platform")->certificate, NULL);
    assert_refused(encrypted, IOTHSM_ERROR_INVALID, "not signed");
    assert_refused("", IOTHSM_ERROR_INVALID, "not S/MIME");

    g_autofree char *junk = smime_write((const guint8 *)"0\x03\x02\x01\x01", 5, SMIME_SIGNED_DATA);
    assert_refused(junk, IOTHSM_ERROR_INVALID, "does not hold CMS");

    g_autofree char *other = serve(cook(&(Recipe){.by = "platform", .type = "1.3.6.1.5.5.7.12.3"}));
    assert_refused(other, IOTHSM_ERROR_INVALID, "plain data");
}

/* The message with |change| made to its DER, framed again. */
static char *tampered(const char *smime, void (*change)(GByteArray *der))
{
    g_autoptr(GBytes) bytes = smime_read(smime, strlen(smime), NULL);
    g_autoptr(GByteArray) der = g_byte_array_new();
    g_byte_array_append(der, g_bytes_get_data(bytes, NULL), (guint)g_bytes_get_size(bytes));
    change(der);
    return smime_write(der->data, der->len, SMIME_SIGNED_DATA);
}

static void change_content(GByteArray *der)
{
    guint8 *found = memmem(der->data, der->len, text, strlen(text));
    g_assert_nonnull(found);
    found[2] ^= 1;
}

static void change_signature(GByteArray *der)
{
    der->data[der->len - 1] ^= 1;
}

static void change_tail(GByteArray *der)
{
    g_byte_array_append(der, (const guint8 *)"\0", 1);
}

static void cut_tail(GByteArray *der)
{
    g_byte_array_set_size(der, der->len - 1);
}

static void altered_messages_are_refused(void)
{
    g_autofree char *smime = signed_by("platform");
    assert_believed(smime, text, "platform");
    static void (*const changes[])(GByteArray *) = {change_content, change_signature};
    for (gsize i = 0; i < G_N_ELEMENTS(changes); i++) {
        g_autofree char *altered = tampered(smime, changes[i]);
        assert_refused(altered, IOTHSM_ERROR_INVALID, "signature is wrong");
    }
    g_autofree char *longer = tampered(smime, change_tail);
    assert_refused(longer, IOTHSM_ERROR_INVALID, "behind its CMS");
    g_autofree char *shorter = tampered(smime, cut_tail);
    assert_refused(shorter, IOTHSM_ERROR_INVALID, "does not hold CMS");
    g_autofree char *garbage = g_strconcat(smime, "and more\n", NULL);
    assert_refused(garbage, IOTHSM_ERROR_INVALID, "something else");
}

static void truncated_anywhere_is_refused(void)
{
    g_autofree char *smime = signed_by("platform");
    gsize whole = strlen(g_strchomp(smime));
    g_autoptr(EnvelopeTrust) trust = signer_trust(SIGNER_PURPOSE_SMIMESIGN);
    for (gsize size = 0; size < whole; size++) {
        g_autoptr(GError) error = NULL;
        g_assert_null(envelope_verify(smime, size, trust, &error));
        g_assert_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID);
    }
}

/* What was sealed for the channel is |content|. */
static void assert_channel_opens(const char *smime, EnvelopeTrust *trust, GBytes *content)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(EnvelopeSigned) message = envelope_verify(smime, strlen(smime), trust, &error);
    g_assert_no_error(error);
    g_autoptr(GBytes) opened = envelope_decrypt(message->content, signer("channel")->key, &error);
    g_assert_no_error(error);
    g_autoptr(GBytes) back = envelope_inflate(opened, g_bytes_get_size(content), &error);
    g_assert_no_error(error);
    g_assert_true(g_bytes_equal(content, back));
}

/* sign(encrypt(deflate)): protocol.md 2.6 and 2.7, one way by the openssl command. */
static void seal_is_what_openssl_opens(void)
{
    g_autofree char *directory = test_directory();
    g_autofree char *pinned = signer_write(directory, "pinned");
    g_autofree char *platform = signer_write(directory, "platform");
    g_autofree char *key = g_strdup_printf("%s/platform.key", directory);
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) content = content_of(text);
    g_autofree char *smime = envelope_seal(content, signer("platform")->certificate,
                                           signer("channel")->certificate, signer("channel")->key, &error);
    g_assert_no_error(error);
    g_autofree char *file = test_write(directory, "message", smime);
    g_autofree char *verified = g_build_filename(directory, "verified", NULL);
    g_autofree char *opened = g_build_filename(directory, "opened", NULL);
    g_free(TEST_RUN("openssl", "cms", "-verify", "-no-CApath", "-no-CAstore", "-CAfile", pinned, "-inform",
                    "SMIME", "-binary", "-in", file, "-out", verified));
    g_free(TEST_RUN("openssl", "cms", "-decrypt", "-inform", "SMIME", "-recip", platform, "-inkey", key,
                    "-binary", "-in", verified, "-out", opened));
    char *data = NULL;
    gsize size = 0;
    g_assert_true(g_file_get_contents(opened, &data, &size, NULL));
    g_autoptr(GBytes) deflated = g_bytes_new_take(data, size);
    g_autoptr(GBytes) back = envelope_inflate(deflated, 1024, &error);
    g_assert_no_error(error);
    g_assert_true(g_bytes_equal(content, back));
}

static void we_open_what_openssl_seals(void)
{
    g_autoptr(EnvelopeTrust) trust = signer_trust(SIGNER_PURPOSE_SMIMESIGN);
    g_autofree char *directory = test_directory();
    g_autofree char *channel = signer_write(directory, "channel");
    g_autofree char *platform = signer_write(directory, "platform");
    g_autofree char *key = g_strdup_printf("%s/platform.key", directory);
    g_autofree char *deflated_file = g_build_filename(directory, "deflated", NULL);
    g_autofree char *encrypted = g_build_filename(directory, "encrypted", NULL);
    g_autoptr(GBytes) content = content_of(text);
    g_autoptr(GBytes) deflated = envelope_deflate(content, NULL);
    g_assert_true(g_file_set_contents(deflated_file, g_bytes_get_data(deflated, NULL),
                                      (gssize)g_bytes_get_size(deflated), NULL));
    g_free(TEST_RUN("openssl", "cms", "-encrypt", "-binary", "-aes256", "-recip", channel, "-outform",
                    "SMIME", "-in", deflated_file, "-out", encrypted));
    g_autofree char *smime = TEST_RUN("openssl", "cms", "-sign", "-in", encrypted, "-signer", platform,
                                      "-inkey", key, "-outform", "SMIME", "-binary", "-nodetach");

    assert_channel_opens(smime, trust, content);
}

static void large_messages_make_the_round(void)
{
    g_autoptr(EnvelopeTrust) trust = signer_trust(SIGNER_PURPOSE_SMIMESIGN);
    gsize size = 24 << 20;
    g_autofree guint8 *noise = g_malloc(size);
    guint32 state = 1;
    for (gsize i = 0; i < size; i++) {
        state = state * 1664525 + 1013904223;
        noise[i] = (guint8)(state >> 24);
    }
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) content = g_bytes_new_take(g_steal_pointer(&noise), size);
    g_autofree char *smime = envelope_seal(content, signer("channel")->certificate,
                                           signer("platform")->certificate, signer("platform")->key, &error);
    g_assert_no_error(error);
    assert_channel_opens(smime, trust, content);
}

static gpointer work(gpointer shared)
{
    EnvelopeTrust *trust = envelope_trust_ref(shared);
    for (int i = 0; i < 12; i++) {
        g_autoptr(GError) error = NULL;
        g_autofree char *words =
            g_strdup_printf("{\"thread\":\"%p\",\"round\":%d}", (void *)g_thread_self(), i);
        g_autoptr(GBytes) content = content_of(words);
        g_autofree char *smime =
            envelope_seal(content, signer("channel")->certificate, signer("platform")->certificate,
                          signer("platform")->key, &error);
        g_assert_no_error(error);
        assert_channel_opens(smime, trust, content);
    }
    envelope_trust_unref(trust);
    return NULL;
}

static void threads_share_keys_and_trust(void)
{
    g_autoptr(EnvelopeTrust) trust = signer_trust(SIGNER_PURPOSE_SMIMESIGN);
    (void)signer("platform");
    (void)signer("channel");
    GThread *threads[6];
    for (gsize i = 0; i < G_N_ELEMENTS(threads); i++)
        threads[i] = g_thread_new("envelope", work, trust);
    for (gsize i = 0; i < G_N_ELEMENTS(threads); i++)
        g_thread_join(threads[i]);
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/envelope/openssl-verifies-what-we-sign", openssl_verifies_what_we_sign);
    g_test_add_func("/envelope/what-we-sign-has-the-agreed-form", what_we_sign_has_the_agreed_form);
    g_test_add_func("/envelope/we-believe-what-the-platform-signs-with-openssl",
                    we_believe_what_the_platform_signs_with_openssl);
    g_test_add_func("/envelope/content-comes-back-unchanged", content_comes_back_unchanged);
    g_test_add_func("/envelope/clear-signed-and-detached-are-refused", clear_signed_and_detached_are_refused);
    g_test_add_func("/envelope/what-is-not-a-signed-message-is-refused",
                    what_is_not_a_signed_message_is_refused);
    g_test_add_func("/envelope/altered-messages-are-refused", altered_messages_are_refused);
    g_test_add_func("/envelope/truncated-anywhere-is-refused", truncated_anywhere_is_refused);
    g_test_add_func("/envelope/a-seal-is-what-openssl-opens", seal_is_what_openssl_opens);
    g_test_add_func("/envelope/we-open-what-openssl-seals", we_open_what_openssl_seals);
    g_test_add_func("/envelope/large-messages-make-the-round", large_messages_make_the_round);
    g_test_add_func("/envelope/threads-share-keys-and-trust", threads_share_keys_and_trust);
    return g_test_run();
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Encrypted messages: ours opened by the openssl command, its messages opened by us, and one error for the
 * rest. */

#include "daemon/error.h"
#include "daemon/link/message/cms-content.h"
#include "tests/unit/link/signers.h"
#include <string.h>

static const char text[] = "{\"subscribeKey\":\"sub-c-0\",\"channel_id\":\"3f0c6a52\"}";

static char *encrypt_for(X509 *recipient)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) content = g_bytes_new_static(text, strlen(text));
    char *smime = envelope_encrypt(content, recipient, &error);
    g_assert_no_error(error);
    return smime;
}

static void assert_opens(const char *smime, EVP_PKEY *key)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) message = g_bytes_new(smime, strlen(smime));
    g_autoptr(GBytes) opened = envelope_decrypt(message, key, &error);
    g_assert_no_error(error);
    g_assert_cmpmem(g_bytes_get_data(opened, NULL), g_bytes_get_size(opened), text, strlen(text));
}

static void assert_does_not_open(const char *smime, EVP_PKEY *key)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) message = g_bytes_new(smime, strlen(smime));
    g_autoptr(GBytes) opened = envelope_decrypt(message, key, &error);
    if (opened) {
        /* One random content in 256 has a padding that could be meant (RFC 5652 6.3); it is still not ours.
         */
        g_assert_null(memmem(g_bytes_get_data(opened, NULL), g_bytes_get_size(opened), text, strlen(text)));
        return;
    }
    g_assert_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID);
    g_assert_cmpstr(error->message, ==, "The message can't be opened with this channel's key");
}

static void openssl_opens_what_we_encrypt(void)
{
    g_autofree char *directory = test_directory();
    static const char *const names[] = {"platform", "platform-ec"};
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *certificate = signer_write(directory, names[i]);
        g_autofree char *key = g_strdup_printf("%s/%s.key", directory, names[i]);
        g_autofree char *smime = encrypt_for(signer(names[i])->certificate);
        g_assert_null(strchr(smime, '\r'));
        g_autofree char *file = test_write(directory, "message", smime);
        g_autofree char *back = TEST_RUN("openssl", "cms", "-decrypt", "-inform", "SMIME", "-recip",
                                         certificate, "-inkey", key, "-binary", "-in", file);
        g_assert_cmpstr(back, ==, text);
    }
}

/* protocol.md 1.6, field by field. */
static void what_we_encrypt_has_the_agreed_form(void)
{
    g_autofree char *smime = encrypt_for(signer("platform")->certificate);
    g_assert_true(g_str_has_prefix(
        smime, "MIME-Version: 1.0\n"
               "Content-Disposition: attachment; filename=\"smime.p7m\"\n"
               "Content-Type: application/pkcs7-mime; smime-type=enveloped-data; name=\"smime.p7m\"\n"
               "Content-Transfer-Encoding: base64\n\nMII"));
    g_assert_true(g_str_has_suffix(smime, "\n\n"));
    signer_assert_printed(
        smime,
        (const char *const[]){"contentType: pkcs7-envelopedData", "d.envelopedData: version: 0",
                              "d.ktri: version: 0 d.issuerAndSerialNumber",
                              "algorithm: rsaEncryption (1.2.840.113549.1.1.1) parameter: NULL",
                              "contentType: pkcs7-data", "algorithm: aes-256-cbc (2.16.840.1.101.3.4.1.42)",
                              "unprotectedAttrs: <ABSENT>", NULL});
}

static char *encrypt_with_openssl(const char *directory, const char *cipher, const char *option,
                                  const char *name, const char *other)
{
    g_autofree char *certificate = signer_write(directory, name);
    g_autofree char *second = other ? signer_write(directory, other) : NULL;
    g_autofree char *data = test_write(directory, "data", text);
    g_autoptr(GPtrArray) argv = g_ptr_array_new();
    const char *const words[] = {"openssl",  "cms",   "-encrypt", "-binary", cipher,
                                 "-outform", "SMIME", "-in",      data};
    for (gsize i = 0; i < G_N_ELEMENTS(words); i++)
        g_ptr_array_add(argv, (char *)words[i]);
    if (option)
        g_ptr_array_add(argv, (char *)option);
    if (second)
        g_ptr_array_add(argv, second);
    g_ptr_array_add(argv, certificate);
    g_ptr_array_add(argv, NULL);
    return test_run((const char *const *)argv->pdata, NULL, 0);
}

static void we_open_what_openssl_encrypts(void)
{
    g_autofree char *directory = test_directory();
    g_autofree char *rsa = encrypt_with_openssl(directory, "-aes256", NULL, "channel", NULL);
    assert_opens(rsa, signer("channel")->key);
    g_autofree char *by_key_id = encrypt_with_openssl(directory, "-aes256", "-keyid", "channel", NULL);
    assert_opens(by_key_id, signer("channel")->key);
    g_autofree char *ec = encrypt_with_openssl(directory, "-aes256", NULL, "platform-ec", NULL);
    assert_opens(ec, signer("platform-ec")->key);
    g_auto(GStrv) lines = g_strsplit(rsa, "\n", -1);
    g_autofree char *with_crlf = g_strjoinv("\r\n", lines);
    assert_opens(with_crlf, signer("channel")->key);
}

static void each_of_two_recipients_opens(void)
{
    g_autofree char *directory = test_directory();
    g_autofree char *smime = encrypt_with_openssl(directory, "-aes256", NULL, "channel", "platform");
    assert_opens(smime, signer("channel")->key);
    assert_opens(smime, signer("platform")->key);
    assert_does_not_open(smime, signer("outsider")->key);
}

/* The channel certificate is renewed over the same key while a request is on its way (protocol.md 7, row 28).
 */
static void messages_to_the_previous_channel_certificate_open(void)
{
    EVP_PKEY *key = signer("channel")->key;
    g_autoptr(X509) previous = signer_certificate("CN=channel", key, signer("pinned"), NULL);
    g_autoptr(X509) current = signer_certificate("CN=channel", key, signer("pinned"), NULL);
    g_autofree char *to_previous = encrypt_for(previous);
    g_autofree char *to_current = encrypt_for(current);
    assert_opens(to_previous, key);
    assert_opens(to_current, key);
}

static void authenticated_encryption_is_not_spoken(void)
{
    g_autofree char *directory = test_directory();
    g_autofree char *smime = encrypt_with_openssl(directory, "-aes-256-gcm", NULL, "channel", NULL);
    g_assert_nonnull(strstr(smime, "MII"));
    assert_does_not_open(smime, signer("channel")->key);
}

/* Without a certificate OpenSSL answers a wrong key with a random one: about one message in 256 then has
 * correct padding and comes out as garbage, which inflating refuses in the same words. */
static void wrong_key_is_the_same_error_to_the_end(void)
{
    g_autoptr(GBytes) content = g_bytes_new_static(text, strlen(text));
    g_autoptr(GBytes) deflated = envelope_deflate(content, NULL);
    guint garbage = 0;
    for (int i = 0; i < 400; i++) {
        g_autoptr(GError) error = NULL;
        char *smime = envelope_encrypt(deflated, signer("channel")->certificate, NULL);
        g_autoptr(GBytes) message = g_bytes_new_take(smime, strlen(smime));
        g_autoptr(GBytes) opened = envelope_decrypt(message, signer("platform")->key, &error);
        g_autoptr(GBytes) inflated = opened ? envelope_inflate(opened, 1024, &error) : NULL;
        g_assert_null(inflated);
        g_assert_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID);
        g_assert_cmpstr(error->message, ==, "The message can't be opened with this channel's key");
        garbage += opened != NULL;
    }
    g_test_message("%u of 400 messages came out as garbage", garbage);
    g_autofree char *ec = encrypt_for(signer("platform-ec")->certificate);
    assert_does_not_open(ec, signer("channel")->key);
    g_autofree char *rsa = encrypt_for(signer("channel")->certificate);
    assert_does_not_open(rsa, signer("platform-ec")->key);
}

static char *damaged(const char *smime, gsize from_end)
{
    g_autoptr(GBytes) bytes = smime_read(smime, strlen(smime), NULL);
    gsize size = 0;
    const guint8 *data = g_bytes_get_data(bytes, &size);
    g_autofree guint8 *copy = g_memdup2(data, size);
    copy[size - 1 - from_end] ^= 0x55;
    return smime_write(copy, size, SMIME_ENVELOPED_DATA);
}

static void damage_does_not_open(void)
{
    g_autofree char *smime = encrypt_for(signer("channel")->certificate);
    /* A flip in the last block but one changes the padding in the same place. */
    g_autofree char *padding = damaged(smime, 16);
    assert_does_not_open(padding, signer("channel")->key);
    g_autofree char *cut = g_strndup(smime, strlen(smime) - 6);
    assert_does_not_open(cut, signer("channel")->key);
    assert_does_not_open("", signer("channel")->key);
    assert_does_not_open(text, signer("channel")->key);
}

static void signed_messages_are_not_encrypted_ones(void)
{
    g_autoptr(GBytes) content = g_bytes_new_static(text, strlen(text));
    g_autofree char *smime =
        envelope_sign(content, signer("platform")->certificate, signer("platform")->key, NULL);
    assert_does_not_open(smime, signer("channel")->key);
}

static void too_many_recipients_are_refused(void)
{
    for (int recipients = 16; recipients <= 17; recipients++) {
        BIO *in = BIO_new_mem_buf(text, -1);
        CMS_ContentInfo *cms = CMS_encrypt(NULL, in, EVP_aes_256_cbc(), CMS_BINARY | CMS_PARTIAL);
        for (int i = 0; i < recipients; i++)
            g_assert_nonnull(CMS_add1_recipient_cert(cms, signer("channel")->certificate, 0));
        g_assert_true(CMS_final(cms, in, NULL, CMS_BINARY));
        g_autofree char *smime = cms_content_to_smime(cms, SMIME_ENVELOPED_DATA, NULL);
        if (recipients == 16)
            assert_opens(smime, signer("channel")->key);
        else
            assert_does_not_open(smime, signer("channel")->key);
        CMS_ContentInfo_free(cms);
        BIO_free(in);
    }
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/encryption/openssl-opens-what-we-encrypt", openssl_opens_what_we_encrypt);
    g_test_add_func("/encryption/what-we-encrypt-has-the-agreed-form", what_we_encrypt_has_the_agreed_form);
    g_test_add_func("/encryption/we-open-what-openssl-encrypts", we_open_what_openssl_encrypts);
    g_test_add_func("/encryption/each-of-two-recipients-opens", each_of_two_recipients_opens);
    g_test_add_func("/encryption/messages-to-the-previous-channel-certificate-open",
                    messages_to_the_previous_channel_certificate_open);
    g_test_add_func("/encryption/authenticated-encryption-is-not-spoken",
                    authenticated_encryption_is_not_spoken);
    g_test_add_func("/encryption/a-wrong-key-is-the-same-error-to-the-end",
                    wrong_key_is_the_same_error_to_the_end);
    g_test_add_func("/encryption/damage-does-not-open", damage_does_not_open);
    g_test_add_func("/encryption/signed-messages-are-not-encrypted-ones",
                    signed_messages_are_not_encrypted_ones);
    g_test_add_func("/encryption/too-many-recipients-are-refused", too_many_recipients_are_refused);
    return g_test_run();
}

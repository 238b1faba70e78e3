/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What a card answers: the first byte says which answer is played. */

#include "daemon/openssl-cleanup.h"
#include "daemon/token/attestation.h"
#include "daemon/token/piv/piv-key.h"
#include "daemon/token/piv/piv-object.h"
#include "tests/fuzz/fuzz.h"

static void take_metadata(PivBytes bytes)
{
    g_auto(PivMetadata) metadata = {0};
    if (piv_metadata_parse(bytes, &metadata))
        (void)piv_is_tombstone(metadata.public_key);
}

static void take_certificate(PivBytes bytes)
{
    PivBytes content;
    if (!piv_object_content(bytes, &content))
        content = bytes;
    g_autoptr(X509) certificate = piv_certificate_parse(content);
    g_autoptr(GBytes) again = certificate ? piv_certificate_build(certificate) : NULL;
    if (!again)
        return;
    gsize size;
    const guint8 *data = g_bytes_get_data(again, &size);
    g_autoptr(X509) same = piv_certificate_parse((PivBytes){data, size});
    g_assert_true(same && X509_cmp(certificate, same) == 0);
}

static void take_attestation(PivBytes bytes)
{
    g_autoptr(X509) certificate = piv_attestation_parse(bytes);
    g_autoptr(Attestation) claims = certificate ? attestation_read(certificate, NULL) : NULL;
}

static void take_public_key(PivBytes bytes)
{
    static const guint8 algorithms[] = {0x06, 0x07, 0x05, 0x16, 0x11, 0x14, 0xe0, 0xe1, 0x00};
    PivBytes public;
    if (!piv_tlv_find(bytes, 0x7f49, &public))
    public = bytes;
    for (gsize i = 0; i < G_N_ELEMENTS(algorithms); i++) {
        g_autoptr(EVP_PKEY) key = piv_public_key(algorithms[i], public);
        (void)piv_is_tombstone(key);
    }
    PivBytes signature;
    (void)piv_signature(bytes, &signature);
}

static void take_management(PivBytes bytes)
{
    guint8 written[512];
    PivWriter writer = {.data = written, .room = sizeof written};
    PivProtected kept;
    bool protected = piv_administration_says_protected(bytes);
    piv_administration_write(&writer, bytes, !protected, !protected);
    if (!writer.overflow)
        g_assert_cmpint(piv_administration_says_protected((PivBytes){written, writer.size}), ==, !protected);
    piv_protected_parse(bytes, &kept);
    writer = (PivWriter){.data = written, .room = sizeof written};
    piv_protected_write(&writer, bytes, kept.key, kept.next);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const takers[])(PivBytes bytes) = {take_metadata, take_certificate, take_attestation,
                                                     take_public_key, take_management};
    if (size == 0 || size > FUZZ_SIZE_MAX)
        return 0;
    takers[data[0] % G_N_ELEMENTS(takers)]((PivBytes){data + 1, size - 1});
    return 0;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The two encodings, step by step as RFC 8017 has them; hashing and the AlgorithmIdentifier are OpenSSL's. */

#include "daemon/token/rsa-padding.h"
#include "daemon/openssl-cleanup.h"
#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <string.h>

#define fail(...) (ERR_raise_data(ERR_LIB_USER, ERR_R_INTERNAL_ERROR, __VA_ARGS__), false)

typedef struct Padding {
    EVP_PKEY_CTX *settings;
    EVP_PKEY *public_key;
    const EVP_MD *digest; /* or NULL */
    size_t size;          /* bytes of the modulus */
} Padding;

int rsa_padding_salt_size(EVP_PKEY_CTX *settings, const EVP_PKEY *public_key, const EVP_MD *digest)
{
    int digest_size = EVP_MD_get_size(digest);
    int longest = (EVP_PKEY_get_bits(public_key) + 6) / 8 - digest_size - 2;
    int salt = 0;
    if (EVP_PKEY_CTX_get_rsa_pss_saltlen(settings, &salt) <= 0)
        return -1;
    if (salt == RSA_PSS_SALTLEN_DIGEST)
        salt = digest_size;
    else if (salt == RSA_PSS_SALTLEN_AUTO || salt == RSA_PSS_SALTLEN_MAX)
        salt = longest;
    return salt >= 0 && salt <= longest ? salt : -1;
}

/* XORs MGF1(|seed|) onto |mask| (RFC 8017, B.2.1). */
static bool apply_mgf1(const EVP_MD *md, const unsigned char *seed, size_t seed_size, unsigned char *mask,
                       size_t size)
{
    g_autoptr(EVP_MD_CTX) hash = EVP_MD_CTX_new();
    size_t step = (size_t)EVP_MD_get_size(md);
    for (size_t at = 0, count = 0; at < size; at += step, count++) {
        unsigned char counter[4] = {0, 0, (unsigned char)(count >> 8), (unsigned char)count};
        unsigned char block[EVP_MAX_MD_SIZE];
        if (!hash || !EVP_DigestInit_ex2(hash, md, NULL) || !EVP_DigestUpdate(hash, seed, seed_size) ||
            !EVP_DigestUpdate(hash, counter, sizeof counter) || !EVP_DigestFinal_ex(hash, block, NULL))
            return false;
        for (size_t i = 0; i < step && at + i < size; i++)
            mask[at + i] ^= block[i];
    }
    return true;
}

/* EMSA-PSS-ENCODE (RFC 8017, 9.1.1) into |block|, as long as the modulus. */
static bool pss_block(const Padding *padding, const unsigned char *digest, unsigned char *block)
{
    static const unsigned char zeros[8];
    char mgf1_name[80];
    int digest_size = padding->digest ? EVP_MD_get_size(padding->digest) : 0;
    int salt_size =
        digest_size > 0 ? rsa_padding_salt_size(padding->settings, padding->public_key, padding->digest) : -1;
    if (salt_size < 0 ||
        EVP_PKEY_CTX_get_rsa_mgf1_md_name(padding->settings, mgf1_name, sizeof mgf1_name) <= 0)
        return fail("PSS: no digest, or key too short for digest and salt");
    g_autoptr(EVP_MD) mgf1 = EVP_MD_fetch(NULL, mgf1_name, NULL);
    g_autoptr(EVP_MD_CTX) hash = EVP_MD_CTX_new();
    if (!mgf1 || !hash)
        return false;

    int bits = EVP_PKEY_get_bits(padding->public_key) - 1;
    size_t encoded_size = (size_t)(bits + 7) / 8;
    unsigned char *encoded = block + padding->size - encoded_size;
    size_t masked_size = encoded_size - (size_t)digest_size - 1;
    unsigned char *hashed = encoded + masked_size;
    unsigned char *salt = hashed - salt_size;
    memset(block, 0, padding->size);
    salt[-1] = 1;
    if ((salt_size > 0 && RAND_bytes(salt, salt_size) <= 0) ||
        !EVP_DigestInit_ex2(hash, padding->digest, NULL) || !EVP_DigestUpdate(hash, zeros, sizeof zeros) ||
        !EVP_DigestUpdate(hash, digest, (size_t)digest_size) ||
        !EVP_DigestUpdate(hash, salt, (size_t)salt_size) || !EVP_DigestFinal_ex(hash, hashed, NULL) ||
        !apply_mgf1(mgf1, hashed, (size_t)digest_size, encoded, masked_size))
        return false;
    encoded[0] &= (unsigned char)(0xff >> (8 * (int)encoded_size - bits));
    encoded[encoded_size - 1] = 0xbc;
    return true;
}

/* EMSA-PKCS1-v1_5-ENCODE (RFC 8017, 9.2). Without a digest the caller brings the DigestInfo. */
static bool pkcs1_block(const Padding *padding, const unsigned char *input, size_t input_size,
                        unsigned char *block)
{
    size_t size = padding->size;
    g_autoptr(X509_SIG) digest_info = X509_SIG_new();
    unsigned char der[EVP_MAX_MD_SIZE + 64];
    if (padding->digest) {
        X509_ALGOR *algorithm;
        ASN1_OCTET_STRING *octets;
        unsigned char *at = der;
        X509_SIG_getm(digest_info, &algorithm, &octets);
        if (input_size > EVP_MAX_MD_SIZE ||
            !X509_ALGOR_set0(algorithm, OBJ_nid2obj(EVP_MD_get_type(padding->digest)), V_ASN1_NULL, NULL) ||
            !ASN1_OCTET_STRING_set(octets, input, (int)input_size) ||
            i2d_X509_SIG(digest_info, NULL) > (int)sizeof der)
            return fail("the digest can't be put into a DigestInfo");
        input_size = (size_t)i2d_X509_SIG(digest_info, &at);
        input = der;
    }
    if (size < 11 || input_size > size - 11)
        return fail("%zu bytes are too many for this RSA key", input_size);
    memset(block, 0xff, size);
    block[0] = 0;
    block[1] = 1;
    block[size - input_size - 1] = 0;
    memcpy(block + size - input_size, input, input_size);
    return true;
}

bool rsa_padding_block(EVP_PKEY_CTX *settings, EVP_PKEY *public_key, const EVP_MD *digest,
                       const unsigned char *input, size_t input_size, unsigned char *block, size_t size)
{
    const Padding padding = {settings, public_key, digest, size};
    int kind = 0;
    if (EVP_PKEY_CTX_get_rsa_padding(settings, &kind) <= 0)
        return false;
    if (kind == RSA_PKCS1_PADDING)
        return pkcs1_block(&padding, input, input_size, block);
    if (kind == RSA_PKCS1_PSS_PADDING)
        return pss_block(&padding, input, block);
    return fail("this RSA padding is not supported");
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Memory BIOs only: read-only ones over the caller's bytes, growing ones whose buffer becomes the result. */

#include "daemon/link/message/cms-content.h"
#include "daemon/error.h"
#include <limits.h>
#include <openssl/err.h>

BIO *cms_content_source(GBytes *content, GError **error)
{
    gsize size = 0;
    const void *data = g_bytes_get_data(content, &size);
    if (size > INT_MAX) {
        g_set_error_literal(error, IOTHSM_ERROR, IOTHSM_ERROR_LIMITS_EXCEEDED,
                            "The message is longer than 2 GiB");
        return NULL;
    }
    return BIO_new_mem_buf(data ? data : "", (int)size);
}

static void free_sink(void *sink)
{
    BIO_free_all(sink);
}

GBytes *cms_content_take(BIO *sink)
{
    char *data = NULL;
    long size = BIO_get_mem_data(sink, &data);
    return g_bytes_new_with_free_func(data, (gsize)size, free_sink, sink);
}

char *cms_content_to_smime(CMS_ContentInfo *cms, SmimeType type, GError **error)
{
    unsigned char *der = NULL;
    int size = i2d_CMS_ContentInfo(cms, &der);
    if (size <= 0) {
        error_set_openssl(error, IOTHSM_ERROR_FAILED, "Can't encode a CMS message");
        return NULL;
    }
    char *text = smime_write(der, (gsize)size, type);
    OPENSSL_free(der);
    return text;
}

CMS_ContentInfo *cms_content_from_smime(const char *smime, gsize size, GError **error)
{
    g_autoptr(GBytes) der = smime_read(smime, size, error);
    if (!der)
        return NULL;
    gsize length = 0;
    const unsigned char *start = g_bytes_get_data(der, &length);
    const unsigned char *at = start;
    CMS_ContentInfo *cms = d2i_CMS_ContentInfo(NULL, &at, (long)length);
    if (cms && at == start + length)
        return cms;
    CMS_ContentInfo_free(cms);
    ERR_clear_error();
    g_set_error_literal(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID,
                        cms ? "The message has something behind its CMS" : "The message does not hold CMS");
    return NULL;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The table of products. udev/70-iothsm.rules names those with CCID, and a test holds the two together. */

#include "udev/yubikey-models.h"
#include <string.h>

static const struct {
    guint product;
    bool ccid;
    const char *name;
} models[] = {
    {0x0010, false, "YubiKey Standard"},
    {0x0110, false, "YubiKey NEO OTP"},
    {0x0111, true, "YubiKey NEO OTP+CCID"},
    {0x0112, true, "YubiKey NEO CCID"},
    {0x0113, false, "YubiKey NEO FIDO"},
    {0x0114, false, "YubiKey NEO OTP+FIDO"},
    {0x0115, true, "YubiKey NEO FIDO+CCID"},
    {0x0116, true, "YubiKey NEO OTP+FIDO+CCID"},
    {0x0120, false, "Security Key by Yubico"},
    {0x0401, false, "YubiKey OTP"},
    {0x0402, false, "YubiKey FIDO"},
    {0x0403, false, "YubiKey OTP+FIDO"},
    {0x0404, true, "YubiKey CCID"},
    {0x0405, true, "YubiKey OTP+CCID"},
    {0x0406, true, "YubiKey FIDO+CCID"},
    {0x0407, true, "YubiKey OTP+FIDO+CCID"},
    {0x0410, false, "YubiKey Plus"},
};

const char *yubikey_model(guint product, bool *ret_ccid)
{
    for (gsize i = 0; i < G_N_ELEMENTS(models); i++) {
        if (models[i].product != product)
            continue;
        *ret_ccid = models[i].ccid;
        return models[i].name;
    }
    return NULL;
}

/* One to four hexadecimal digits, then |end|. */
static bool parse_id(const char **text, char end, guint *ret_id)
{
    const char *at = *text;
    guint id = 0;
    for (; g_ascii_isxdigit(*at) && at - *text < 4; at++)
        id = id << 4 | (guint)g_ascii_xdigit_value(*at);
    if (at == *text || *at != end)
        return false;
    *text = at + 1;
    *ret_id = id;
    return true;
}

bool yubikey_parse_product(const char *text, guint *ret_vendor, guint *ret_product)
{
    guint vendor = 0, product = 0;
    if (!text || !parse_id(&text, '/', &vendor) || !parse_id(&text, '/', &product))
        return false;
    *ret_vendor = vendor;
    *ret_product = product;
    return true;
}

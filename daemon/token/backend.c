/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What a backend read from a token, as plain values. */

#include "daemon/token/backend.h"

SlotInfo *slot_info_new(const char *name)
{
    SlotInfo *info = g_new0(SlotInfo, 1);
    info->name = g_strdup(name);
    return info;
}

void slot_info_free(SlotInfo *info)
{
    if (!info)
        return;
    g_free(info->name);
    g_free(info->label);
    EVP_PKEY_free(info->public_key);
    X509_free(info->certificate);
    g_free(info->pin_policy);
    g_free(info->touch_policy);
    g_free(info);
}

TokenInfo *token_info_new(void)
{
    TokenInfo *info = g_new0(TokenInfo, 1);
    info->pin_retries = -1;
    info->puk_retries = -1;
    info->slots = g_ptr_array_new_with_free_func((GDestroyNotify)slot_info_free);
    return info;
}

void token_info_free(TokenInfo *info)
{
    if (!info)
        return;
    g_free(info->serial);
    g_free(info->label);
    g_free(info->model);
    g_free(info->firmware);
    g_free(info->management_key);
    g_strfreev(info->free_slots);
    g_strfreev(info->key_types);
    g_ptr_array_unref(info->slots);
    g_clear_error(&info->outdated);
    g_free(info);
}

bool backend_is_piv(const Backend *backend)
{
    return backend->class->set_management_key != NULL;
}

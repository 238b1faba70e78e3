/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* See desk.h. */

#include "tests/virtual-yubikey/test/desk.h"

static void begin(Desk *desk, const char *firmware)
{
    g_autofree char *option = firmware ? g_strconcat("--firmware=", firmware, NULL) : NULL;
    const char *options[] = {"--serial=" DESK_SERIAL, option, NULL};
    desk->key = virtual_key_start(desk->directory, desk->reader->port, options);
    reader_insert(desk->reader);
    reader_select(desk->reader);
}

Desk *desk_new(const char *firmware)
{
    Desk *desk = g_new0(Desk, 1);
    desk->directory = test_directory();
    desk->reader = reader_new();
    begin(desk, firmware);
    return desk;
}

void desk_restart_key(Desk *desk)
{
    virtual_key_stop(desk->key, true);
    virtual_key_free(desk->key);
    reader_wait_removed(desk->reader);
    begin(desk, NULL);
}

void desk_plug(Desk *desk)
{
    reader_wait_removed(desk->reader);
    virtual_key_tell(desk->key, "plug");
    reader_insert(desk->reader);
    reader_select(desk->reader);
}

void desk_free(Desk *desk)
{
    if (!desk)
        return;
    virtual_key_free(desk->key);
    reader_free(desk->reader);
    g_free(desk->directory);
    g_free(desk);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* How long a person waits who plugs a YubiKey in: until PC/SC has the card (not ours to hasten: the virtual
 * reader looks every 0.4 s), from there until the CA on it is connected, and until a certificate is signed,
 * which includes the whole way to the stand-in and back. */

#include "tests/end-to-end/scene.h"
#include "tests/virtual-yubikey/test/pcsc.h"
#include "tests/virtual-yubikey/test/virtual-key.h"

#define SERIAL "1001"
#define PIN "123456"
#define ROUNDS 7
/* From "PC/SC has it" to "connected". */
#define CONNECTED_MS_MAX 1000.0

typedef struct Desk {
    Pcsc *pcsc;
    Scene *scene;
    VirtualKey *key;
} Desk;

typedef struct Times {
    double reader[ROUNDS];    /* ms from the plug to the card in PC/SC */
    double connected[ROUNDS]; /* ms from there to the CA connected */
    double signature[ROUNDS]; /* ms from the plug to a certificate */
} Times;

static double ms_since(gint64 start)
{
    return (double)(g_get_monotonic_time() - start) / 1e3;
}

static int by_size(const void *one, const void *other)
{
    double first = *(const double *)one, second = *(const double *)other;
    return first < second ? -1 : first > second;
}

static double median(double values[ROUNDS])
{
    qsort(values, ROUNDS, sizeof *values, by_size);
    return values[ROUNDS / 2];
}

static void set_up(Desk *desk, const char *type)
{
    desk->pcsc = pcsc_start();
    desk->scene = scene_new("");
    g_autofree char *directory = scene_path(desk->scene, SERIAL);
    g_autofree char *pin = scene_write(desk->scene, "yubikey-pin", PIN);
    desk->key =
        virtual_key_start(directory, pcsc_port(desk->pcsc, 0), (const char *[]){"--serial=" SERIAL, NULL});
    pcsc_wait_card(desk->pcsc, 0, true);
    scene_give_sealing_key(desk->scene);
    scene_start(desk->scene, "[Tokens]\nSoftHsm=no\n", NULL);
    g_autofree char *set = scene_control("pin set " SERIAL " --pin-file=$1 --persist", pin, NULL);
    g_autofree char *certificate = scene_root(desk->scene, "Root", SERIAL "/9c", type);
    scene_assert_works(desk->scene, "Root");
}

static void tear_down(Desk *desk)
{
    scene_free(desk->scene);
    virtual_key_free(desk->key);
    pcsc_free(desk->pcsc);
}

static gint64 connected_authorities(Desk *desk)
{
    return fixture_get_number(scene_fixture(desk->scene), IOTHSM_PATH, MANAGER_INTERFACE,
                              "ConnectedAuthorities");
}

static bool is_connected(void *desk)
{
    return connected_authorities(desk) == 1;
}

static bool is_gone(void *desk)
{
    return connected_authorities(desk) == 0;
}

static void one_round(Desk *desk, Times *times, guint at)
{
    virtual_key_tell(desk->key, "unplug");
    fixture_wait(scene_fixture(desk->scene), is_gone, desk, 30);
    gint64 plugged = g_get_monotonic_time();
    virtual_key_tell(desk->key, "plug");
    pcsc_wait_card(desk->pcsc, 0, true);
    times->reader[at] = ms_since(plugged);
    gint64 there = g_get_monotonic_time();
    while (!is_connected(desk))
        g_assert_cmpint(sd_event_run(fixture_event(scene_fixture(desk->scene)), 1000), >=, 0);
    times->connected[at] = ms_since(there);
    scene_assert_works(desk->scene, "Root");
    times->signature[at] = ms_since(plugged);
}

static void bench(gconstpointer type)
{
    Desk desk = {NULL};
    Times times;
    set_up(&desk, type);
    for (guint i = 0; i < ROUNDS; i++)
        one_round(&desk, &times, i);
    tear_down(&desk);
    double reader = median(times.reader), connected = median(times.connected),
           signature = median(times.signature);
    test_figure(
        "%s: YubiKey plugged in: PC/SC has it after %.0f ms, its CA is connected %.0f ms later (at most "
        "%.0f), the first certificate is there %.0f ms after the plug",
        (const char *)type, reader, connected, times.connected[ROUNDS - 1], signature);
    g_test_message(
        "{\"plug\":\"%s\",\"reader\":%.1f,\"connected\":%.1f,\"connected-max\":%.1f,\"signature\":%.1f}",
        (const char *)type, reader, connected, times.connected[ROUNDS - 1], signature);
    g_assert_cmpfloat(connected, <, CONNECTED_MS_MAX);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    if (pcsc_is_missing())
        return 0;
    g_test_add_data_func("/bench/from-the-plug-to-a-certificate/p256", "p256", bench);
    return g_test_run();
}

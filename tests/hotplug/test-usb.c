/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The whole daemon listens to udev: YubiKeys on USB that can be no tokens are spoken of until that is over.
 * In a network namespace of its own, where the test may speak for udevd. */

#include "tests/hotplug/stage.h"
#include "tests/hotplug/udev-message.h"
#include <string.h>
#include <unistd.h>

#define PORT "/devices/hotplug-test/usb1/1-1"

static bool allowed;

static void say(const char *action, const char *product, const char *number)
{
    int udev = udev_message_open();
    g_autofree char *said_product = g_strconcat("PRODUCT=", product, NULL);
    g_autofree char *said_number = g_strconcat("DEVNUM=", number, NULL);
    udev_message_send(udev, action, PORT, "iothsm",
                      (const char *[]){said_product, "BUSNUM=001", said_number, NULL});
    close(udev);
}

typedef struct Troubles {
    Stage *stage;
    const char *words; /* NULL: none at all */
} Troubles;

static bool has_troubles(void *userdata)
{
    const Troubles *troubles = userdata;
    g_autofree char *now = stage_troubles(troubles->stage);
    return troubles->words ? strstr(now, troubles->words) != NULL : *now == '\0';
}

static void wait_troubles(Stage *stage, const char *words)
{
    Troubles troubles = {stage, words};
    fixture_wait(stage->fixture, has_troubles, &troubles, 30);
}

static bool is_allowed(void)
{
    if (!allowed)
        g_test_skip("a network namespace of its own is not allowed here; it takes root");
    return allowed;
}

static void test_no_pcscd(void)
{
    if (!is_allowed())
        return;
    g_autoptr(Stage) stage = stage_new(2, false);
    stage_start(stage, NULL);
    say("add", "1050/407/543", "002");
    stage_assert_next(stage,
                      "trouble: A YubiKey is plugged in, but the smart card service (pcscd) is not running");
    say("bind", "1050/407/543", "002");
    pcsc_start_again(stage->pcsc);
    /* It works, and has no reader for that key. */
    stage_assert_next(stage,
                      "trouble: A YubiKey is plugged in that the smart card service (pcscd) has no reader");
    wait_troubles(stage, "libccid");
    stage_key(stage, 0, "1001", true);
    stage_assert_next(stage, "+1001");
    wait_troubles(stage, NULL);
}

static void test_pulled_without_pcscd(void)
{
    if (!is_allowed())
        return;
    g_autoptr(Stage) stage = stage_new(2, false);
    stage_start(stage, NULL);
    say("add", "1050/407/543", "002");
    wait_troubles(stage, "is not running");
    say("remove", "1050/407/543", "002");
    wait_troubles(stage, NULL);
}

static void test_no_ccid(void)
{
    if (!is_allowed())
        return;
    g_autoptr(Stage) stage = stage_new(2, true);
    stage_start(stage, NULL);
    say("add", "1050/402/543", "002");
    stage_assert_next(stage, "trouble: The YubiKey FIDO in USB port 1-1 can't be used");
    wait_troubles(stage, "ykman config usb --enable PIV");
    /* What the owner does then: the key restarts as another product. */
    say("remove", "1050/402/543", "002");
    say("add", "1050/406/543", "003");
    stage_key(stage, 0, "1001", true);
    stage_assert_next(stage, "+1001");
    wait_troubles(stage, NULL);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    if (pcsc_is_missing())
        return 0;
    allowed = udev_message_enter();
    g_test_add_func("/usb/a key without pcscd or without a driver is spoken of", test_no_pcscd);
    g_test_add_func("/usb/a key that is pulled is not spoken of any more", test_pulled_without_pcscd);
    g_test_add_func("/usb/a key without CCID is spoken of until it has it", test_no_ccid);
    return g_test_run();
}

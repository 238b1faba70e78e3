/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A root on one YubiKey and an intermediate on another, from the factory to what they sign, with iothsmctl as
 * the only hand; then the keys are pulled out and put back. */

#include "tests/end-to-end/signed.h"
#include "tests/virtual-yubikey/test/pcsc.h"
#include "tests/virtual-yubikey/test/virtual-key.h"
#include <string.h>
#include <unistd.h>
#include <winscard.h>

#define SECONDS 30
#define ROOT_KEY "1001"
#define INTERMEDIATE_KEY "1002"
#define FACTORY_PIN "123456"
#define PIN "271828"

typedef struct Desk {
    Pcsc *pcsc;
    Scene *scene;
    VirtualKey *keys[PCSC_READERS];
    char *pin_file;
} Desk;

static VirtualKey *plug_in(Desk *desk, guint reader, const char *serial)
{
    g_autofree char *directory = scene_path(desk->scene, serial);
    g_autofree char *option = g_strconcat("--serial=", serial, NULL);
    return virtual_key_start(directory, pcsc_port(desk->pcsc, reader), (const char *[]){option, NULL});
}

/* Two keys from the factory, in their readers, and the daemon, which can seal PINs. */
static Desk *desk_new(void)
{
    Desk *desk = g_new0(Desk, 1);
    desk->pcsc = pcsc_start();
    desk->scene = scene_new("");
    desk->keys[0] = plug_in(desk, 0, ROOT_KEY);
    desk->keys[1] = plug_in(desk, 1, INTERMEDIATE_KEY);
    desk->pin_file = scene_write(desk->scene, "yubikey-pin", PIN);
    pcsc_wait_card(desk->pcsc, 0, true);
    pcsc_wait_card(desk->pcsc, 1, true);
    scene_give_sealing_key(desk->scene);
    scene_start(desk->scene, "[Tokens]\nSoftHsm=no\n", NULL);
    return desk;
}

static void desk_free(Desk *desk)
{
    scene_free(desk->scene);
    for (guint i = 0; i < PCSC_READERS; i++)
        virtual_key_free(desk->keys[i]);
    pcsc_free(desk->pcsc);
    g_free(desk->pin_file);
    g_free(desk);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Desk, desk_free)

static void take_into_use(Desk *desk, const char *serial)
{
    g_autofree char *factory = scene_write(desk->scene, "factory-pin", FACTORY_PIN);
    g_autofree char *changed =
        scene_control("pin change $1 --pin-file=$2 --new-pin-file=$3", serial, factory, desk->pin_file, NULL);
    g_autofree char *set = scene_control("pin set $1 --pin-file=$2 --persist", serial, desk->pin_file, NULL);
}

static char *provision_root(Desk *desk)
{
    Scene *scene = desk->scene;
    g_autofree char *template_file = scene_path(scene, "root-template.pem");
    char *certificate = scene_path(scene, "root.pem");
    g_autofree char *created =
        scene_platform(scene, 0, "create-ca --name=Root --days=3650 --out=$1", template_file, NULL);
    g_autofree char *made =
        scene_control("provision --token=" ROOT_KEY " --slot=9c --type=p384 --template=$1 "
                      "--self-signed --yes --output=$2",
                      template_file, certificate, NULL);
    scene_register(scene, "Root", certificate);
    return certificate;
}

/* Its certificate is signed by the root, over the platform. */
static char *provision_intermediate(Desk *desk)
{
    Scene *scene = desk->scene;
    g_autofree char *template_file = scene_path(scene, "intermediate-template.pem");
    g_autofree char *request = scene_path(scene, "intermediate.csr");
    char *certificate = scene_path(scene, "intermediate.pem");
    g_autofree char *created =
        scene_platform(scene, 0,
                       "create-ca --name=Intermediate --subject=CN=Intermediate --pathlen=0 --days=3650 "
                       "--out=$1",
                       template_file, NULL);
    g_autofree char *asked = scene_control("provision --token=" INTERMEDIATE_KEY " --slot=9c --type=rsa2048 "
                                           "--template=$1 --csr=$2 --yes",
                                           template_file, request, NULL);
    g_autofree char *made = scene_platform(scene, 0,
                                           "sign-csr --ca=Root --csr=$1 --name=Intermediate --pathlen=0 "
                                           "--key-usage=keyCertSign,cRLSign --days=1000 --out=$2",
                                           request, certificate, NULL);
    g_autofree char *imported = scene_control("import-cert " INTERMEDIATE_KEY "/9c $1", certificate, NULL);
    scene_register(scene, "Intermediate", certificate);
    return certificate;
}

/* What openssl trusts: both certificates in one file. Transfer full. */
static char *write_chain(Desk *desk, const char *root, const char *intermediate)
{
    g_autofree char *first = NULL;
    g_autofree char *second = NULL;
    g_assert_true(g_file_get_contents(root, &first, NULL, NULL));
    g_assert_true(g_file_get_contents(intermediate, &second, NULL, NULL));
    g_autofree char *both = g_strconcat(first, second, NULL);
    return scene_write(desk->scene, "chain.pem", both);
}

static void assert_signs_everything(Desk *desk, const char *name, const char *trusted)
{
    assert_certificate(desk->scene, name, trusted);
    assert_crl(desk->scene, name, trusted);
    assert_cms(desk->scene, name, trusted);
}

typedef struct Connected {
    Desk *desk;
    gint64 wanted;
} Connected;

static bool has_connected(void *userdata)
{
    const Connected *connected = userdata;
    return fixture_get_number(scene_fixture(connected->desk->scene), IOTHSM_PATH, MANAGER_INTERFACE,
                              "ConnectedAuthorities") == connected->wanted;
}

static void wait_connected(Desk *desk, gint64 wanted)
{
    Connected connected = {desk, wanted};
    fixture_wait(scene_fixture(desk->scene), has_connected, &connected, SECONDS);
}

static void assert_no_try_lost(Desk *desk)
{
    for (guint i = 0; i < PCSC_READERS; i++) {
        g_autofree char *tries = virtual_key_ask(desk->keys[i], "tries");
        g_assert_cmpstr(tries, ==, "pin=3/3 puk=3/3");
    }
}

static void test_root_and_intermediate(void)
{
    g_autoptr(Desk) desk = desk_new();
    take_into_use(desk, ROOT_KEY);
    take_into_use(desk, INTERMEDIATE_KEY);
    g_autofree char *root = provision_root(desk);
    g_autofree char *intermediate = provision_intermediate(desk);
    g_autofree char *chain = write_chain(desk, root, intermediate);
    g_autofree char *self = TEST_RUN("openssl", "verify", "-check_ss_sig", "-CAfile", root, root);
    g_autofree char *issued = TEST_RUN("openssl", "verify", "-x509_strict", "-CAfile", root, intermediate);
    assert_signs_everything(desk, "Root", chain);
    assert_signs_everything(desk, "Intermediate", chain);

    /* Pulled out and put back: nobody does anything, and it signs. */
    virtual_key_tell(desk->keys[1], "unplug");
    wait_connected(desk, 1);
    scene_assert_works(desk->scene, "Root");
    virtual_key_tell(desk->keys[1], "plug");
    wait_connected(desk, 2);
    scene_assert_works(desk->scene, "Intermediate");

    pcsc_stop(desk->pcsc);
    wait_connected(desk, 0);
    pcsc_start_again(desk->pcsc);
    wait_connected(desk, 2);
    assert_signs_everything(desk, "Intermediate", chain);
    scene_assert_works(desk->scene, "Root");

    fixture_stop_daemon(scene_fixture(desk->scene));
    scene_start_again(desk->scene);
    wait_connected(desk, 2);
    assert_signs_everything(desk, "Root", chain);
    assert_no_try_lost(desk);
    scene_assert_no_complaints(desk->scene);
}

/* The service can't see who has the card; iothsmctl, who sees its user's processes, can. Here it is this very
 * test. */
static void test_held(void)
{
    g_autoptr(Desk) desk = desk_new();
    SCARDCONTEXT context;
    SCARDHANDLE card;
    DWORD protocol;
    g_assert_cmpint(SCardEstablishContext(SCARD_SCOPE_SYSTEM, NULL, NULL, &context), ==, SCARD_S_SUCCESS);
    fixture_stop_daemon(scene_fixture(desk->scene));
    g_assert_cmpint(SCardConnect(context, pcsc_reader_name(0), SCARD_SHARE_EXCLUSIVE, SCARD_PROTOCOL_T1,
                                 &card, &protocol),
                    ==, SCARD_S_SUCCESS);
    scene_start_again(desk->scene);
    g_autofree char *status = scene_control("status", NULL);
    g_assert_nonnull(strstr(status, "held by another program"));
    g_autofree char *me = g_strdup_printf("(process %d)", (int)getpid());
    g_assert_nonnull(strstr(status, me));
    g_autofree char *one = scene_control_member("tokens.0.serial", "status", NULL);
    g_assert_cmpstr(one, ==, INTERMEDIATE_KEY);
    SCardDisconnect(card, SCARD_LEAVE_CARD);
    SCardReleaseContext(context);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    if (pcsc_is_missing())
        return 0;
    g_test_add_func("/yubikeys/root-and-intermediate-on-two-keys-from-the-factory-on",
                    test_root_and_intermediate);
    g_test_add_func("/yubikeys/status-names-the-program-that-holds-a-card", test_held);
    return g_test_run();
}

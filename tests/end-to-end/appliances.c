/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* iothsmctl finds the bus of one of them by the environment. */

#include "tests/end-to-end/appliances.h"
#include "daemon/openssl-cleanup.h"
#include <string.h>

#define SECONDS 30

struct Appliances {
    Scene *scene;
    GPtrArray *fixtures;
    guint tokens;
    char *certificate; /* a file */
    char *key;         /* a file */
};

static void select_bus(Appliances *self, guint which)
{
    g_setenv("DBUS_SYSTEM_BUS_ADDRESS", fixture_address(self->fixtures->pdata[which]), TRUE);
}

static Fixture *start(const Appliances *self, const char *words, const char *configuration)
{
    g_autoptr(GPtrArray) arguments = g_ptr_array_new_with_free_func(g_free);
    for (guint i = 1; i <= self->tokens; i++)
        g_ptr_array_add(arguments,
                        g_strdup_printf("--fake=fake:serial=F%u%s%s", i, *words ? "," : "", words));
    g_ptr_array_add(arguments, NULL);
    Fixture *fixture = fixture_new();
    fixture_keep_log(fixture);
    fixture_start_daemon(fixture, NULL, configuration, (const char *const *)arguments->pdata, NULL);
    return fixture;
}

/* The first token makes the certificate from the platform's template, the others get it. */
static void provision(Appliances *self, const char *name)
{
    g_autofree char *template_file = scene_path(self->scene, "template.pem");
    g_autofree char *created =
        scene_platform(self->scene, 0, "create-ca --name=$1 --out=$2", name, template_file, NULL);
    for (guint i = 0; i < self->fixtures->len; i++) {
        select_bus(self, i);
        for (guint k = 1; k <= self->tokens; k++) {
            g_autofree char *slot = g_strdup_printf("F%u/01", k);
            g_autofree char *imported = scene_control("import-key $1 $2", slot, self->key, NULL);
            if (i == 0 && k == 1) {
                g_autofree char *made = scene_control("self-sign $1 $2 --output=$3", slot, template_file,
                                                      self->certificate, NULL);
                g_autofree char *registered = scene_platform(self->scene, 0, "import-certificate --ca=$1 $2",
                                                             name, self->certificate, NULL);
            } else {
                g_autofree char *put = scene_control("import-cert $1 $2", slot, self->certificate, NULL);
            }
        }
        g_autofree char *reloaded = scene_control("reload", NULL);
    }
}

static void wait_connected(Appliances *self, const char *name)
{
    g_autofree char *agents = g_strdup_printf("%u", self->fixtures->len);
    g_autofree char *there = scene_platform(self->scene, 0, "wait --ca=$1 --agents=$2", name, agents, NULL);
    for (guint i = 0; i < self->fixtures->len; i++)
        fixture_wait_string(self->fixtures->pdata[i], IOTHSM_PATH, MANAGER_INTERFACE, "LinkState",
                            "connected", SECONDS);
}

Appliances *appliances_new(Scene *scene, guint count, guint tokens, const char *words, const char *name)
{
    Appliances *self = g_new0(Appliances, 1);
    g_autoptr(EVP_PKEY) key = test_new_key("p256");
    g_autofree char *pem = test_key_pem(key, NULL);
    g_autofree char *configuration = scene_configuration(scene, NULL);
    self->scene = scene;
    self->tokens = tokens;
    self->key = scene_write(scene, "shared-key.pem", pem);
    self->certificate = scene_path(scene, "shared.pem");
    self->fixtures = g_ptr_array_new_with_free_func((GDestroyNotify)fixture_free);
    for (guint i = 0; i < count; i++)
        g_ptr_array_add(self->fixtures, start(self, words, configuration));
    provision(self, name);
    wait_connected(self, name);
    return self;
}

void appliances_free(Appliances *self)
{
    if (!self)
        return;
    g_ptr_array_unref(self->fixtures);
    g_free(self->certificate);
    g_free(self->key);
    g_free(self);
}

Fixture *appliances_fixture(Appliances *self, guint which)
{
    return self->fixtures->pdata[which];
}

gint64 appliances_signatures(Appliances *self, guint which)
{
    return fixture_get_number(self->fixtures->pdata[which], IOTHSM_PATH, MANAGER_INTERFACE, "Signatures");
}

gint64 appliances_all_signatures(Appliances *self)
{
    gint64 all = 0;
    for (guint i = 0; i < self->fixtures->len; i++)
        all += appliances_signatures(self, i);
    return all;
}

char *appliances_metrics(Appliances *self, guint which)
{
    select_bus(self, which);
    return scene_control("metrics", NULL);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Identity and Access Management: the roles that matter here, with those of their permissions that matter
 * here. */

#include "tests/google-kms/world.h"
#include <string.h>

#define LOCATIONS "cloudkms.locations.get", "cloudkms.locations.list", "resourcemanager.projects.get"

typedef struct Role {
    const char *name;
    const char *permissions[16];
} Role;

static const Role roles[] = {
    {"roles/browser", {"resourcemanager.projects.get", "resourcemanager.projects.list"}},
    {"roles/cloudkms.viewer",
     {"cloudkms.cryptoKeyVersions.get", "cloudkms.cryptoKeyVersions.list", "cloudkms.cryptoKeys.get",
      "cloudkms.cryptoKeys.list", "cloudkms.keyRings.get", "cloudkms.keyRings.list", LOCATIONS}},
    {"roles/cloudkms.signer", {"cloudkms.cryptoKeyVersions.useToSign", LOCATIONS}},
    {"roles/cloudkms.signerVerifier",
     {"cloudkms.cryptoKeyVersions.useToSign", "cloudkms.cryptoKeyVersions.useToVerify",
      "cloudkms.cryptoKeyVersions.viewPublicKey", LOCATIONS}},
    {"roles/cloudkms.publicKeyViewer", {"cloudkms.cryptoKeyVersions.viewPublicKey", LOCATIONS}},
    {"roles/cloudkms.cryptoOperator",
     {"cloudkms.cryptoKeyVersions.useToDecrypt", "cloudkms.cryptoKeyVersions.useToEncrypt",
      "cloudkms.cryptoKeyVersions.useToSign", "cloudkms.cryptoKeyVersions.useToVerify",
      "cloudkms.cryptoKeyVersions.viewPublicKey", LOCATIONS}},
};

static bool role_has(const Role *role, const char *permission)
{
    for (const char *const *one = role->permissions; *one; one++)
        if (g_str_equal(*one, permission))
            return true;
    return false;
}

static bool grant_gives(const char *name, const char *permission)
{
    if (g_str_equal(name, permission))
        return true;
    for (gsize i = 0; i < G_N_ELEMENTS(roles); i++)
        if (g_str_equal(roles[i].name, name))
            return role_has(&roles[i], permission);
    return false;
}

bool account_may(const Account *account, const char *permission, const char *resource)
{
    for (char **grant = account->grants; *grant; grant++) {
        g_auto(GStrv) parts = g_strsplit(*grant, "@", 2);
        if (parts[0] && grant_gives(parts[0], permission) &&
            (!parts[1] || g_str_has_prefix(resource, parts[1])))
            return true;
    }
    return false;
}

bool permission_exists(const char *permission)
{
    for (gsize i = 0; i < G_N_ELEMENTS(roles); i++)
        if (role_has(&roles[i], permission))
            return true;
    return false;
}

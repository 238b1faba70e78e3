/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* See signed.h. */

#include "tests/end-to-end/signed.h"
#include <string.h>

void assert_certificate(Scene *scene, const char *name, const char *ca_file)
{
    g_autofree char *file = scene_path(scene, "leaf.pem");
    g_autofree char *made =
        scene_platform(scene, 0,
                       "sign-csr --ca=$1 --name=srv.example.test --days=397 "
                       "--key-usage=digitalSignature --eku=serverAuth --dns=srv.example.test "
                       "--ip=192.0.2.1 --uri=https://srv.example.test/ --out=$2",
                       name, file, NULL);
    g_autofree char *verified = TEST_RUN("openssl", "verify", "-x509_strict", "-purpose", "sslserver",
                                         "-verify_hostname", "srv.example.test", "-CAfile", ca_file, file);
    g_autofree char *text = TEST_RUN("openssl", "x509", "-in", file, "-noout", "-text");
    g_assert_nonnull(strstr(text, "IP Address:192.0.2.1"));
    g_assert_nonnull(strstr(text, "Authority Key Identifier"));
}

void assert_crl(Scene *scene, const char *name, const char *ca_file)
{
    g_autofree char *leaf = scene_path(scene, "leaf.pem");
    g_autofree char *file = scene_path(scene, "crl.pem");
    g_autofree char *serial_text = TEST_RUN("openssl", "x509", "-in", leaf, "-noout", "-serial");
    const char *serial = g_strchomp(strchr(serial_text, '=') + 1);
    g_autofree char *before =
        test_run((const char *const[]){"openssl", "verify", "-CAfile", ca_file, leaf, NULL}, NULL, 0);
    g_autofree char *made = scene_platform(
        scene, 0, "make-crl --ca=$1 --revoke=$2,superseded --days=7 --out=$3", name, serial, file, NULL);
    g_autofree char *judged = TEST_RUN("openssl", "crl", "-in", file, "-CAfile", ca_file, "-noout", "-text");
    g_assert_nonnull(strstr(judged, "verify OK"));
    g_assert_nonnull(strstr(judged, serial));
    g_assert_nonnull(strstr(judged, "Superseded"));
    g_autofree char *after = test_run((const char *const[]){"openssl", "verify", "-crl_check", "-CRLfile",
                                                            file, "-CAfile", ca_file, leaf, NULL},
                                      NULL, 2);
    g_assert_nonnull(strstr(after, "certificate revoked"));
}

void assert_cms(Scene *scene, const char *name, const char *ca_file)
{
    g_autofree char *file = scene_path(scene, "cms.pem");
    g_autofree char *made = scene_platform(scene, 0, "make-cms --ca=$1 --data=$2 --out=$3", name,
                                           "H\xc3\xa4llo from the CA", file, NULL);
    g_autofree char *judged = TEST_RUN("openssl", "cms", "-verify", "-inform", "PEM", "-in", file, "-CAfile",
                                       ca_file, "-purpose", "any");
    g_assert_nonnull(strstr(judged, "H\xc3\xa4llo from the CA"));
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Has the CA |name| sign one thing of a kind, and lets the openssl command judge it with |ca_file|, the CA's
 * certificate as a trust anchor. What was signed is left in the scene's files leaf.pem, crl.pem and cms.pem.
 */

#include "tests/end-to-end/scene.h"

void assert_certificate(Scene *scene, const char *name, const char *ca_file);
/* Revokes the certificate in leaf.pem. */
void assert_crl(Scene *scene, const char *name, const char *ca_file);
void assert_cms(Scene *scene, const char *name, const char *ca_file);

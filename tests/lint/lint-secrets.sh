#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# What must never be in the daemon: OpenSSL's default trust paths, functions that keep a copy of a PIN, configuration text
# made at run time, shells.
cd "${SOURCE:?}" || exit 1
if grep -nE '\b(X509_STORE_set_default_paths|X509_STORE_load_path|SSL_CTX_set_default_verify_paths|PKCS11_login|ykpiv_(verify|verify_select|change_pin|change_puk|unblock_pin|authenticate|set_mgmkey2?|import_private_key)|NCONF_load|CONF_modules_load|system|popen|g_spawn_command_line_[a-z]*)\s*\(' \
    -r --include='*.[ch]' daemon dbus polkit cli; then
    echo "  ^ not here"
    exit 1
fi
exit 0

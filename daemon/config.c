/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The keys as a table: name, what is expected, where it goes. A key that isn't in the table does not exist.
 */

#include "daemon/config.h"
#include "daemon/error.h"
#include "daemon/log.h"
#include "iothsm-build.h"
#include <gio/gio.h>
#include <string.h>

typedef struct Key Key;
typedef bool (*KeyParser)(const Key *key, const char *value, void *field);
struct Key {
    const char *group;
    const char *name;
    const char *expected; /* for the error text */
    KeyParser parse;
    gsize offset;
    gint64 minimum;
    gint64 maximum;
};

static bool is_loopback(const char *host)
{
    if (g_strcmp0(host, "localhost") == 0)
        return true;
    g_autoptr(GInetAddress) address = host ? g_inet_address_new_from_string(host) : NULL;
    return address && g_inet_address_get_is_loopback(address);
}

static void set_text(char **field, const char *value)
{
    g_free(*field);
    *field = *value ? g_strdup(value) : NULL;
}

static bool read_url(const char *value, bool (*may_be_plain)(const char *host), void *field)
{
    g_autofree char *scheme = NULL;
    g_autofree char *host = NULL;
    g_autofree char *query = NULL;
    g_autofree char *fragment = NULL;
    g_autofree char *user = NULL;
    int port = 0;
    if (!g_uri_split(value, G_URI_FLAGS_NONE, &scheme, &user, &host, &port, NULL, &query, &fragment, NULL) ||
        !host || !*host || user || query || fragment)
        return false;
    if (g_strcmp0(scheme, "https") != 0 && !(g_strcmp0(scheme, "http") == 0 && may_be_plain(host)))
        return false;
    g_autofree char *url = g_strdup(value);
    while (g_str_has_suffix(url, "/"))
        url[strlen(url) - 1] = '\0';
    set_text(field, url);
    return true;
}

static bool parse_url(const Key *key, const char *value, void *field)
{
    return read_url(value, is_loopback, field);
}

/* A machine in Google Cloud reaches its metadata server over a network of its own, without TLS. */
static bool is_loopback_or_metadata(const char *host)
{
    return is_loopback(host) || strcmp(host, "metadata.google.internal") == 0 ||
           strcmp(host, "169.254.169.254") == 0;
}

static bool parse_metadata_url(const Key *key, const char *value, void *field)
{
    return read_url(value, is_loopback_or_metadata, field);
}

static bool parse_path(const Key *key, const char *value, void *field)
{
    if (*value && !g_path_is_absolute(value))
        return false;
    set_text(field, value);
    return true;
}

static bool parse_paths(const Key *key, const char *value, void *field)
{
    g_auto(GStrv) parts = g_strsplit(value, ";", -1);
    g_autoptr(GStrvBuilder) paths = g_strv_builder_new();
    for (char **part = parts; *part; part++) {
        g_strstrip(*part);
        if (**part && !g_path_is_absolute(*part))
            return false;
        if (**part)
            g_strv_builder_add(paths, *part);
    }
    g_strfreev(*(GStrv *)field);
    *(GStrv *)field = g_strv_builder_end(paths);
    return true;
}

static bool parse_bool(const Key *key, const char *value, void *field)
{
    static const char *const yes[] = {"yes", "true", "on", "1", NULL};
    static const char *const no[] = {"no", "false", "off", "0", NULL};
    if (!g_strv_contains(yes, value) && !g_strv_contains(no, value))
        return false;
    *(bool *)field = g_strv_contains(yes, value);
    return true;
}

/* "64M": K, M, G are powers of 1024. */
static bool parse_size(const Key *key, const char *value, void *field)
{
    char *end = NULL;
    if (!g_ascii_isdigit(*value))
        return false;
    guint64 number = g_ascii_strtoull(value, &end, 10);
    const char *unit = *end ? strchr("KMG", *end) : "";
    guint shift = !unit || !*unit ? 0 : *unit == 'K' ? 10 : *unit == 'M' ? 20 : 30;
    if (!unit || (*unit && end[1]) || number > (guint64)key->maximum >> shift ||
        number << shift < (guint64)key->minimum)
        return false;
    *(guint64 *)field = number << shift;
    return true;
}

static bool parse_count(const Key *key, const char *value, void *field)
{
    guint64 number = 0;
    if (!g_ascii_string_to_unsigned(value, 10, (guint64)key->minimum, (guint64)key->maximum, &number, NULL))
        return false;
    *(guint *)field = (guint)number;
    return true;
}

/* "30d", "12h", "90min", "3600s" or bare seconds. */
static bool parse_duration(const Key *key, const char *value, void *field)
{
    static const struct {
        const char *unit;
        gint64 seconds;
    } units[] = {{"", 1}, {"s", 1}, {"min", 60}, {"h", 3600}, {"d", 86400}, {"w", 604800}};
    char *end = NULL;
    if (!g_ascii_isdigit(*value))
        return false;
    guint64 number = g_ascii_strtoull(value, &end, 10);
    for (gsize i = 0; i < G_N_ELEMENTS(units); i++) {
        if (strcmp(units[i].unit, end) != 0)
            continue;
        if (number > (guint64)(key->maximum / units[i].seconds) ||
            (gint64)number * units[i].seconds < key->minimum)
            return false;
        *(gint64 *)field = (gint64)number * units[i].seconds;
        return true;
    }
    return false;
}

static bool parse_choice(const char *value, const char *first, const char *second, int *field)
{
    if (strcmp(value, first) != 0 && strcmp(value, second) != 0)
        return false;
    *field = strcmp(value, second) == 0;
    return true;
}

static bool parse_signer_purpose(const Key *key, const char *value, void *field)
{
    int choice = 0;
    if (!parse_choice(value, "smimesign", "any", &choice))
        return false;
    *(SignerPurpose *)field = choice ? SIGNER_PURPOSE_ANY : SIGNER_PURPOSE_SMIMESIGN;
    return true;
}

static bool parse_short_serial(const Key *key, const char *value, void *field)
{
    int choice = 0;
    if (!parse_choice(value, "hex", "original", &choice))
        return false;
    *(ShortSerial *)field = choice ? SHORT_SERIAL_ORIGINAL : SHORT_SERIAL_HEX;
    return true;
}

static bool parse_transport(const Key *key, const char *value, void *field)
{
    static const char *const choices[] = {[TRANSPORT_CHOICE_AUTO] = "auto",
                                          [TRANSPORT_CHOICE_WEBSOCKET] = "websocket",
                                          [TRANSPORT_CHOICE_PUBNUB] = "pubnub"};
    for (gsize i = 0; i < G_N_ELEMENTS(choices); i++) {
        if (strcmp(choices[i], value) == 0) {
            *(TransportChoice *)field = (TransportChoice)i;
            return true;
        }
    }
    return false;
}

static bool parse_crl_form(const Key *key, const char *value, void *field)
{
    int choice = 0;
    if (!parse_choice(value, "original", "rfc5280", &choice))
        return false;
    *(CrlForm *)field = choice ? CRL_FORM_RFC5280 : CRL_FORM_ORIGINAL;
    return true;
}

#define FIELD(name) offsetof(Config, name)
static const Key keys[] = {
    {"Platform", "Url", "an https URL, or http for a loopback host", parse_url, FIELD(platform_url), 0, 0},
    {"Platform", "TlsCa", "an absolute path of a PEM file", parse_path, FIELD(tls_ca), 0, 0},
    {"Platform", "VerificationCa", "an absolute path of a PEM file", parse_path, FIELD(verification_ca), 0,
     0},
    {"Platform", "Transport", "auto, websocket or pubnub", parse_transport, FIELD(transport), 0, 0},
    {"Platform", "PubNubOrigin", "an https URL, or http for a loopback host", parse_url, FIELD(pubnub_origin),
     0, 0},
    {"Platform", "SignerPurpose", "smimesign or any", parse_signer_purpose, FIELD(signer_purpose), 0, 0},
    {"Platform", "ShortSerial", "hex or original", parse_short_serial, FIELD(short_serial), 0, 0},
    {"Tokens", "YubiKey", "yes or no", parse_bool, FIELD(yubikey), 0, 0},
    {"Tokens", "SoftHsm", "yes or no", parse_bool, FIELD(softhsm), 0, 0},
    {"Tokens", "SoftHsmModule", "an absolute path", parse_path, FIELD(softhsm_module), 0, 0},
    {"Tokens", "Pkcs11Modules", "absolute paths with ';' between", parse_paths, FIELD(pkcs11_modules), 0, 0},
    {"GoogleKms", "KmsUrl", "an https URL, or http for a loopback host", parse_url, FIELD(google_kms_url), 0,
     0},
    {"GoogleKms", "ResourceManagerUrl", "an https URL, or http for a loopback host", parse_url,
     FIELD(google_resource_manager_url), 0, 0},
    {"GoogleKms", "MetadataUrl", "an https URL, or http for a loopback host or the metadata server",
     parse_metadata_url, FIELD(google_metadata_url), 0, 0},
    {"Limits", "QueueLength", "a number from 1 to 65536", parse_count, FIELD(queue_length), 1, 65536},
    {"Limits", "DefaultTtl", "seconds from 1 to 3600", parse_count, FIELD(default_ttl), 1, 3600},
    {"Limits", "MessageSize", "a size from 64K to 512M", parse_size, FIELD(message_size), 65536, 512 << 20},
    {"Limits", "InflatedSize", "a size from 64K to 1G", parse_size, FIELD(inflated_size), 65536, 1 << 30},
    {"Crl", "Form", "original or rfc5280", parse_crl_form, FIELD(crl_form), 0, 0},
    {"Journal", "ReplayWindow", "a time from 1h to 3650d", parse_duration, FIELD(replay_window), 3600,
     G_GINT64_CONSTANT(3650) * 86400},
};

static const Key *find_key(const char *group, const char *name)
{
    for (gsize i = 0; i < G_N_ELEMENTS(keys); i++)
        if (strcmp(keys[i].group, group) == 0 && strcmp(keys[i].name, name) == 0)
            return &keys[i];
    return NULL;
}

static bool read_group(Config *config, GKeyFile *file, const char *path, const char *group, GError **error)
{
    g_auto(GStrv) names = g_key_file_get_keys(file, group, NULL, NULL);
    for (char **name = names; name && *name; name++) {
        const Key *key = find_key(group, *name);
        if (!key) {
            log_warning("%s: [%s] %s is not a setting that this version knows; it is ignored", path, group,
                        *name);
            continue;
        }
        g_autofree char *value = g_key_file_get_string(file, group, *name, NULL);
        if (!value || !key->parse(key, g_strstrip(value), (char *)config + key->offset)) {
            g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID, "%s: [%s] %s=%s is not %s", path, group,
                        *name, value ? value : "", key->expected);
            return false;
        }
    }
    return true;
}

static bool read_file(Config *config, const char *path, bool must_exist, GError **error)
{
    g_autoptr(GKeyFile) file = g_key_file_new();
    g_autoptr(GError) failure = NULL;
    if (!g_key_file_load_from_file(file, path, G_KEY_FILE_NONE, &failure)) {
        if (!must_exist && g_error_matches(failure, G_FILE_ERROR, G_FILE_ERROR_NOENT))
            return true;
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID, "The configuration %s can't be read: %s", path,
                    failure->message);
        return false;
    }
    g_auto(GStrv) groups = g_key_file_get_groups(file, NULL);
    for (char **group = groups; *group; group++)
        if (!read_group(config, file, path, *group, error))
            return false;
    return true;
}

/* Where distributions put libsofthsm2.so; NULL where it isn't installed. */
static char *find_softhsm(void)
{
    static const char *const places[] = {
        "/usr/lib/softhsm/libsofthsm2.so",       "/usr/lib64/softhsm/libsofthsm2.so",
        "/usr/lib/pkcs11/libsofthsm2.so",        "/usr/lib64/pkcs11/libsofthsm2.so",
        "/usr/local/lib/softhsm/libsofthsm2.so",
    };
    for (gsize i = 0; i < G_N_ELEMENTS(places); i++)
        if (g_file_test(places[i], G_FILE_TEST_EXISTS))
            return g_strdup(places[i]);
    return NULL;
}

static Config *config_defaults(const char *state_directory)
{
    Config *config = g_new0(Config, 1);
    config->platform_url = g_strdup("https://pkiaas.io");
    config->verification_ca = g_build_filename(state_directory, "trust", "pkiaas.io.pem", NULL);
    config->pubnub_origin = g_strdup("https://ps.pndsn.com");
    config->yubikey = true;
    config->softhsm = true;
    config->pkcs11_modules = g_new0(char *, 1);
    config->queue_length = 1024;
    config->default_ttl = 5;
    config->message_size = 64 << 20;
    config->inflated_size = 192 << 20;
    config->replay_window = 30 * 86400;
    return config;
}

Config *config_load(const char *file, const char *state_directory, GError **error)
{
    g_autoptr(Config) config = config_defaults(state_directory);
    if (file) {
        if (!read_file(config, file, true, error))
            return NULL;
    } else if (!read_file(config, IOTHSM_VENDOR_DIR "/iothsmd.conf", false, error) ||
               !read_file(config, IOTHSM_SYSCONF_DIR "/iothsmd.conf", false, error)) {
        return NULL;
    }
    if (!config->verification_ca)
        config->verification_ca = g_build_filename(state_directory, "trust", "pkiaas.io.pem", NULL);
    if (!config->softhsm_module)
        config->softhsm_module = find_softhsm();
    return g_steal_pointer(&config);
}

void config_free(Config *config)
{
    if (!config)
        return;
    g_free(config->platform_url);
    g_free(config->tls_ca);
    g_free(config->verification_ca);
    g_free(config->pubnub_origin);
    g_free(config->softhsm_module);
    g_strfreev(config->pkcs11_modules);
    g_free(config->google_kms_url);
    g_free(config->google_resource_manager_url);
    g_free(config->google_metadata_url);
    g_free(config);
}

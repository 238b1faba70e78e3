/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* org.pkiaas.IoTHSM1.Manager. */

#include "daemon/ca/template.h"
#include "daemon/ca/trust.h"
#include "daemon/describe.h"
#include "daemon/error.h"
#include "daemon/json.h"
#include "dbus/bus-private.h"
#include "iothsm-build.h"
#include <string.h>

typedef struct ManagerObject {
    Object object;
    char *version;
    char *platform_url;
    char *link_state;
    char *link_transport;
    char *link_message;
    uint64_t next_attempt;
    uint32_t connected_authorities;
    uint32_t connected_slots;
    uint64_t signatures;
    uint64_t denied;
    int pins_sealed;
    char **troubles;
} ManagerObject;

static void manager_read(Object *object)
{
    ManagerObject *self = (ManagerObject *)object;
    const Manager *manager = object->subject;
    const Link *link = manager_link(manager);
    self->version = g_strdup(IOTHSM_VERSION);
    self->platform_url = describe_text(manager_config(manager)->platform_url);
    self->link_state = g_strdup(link_state_to_string(link_state(link)));
    self->link_transport = describe_text(link_transport(link));
    self->link_message = describe_text(link_message(link));
    self->next_attempt = (uint64_t)link_next_attempt(link);
    self->connected_authorities = link_connected(link);
    self->connected_slots = describe_connected_slots(manager);
    self->signatures = manager_signatures(manager);
    self->denied = manager_denied(manager);
    self->pins_sealed = manager_can_persist_pins(manager);
    self->troubles = manager_troubles(manager);
}

static void *manager_ref(void *manager)
{
    return manager;
}

static void manager_unref(void *manager)
{
}

static void no_details(Call *call)
{
}

/* --- reading ----------------------------------------------------------------------------------------- */

static void act_describe(Call *call)
{
    g_autoptr(JsonObject) description = describe(call->subject);
    g_autofree char *text = json_object_to_text(description);
    call_answer_text(call, text);
}

static void act_metrics(Call *call)
{
    g_autofree char *text = manager_metrics(call->subject);
    call_answer_text(call, text);
}

/* An answer that is made on the worker: from a copy of what it needs to a text. */
typedef struct TextJob {
    Call *call;
    char *input; /* a PEM, or the state directory */
    char *platform_path;
    char *result;
} TextJob;

static void text_job_free(void *data)
{
    TextJob *job = data;
    g_free(job->input);
    g_free(job->platform_path);
    g_free(job->result);
    g_free(job);
}

static void text_job_done(const GError *error, void *userdata)
{
    TextJob *job = userdata;
    call_text_done(job->result, error, job->call);
}

static void submit_text_job(Call *call, WorkerRunFunc run, const char *input)
{
    g_autoptr(GError) error = NULL;
    TextJob *job = g_new0(TextJob, 1);
    job->call = call;
    job->input = g_strdup(input);
    job->platform_path = g_strdup(manager_config(call->subject)->verification_ca);
    if (!worker_submit(call->bus->worker, run, job, text_job_free, WORKER_NO_DEADLINE, call->cancellable,
                       text_job_done, job, &error)) {
        g_autoptr(GError) limit = g_error_new(IOTHSM_ERROR, IOTHSM_ERROR_LIMITS_EXCEEDED,
                                              "Too many such calls are waiting; try again in a moment");
        call_fail(call, limit);
    }
}

static bool run_describe_template(void *data, GCancellable *cancelled, GError **error)
{
    TextJob *job = data;
    g_autoptr(Template) template = template_from_pem(job->input, error);
    if (template == NULL)
        return false;
    g_autoptr(JsonObject) description = template_describe(template);
    job->result = json_object_to_text(description);
    return true;
}

static bool read_describe_template(Call *call, GError **error)
{
    return call_read_pem(call, "The template", error);
}

static void act_describe_template(Call *call)
{
    submit_text_job(call, run_describe_template, call->arguments.pem);
}

static bool run_list_trust_anchors(void *data, GCancellable *cancelled, GError **error)
{
    TextJob *job = data;
    g_autoptr(JsonNode) node = json_node_new(JSON_NODE_ARRAY);
    json_node_take_array(node, trust_list(job->input, job->platform_path));
    job->result = json_to_string(node, FALSE);
    return true;
}

static void act_list_trust_anchors(Call *call)
{
    submit_text_job(call, run_list_trust_anchors, manager_state_directory(call->subject));
}

/* --- changing ---------------------------------------------------------------------------------------- */

static void act_reload(Call *call)
{
    manager_reload(call->subject, call_done, call);
}

static bool read_create_softhsm_token(Call *call, GError **error)
{
    if (!call_read_name(call, "The label", &call->arguments.name, error) ||
        !call_read_descriptor(call, 0, error) || !call_read_descriptor(call, 1, error))
        return false;
    if (call->arguments.name[0] == '\0' || strlen(call->arguments.name) > 32) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID,
                    "The label of a SoftHSM2 token has 1 to 32 bytes (PKCS#11's limit)");
        return false;
    }
    call_add_detail(call, "token", call->arguments.name);
    return true;
}

static void on_token_created(const char *serial, const GError *error, void *userdata)
{
    if (error != NULL) {
        call_fail(userdata, error);
        return;
    }
    g_autofree char *path = bus_token_path(serial);
    call_answer_path(userdata, path);
}

static void act_create_softhsm_token(Call *call)
{
    manager_create_softhsm_token(call->subject, call->arguments.name, call->arguments.secrets[0],
                                 call->arguments.secrets[1], on_token_created, call);
}

static Token *find_token(const Manager *manager, const char *path)
{
    GPtrArray *tokens = manager_tokens(manager);
    for (guint i = 0; i < tokens->len; i++) {
        Token *token = g_ptr_array_index(tokens, i);
        g_autofree char *own = bus_token_path(token_serial(token));
        if (strcmp(own, path) == 0)
            return token;
    }
    return NULL;
}

static bool read_remove_token(Call *call, GError **error)
{
    const char *path;
    if (sd_bus_message_read_basic(call->message, 'o', &path) <= 0) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID, "The token's object path can't be read");
        return false;
    }
    Token *token = find_token(call->subject, path);
    if (token == NULL) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_NO_SUCH_TOKEN, "There is no token at %.*s",
                    (int)CALL_NAME_MAX, path);
        return false;
    }
    call->arguments.token = token_ref(token);
    /* A key ring is forgotten here; its keys live on in Google Cloud. */
    if (strcmp(token_kind(token), "google-kms") == 0)
        call->action = "manage-tokens";
    call_add_detail(call, "token", token_serial(token));
    return true;
}

static void act_remove_token(Call *call)
{
    manager_remove_token(call->subject, call->arguments.token, call_done, call);
}

/* A place in Google Cloud, and whose credentials open it: those of the machine without the option. */
static bool read_google_kms(Call *call, GError **error)
{
    const CallOption options[] = {{"credentials", 'h', &call->arguments.descriptors[0]}, {0}};
    if (!call_read_name(call, "The name in Google Cloud", &call->arguments.name, error) ||
        !call_read_options(call, options, error))
        return false;
    call_add_detail(call, "token", call->arguments.name);
    return true;
}

static void act_browse_google_kms(Call *call)
{
    manager_browse_google_kms(call->subject, call->arguments.name, call->arguments.secrets[0],
                              call->cancellable, call_text_done, call);
}

static void act_add_google_kms(Call *call)
{
    manager_add_google_kms(call->subject, call->arguments.name, call->arguments.secrets[0], call->cancellable,
                           on_token_created, call);
}

static bool read_add_trust_anchor(Call *call, GError **error)
{
    if (!call_read_name(call, "The purpose", &call->arguments.name, error) ||
        !call_read_pem(call, "The trust anchor", error))
        return false;
    if (strcmp(call->arguments.name, "platform") != 0 && strcmp(call->arguments.name, "yubico") != 0) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID,
                    "A trust anchor is for \"platform\" or for \"yubico\", not for \"%s\"",
                    call->arguments.name);
        return false;
    }
    return true;
}

static void act_add_trust_anchor(Call *call)
{
    manager_add_trust_anchor(call->subject, call->arguments.name, call->arguments.pem, call_done, call);
}

/* --- the interface ----------------------------------------------------------------------------------- */

static const Method manager_methods[] = {
    {"Describe", NULL, NULL, act_describe},
    {"Metrics", NULL, NULL, act_metrics},
    {"DescribeTemplate", NULL, read_describe_template, act_describe_template},
    {"ListTrustAnchors", NULL, NULL, act_list_trust_anchors},
    {"Reload", "reload", NULL, act_reload},
    {"CreateSoftHsmToken", "manage-tokens", read_create_softhsm_token, act_create_softhsm_token},
    {"BrowseGoogleKms", "manage-tokens", read_google_kms, act_browse_google_kms},
    {"AddGoogleKms", "manage-tokens", read_google_kms, act_add_google_kms},
    {"RemoveToken", "destroy", read_remove_token, act_remove_token},
    {"AddTrustAnchor", "configure", read_add_trust_anchor, act_add_trust_anchor},
    {0},
};

#define PROPERTY(name, type, member, flags)                                                                  \
    SD_BUS_PROPERTY(name, type, NULL, offsetof(ManagerObject, member), flags)
#define CHANGES SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE
#define PLAIN SD_BUS_VTABLE_UNPRIVILEGED
#define SECRET (SD_BUS_VTABLE_UNPRIVILEGED | SD_BUS_VTABLE_SENSITIVE)

static const sd_bus_vtable manager_vtable[] = {
    SD_BUS_VTABLE_START(0),
    PROPERTY("Version", "s", version, SD_BUS_VTABLE_PROPERTY_CONST),
    PROPERTY("PlatformUrl", "s", platform_url, CHANGES),
    PROPERTY("LinkState", "s", link_state, CHANGES),
    PROPERTY("LinkTransport", "s", link_transport, CHANGES),
    PROPERTY("LinkMessage", "s", link_message, CHANGES),
    PROPERTY("NextAttempt", "t", next_attempt, CHANGES),
    PROPERTY("ConnectedAuthorities", "u", connected_authorities, CHANGES),
    PROPERTY("ConnectedSlots", "u", connected_slots, CHANGES),
    PROPERTY("Signatures", "t", signatures, CHANGES),
    PROPERTY("Denied", "t", denied, CHANGES),
    PROPERTY("PinsSealed", "b", pins_sealed, CHANGES),
    PROPERTY("Troubles", "as", troubles, CHANGES),
    SD_BUS_METHOD_WITH_NAMES("Describe", "", "", "s", SD_BUS_PARAM(json), call_handle, PLAIN),
    SD_BUS_METHOD_WITH_NAMES("Metrics", "", "", "s", SD_BUS_PARAM(text), call_handle, PLAIN),
    SD_BUS_METHOD_WITH_NAMES("DescribeTemplate", "s", SD_BUS_PARAM(pem), "s", SD_BUS_PARAM(json), call_handle,
                             PLAIN),
    SD_BUS_METHOD_WITH_NAMES("ListTrustAnchors", "", "", "s", SD_BUS_PARAM(json), call_handle, PLAIN),
    SD_BUS_METHOD_WITH_NAMES("Reload", "", "", "", "", call_handle, PLAIN),
    SD_BUS_METHOD_WITH_NAMES("CreateSoftHsmToken", "shh",
                             SD_BUS_PARAM(label) SD_BUS_PARAM(so_pin) SD_BUS_PARAM(pin), "o",
                             SD_BUS_PARAM(token), call_handle, SECRET),
    SD_BUS_METHOD_WITH_NAMES("BrowseGoogleKms", "sa{sv}", SD_BUS_PARAM(parent) SD_BUS_PARAM(options), "s",
                             SD_BUS_PARAM(json), call_handle, SECRET),
    SD_BUS_METHOD_WITH_NAMES("AddGoogleKms", "sa{sv}", SD_BUS_PARAM(key_ring) SD_BUS_PARAM(options), "o",
                             SD_BUS_PARAM(token), call_handle, SECRET),
    SD_BUS_METHOD_WITH_NAMES("RemoveToken", "o", SD_BUS_PARAM(token), "", "", call_handle, PLAIN),
    SD_BUS_METHOD_WITH_NAMES("AddTrustAnchor", "ss", SD_BUS_PARAM(purpose) SD_BUS_PARAM(pem), "", "",
                             call_handle, PLAIN),
    SD_BUS_SIGNAL_WITH_NAMES("Event", "sa{sv}", SD_BUS_PARAM(id) SD_BUS_PARAM(fields), 0),
    SD_BUS_VTABLE_END,
};

const ObjectClass manager_object_class = {
    .interface = BUS_INTERFACE("Manager"),
    .vtable = manager_vtable,
    .methods = manager_methods,
    .size = sizeof(ManagerObject),
    .read = manager_read,
    .ref = manager_ref,
    .unref = manager_unref,
    .add_details = no_details,
};

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* org.pkiaas.IoTHSM1.Slot. */

#include "daemon/ca/name.h"
#include "daemon/describe.h"
#include "daemon/error.h"
#include "daemon/json.h"
#include "daemon/log.h"
#include "daemon/message-ids.h"
#include "dbus/bus-private.h"
#include <string.h>

/* As long as any CA certificate may be asked to live: 100 years. */
#define DAYS_MAX 36525

typedef struct SlotObject {
    Object object;
    char *name;
    char *other_name;
    char *label;
    char *key_type;
    char *state;
    char *certificate;
    char *subject;
    char *issuer;
    char *serial_number;
    char *thumbprint;
    char *fingerprint;
    int64_t not_before;
    int64_t not_after;
    char *touch_policy;
    char *pin_policy;
    char *origin;
    char *authority;
    char *link_state;
    char *link_message;
    uint64_t signatures;
} SlotObject;

static void read_certificate(SlotObject *self, X509 *certificate)
{
    self->certificate = certificate != NULL ? certificate_to_pem(certificate) : g_strdup("");
    self->subject = certificate != NULL ? certificate_subject(certificate) : g_strdup("");
    self->issuer = certificate != NULL ? certificate_issuer(certificate) : g_strdup("");
    self->serial_number = certificate != NULL ? certificate_serial(certificate) : g_strdup("");
    self->thumbprint = certificate != NULL ? certificate_thumbprint(certificate) : g_strdup("");
    self->fingerprint = certificate != NULL ? certificate_fingerprint(certificate) : g_strdup("");
    self->not_before = certificate != NULL ? certificate_not_before(certificate) : 0;
    self->not_after = certificate != NULL ? certificate_not_after(certificate) : 0;
}

static void slot_read(Object *object)
{
    SlotObject *self = (SlotObject *)object;
    const Slot *slot = object->subject;
    Authority *authority;
    const char *message;
    self->link_state = g_strdup(describe_slot_link(object->bus->manager, slot, &authority, &message));
    self->link_message = describe_text(message);
    self->authority = authority != NULL ? bus_authority_path(authority_thumbprint(authority)) : g_strdup("/");
    self->name = describe_text(slot_name(slot));
    self->other_name = describe_text(slot_other_name(slot));
    self->label = describe_text(slot_label(slot));
    self->key_type = describe_text(slot_key_type(slot));
    self->state = g_strdup(slot_state_to_string(slot_state(slot)));
    read_certificate(self, slot_certificate(slot));
    self->touch_policy = describe_text(slot_touch_policy(slot));
    self->pin_policy = describe_text(slot_pin_policy(slot));
    self->origin = g_strdup(key_origin_to_string(slot_origin(slot)));
    self->signatures = slot_signatures(slot);
}

static void *ref_slot(void *slot)
{
    return slot_ref(slot);
}

static void unref_slot(void *slot)
{
    slot_unref(slot);
}

static void add_details(Call *call)
{
    call_add_detail(call, "token", token_serial(slot_token(call->subject)));
    call_add_detail(call, "slot", slot_name(call->subject));
}

/* --- provisioning ------------------------------------------------------------------------------------ */

static bool read_template(Call *call, GError **error)
{
    ProvisionOptions *provision = &call->arguments.provision;
    static const char *const hashes[] = {"sha256", "sha384", "sha512", NULL};
    const CallOption options[] = {
        {"hash", 's', &provision->hash},
        {"days", 'i', &provision->days},
        {"replace", 'b', &provision->replace},
        {NULL, 0, NULL},
    };
    if (!call_read_pem(call, "The template", error) || !call_read_options(call, options, error))
        return false;
    if (provision->hash != NULL && !g_strv_contains(hashes, provision->hash)) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID,
                    "The option \"hash\" is sha256, sha384 or sha512, not \"%s\"", provision->hash);
        return false;
    }
    if (provision->days < 0 || provision->days > DAYS_MAX) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID,
                    "The option \"days\" is a number from 1 to %d, or 0 for the template's own Not After",
                    DAYS_MAX);
        return false;
    }
    return true;
}

static void log_provisioned(const Call *call)
{
    const char *serial = token_serial(slot_token(call->subject));
    const char *name = slot_name(call->subject);
    log_event(LOG_INFO, MESSAGE_PROVISIONED, LOG_FIELDS({"IOTHSM_TOKEN", serial}, {"IOTHSM_SLOT", name}),
              "Slot %s of token %s has a new certificate", name, serial);
}

static void on_self_signed(const char *text, const GError *error, void *call)
{
    if (error == NULL)
        log_provisioned(call);
    call_text_done(text, error, call);
}

static void act_self_sign(Call *call)
{
    provision_self_sign(call->subject, call->arguments.pem, &call->arguments.provision, call->cancellable,
                        on_self_signed, call);
}

static void act_create_csr(Call *call)
{
    provision_create_csr(call->subject, call->arguments.pem, &call->arguments.provision, call->cancellable,
                         call_text_done, call);
}

static bool read_certificate_argument(Call *call, GError **error)
{
    return call_read_pem(call, "The certificate", error);
}

static void on_certificate_imported(const GError *error, void *call)
{
    if (error == NULL)
        log_provisioned(call);
    call_done(error, call);
}

static void act_import_certificate(Call *call)
{
    provision_import_certificate(call->subject, call->arguments.pem, call->cancellable,
                                 on_certificate_imported, call);
}

static void act_clear(Call *call)
{
    slot_clear(call->subject, call->cancellable, call_done, call);
}

/* --- attestation ------------------------------------------------------------------------------------- */

static void on_attested(GPtrArray *chain, const GError *error, void *call)
{
    if (error != NULL) {
        call_fail(call, error);
        return;
    }
    g_autoptr(GString) pem = g_string_new(NULL);
    for (guint i = 0; i < chain->len; i++) {
        g_autofree char *certificate = certificate_to_pem(g_ptr_array_index(chain, i));
        g_string_append(pem, certificate);
    }
    call_answer_text(call, pem->str);
}

static void act_attest(Call *call)
{
    if (call_may_wait(call))
        slot_attest(call->subject, on_attested, call);
}

/* The judgement is made on the worker, since the roots are a file. */
typedef struct JudgeJob {
    Call *call;
    GPtrArray *chain;
    EVP_PKEY *public_key;
    char *serial;
    char *state_directory;
    char *result;
} JudgeJob;

static void judge_job_free(void *data)
{
    JudgeJob *job = data;
    g_ptr_array_unref(job->chain);
    EVP_PKEY_free(job->public_key);
    g_free(job->serial);
    g_free(job->state_directory);
    g_free(job->result);
    g_free(job);
}

static bool judge_run(void *data, GCancellable *cancelled, GError **error)
{
    JudgeJob *job = data;
    g_autoptr(JsonObject) judgement =
        describe_attestation(job->chain, job->public_key, job->serial, job->state_directory, error);
    job->result = judgement != NULL ? json_object_to_text(judgement) : NULL;
    return judgement != NULL;
}

static void judge_done(const GError *error, void *userdata)
{
    JudgeJob *job = userdata;
    call_text_done(job->result, error, job->call);
}

static void judge_attestation(GPtrArray *chain, const GError *error, void *userdata)
{
    Call *call = userdata;
    if (error != NULL || call->bus == NULL) {
        call_done(error, call); /* without a bus, for nobody */
        return;
    }
    JudgeJob *job = g_new0(JudgeJob, 1);
    EVP_PKEY *public_key = slot_public_key(call->subject);
    EVP_PKEY_up_ref(public_key);
    *job = (JudgeJob){.call = call,
                      .chain = g_ptr_array_ref(chain),
                      .public_key = public_key,
                      .serial = g_strdup(token_serial(slot_token(call->subject))),
                      .state_directory = g_strdup(manager_state_directory(call->bus->manager))};
    if (!worker_submit(call->bus->worker, judge_run, job, judge_job_free, WORKER_NO_DEADLINE,
                       call->cancellable, judge_done, job, NULL)) {
        g_autoptr(GError) limit = g_error_new(IOTHSM_ERROR, IOTHSM_ERROR_LIMITS_EXCEEDED,
                                              "Too many such calls are waiting; try again in a moment");
        call_fail(call, limit);
    }
}

static void act_describe_attestation(Call *call)
{
    if (call_may_wait(call))
        slot_attest(call->subject, judge_attestation, call);
}

/* --- the interface ----------------------------------------------------------------------------------- */

static const Method slot_methods[] = {
    {"SelfSign", "provision", read_template, act_self_sign},
    {"CreateCsr", "provision", read_template, act_create_csr},
    {"ImportCertificate", "provision", read_certificate_argument, act_import_certificate},
    {"Attest", NULL, NULL, act_attest},
    {"DescribeAttestation", NULL, NULL, act_describe_attestation},
    {"Clear", "destroy", NULL, act_clear},
    {0},
};

#define PROPERTY(name, type, member, flags)                                                                  \
    SD_BUS_PROPERTY(name, type, NULL, offsetof(SlotObject, member), flags)
#define CHANGES SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE
#define PLAIN SD_BUS_VTABLE_UNPRIVILEGED

static const sd_bus_vtable slot_vtable[] = {
    SD_BUS_VTABLE_START(0),
    PROPERTY("Name", "s", name, SD_BUS_VTABLE_PROPERTY_CONST),
    PROPERTY("OtherName", "s", other_name, SD_BUS_VTABLE_PROPERTY_CONST),
    PROPERTY("Label", "s", label, CHANGES),
    PROPERTY("KeyType", "s", key_type, CHANGES),
    PROPERTY("State", "s", state, CHANGES),
    PROPERTY("Certificate", "s", certificate, CHANGES),
    PROPERTY("Subject", "s", subject, CHANGES),
    PROPERTY("Issuer", "s", issuer, CHANGES),
    PROPERTY("SerialNumber", "s", serial_number, CHANGES),
    PROPERTY("Thumbprint", "s", thumbprint, CHANGES),
    PROPERTY("Fingerprint", "s", fingerprint, CHANGES),
    PROPERTY("NotBefore", "x", not_before, CHANGES),
    PROPERTY("NotAfter", "x", not_after, CHANGES),
    PROPERTY("TouchPolicy", "s", touch_policy, CHANGES),
    PROPERTY("PinPolicy", "s", pin_policy, CHANGES),
    PROPERTY("Origin", "s", origin, CHANGES),
    PROPERTY("Authority", "o", authority, CHANGES),
    PROPERTY("LinkState", "s", link_state, CHANGES),
    PROPERTY("LinkMessage", "s", link_message, CHANGES),
    PROPERTY("Signatures", "t", signatures, CHANGES),
    SD_BUS_METHOD_WITH_NAMES("SelfSign", "sa{sv}", SD_BUS_PARAM(template) SD_BUS_PARAM(options), "s",
                             SD_BUS_PARAM(certificate), call_handle, PLAIN),
    SD_BUS_METHOD_WITH_NAMES("CreateCsr", "sa{sv}", SD_BUS_PARAM(template) SD_BUS_PARAM(options), "s",
                             SD_BUS_PARAM(request), call_handle, PLAIN),
    SD_BUS_METHOD_WITH_NAMES("ImportCertificate", "s", SD_BUS_PARAM(certificate), "", "", call_handle, PLAIN),
    SD_BUS_METHOD_WITH_NAMES("Attest", "", "", "s", SD_BUS_PARAM(chain), call_handle, PLAIN),
    SD_BUS_METHOD_WITH_NAMES("DescribeAttestation", "", "", "s", SD_BUS_PARAM(json), call_handle, PLAIN),
    SD_BUS_METHOD_WITH_NAMES("Clear", "", "", "", "", call_handle, PLAIN),
    SD_BUS_VTABLE_END,
};

const ObjectClass slot_object_class = {
    .interface = BUS_INTERFACE("Slot"),
    .vtable = slot_vtable,
    .methods = slot_methods,
    .size = sizeof(SlotObject),
    .read = slot_read,
    .ref = ref_slot,
    .unref = unref_slot,
    .add_details = add_details,
};

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* org.pkiaas.IoTHSM1.Token. */

#include "daemon/describe.h"
#include "daemon/error.h"
#include "dbus/bus-private.h"
#include <string.h>

typedef struct TokenObject {
    Object object;
    char *kind;
    char *serial;
    char *label;
    char *model;
    char *firmware;
    char *state;
    char *message;
    char *operation;
    uint64_t operation_since;
    char *pin_state;
    int32_t pin_retries;
    int32_t puk_retries;
    char *management_key_state;
    char **free_slots;
    char **key_types;
} TokenObject;

static char **copy_list(const char *const *texts)
{
    GPtrArray *copy = g_ptr_array_new();
    for (; texts != NULL && *texts != NULL; texts++)
        g_ptr_array_add(copy, describe_text(*texts));
    g_ptr_array_add(copy, NULL);
    return (char **)g_ptr_array_free(copy, FALSE);
}

static void token_read(Object *object)
{
    TokenObject *self = (TokenObject *)object;
    const Token *token = object->subject;
    self->kind = describe_text(token_kind(token));
    self->serial = describe_text(token_serial(token));
    self->label = describe_text(token_label(token));
    self->model = describe_text(token_model(token));
    self->firmware = describe_text(token_firmware(token));
    self->state = g_strdup(token_state_to_string(token_state(token)));
    self->message = describe_text(token_message(token));
    self->operation = describe_text(token_operation(token));
    self->operation_since = (uint64_t)token_operation_since(token);
    self->pin_state = g_strdup(pin_state_to_string(token_pin_state(token)));
    self->pin_retries = token_pin_retries(token);
    self->puk_retries = token_puk_retries(token);
    self->management_key_state = describe_text(token_management_key_state(token));
    self->free_slots = copy_list(token_free_slots(token));
    self->key_types = copy_list(token_key_types(token));
}

static void *ref_token(void *token)
{
    return token_ref(token);
}

static void unref_token(void *token)
{
    token_unref(token);
}

static void add_details(Call *call)
{
    call_add_detail(call, "token", token_serial(call->subject));
}

/* --- PINs -------------------------------------------------------------------------------------------- */

/* Before anybody is asked for a password for nothing. */
static bool check_persist(const Call *call, const char *what, GError **error)
{
    if (!call->arguments.persist || manager_can_persist_pins(call->bus->manager))
        return true;
    g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID,
                "The %s of token %s can't be kept on disk: there is no sealing key (credential iothsm.key); "
                "give it for this run only",
                what, token_serial(call->subject));
    return false;
}

static bool read_persist(Call *call, GError **error)
{
    int persist;
    if (sd_bus_message_read_basic(call->message, 'b', &persist) <= 0) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID, "The argument \"persist\" can't be read");
        return false;
    }
    call->arguments.persist = persist;
    return check_persist(call, "PIN", error);
}

static bool read_set_pin(Call *call, GError **error)
{
    return call_read_descriptor(call, 0, error) && read_persist(call, error);
}

static void act_set_pin(Call *call)
{
    token_set_pin(call->subject, call->arguments.secrets[0], call->arguments.persist, call->cancellable,
                  call_done, call);
}

static void act_forget_pin(Call *call)
{
    token_forget_pin(call->subject, call->cancellable, call_done, call);
}

static bool read_two_secrets(Call *call, GError **error)
{
    return call_read_descriptor(call, 0, error) && call_read_descriptor(call, 1, error);
}

static void act_change_pin(Call *call)
{
    token_change_pin(call->subject, call->arguments.secrets[0], call->arguments.secrets[1], call->cancellable,
                     call_done, call);
}

static void act_unblock_pin(Call *call)
{
    token_unblock_pin(call->subject, call->arguments.secrets[0], call->arguments.secrets[1],
                      call->cancellable, call_done, call);
}

/* --- maintenance ------------------------------------------------------------------------------------- */

static bool read_drain(Call *call, GError **error)
{
    int on;
    if (sd_bus_message_read_basic(call->message, 'b', &on) <= 0) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID, "The argument \"on\" can't be read");
        return false;
    }
    call->arguments.on = on;
    return true;
}

static void act_drain(Call *call)
{
    manager_drain_token(call->bus->manager, call->subject, call->arguments.on, call->cancellable, call_done,
                        call);
}

static void act_use_factory_pin(Call *call)
{
    token_use_factory_pin(call->subject, call->arguments.persist, call->cancellable, call_done, call);
}

/* --- management keys --------------------------------------------------------------------------------- */

static bool read_set_management_key(Call *call, GError **error)
{
    const CallOption options[] = {
        {"persist", 'b', &call->arguments.persist},
        {NULL, 0, NULL},
    };
    return call_read_descriptor(call, 0, error) && call_read_options(call, options, error) &&
           check_persist(call, "management key", error);
}

static void act_set_management_key(Call *call)
{
    token_set_management_key(call->subject, call->arguments.secrets[0], call->arguments.persist,
                             call->cancellable, call_done, call);
}

static bool read_change_management_key(Call *call, GError **error)
{
    Arguments *arguments = &call->arguments;
    const CallOption options[] = {
        {"current", 'h', &arguments->descriptors[0]}, {"new", 'h', &arguments->descriptors[1]},
        {"algorithm", 's', &arguments->name},         {"protect", 'b', &arguments->protect},
        {"persist", 'b', &arguments->persist},        {NULL, 0, NULL},
    };
    return call_read_options(call, options, error) && check_persist(call, "management key", error);
}

static void act_change_management_key(Call *call)
{
    const Arguments *arguments = &call->arguments;
    const ManagementKeyChange change = {
        .current = arguments->secrets[0],
        .replacement = arguments->secrets[1],
        .algorithm = arguments->name,
        .protect = arguments->protect,
    };
    token_change_management_key(call->subject, &change, arguments->persist, call->cancellable, call_done,
                                call);
}

static void act_forget_management_key(Call *call)
{
    token_forget_management_key(call->subject, call->cancellable, call_done, call);
}

/* --- keys -------------------------------------------------------------------------------------------- */

static bool check_policy(const char *option, const char *value, const char *const *allowed, GError **error)
{
    if (value == NULL || g_strv_contains(allowed, value))
        return true;
    g_autofree char *list = g_strjoinv(", ", (char **)allowed);
    g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID, "The option \"%s\" is one of %s, not \"%s\"",
                option, list, value);
    return false;
}

static bool check_key_options(const KeyOptions *options, GError **error)
{
    static const char *const pin_policies[] = {"never", "once", "always", NULL};
    static const char *const touch_policies[] = {"never", "always", "cached", NULL};
    return check_policy("pin-policy", options->pin_policy, pin_policies, error) &&
           check_policy("touch-policy", options->touch_policy, touch_policies, error);
}

static bool read_generate_key(Call *call, GError **error)
{
    Arguments *arguments = &call->arguments;
    const char *type;
    const CallOption options[] = {
        {"pin-policy", 's', &arguments->key.pin_policy},
        {"touch-policy", 's', &arguments->key.touch_policy},
        {"label", 's', &arguments->key.label},
        {NULL, 0, NULL},
    };
    if (!call_read_name(call, "The slot's name", &arguments->name, error) ||
        !call_read_name(call, "The key type", &type, error) || !call_read_options(call, options, error) ||
        !key_type_from_string(type, &arguments->key_type, error) ||
        !check_key_options(&arguments->key, error))
        return false;
    call_add_detail(call, "slot", arguments->name);
    return true;
}

static void on_key_in_slot(const char *slot, const GError *error, void *userdata)
{
    Call *call = userdata;
    if (error != NULL) {
        call_fail(call, error);
        return;
    }
    g_autofree char *path = bus_slot_path(token_serial(call->subject), slot);
    call_answer_path(call, path);
}

static void act_generate_key(Call *call)
{
    token_generate_key(call->subject, call->arguments.name, call->arguments.key_type, &call->arguments.key,
                       call->cancellable, on_key_in_slot, call);
}

static bool read_import_key(Call *call, GError **error)
{
    Arguments *arguments = &call->arguments;
    const CallOption options[] = {
        {"passphrase", 'h', &arguments->descriptors[1]},
        {"pin-policy", 's', &arguments->key.pin_policy},
        {"touch-policy", 's', &arguments->key.touch_policy},
        {"label", 's', &arguments->key.label},
        {NULL, 0, NULL},
    };
    if (!call_read_name(call, "The slot's name", &arguments->name, error) ||
        !call_read_descriptor(call, 0, error) || !call_read_options(call, options, error) ||
        !check_key_options(&arguments->key, error))
        return false;
    call_add_detail(call, "slot", arguments->name);
    return true;
}

static void act_import_key(Call *call)
{
    token_import_key(call->subject, call->arguments.name, call->arguments.secrets[0],
                     call->arguments.secrets[1], &call->arguments.key, call->cancellable, on_key_in_slot,
                     call);
}

/* --- the interface ----------------------------------------------------------------------------------- */

static const Method token_methods[] = {
    {"SetPin", "manage-secrets", read_set_pin, act_set_pin},
    {"UseFactoryPin", "manage-secrets", read_persist, act_use_factory_pin},
    {"ForgetPin", "manage-secrets", NULL, act_forget_pin},
    {"ChangePin", "manage-secrets", read_two_secrets, act_change_pin},
    {"UnblockPin", "manage-secrets", read_two_secrets, act_unblock_pin},
    {"Drain", "configure", read_drain, act_drain},
    {"SetManagementKey", "manage-secrets", read_set_management_key, act_set_management_key},
    {"ChangeManagementKey", "manage-secrets", read_change_management_key, act_change_management_key},
    {"ForgetManagementKey", "manage-secrets", NULL, act_forget_management_key},
    {"GenerateKey", "provision", read_generate_key, act_generate_key},
    {"ImportKey", "provision", read_import_key, act_import_key},
    {0},
};

#define PROPERTY(name, type, member, flags)                                                                  \
    SD_BUS_PROPERTY(name, type, NULL, offsetof(TokenObject, member), flags)
#define CONSTANT SD_BUS_VTABLE_PROPERTY_CONST
#define CHANGES SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE
#define PLAIN SD_BUS_VTABLE_UNPRIVILEGED
#define SECRET (SD_BUS_VTABLE_UNPRIVILEGED | SD_BUS_VTABLE_SENSITIVE)

static const sd_bus_vtable token_vtable[] = {
    SD_BUS_VTABLE_START(0),
    PROPERTY("Kind", "s", kind, CONSTANT),
    PROPERTY("Serial", "s", serial, CONSTANT),
    PROPERTY("Label", "s", label, CHANGES),
    PROPERTY("Model", "s", model, CHANGES),
    PROPERTY("Firmware", "s", firmware, CHANGES),
    PROPERTY("State", "s", state, CHANGES),
    PROPERTY("Message", "s", message, CHANGES),
    PROPERTY("Operation", "s", operation, CHANGES),
    PROPERTY("OperationSince", "t", operation_since, CHANGES),
    PROPERTY("PinState", "s", pin_state, CHANGES),
    PROPERTY("PinRetries", "i", pin_retries, CHANGES),
    PROPERTY("PukRetries", "i", puk_retries, CHANGES),
    PROPERTY("ManagementKeyState", "s", management_key_state, CHANGES),
    PROPERTY("FreeSlots", "as", free_slots, CHANGES),
    PROPERTY("KeyTypes", "as", key_types, CHANGES),
    SD_BUS_METHOD_WITH_NAMES("SetPin", "hb", SD_BUS_PARAM(pin) SD_BUS_PARAM(persist), "", "", call_handle,
                             SECRET),
    SD_BUS_METHOD_WITH_NAMES("UseFactoryPin", "b", SD_BUS_PARAM(persist), "", "", call_handle, PLAIN),
    SD_BUS_METHOD_WITH_NAMES("ForgetPin", "", "", "", "", call_handle, PLAIN),
    SD_BUS_METHOD_WITH_NAMES("ChangePin", "hh", SD_BUS_PARAM(old_pin) SD_BUS_PARAM(new_pin), "", "",
                             call_handle, SECRET),
    SD_BUS_METHOD_WITH_NAMES("UnblockPin", "hh", SD_BUS_PARAM(puk) SD_BUS_PARAM(new_pin), "", "", call_handle,
                             SECRET),
    SD_BUS_METHOD_WITH_NAMES("Drain", "b", SD_BUS_PARAM(on), "", "", call_handle, PLAIN),
    SD_BUS_METHOD_WITH_NAMES("SetManagementKey", "ha{sv}", SD_BUS_PARAM(key) SD_BUS_PARAM(options), "", "",
                             call_handle, SECRET),
    SD_BUS_METHOD_WITH_NAMES("ChangeManagementKey", "a{sv}", SD_BUS_PARAM(options), "", "", call_handle,
                             SECRET),
    SD_BUS_METHOD_WITH_NAMES("ForgetManagementKey", "", "", "", "", call_handle, PLAIN),
    SD_BUS_METHOD_WITH_NAMES("GenerateKey", "ssa{sv}",
                             SD_BUS_PARAM(slot) SD_BUS_PARAM(type) SD_BUS_PARAM(options), "o",
                             SD_BUS_PARAM(slot_object), call_handle, PLAIN),
    SD_BUS_METHOD_WITH_NAMES("ImportKey", "sha{sv}",
                             SD_BUS_PARAM(slot) SD_BUS_PARAM(pem) SD_BUS_PARAM(options), "o",
                             SD_BUS_PARAM(slot_object), call_handle, SECRET),
    SD_BUS_VTABLE_END,
};

const ObjectClass token_object_class = {
    .interface = BUS_INTERFACE("Token"),
    .vtable = token_vtable,
    .methods = token_methods,
    .size = sizeof(TokenObject),
    .read = token_read,
    .ref = ref_token,
    .unref = unref_token,
    .add_details = add_details,
};

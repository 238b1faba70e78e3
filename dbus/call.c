/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Texts and descriptors are used where the message has them; the message lives as long as the call. */

#include "dbus/call.h"
#include "daemon/describe.h"
#include "daemon/error.h"
#include "dbus/bus-private.h"
#include "polkit/sender.h"
#include <errno.h>
#include <string.h>

/* With a match rule each here and in authorize, far enough below the 512 that dbus-daemon gives to a
 * connection (max_match_rules_per_connection). */
#define CALLS_MAX 192
#define CALLS_PER_SENDER_MAX 64
/* What everybody may ask of a token; what they may ask of the worker, its queue bounds. The rest is room for
 * what is authorised. */
#define FREE_CALLS_MAX 64
#define OPTIONS_MAX 16

static void call_free(Call *call)
{
    if (call->bus != NULL)
        g_hash_table_remove(call->bus->calls, call);
    sender_watch_free(call->watch);
    for (guint i = 0; i < CALL_SECRETS_MAX; i++)
        secret_unref(call->arguments.secrets[i]);
    if (call->arguments.token != NULL)
        token_unref(call->arguments.token);
    call->class->unref(call->subject);
    g_object_unref(call->cancellable);
    g_ptr_array_unref(call->details);
    sd_bus_message_unref(call->message);
    g_free(call);
}

/* --- settling ---------------------------------------------------------------------------------------- */

static const char *detail(const Call *call, const char *name)
{
    for (guint i = 0; i + 1 < call->details->len; i += 2)
        if (g_strcmp0(g_ptr_array_index(call->details, i), name) == 0)
            return g_ptr_array_index(call->details, i + 1);
    return NULL;
}

/* "GenerateKey on slot 12345678/9c", as people name things. Transfer full. */
static char *act_in_words(const Call *call)
{
    const char *token = detail(call, "token");
    const char *slot = detail(call, "slot");
    if (slot != NULL && *slot != '\0')
        return g_strdup_printf("%s on slot %s/%s", call->method->name, token, slot);
    return token == NULL ? g_strdup(call->method->name)
                         : g_strdup_printf("%s on token %s", call->method->name, token);
}

/* What went wrong before anybody was authorised is the caller's own affair; the rest is an administrator's.
 */
static void log_outcome(const Call *call, const char *failure)
{
    const char *path = sd_bus_message_get_path(call->message);
    const char *sender = sd_bus_message_get_sender(call->message);
    g_autofree char *act = act_in_words(call);
    g_autofree char *uid = call->uid < 0 ? NULL : g_strdup_printf("%" G_GINT64_FORMAT, call->uid);
    const LogField *fields = LOG_FIELDS(
        {"IOTHSM_METHOD", call->method->name}, {"IOTHSM_OBJECT", path}, {"IOTHSM_CALLER", sender},
        {"IOTHSM_UID", uid}, {"IOTHSM_TOKEN", detail(call, "token")}, {"IOTHSM_SLOT", detail(call, "slot")});
    bool asked = call->watch != NULL;
    const char *who = uid != NULL ? uid : "unknown";
    if (!asked)
        log_event(LOG_DEBUG, NULL, fields, "%s: %s", act, failure ? failure : "done");
    else if (failure == NULL)
        log_event(LOG_INFO, NULL, fields, "%s is done for user %s (%s)", act, who, sender);
    else
        log_event(LOG_NOTICE, NULL, fields, "%s failed for user %s (%s): %s", act, who, sender, failure);
}

static void call_send(Call *call, sd_bus_message *answer)
{
    if (call->bus != NULL) {
        bus_refresh_now(call->bus);
        sd_bus_send(call->bus->connection, answer, NULL);
    }
    call_free(call);
}

static void fail_as(Call *call, const char *name, const char *text)
{
    g_autofree char *valid = describe_text(text);
    sd_bus_message *answer = NULL;
    log_outcome(call, valid);
    if (sd_bus_message_new_method_error(call->message, &answer, &SD_BUS_ERROR_MAKE_CONST(name, valid)) < 0) {
        call_free(call);
        return;
    }
    call_send(call, answer);
    sd_bus_message_unref(answer);
}

void call_fail(Call *call, const GError *error)
{
    fail_as(call, error_bus_name(error), error->message);
}

static void call_answer(Call *call, char type, const char *value)
{
    sd_bus_message *answer = NULL;
    int r = sd_bus_message_new_method_return(call->message, &answer);
    if (r >= 0 && value != NULL)
        r = sd_bus_message_append_basic(answer, type, value);
    if (r < 0) {
        g_autofree char *text = g_strdup_printf("The answer can't be sent: %s", g_strerror(-r));
        fail_as(call, SD_BUS_ERROR_FAILED, text);
    } else {
        log_outcome(call, NULL);
        call_send(call, answer);
    }
    sd_bus_message_unref(answer);
}

void call_answer_text(Call *call, const char *text)
{
    g_autofree char *valid = describe_text(text);
    call_answer(call, 's', valid);
}

void call_answer_path(Call *call, const char *path)
{
    call_answer(call, 'o', path);
}

void call_done(const GError *error, void *call)
{
    if (error != NULL)
        call_fail(call, error);
    else
        call_answer(call, 0, NULL);
}

void call_text_done(const char *text, const GError *error, void *call)
{
    if (error != NULL)
        call_fail(call, error);
    else
        call_answer_text(call, text);
}

/* --- arguments --------------------------------------------------------------------------------------- */

static bool cannot_read(int r, GError **error)
{
    if (r > 0)
        return false;
    g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID, "The arguments can't be read: %s", g_strerror(-r));
    return true;
}

bool call_read_name(Call *call, const char *what, const char **ret_text, GError **error)
{
    const char *text;
    if (cannot_read(sd_bus_message_read_basic(call->message, 's', &text), error))
        return false;
    if (strlen(text) > CALL_NAME_MAX) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID, "%s is longer than %u bytes", what,
                    CALL_NAME_MAX);
        return false;
    }
    *ret_text = text;
    return true;
}

bool call_read_pem(Call *call, const char *what, GError **error)
{
    const char *text;
    if (cannot_read(sd_bus_message_read_basic(call->message, 's', &text), error))
        return false;
    if (text[0] == '\0' || strlen(text) > CALL_PEM_MAX) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID,
                    "%s is %s; it is expected as PEM, 1 MiB at most", what,
                    text[0] == '\0' ? "empty" : "too long");
        return false;
    }
    call->arguments.pem = text;
    return true;
}

bool call_read_descriptor(Call *call, guint index, GError **error)
{
    return !cannot_read(sd_bus_message_read_basic(call->message, 'h', &call->arguments.descriptors[index]),
                        error);
}

static const char *type_in_words(char type)
{
    switch (type) {
    case 's':
        return "a string";
    case 'b':
        return "a boolean";
    case 'i':
        return "a 32-bit integer";
    default:
        return "a file descriptor";
    }
}

static bool store_option(sd_bus_message *message, const CallOption *option, GError **error)
{
    const char type[] = {option->type, '\0'};
    union {
        const char *text;
        int number;
    } value;
    if (sd_bus_message_enter_container(message, 'v', type) <= 0) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID, "The option \"%s\" must be %s", option->name,
                    type_in_words(option->type));
        return false;
    }
    if (cannot_read(sd_bus_message_read_basic(message, option->type, &value), error) ||
        cannot_read(sd_bus_message_exit_container(message), error))
        return false;
    if (option->type == 's' && strlen(value.text) > CALL_NAME_MAX) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID, "The option \"%s\" is longer than %u bytes",
                    option->name, CALL_NAME_MAX);
        return false;
    }
    if (option->type == 's')
        *(const char **)option->place = value.text;
    else if (option->type == 'b')
        *(bool *)option->place = value.number != 0;
    else
        *(int *)option->place = value.number;
    return true;
}

static const CallOption *find_option(const CallOption *options, const char *name)
{
    while (options->name != NULL && strcmp(options->name, name) != 0)
        options++;
    return options->name != NULL ? options : NULL;
}

static void refuse_unknown_option(const CallOption *options, const char *name, GError **error)
{
    g_autoptr(GString) known = g_string_new(NULL);
    for (; options->name != NULL; options++)
        g_string_append_printf(known, "%s%s", known->len > 0 ? ", " : "", options->name);
    g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID,
                "The option \"%.*s\" is not known here; there are: %s", (int)CALL_NAME_MAX, name, known->str);
}

bool call_read_options(Call *call, const CallOption *options, GError **error)
{
    sd_bus_message *message = call->message;
    guint seen = 0;
    int r;
    if (cannot_read(sd_bus_message_enter_container(message, 'a', "{sv}"), error))
        return false;
    while ((r = sd_bus_message_enter_container(message, 'e', "sv")) > 0) {
        const char *name;
        if (cannot_read(sd_bus_message_read_basic(message, 's', &name), error))
            return false;
        const CallOption *option = find_option(options, name);
        if (option == NULL) {
            refuse_unknown_option(options, name, error);
            return false;
        }
        if (++seen > OPTIONS_MAX) {
            g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID, "There are more than %u options",
                        OPTIONS_MAX);
            return false;
        }
        if (!store_option(message, option, error) ||
            cannot_read(sd_bus_message_exit_container(message), error))
            return false;
    }
    return (r == 0 || !cannot_read(r, error)) && !cannot_read(sd_bus_message_exit_container(message), error);
}

/* --- the way through --------------------------------------------------------------------------------- */

static void read_secrets(Call *call);

static void on_secret(Secret *secret, const GError *error, void *userdata)
{
    Call *call = userdata;
    if (error != NULL) {
        call_fail(call, error);
        return;
    }
    for (guint i = 0; i < CALL_SECRETS_MAX; i++) {
        if (call->arguments.descriptors[i] >= 0 && call->arguments.secrets[i] == NULL) {
            call->arguments.secrets[i] = secret_ref(secret);
            break;
        }
    }
    read_secrets(call);
}

/* One after the other, then the act. */
static void read_secrets(Call *call)
{
    for (guint i = 0; i < CALL_SECRETS_MAX; i++) {
        if (call->arguments.descriptors[i] >= 0 && call->arguments.secrets[i] == NULL) {
            secret_read(call->arguments.descriptors[i], call->cancellable, on_secret, call);
            return;
        }
    }
    call->method->act(call);
}

static void on_verdict(sd_bus_message *message, int verdict, int64_t uid, const sd_bus_error *error,
                       void *userdata)
{
    Call *call = userdata;
    call->asking = false;
    call->uid = uid;
    if (verdict > 0)
        read_secrets(call);
    else
        fail_as(call, error->name, error->message);
}

/* The end of a cancelled act may free the call. */
static void on_sender_gone(void *userdata)
{
    Call *call = userdata;
    g_autoptr(GCancellable) cancellable = g_object_ref(call->cancellable);
    g_cancellable_cancel(cancellable);
}

static void authorize(Call *call)
{
    g_autofree char *action = g_strdup_printf("org.pkiaas.iothsm.%s", call->action);
    Bus *bus = call->bus;
    call->class->add_details(call);
    g_ptr_array_add(call->details, NULL);
    call->watch =
        sender_watch_new(bus->connection, sd_bus_message_get_sender(call->message), on_sender_gone, call);
    int r = call->watch == NULL ? -EINVAL
                                : authorize_ask(bus->authorize, call->message, action,
                                                (const char *const *)call->details->pdata, on_verdict, call);
    if (r == -ENOBUFS)
        fail_as(call, SD_BUS_ERROR_LIMITS_EXCEEDED, "Too many calls are being authorised; try again later.");
    else if (r < 0)
        fail_as(call, SD_BUS_ERROR_ACCESS_DENIED, "The caller can't be authorised, so this is refused.");
    else
        call->asking = true;
}

static bool within_limits(const Bus *bus, const char *sender)
{
    GHashTableIter iter;
    void *key;
    guint of_sender = 0;
    g_hash_table_iter_init(&iter, bus->calls);
    while (g_hash_table_iter_next(&iter, &key, NULL))
        of_sender += g_strcmp0(sd_bus_message_get_sender(((const Call *)key)->message), sender) == 0;
    return g_hash_table_size(bus->calls) < CALLS_MAX && of_sender < CALLS_PER_SENDER_MAX;
}

bool call_may_wait(Call *call)
{
    GHashTableIter iter;
    void *key;
    guint free_calls = 0;
    g_hash_table_iter_init(&iter, call->bus->calls);
    while (g_hash_table_iter_next(&iter, &key, NULL))
        free_calls += ((const Call *)key)->method->action == NULL;
    if (free_calls <= FREE_CALLS_MAX)
        return true;
    fail_as(call, SD_BUS_ERROR_LIMITS_EXCEEDED,
            "Too many such calls are open; try again when some of them are answered.");
    return false;
}

static Call *call_new(Object *object, sd_bus_message *message)
{
    const Method *method = object->class->methods;
    while (strcmp(method->name, sd_bus_message_get_member(message)) != 0)
        method++;
    Call *call = g_new0(Call, 1);
    call->bus = object->bus;
    call->uid = -1;
    call->message = sd_bus_message_ref(message);
    call->method = method;
    call->action = method->action;
    call->class = object->class;
    call->subject = object->class->ref(object->subject);
    call->cancellable = g_cancellable_new();
    call->details = g_ptr_array_new_with_free_func(g_free);
    memset(call->arguments.descriptors, -1, sizeof call->arguments.descriptors);
    g_hash_table_add(call->bus->calls, call);
    return call;
}

int call_handle(sd_bus_message *message, void *userdata, sd_bus_error *ret_error)
{
    Object *object = userdata;
    g_autoptr(GError) error = NULL;
    if (!within_limits(object->bus, sd_bus_message_get_sender(message)))
        return sd_bus_error_set(ret_error, SD_BUS_ERROR_LIMITS_EXCEEDED,
                                "Too many calls are open; try again when some of them are answered.");
    Call *call = call_new(object, message);
    if (call->method->read != NULL && !call->method->read(call, &error))
        call_fail(call, error);
    else if (call->action != NULL)
        authorize(call);
    else
        call->method->act(call);
    return 1;
}

void call_add_detail(Call *call, const char *name, const char *value)
{
    g_ptr_array_add(call->details, g_strdup(name));
    g_ptr_array_add(call->details, describe_text(value));
}

void call_abandon(Call *call)
{
    call->bus = NULL;
    g_clear_pointer(&call->watch, sender_watch_free);
    if (call->asking) {
        call_free(call);
        return;
    }
    g_autoptr(GCancellable) cancellable = g_object_ref(call->cancellable);
    g_cancellable_cancel(cancellable);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* One question is one call on its way to a verdict, in two steps: the bus says which user the sender is, and
 * unless that settles it, polkit is asked. It ends with polkit's answer, with the time limit, or with the
 * sender's departure, whichever comes first; a question to polkit that nobody waits for any more is cancelled
 * there, so that no dialog stays on anybody's screen.
 *
 * Three limits: questions in all, questions that wait for polkit, and of these those of one user, so that
 * nobody can keep others from being answered, and root is never refused because of other people's dialogs. */

#include "polkit/authorize.h"
#include "polkit/sender.h"
#include <errno.h>
#include <glib.h>
#include <string.h>
#include <unistd.h>

#define QUESTIONS_MAX 192
/* dbus-daemon lets a connection wait for 128 answers (max_replies_per_connection); the rest is for other
 * calls. */
#define POLKIT_QUESTIONS_MAX 96
#define POLKIT_QUESTIONS_PER_USER_MAX 24

#define BUS_ANSWER_USEC (25 * G_USEC_PER_SEC)
#define POLKIT_ANSWER_USEC (25 * G_USEC_PER_SEC)
/* With a dialog: as long as a person may need to look up and type a password. */
#define POLKIT_DIALOG_USEC (300 * G_USEC_PER_SEC)

#define POLKIT_NAME "org.freedesktop.PolicyKit1"
#define POLKIT_PATH "/org/freedesktop/PolicyKit1/Authority"
#define POLKIT_INTERFACE "org.freedesktop.PolicyKit1.Authority"
#define POLKIT_FLAG_INTERACTION 1U

struct Authorize {
    sd_bus *bus;
    GHashTable *questions; /* the set of those that are open, owned */
    guint64 last_cancellation_id;
};

typedef struct Question {
    Authorize *authorize;
    sd_bus_message *call;
    char *action;
    GStrv details;
    AuthorizeFunc done;
    void *userdata;
    SenderWatch *watch;
    sd_bus_slot *pending;
    int64_t uid;           /* -1: not known yet */
    char *cancellation_id; /* set while polkit has the question */
} Question;

static void question_free(Question *question)
{
    sd_bus_slot_unref(question->pending);
    sender_watch_free(question->watch);
    sd_bus_message_unref(question->call);
    g_strfreev(question->details);
    g_free(question->action);
    g_free(question->cancellation_id);
    g_free(question);
}

static void question_settle(Question *question, int verdict, const sd_bus_error *error)
{
    g_hash_table_steal(question->authorize->questions, question);
    question->done(question->call, verdict, question->uid, error, question->userdata);
    question_free(question);
}

static void question_allow(Question *question)
{
    question_settle(question, 1, NULL);
}

static void question_refuse(Question *question, const char *name, const char *text)
{
    question_settle(question, 0, &SD_BUS_ERROR_MAKE_CONST(name, text));
}

/* Tells polkit that nobody waits; its own answer, an error for the question, is not waited for either. */
static void question_cancel_at_polkit(Question *question)
{
    if (question->cancellation_id == NULL)
        return;
    sd_bus_call_method_async(question->authorize->bus, NULL, POLKIT_NAME, POLKIT_PATH, POLKIT_INTERFACE,
                             "CancelCheckAuthorization", NULL, NULL, "s", question->cancellation_id);
    g_clear_pointer(&question->cancellation_id, g_free);
}

static void on_sender_gone(void *userdata)
{
    Question *question = userdata;
    question_cancel_at_polkit(question);
    question_refuse(question, SD_BUS_ERROR_ACCESS_DENIED,
                    "The caller left the bus before it was authorised.");
}

/* True when the answer was understood. polkit says more in the details; only "was asked, and is not" matters
 * here. */
static bool read_answer(sd_bus_message *answer, int *ret_authorized, int *ret_challenge)
{
    return sd_bus_message_has_signature(answer, "(bba{ss})") &&
           sd_bus_message_enter_container(answer, 'r', "bba{ss}") > 0 &&
           sd_bus_message_read(answer, "bb", ret_authorized, ret_challenge) > 0;
}

static void refuse_for_error(Question *question, const sd_bus_error *error)
{
    if (sd_bus_error_has_names(error, SD_BUS_ERROR_SERVICE_UNKNOWN, SD_BUS_ERROR_NAME_HAS_NO_OWNER)) {
        question_refuse(question, SD_BUS_ERROR_ACCESS_DENIED,
                        "Only root may do this here: polkit, which decides for other users, is not running.");
        return;
    }
    if (sd_bus_error_has_names(error, SD_BUS_ERROR_NO_REPLY, SD_BUS_ERROR_TIMEOUT)) {
        question_cancel_at_polkit(question);
        question_refuse(question, SD_BUS_ERROR_ACCESS_DENIED,
                        "polkit did not answer in time, so this is refused.");
        return;
    }
    g_autofree char *text = g_strdup_printf("polkit could not decide about %s, so this is refused: %s",
                                            question->action, error->message ? error->message : error->name);
    question_refuse(question, SD_BUS_ERROR_ACCESS_DENIED, text);
}

/* polkit has a dialog only where an agent shows it: in a session, or on a terminal that brings one along. */
static void refuse_for_password(Question *question)
{
    bool dialog = sd_bus_message_get_allow_interactive_authorization(question->call) > 0;
    question_refuse(question, SD_BUS_ERROR_INTERACTIVE_AUTHORIZATION_REQUIRED,
                    dialog
                        ? "This needs a password, and polkit has no agent here that could ask for it; use a "
                          "terminal or a desktop session, or be root."
                        : "This needs a password, and the caller did not allow that one is asked for.");
}

static int on_polkit_answer(sd_bus_message *answer, void *userdata, sd_bus_error *ret_error)
{
    Question *question = userdata;
    const sd_bus_error *error = sd_bus_message_get_error(answer);
    int authorized = 0, challenge = 0;

    if (error != NULL) {
        refuse_for_error(question, error);
        return 0;
    }
    g_clear_pointer(&question->cancellation_id, g_free);
    if (!read_answer(answer, &authorized, &challenge))
        question_refuse(question, SD_BUS_ERROR_ACCESS_DENIED,
                        "polkit's answer could not be understood, so this is refused.");
    else if (authorized)
        question_allow(question);
    else if (challenge)
        refuse_for_password(question);
    else
        question_refuse(question, SD_BUS_ERROR_ACCESS_DENIED, "polkit refused this to the caller.");
    return 0;
}

static int append_details(sd_bus_message *message, char **details)
{
    int r = sd_bus_message_open_container(message, 'a', "{ss}");
    for (char **row = details; r >= 0 && row != NULL && row[0] != NULL && row[1] != NULL; row += 2)
        r = sd_bus_message_append(message, "{ss}", row[0], row[1]);
    return r < 0 ? r : sd_bus_message_close_container(message);
}

static int ask_polkit(Question *question)
{
    Authorize *authorize = question->authorize;
    bool dialog = sd_bus_message_get_allow_interactive_authorization(question->call) > 0;
    g_autofree char *id = g_strdup_printf("%" G_GUINT64_FORMAT, ++authorize->last_cancellation_id);
    sd_bus_message *check = NULL;

    int r = sd_bus_message_new_method_call(authorize->bus, &check, POLKIT_NAME, POLKIT_PATH, POLKIT_INTERFACE,
                                           "CheckAuthorization");
    if (r >= 0)
        r = sd_bus_message_append(check, "(sa{sv})s", "system-bus-name", 1, "name", "s",
                                  sd_bus_message_get_sender(question->call), question->action);
    if (r >= 0)
        r = append_details(check, question->details);
    if (r >= 0)
        r = sd_bus_message_append(check, "us", dialog ? POLKIT_FLAG_INTERACTION : 0U, id);
    if (r >= 0)
        r = sd_bus_call_async(authorize->bus, &question->pending, check, on_polkit_answer, question,
                              dialog ? POLKIT_DIALOG_USEC : POLKIT_ANSWER_USEC);
    sd_bus_message_unref(check);
    if (r >= 0)
        question->cancellation_id = g_steal_pointer(&id);
    return r;
}

static bool room_at_polkit(const Authorize *authorize, int64_t uid)
{
    guint all = 0, of_user = 0;
    GHashTableIter iter;
    void *key;
    g_hash_table_iter_init(&iter, authorize->questions);
    while (g_hash_table_iter_next(&iter, &key, NULL)) {
        const Question *question = key;
        if (question->cancellation_id != NULL) {
            all++;
            of_user += question->uid == uid;
        }
    }
    return all < POLKIT_QUESTIONS_MAX && of_user < POLKIT_QUESTIONS_PER_USER_MAX;
}

static int on_sender_user(sd_bus_message *answer, void *userdata, sd_bus_error *ret_error)
{
    Question *question = userdata;
    uint32_t uid;

    question->pending = sd_bus_slot_unref(question->pending);
    if (sd_bus_message_is_method_error(answer, NULL) || sd_bus_message_read(answer, "u", &uid) <= 0) {
        question_refuse(question, SD_BUS_ERROR_ACCESS_DENIED,
                        "The bus does not know which user the caller is, so this is refused.");
        return 0;
    }
    question->uid = uid;
    if (uid == 0 || uid == geteuid())
        question_allow(question);
    else if (!room_at_polkit(question->authorize, uid))
        question_refuse(
            question, SD_BUS_ERROR_LIMITS_EXCEEDED,
            "Too many calls wait for polkit's decision already; try again when they are answered.");
    else if (ask_polkit(question) < 0)
        question_refuse(question, SD_BUS_ERROR_ACCESS_DENIED,
                        "polkit could not be asked, so this is refused.");
    return 0;
}

Authorize *authorize_new(sd_bus *bus)
{
    Authorize *authorize = g_new0(Authorize, 1);
    authorize->bus = sd_bus_ref(bus);
    authorize->questions = g_hash_table_new_full(NULL, NULL, (GDestroyNotify)question_free, NULL);
    return authorize;
}

void authorize_close(Authorize *authorize)
{
    if (authorize == NULL)
        return;
    GHashTableIter iter;
    void *key;
    g_hash_table_iter_init(&iter, authorize->questions);
    while (g_hash_table_iter_next(&iter, &key, NULL))
        question_cancel_at_polkit(key);
    g_hash_table_destroy(authorize->questions);
    sd_bus_unref(authorize->bus);
    g_free(authorize);
}

int authorize_ask(Authorize *authorize, sd_bus_message *call, const char *action, const char *const *details,
                  AuthorizeFunc done, void *userdata)
{
    if (g_hash_table_size(authorize->questions) >= QUESTIONS_MAX)
        return -ENOBUFS;
    const char *sender = sd_bus_message_get_sender(call);
    Question *question = g_new0(Question, 1);
    question->authorize = authorize;
    question->uid = -1;
    question->call = sd_bus_message_ref(call);
    question->action = g_strdup(action);
    question->details = g_strdupv((char **)details);
    question->done = done;
    question->userdata = userdata;
    question->watch = sender_watch_new(authorize->bus, sender, on_sender_gone, question);

    int r = question->watch == NULL ? -EINVAL : 0;
    sd_bus_message *ask = NULL;
    if (r >= 0)
        r = sd_bus_message_new_method_call(authorize->bus, &ask, "org.freedesktop.DBus",
                                           "/org/freedesktop/DBus", "org.freedesktop.DBus",
                                           "GetConnectionUnixUser");
    if (r >= 0)
        r = sd_bus_message_append(ask, "s", sender);
    if (r >= 0)
        r = sd_bus_call_async(authorize->bus, &question->pending, ask, on_sender_user, question,
                              BUS_ANSWER_USEC);
    sd_bus_message_unref(ask);
    if (r < 0) {
        question_free(question);
        return r;
    }
    g_hash_table_add(authorize->questions, question);
    return 0;
}

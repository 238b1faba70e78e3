/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* polkit/authorize on a private bus: a service in this process asks about its callers, who are other
 * processes. */

#include "polkit/authorize.h"
#include "tests/bus/fixture.h"

#define TEST_NAME "org.pkiaas.Test"
#define ACTION "org.pkiaas.iothsm.provision"

typedef struct Service {
    Fixture *fixture;
    sd_bus *bus;
    Authorize *authorize;
    guint asked;
    guint verdicts;
    int last_verdict;
    int64_t last_uid;
    char *last_error;
} Service;

static void on_verdict(sd_bus_message *call, int verdict, int64_t uid, const sd_bus_error *error,
                       void *userdata)
{
    Service *service = userdata;
    service->verdicts++;
    service->last_verdict = verdict;
    service->last_uid = uid;
    g_free(service->last_error);
    service->last_error = g_strdup(error == NULL ? NULL : error->name);
    if (verdict > 0) {
        g_assert_null(error);
        g_assert_cmpint(sd_bus_reply_method_return(call, ""), >=, 0);
    } else {
        g_assert_true(g_utf8_validate(error->message, -1, NULL));
        g_assert_cmpint(sd_bus_reply_method_error(call, error), >=, 0);
    }
}

static int method_do(sd_bus_message *call, void *userdata, sd_bus_error *error)
{
    Service *service = userdata;
    guint before = service->verdicts;
    int r =
        authorize_ask(service->authorize, call, ACTION,
                      (const char *const[]){"token", "12345678", "slot", "9c", NULL}, on_verdict, service);
    g_assert_cmpuint(service->verdicts, ==, before);
    if (r < 0)
        return r;
    service->asked++;
    return 1;
}

static void on_flood_verdict(sd_bus_message *call, int verdict, int64_t uid, const sd_bus_error *error,
                             void *userdata)
{
    Service *service = userdata;
    service->verdicts++;
    service->last_verdict = verdict;
}

static int method_flood(sd_bus_message *call, void *userdata, sd_bus_error *error)
{
    Service *service = userdata;
    int r;
    while ((r = authorize_ask(service->authorize, call, ACTION, NULL, on_flood_verdict, service)) >= 0)
        service->asked++;
    return r;
}

static bool all_are_answered(void *userdata)
{
    const Service *service = userdata;
    return service->verdicts == service->asked;
}

static const sd_bus_vtable service_vtable[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_METHOD("Do", "", "", method_do, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD("Flood", "", "", method_flood, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_VTABLE_END,
};

static void set_up(Service *service, gconstpointer data)
{
    service->fixture = fixture_new();
    service->bus = fixture_connect(service->fixture);
    g_assert_cmpint(sd_bus_add_object_vtable(service->bus, NULL, "/", TEST_NAME, service_vtable, service), >=,
                    0);
    g_assert_cmpint(sd_bus_request_name(service->bus, TEST_NAME, 0), >=, 0);
    service->authorize = authorize_new(service->bus);
}

static void tear_down(Service *service, gconstpointer data)
{
    authorize_close(service->authorize);
    sd_bus_flush_close_unref(service->bus);
    fixture_free(service->fixture);
    g_free(service->last_error);
}

static char *call_as(Service *service, int uid, bool interactive)
{
    return fixture_call_as(service->fixture, uid, interactive, TEST_NAME, "/", TEST_NAME, "Do", NULL);
}

static GSubprocess *begin_call(Service *service, int uid)
{
    return fixture_begin_call_as(service->fixture, uid, TEST_NAME, "/", TEST_NAME, "Do", NULL);
}

static void assert_refused(const char *answer, const char *name)
{
    if (!g_str_has_prefix(answer, name) || answer[strlen(name)] != ':')
        g_error("\"%s\" instead of %s", answer, name);
}

static void root_and_the_own_user_need_no_polkit(Service *service, gconstpointer data)
{
    Polkit *polkit = fixture_polkit(service->fixture, POLKIT_NO);
    g_autofree char *answer = call_as(service, -1, false);
    g_assert_cmpstr(answer, ==, "ok");
    g_assert_cmpuint(polkit->questions, ==, 0);
    g_assert_cmpint(service->last_uid, ==, geteuid());
}

static void others_are_refused_without_polkit(Service *service, gconstpointer data)
{
    if (!fixture_has_other_user())
        return;
    g_autofree char *answer = call_as(service, OTHER_UID, true);
    assert_refused(answer, SD_BUS_ERROR_ACCESS_DENIED);
    g_assert_nonnull(strstr(answer, "polkit"));
    g_assert_cmpuint(service->verdicts, ==, 1);
}

static void who_could_not_be_asked_for_a_password_hears_why(Service *service, gconstpointer data)
{
    if (!fixture_has_other_user())
        return;
    fixture_polkit(service->fixture, POLKIT_NO_AGENT);
    g_autofree char *quiet = call_as(service, OTHER_UID, false);
    assert_refused(quiet, SD_BUS_ERROR_INTERACTIVE_AUTHORIZATION_REQUIRED);
    g_assert_nonnull(strstr(quiet, "caller did not allow"));
    g_autofree char *dialog = call_as(service, OTHER_UID, true);
    assert_refused(dialog, SD_BUS_ERROR_INTERACTIVE_AUTHORIZATION_REQUIRED);
    g_assert_nonnull(strstr(dialog, "no agent"));
}

static void others_get_what_polkit_says(Service *service, gconstpointer data)
{
    if (!fixture_has_other_user())
        return;
    const struct {
        PolkitMode mode;
        bool interactive;
        const char *refusal; /* NULL: allowed */
    } cases[] = {
        {POLKIT_YES, false, NULL},
        {POLKIT_NO, false, SD_BUS_ERROR_ACCESS_DENIED},
        {POLKIT_NO, true, SD_BUS_ERROR_ACCESS_DENIED},
        {POLKIT_CHALLENGE, false, SD_BUS_ERROR_INTERACTIVE_AUTHORIZATION_REQUIRED},
        {POLKIT_CHALLENGE, true, NULL},
        {POLKIT_GARBAGE, false, SD_BUS_ERROR_ACCESS_DENIED},
        {POLKIT_ERROR, false, SD_BUS_ERROR_ACCESS_DENIED},
        {POLKIT_ABSENT, false, SD_BUS_ERROR_ACCESS_DENIED},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        fixture_polkit(service->fixture, cases[i].mode);
        g_autofree char *answer = call_as(service, OTHER_UID, cases[i].interactive);
        if (cases[i].refusal == NULL)
            g_assert_cmpstr(answer, ==, "ok");
        else
            assert_refused(answer, cases[i].refusal);
        g_assert_cmpuint(service->verdicts, ==, i + 1);
    }
}

static void polkit_is_asked_about_the_bus_name_with_details(Service *service, gconstpointer data)
{
    if (!fixture_has_other_user())
        return;
    Polkit *polkit = fixture_polkit(service->fixture, POLKIT_YES);
    g_autofree char *quiet = call_as(service, OTHER_UID, false);
    g_assert_cmpstr(quiet, ==, "ok");
    g_assert_false(polkit->interactive);
    g_assert_cmpstr(polkit->action, ==, ACTION);
    g_assert_true(g_str_has_prefix(polkit->subject, ":1."));
    g_assert_cmpstr(polkit->details, ==, "token=12345678;slot=9c;");
    g_autofree char *asked = call_as(service, OTHER_UID, true);
    g_assert_cmpstr(asked, ==, "ok");
    g_assert_true(polkit->interactive);
    g_assert_cmpuint(polkit->cancelled, ==, 0);
}

static bool has_question(void *polkit)
{
    return ((Polkit *)polkit)->questions > 0;
}

static bool has_cancellation(void *polkit)
{
    return ((Polkit *)polkit)->cancelled > 0;
}

static void a_caller_that_leaves_ends_its_question(Service *service, gconstpointer data)
{
    if (!fixture_has_other_user())
        return;
    Polkit *polkit = fixture_polkit(service->fixture, POLKIT_NEVER);
    GSubprocess *caller = begin_call(service, OTHER_UID);
    fixture_wait(service->fixture, has_question, polkit, 20);
    g_assert_cmpuint(service->verdicts, ==, 0);
    fixture_leave(service->fixture, caller);
    fixture_wait(service->fixture, has_cancellation, polkit, 20);
    g_assert_cmpuint(service->verdicts, ==, 1);
    g_assert_cmpint(service->last_verdict, <=, 0);
    g_assert_cmpstr(service->last_error, ==, SD_BUS_ERROR_ACCESS_DENIED);
}

static void closing_drops_open_questions(Service *service, gconstpointer data)
{
    if (!fixture_has_other_user())
        return;
    Polkit *polkit = fixture_polkit(service->fixture, POLKIT_NEVER);
    GSubprocess *caller = begin_call(service, OTHER_UID);
    fixture_wait(service->fixture, has_question, polkit, 20);
    authorize_close(g_steal_pointer(&service->authorize));
    fixture_wait(service->fixture, has_cancellation, polkit, 20);
    g_assert_cmpuint(service->verdicts, ==, 0);
    fixture_leave(service->fixture, caller);
}

/* One call that asks until it is refused, all before the loop runs again. */
static void open_questions_are_limited(Service *service, gconstpointer data)
{
    g_autofree char *answer =
        fixture_call_as(service->fixture, -1, false, TEST_NAME, "/", TEST_NAME, "Flood", NULL);
    assert_refused(answer, SD_BUS_ERROR_LIMITS_EXCEEDED);
    g_assert_cmpuint(service->asked, ==, 192);
    fixture_wait(service->fixture, all_are_answered, service, 20);
    g_assert_cmpint(service->last_verdict, >, 0);
    g_autofree char *later = call_as(service, -1, false);
    g_assert_cmpstr(later, ==, "ok");
}

static bool has_verdict(void *userdata)
{
    return ((Service *)userdata)->verdicts > 0;
}

static bool has_24_questions(void *polkit)
{
    return ((Polkit *)polkit)->questions == 24;
}

/* 25 callers of one user, 24 of whom may wait for polkit; root is still answered. */
static void one_user_can_not_use_up_the_questions(Service *service, gconstpointer data)
{
    if (!fixture_has_other_user())
        return;
    Polkit *polkit = fixture_polkit(service->fixture, POLKIT_NEVER);
    g_autoptr(GPtrArray) callers = g_ptr_array_new();
    for (guint i = 0; i < 25; i++)
        g_ptr_array_add(callers, begin_call(service, OTHER_UID));
    fixture_wait(service->fixture, has_verdict, service, 60);
    fixture_wait(service->fixture, has_24_questions, polkit, 20);
    g_assert_cmpstr(service->last_error, ==, SD_BUS_ERROR_LIMITS_EXCEEDED);
    g_autofree char *answer = call_as(service, 0, false);
    g_assert_cmpstr(answer, ==, "ok");
    for (guint i = 0; i < callers->len; i++)
        fixture_leave(service->fixture, callers->pdata[i]);
}

#define ADD(test) g_test_add("/authorize/" #test, Service, NULL, set_up, test, tear_down)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD(root_and_the_own_user_need_no_polkit);
    ADD(others_are_refused_without_polkit);
    ADD(others_get_what_polkit_says);
    ADD(who_could_not_be_asked_for_a_password_hears_why);
    ADD(polkit_is_asked_about_the_bus_name_with_details);
    ADD(a_caller_that_leaves_ends_its_question);
    ADD(closing_drops_open_questions);
    ADD(open_questions_are_limited);
    ADD(one_user_can_not_use_up_the_questions);
    return g_test_run();
}

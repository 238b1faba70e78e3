/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Callers in a process of their own, which may be another user's. */

#include "tests/bus/fixture.h"
#include <gio/gunixinputstream.h>
#include <unistd.h>

#define CALL_SECONDS 60

bool fixture_has_other_user(void)
{
    if (geteuid() == 0)
        return true;
    g_test_skip("only root can call as another user");
    return false;
}

static GSubprocess *start_caller(Fixture *fixture, int uid, bool interactive, const char *destination,
                                 const char *path, const char *interface, const char *member,
                                 const char *const *arguments)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) argv = g_ptr_array_new();
    g_autofree char *as = g_strdup_printf("--uid=%d", uid);
    const char *program = g_getenv("BUS_CALLER");
    g_assert_nonnull(program);
    g_ptr_array_add(argv, (void *)program);
    if (uid >= 0)
        g_ptr_array_add(argv, as);
    if (interactive)
        g_ptr_array_add(argv, (void *)"--interactive");
    const char *const call[] = {"--", fixture_address(fixture), destination, path, interface, member};
    for (gsize i = 0; i < G_N_ELEMENTS(call); i++)
        g_ptr_array_add(argv, (void *)call[i]);
    for (; arguments != NULL && *arguments != NULL; arguments++)
        g_ptr_array_add(argv, (void *)*arguments);
    g_ptr_array_add(argv, NULL);
    GSubprocess *caller =
        g_subprocess_newv((const char *const *)argv->pdata, G_SUBPROCESS_FLAGS_STDOUT_PIPE, &error);
    g_assert_no_error(error);
    return caller;
}

static int on_output(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
    bool *ended = userdata;
    *ended = true;
    return 0;
}

char *fixture_call_as(Fixture *fixture, int uid, bool interactive, const char *destination, const char *path,
                      const char *interface, const char *member, const char *const *arguments)
{
    g_autoptr(GSubprocess) caller =
        start_caller(fixture, uid, interactive, destination, path, interface, member, arguments);
    g_autoptr(GError) error = NULL;
    char *text = NULL;
    bool answered = false;
    sd_event_source *source = NULL;
    int fd = g_unix_input_stream_get_fd(G_UNIX_INPUT_STREAM(g_subprocess_get_stdout_pipe(caller)));
    g_assert_cmpint(sd_event_add_io(fixture_event(fixture), &source, fd, EPOLLIN, on_output, &answered), >=,
                    0);
    fixture_wait_flag(fixture, &answered, CALL_SECONDS);
    sd_event_source_disable_unref(source);
    g_subprocess_communicate_utf8(caller, NULL, NULL, &text, NULL, &error);
    g_assert_no_error(error);
    g_assert_true(g_subprocess_get_successful(caller));
    return g_strchomp(text);
}

GSubprocess *fixture_begin_call_as(Fixture *fixture, int uid, const char *destination, const char *path,
                                   const char *interface, const char *member, const char *const *arguments)
{
    return start_caller(fixture, uid, false, destination, path, interface, member, arguments);
}

void fixture_leave(Fixture *fixture, GSubprocess *caller)
{
    g_subprocess_force_exit(caller);
    g_subprocess_wait(caller, NULL, NULL);
    g_object_unref(caller);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The bus and the daemon of a test: two children that die with it, and the loop that waits for them. */

#include "tests/bus/fixture.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define READY_SECONDS 60

struct Fixture {
    char *directory;
    char *state_directory;
    char *address;
    sd_event *event;
    sd_bus *client;
    Polkit *polkit;
    pid_t bus_daemon;
    pid_t daemon;
    int notify_fd;
    sd_event_source *notify_source;
    bool ready;
    char *log; /* where the daemon's stderr goes, or NULL */
};

/* What a system bus allows before any service brings rules of its own, and who may own the names of
 * stand-ins. */
static const char bus_configuration[] =
    "<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN\"\n"
    "  \"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\">\n"
    "<busconfig>\n"
    "  <type>system</type>\n"
    "  <listen>unix:path=%s/bus</listen>\n"
    "  <auth>EXTERNAL</auth>\n"
    "  <policy context=\"default\">\n"
    "    <allow user=\"*\"/>\n"
    "    <deny own=\"*\"/>\n"
    "    <deny send_type=\"method_call\"/>\n"
    "    <allow send_type=\"signal\"/>\n"
    "    <allow send_requested_reply=\"true\" send_type=\"method_return\"/>\n"
    "    <allow send_requested_reply=\"true\" send_type=\"error\"/>\n"
    "    <allow receive_type=\"method_call\"/>\n"
    "    <allow receive_type=\"method_return\"/>\n"
    "    <allow receive_type=\"error\"/>\n"
    "    <allow receive_type=\"signal\"/>\n"
    "    <allow send_destination=\"org.freedesktop.DBus\"/>\n"
    "    <allow send_destination=\"org.freedesktop.PolicyKit1\"/>\n"
    "    <allow send_destination=\"org.pkiaas.Test\"/>\n"
    "  </policy>\n"
    "  <policy user=\"%u\">\n"
    "    <allow own=\"org.freedesktop.PolicyKit1\"/>\n"
    "    <allow own=\"org.pkiaas.Test\"/>\n"
    "  </policy>\n"
    "  <include>%s</include>\n"
    "</busconfig>\n";

/* |log|: where stderr goes, or NULL. */
static void set_up_child(gpointer log)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int fd = log != NULL ? open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
    if (fd >= 0)
        dup2(fd, STDERR_FILENO);
}

static pid_t spawn(const char *const *argv, char **environment, const char *log, int *ret_stdout)
{
    g_autoptr(GError) error = NULL;
    GPid pid;
    g_spawn_async_with_pipes(NULL, (char **)argv, environment,
                             G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_SEARCH_PATH, set_up_child, (gpointer)log,
                             &pid, NULL, ret_stdout, NULL, &error);
    g_assert_no_error(error);
    return pid;
}

static int wait_for_exit(pid_t pid)
{
    int status;
    while (waitpid(pid, &status, 0) < 0)
        g_assert_cmpint(errno, ==, EINTR);
    return status;
}

static char *read_line(int fd)
{
    GString *line = g_string_new(NULL);
    char c;
    while (read(fd, &c, 1) == 1 && c != '\n')
        g_string_append_c(line, c);
    close(fd);
    return g_string_free(line, FALSE);
}

/* The installed policy names the user of the installed daemon; here the daemon is this user. */
static char *own_policy(const char *directory)
{
    g_autofree char *text = NULL;
    g_autoptr(GError) error = NULL;
    const char *path = g_getenv("IOTHSM_BUS_POLICY");
    g_assert_nonnull(path);
    g_file_get_contents(path, &text, NULL, &error);
    g_assert_no_error(error);
    g_autoptr(GString) policy = g_string_new(text);
    g_autofree char *user = g_strdup_printf("user=\"%u\"", geteuid());
    g_assert_cmpuint(g_string_replace(policy, "user=\"iothsm\"", user, 0), ==, 1);
    return test_write(directory, "policy.conf", policy->str);
}

static void start_bus(Fixture *fixture)
{
    g_autofree char *policy = own_policy(fixture->directory);
    g_autofree char *text = g_strdup_printf(bus_configuration, fixture->directory, geteuid(), policy);
    g_autofree char *path = test_write(fixture->directory, "bus.conf", text);
    g_autofree char *option = g_strdup_printf("--config-file=%s", path);
    int out;
    fixture->bus_daemon = spawn(
        (const char *const[]){"dbus-daemon", "--nofork", "--nopidfile", "--print-address=1", option, NULL},
        NULL, NULL, &out);
    fixture->address = read_line(out);
    g_assert_true(g_str_has_prefix(fixture->address, "unix:"));
    g_setenv("DBUS_SYSTEM_BUS_ADDRESS", fixture->address, TRUE);
}

static int on_notification(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
    Fixture *fixture = userdata;
    char text[4096];
    ssize_t size = recv(fd, text, sizeof text - 1, MSG_DONTWAIT);
    if (size > 0) {
        text[size] = '\0';
        g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
        fixture->ready |= g_strv_contains((const char *const *)lines, "READY=1");
    }
    return 0;
}

static void listen_for_notifications(Fixture *fixture)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    g_autofree char *path = g_build_filename(fixture->directory, "notify", NULL);
    g_assert_cmpuint(g_strlcpy(address.sun_path, path, sizeof address.sun_path), <, sizeof address.sun_path);
    fixture->notify_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    g_assert_cmpint(fixture->notify_fd, >=, 0);
    g_assert_cmpint(bind(fixture->notify_fd, (struct sockaddr *)&address, sizeof address), ==, 0);
    g_assert_cmpint(sd_event_add_io(fixture->event, &fixture->notify_source, fixture->notify_fd, EPOLLIN,
                                    on_notification, fixture),
                    >=, 0);
}

/* After READY nobody reads status texts here, and a full socket would stop the daemon. */
static void end_listening(Fixture *fixture)
{
    if (fixture->notify_source == NULL)
        return;
    g_autofree char *path = g_build_filename(fixture->directory, "notify", NULL);
    fixture->notify_source = sd_event_source_disable_unref(fixture->notify_source);
    close(fixture->notify_fd);
    unlink(path);
}

Fixture *fixture_new(void)
{
    Fixture *fixture = g_new0(Fixture, 1);
    fixture->directory = test_directory();
    g_assert_cmpint(chmod(fixture->directory, 0711), ==, 0);
    fixture->state_directory = g_build_filename(fixture->directory, "state", NULL);
    start_bus(fixture);
    g_assert_cmpint(sd_event_new(&fixture->event), >=, 0);
    fixture->client = fixture_connect(fixture);
    return fixture;
}

static void end_bus(Fixture *fixture)
{
    if (fixture->bus_daemon <= 0)
        return;
    kill(fixture->bus_daemon, SIGTERM);
    wait_for_exit(fixture->bus_daemon);
    fixture->bus_daemon = 0;
}

void fixture_free(Fixture *fixture)
{
    if (fixture == NULL)
        return;
    if (fixture->daemon > 0)
        fixture_stop_daemon(fixture);
    polkit_stand_in_free(fixture->polkit);
    sd_bus_flush_close_unref(fixture->client);
    end_listening(fixture);
    sd_event_unref(fixture->event);
    end_bus(fixture);
    g_free(fixture->log);
    g_free(fixture->address);
    g_free(fixture->state_directory);
    g_free(fixture->directory);
    g_free(fixture);
}

const char *fixture_address(const Fixture *fixture)
{
    return fixture->address;
}

const char *fixture_directory(const Fixture *fixture)
{
    return fixture->directory;
}

const char *fixture_state_directory(const Fixture *fixture)
{
    return fixture->state_directory;
}

sd_event *fixture_event(const Fixture *fixture)
{
    return fixture->event;
}

sd_bus *fixture_client(const Fixture *fixture)
{
    return fixture->client;
}

pid_t fixture_daemon_pid(const Fixture *fixture)
{
    return fixture->daemon;
}

sd_bus *fixture_connect(Fixture *fixture)
{
    sd_bus *bus = NULL;
    g_assert_cmpint(sd_bus_new(&bus), >=, 0);
    g_assert_cmpint(sd_bus_set_address(bus, fixture->address), >=, 0);
    g_assert_cmpint(sd_bus_set_bus_client(bus, 1), >=, 0);
    g_assert_cmpint(sd_bus_negotiate_fds(bus, 1), >=, 0);
    g_assert_cmpint(sd_bus_start(bus), >=, 0);
    g_assert_cmpint(sd_bus_attach_event(bus, fixture->event, SD_EVENT_PRIORITY_NORMAL), >=, 0);
    return bus;
}

void fixture_keep_log(Fixture *fixture)
{
    g_assert_null(fixture->log);
    fixture->log = g_build_filename(fixture->directory, "daemon.log", NULL);
}

char *fixture_log(const Fixture *fixture)
{
    char *text = NULL;
    return fixture->log != NULL && g_file_get_contents(fixture->log, &text, NULL, NULL) ? text : g_strdup("");
}

/* A test that is about to fail shows what the daemon said. */
static void show_log(const Fixture *fixture)
{
    g_autofree char *text = fixture_log(fixture);
    g_printerr("%s", text);
}

static void assert_daemon_lives(Fixture *fixture)
{
    int status;
    if (fixture->daemon > 0 && waitpid(fixture->daemon, &status, WNOHANG) == fixture->daemon) {
        fixture->daemon = 0;
        show_log(fixture);
        g_error("the daemon ended unasked with wait status 0x%x", (unsigned)status);
    }
}

void fixture_wait(Fixture *fixture, bool (*condition)(void *userdata), void *userdata, guint seconds)
{
    gint64 deadline = g_get_monotonic_time() + (gint64)seconds * G_USEC_PER_SEC;
    while (!condition(userdata)) {
        if (g_get_monotonic_time() > deadline)
            g_error("what the test waits for did not happen within %u s", seconds);
        assert_daemon_lives(fixture);
        g_assert_cmpint(sd_event_run(fixture->event, 100 * 1000), >=, 0);
    }
}

static bool is_set(void *flag)
{
    return *(const volatile bool *)flag;
}

void fixture_wait_flag(Fixture *fixture, const bool *flag, guint seconds)
{
    fixture_wait(fixture, is_set, (void *)flag, seconds);
}

static char **daemon_environment(Fixture *fixture, const char *const *pairs)
{
    g_autofree char *notify = g_build_filename(fixture->directory, "notify", NULL);
    g_autofree char *no_pcscd = g_build_filename(fixture->directory, "no-pcscd", NULL);
    char **environment = g_environ_setenv(g_get_environ(), "NOTIFY_SOCKET", notify, TRUE);
    for (; pairs != NULL && pairs[0] != NULL; pairs += 2)
        environment = g_environ_setenv(environment, pairs[0], pairs[1], TRUE);
    /* The machine's own cards are none of the test's business. */
    return g_environ_setenv(environment, "PCSCLITE_CSOCK_NAME", no_pcscd, FALSE);
}

void fixture_start_daemon(Fixture *fixture, const char *program, const char *config,
                          const char *const *arguments, const char *const *environment)
{
    g_assert_cmpint(fixture->daemon, ==, 0);
    g_autofree char *file = test_write(fixture->directory, "iothsmd.conf", config);
    g_autoptr(GPtrArray) argv = g_ptr_array_new_with_free_func(g_free);
    g_ptr_array_add(argv, g_strdup(program != NULL ? program : g_getenv("IOTHSMD_FAKE")));
    g_assert_nonnull(argv->pdata[0]);
    g_ptr_array_add(argv, g_strdup_printf("--config=%s", file));
    g_ptr_array_add(argv, g_strdup_printf("--state-directory=%s", fixture->state_directory));
    for (; arguments != NULL && *arguments != NULL; arguments++)
        g_ptr_array_add(argv, g_strdup(*arguments));
    g_ptr_array_add(argv, NULL);
    g_auto(GStrv) envp = daemon_environment(fixture, environment);
    fixture->ready = false;
    listen_for_notifications(fixture);
    fixture->daemon = spawn((const char *const *)argv->pdata, envp, fixture->log, NULL);
    fixture_wait_flag(fixture, &fixture->ready, READY_SECONDS);
    end_listening(fixture);
}

void fixture_stop_daemon(Fixture *fixture)
{
    assert_daemon_lives(fixture);
    g_assert_cmpint(fixture->daemon, >, 0); /* 0 would be this process and all its children */
    kill(fixture->daemon, SIGTERM);
    int status = wait_for_exit(fixture->daemon);
    fixture->daemon = 0;
    if (status != 0)
        show_log(fixture);
    g_assert_true(WIFEXITED(status));
    g_assert_cmpint(WEXITSTATUS(status), ==, 0);
}

void fixture_kill_daemon(Fixture *fixture)
{
    g_assert_cmpint(fixture->daemon, >, 0); /* 0 would be this process and all its children */
    kill(fixture->daemon, SIGKILL);
    wait_for_exit(fixture->daemon);
    fixture->daemon = 0;
}

int fixture_end_bus(Fixture *fixture)
{
    g_assert_cmpint(fixture->daemon, >, 0);
    end_bus(fixture);
    int status = wait_for_exit(fixture->daemon);
    fixture->daemon = 0;
    g_assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

int fixture_secret(const char *text)
{
    int fd = memfd_create("secret", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(write(fd, text, strlen(text)), ==, (gssize)strlen(text));
    g_assert_cmpint(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK), ==, 0);
    return fd;
}

Polkit *fixture_polkit(Fixture *fixture, PolkitMode mode)
{
    if (fixture->polkit == NULL)
        fixture->polkit = polkit_stand_in_new(fixture_connect(fixture));
    polkit_stand_in_set(fixture->polkit, mode);
    return fixture->polkit;
}

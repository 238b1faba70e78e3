/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Two pumps a connection, one for each direction: read some bytes, let a fault strike, write them, again. The
 * end of one pump is the end of the connection. A connection is counted by its pumps and by whoever waits for
 * it. */

#include "tests/platform/relay.h"
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

enum { CHUNK = 16 * 1024 };

struct Relay {
    GSocketService *service;
    Faults *faults;
    guint16 port;
    guint16 target;
};

typedef struct Connection Connection;

typedef struct Pump {
    Connection *connection;
    GInputStream *from;
    GOutputStream *to;
    guint8 buffer[CHUNK];
    gsize size;
    bool is_last; /* these bytes, and then a reset */
} Pump;

struct Connection {
    Relay *relay;
    GSocketConnection *ends[2]; /* the agent's and the platform's */
    GCancellable *cancellable;
    Pump pumps[2];
    bool closed;
    bool frozen;
};

static void pump_read(Pump *pump);

static Connection *connection_ref(Connection *connection)
{
    return g_rc_box_acquire(connection);
}

static void connection_clear(void *data)
{
    Connection *connection = data;
    g_object_unref(connection->cancellable);
    g_clear_object(&connection->ends[0]);
    g_clear_object(&connection->ends[1]);
}

static void connection_unref(Connection *connection)
{
    g_rc_box_release_full(connection, connection_clear);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Connection, connection_unref)

static void close_both(Connection *connection, bool with_reset)
{
    struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    if (connection->closed)
        return;
    connection->closed = true;
    for (gsize i = 0; i < G_N_ELEMENTS(connection->ends); i++) {
        if (!connection->ends[i])
            continue;
        GSocket *socket = g_socket_connection_get_socket(connection->ends[i]);
        if (with_reset)
            setsockopt(g_socket_get_fd(socket), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
        g_socket_close(socket, NULL);
    }
    g_cancellable_cancel(connection->cancellable);
}

/* ---- pumps ---- */

static void pump_written(GObject *source, GAsyncResult *result, gpointer data)
{
    Pump *pump = data;
    g_autoptr(Connection) connection = pump->connection; /* the write's reference */
    bool written = g_output_stream_write_all_finish(G_OUTPUT_STREAM(source), result, NULL, NULL);
    if (!written || pump->is_last)
        close_both(connection, pump->is_last);
    else
        pump_read(pump);
}

static void pump_write(Pump *pump)
{
    connection_ref(pump->connection);
    g_output_stream_write_all_async(pump->to, pump->buffer, pump->size, G_PRIORITY_DEFAULT,
                                    pump->connection->cancellable, pump_written, pump);
}

static gboolean pump_rested(gpointer data)
{
    Pump *pump = data;
    g_autoptr(Connection) connection = pump->connection; /* the timer's reference */
    if (!connection->closed)
        pump_write(pump);
    return G_SOURCE_REMOVE;
}

/* A frozen connection keeps its reference for ever: nobody may notice from outside that it is of no use. */
static void pass_on(Pump *pump)
{
    Connection *connection = pump->connection;
    Faults *faults = connection->relay->faults;
    gint64 milliseconds;
    if (faults_strike(faults, FAULT_RELAY_FREEZE, PLACE_LINK, NULL))
        connection->frozen = true;
    if (connection->frozen) {
        connection_ref(connection);
    } else if (faults_strike(faults, FAULT_RELAY_RESET, PLACE_LINK, NULL)) {
        close_both(connection, true);
    } else if (faults_strike(faults, FAULT_RELAY_CUT, PLACE_LINK, NULL)) {
        pump->size = (pump->size + 1) / 2;
        pump->is_last = true;
        pump_write(pump);
    } else if (faults_strike(faults, FAULT_RELAY_STALL, PLACE_LINK, &milliseconds)) {
        connection_ref(connection);
        g_timeout_add((guint)milliseconds, pump_rested, pump);
    } else {
        pump_write(pump);
    }
}

static void pump_filled(GObject *source, GAsyncResult *result, gpointer data)
{
    Pump *pump = data;
    g_autoptr(Connection) connection = pump->connection; /* the read's reference */
    gssize size = g_input_stream_read_finish(G_INPUT_STREAM(source), result, NULL);
    if (connection->closed)
        return;
    if (size <= 0 && !connection->frozen) {
        close_both(connection, false);
        return;
    }
    pump->size = (gsize)MAX(size, 0);
    pass_on(pump);
}

static void pump_read(Pump *pump)
{
    connection_ref(pump->connection);
    g_input_stream_read_async(pump->from, pump->buffer, sizeof pump->buffer, G_PRIORITY_DEFAULT,
                              pump->connection->cancellable, pump_filled, pump);
}

static void start_pump(Connection *connection, guint from, guint to)
{
    Pump *pump = &connection->pumps[from];
    pump->connection = connection;
    pump->from = g_io_stream_get_input_stream(G_IO_STREAM(connection->ends[from]));
    pump->to = g_io_stream_get_output_stream(G_IO_STREAM(connection->ends[to]));
    pump_read(pump);
}

/* ---- connections ---- */

static void on_through(GObject *source, GAsyncResult *result, gpointer data)
{
    g_autoptr(Connection) connection = data;
    connection->ends[1] = g_socket_client_connect_to_host_finish(G_SOCKET_CLIENT(source), result, NULL);
    if (!connection->ends[1]) {
        close_both(connection, true);
        return;
    }
    for (gsize i = 0; i < G_N_ELEMENTS(connection->ends); i++)
        g_socket_set_option(g_socket_connection_get_socket(connection->ends[i]), IPPROTO_TCP, TCP_NODELAY, 1,
                            NULL);
    start_pump(connection, 0, 1);
    start_pump(connection, 1, 0);
}

static gboolean on_incoming(GSocketService *service, GSocketConnection *agent, GObject *source, gpointer data)
{
    Relay *relay = data;
    g_autoptr(GSocketClient) client = g_socket_client_new();
    g_socket_client_set_enable_proxy(client, FALSE);
    Connection *connection = g_rc_box_new0(Connection);
    connection->relay = relay;
    connection->ends[0] = g_object_ref(agent);
    connection->cancellable = g_cancellable_new();
    g_socket_client_connect_to_host_async(client, "127.0.0.1", relay->target, NULL, on_through, connection);
    return TRUE;
}

Relay *relay_new(guint16 port, guint16 target, Faults *faults, GError **error)
{
    g_autoptr(Relay) relay = g_new0(Relay, 1);
    g_autoptr(GSocketAddress) wanted = g_inet_socket_address_new_from_string("127.0.0.1", port);
    g_autoptr(GSocketAddress) bound = NULL;
    relay->service = g_socket_service_new();
    relay->faults = faults;
    relay->target = target;
    if (!g_socket_listener_add_address(G_SOCKET_LISTENER(relay->service), wanted, G_SOCKET_TYPE_STREAM,
                                       G_SOCKET_PROTOCOL_TCP, NULL, &bound, error))
        return NULL;
    relay->port = g_inet_socket_address_get_port(G_INET_SOCKET_ADDRESS(bound));
    g_signal_connect(relay->service, "incoming", G_CALLBACK(on_incoming), relay);
    g_socket_service_start(relay->service);
    return g_steal_pointer(&relay);
}

/* Connections that are still open are left to the end of the process. */
void relay_free(Relay *relay)
{
    if (!relay)
        return;
    g_socket_service_stop(relay->service);
    g_socket_listener_close(G_SOCKET_LISTENER(relay->service));
    g_object_unref(relay->service);
    g_free(relay);
}

guint16 relay_port(const Relay *relay)
{
    return relay->port;
}

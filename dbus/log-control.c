/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A thin cover of daemon/log.h: the state is there. */

#include "dbus/log-control.h"
#include "daemon/log.h"

static int get_level(sd_bus *connection, const char *path, const char *interface, const char *property,
                     sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
    return sd_bus_message_append(reply, "s", log_level_to_string(log_level()));
}

static int set_level(sd_bus *connection, const char *path, const char *interface, const char *property,
                     sd_bus_message *value, void *userdata, sd_bus_error *error)
{
    const char *name;
    int level;
    int r = sd_bus_message_read(value, "s", &name);
    if (r < 0)
        return r;
    if (!log_level_from_string(name, &level))
        return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS,
                                 "A log level is debug, info, notice, warning, err, crit, alert or emerg");
    log_notice("The log level is %s from now on", name);
    log_set_level(level);
    return 0;
}

static int get_target(sd_bus *connection, const char *path, const char *interface, const char *property,
                      sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
    return sd_bus_message_append(reply, "s", log_target_to_string(log_target()));
}

static int set_target(sd_bus *connection, const char *path, const char *interface, const char *property,
                      sd_bus_message *value, void *userdata, sd_bus_error *error)
{
    const char *name;
    LogTarget target;
    int r = sd_bus_message_read(value, "s", &name);
    if (r < 0)
        return r;
    if (!log_target_from_string(name, &target))
        return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS,
                                 "A log target of this service is auto, journal, console or null");
    log_notice("The log goes to the target %s from now on", name);
    log_set_target(target);
    return 0;
}

static int get_identifier(sd_bus *connection, const char *path, const char *interface, const char *property,
                          sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
    return sd_bus_message_append(reply, "s", LOG_IDENTIFIER);
}

static const sd_bus_vtable vtable[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_WRITABLE_PROPERTY("LogLevel", "s", get_level, set_level, 0, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_WRITABLE_PROPERTY("LogTarget", "s", get_target, set_target, 0, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_PROPERTY("SyslogIdentifier", "s", get_identifier, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_VTABLE_END,
};

int log_control_export(sd_bus *connection)
{
    return sd_bus_add_object_vtable(connection, NULL, "/org/freedesktop/LogControl1",
                                    "org.freedesktop.LogControl1", vtable, NULL);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The vtable is walked as data: its rows say name, type and place of every property. */

#include "dbus/object.h"
#include <errno.h>
#include <string.h>

static bool is_property(const sd_bus_vtable *row)
{
    return row->type == _SD_BUS_VTABLE_PROPERTY || row->type == _SD_BUS_VTABLE_WRITABLE_PROPERTY;
}

static void *place(const Object *object, const sd_bus_vtable *row)
{
    return (char *)object + row->x.property.offset;
}

static gsize size_of_type(const char *type)
{
    switch (type[0]) {
    case 's':
    case 'o':
    case 'a':
        return sizeof(char *);
    case 'b':
    case 'i':
    case 'u':
        return sizeof(uint32_t);
    case 'd':
    case 't':
    case 'x':
        return sizeof(uint64_t);
    default:
        g_error("a property of type %s is in a vtable, and nothing here knows its size", type);
    }
}

static bool equal(const char *type, const void *a, const void *b)
{
    if (type[0] == 'a')
        return g_strv_equal(*(const char *const *const *)a, *(const char *const *const *)b);
    if (type[0] == 's' || type[0] == 'o')
        return g_strcmp0(*(char *const *)a, *(char *const *)b) == 0;
    return memcmp(a, b, size_of_type(type)) == 0;
}

static void swap(const char *type, void *a, void *b)
{
    char other[sizeof(uint64_t)];
    gsize size = size_of_type(type);
    memcpy(other, a, size);
    memcpy(a, b, size);
    memcpy(b, other, size);
}

static void clear_properties(Object *object)
{
    for (const sd_bus_vtable *row = object->class->vtable; row->type != _SD_BUS_VTABLE_END; row++) {
        if (!is_property(row))
            continue;
        if (row->x.property.signature[0] == 'a')
            g_strfreev(*(char ***)place(object, row));
        else if (strchr("so", row->x.property.signature[0]) != NULL)
            g_free(*(char **)place(object, row));
    }
}

void object_free(Object *object)
{
    if (object == NULL)
        return;
    sd_bus_slot_unref(object->slot);
    clear_properties(object);
    object->class->unref(object->subject);
    g_free(object->path);
    g_free(object);
}

Object *object_export(const ObjectClass *class, Bus *bus, sd_bus *connection, char *path, void *subject,
                      bool announce, int *ret_errno)
{
    Object *object = g_malloc0(class->size);
    object->class = class;
    object->bus = bus;
    object->path = path;
    object->subject = class->ref(subject);
    class->read(object);
    int r =
        sd_bus_add_object_vtable(connection, &object->slot, path, class->interface, class->vtable, object);
    if (r < 0) {
        object_free(object);
        *ret_errno = -r;
        return NULL;
    }
    if (announce)
        sd_bus_emit_object_added(connection, path);
    return object;
}

void object_refresh(Object *object, sd_bus *connection)
{
    const ObjectClass *class = object->class;
    g_autofree Object *fresh = g_malloc0(class->size);
    g_autoptr(GPtrArray) names = g_ptr_array_new();

    object->changed = false;
    fresh->class = class;
    fresh->bus = object->bus;
    fresh->path = object->path;
    fresh->subject = object->subject;
    class->read(fresh);
    for (const sd_bus_vtable *row = class->vtable; row->type != _SD_BUS_VTABLE_END; row++) {
        if (!is_property(row))
            continue;
        const char *type = row->x.property.signature;
        if (equal(type, place(object, row), place(fresh, row)))
            continue;
        swap(type, place(object, row), place(fresh, row));
        if (row->flags & SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE)
            g_ptr_array_add(names, (char *)row->x.property.member);
    }
    clear_properties(fresh);
    g_ptr_array_add(names, NULL);
    sd_bus_emit_properties_changed_strv(connection, object->path, class->interface, (char **)names->pdata);
}

void object_withdraw(Object *object, sd_bus *connection)
{
    sd_bus_emit_object_removed(connection, object->path);
    object_free(object);
}

int object_get_paths(sd_bus *connection, const char *path, const char *interface, const char *property,
                     sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
    int r = sd_bus_message_open_container(reply, 'a', "o");
    for (char **each = *(char ***)userdata; r >= 0 && each != NULL && *each != NULL; each++)
        r = sd_bus_message_append_basic(reply, 'o', *each);
    return r < 0 ? r : sd_bus_message_close_container(reply);
}

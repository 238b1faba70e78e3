/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One object on the bus, with the values that were last told about it.
 *
 * The properties are plain members of the object; the vtable, which is the page that lists the interface,
 * says where each of them lies, so that reading one is sd-bus's own business and can't block. When something
 * about the thing behind the object (a token, a slot) may have changed, all values are read again into a
 * second object, and only what differs is announced. */

#include <glib.h>
#include <stdbool.h>
#include <systemd/sd-bus.h>

typedef struct Bus Bus;
typedef struct Call Call;
typedef struct Object Object;

/* How a method is handled: a row beside the vtable's row of the same name. */
typedef struct Method {
    const char *name;
    const char *action; /* polkit's, without the prefix org.pkiaas.iothsm.; NULL: everybody may */
    /* Reads and validates the arguments, before anybody is asked; may be NULL. */
    bool (*read)(Call *call, GError **error);
    /* Does it, and settles the call then or later, once. The secrets are read by then. */
    void (*act)(Call *call);
} Method;

typedef struct ObjectClass {
    const char *interface;
    const sd_bus_vtable *vtable;
    const Method *methods; /* ends with a NULL name */
    gsize size;            /* of the struct that begins with Object */
    /* Fills the members that the vtable names, zeroed before, from object->subject. */
    void (*read)(Object *object);
    void *(*ref)(void *subject);
    void (*unref)(void *subject);
    /* Adds what polkit's dialog may name. */
    void (*add_details)(Call *call);
} ObjectClass;

struct Object {
    const ObjectClass *class;
    Bus *bus;
    char *path;
    void *subject; /* a reference */
    sd_bus_slot *slot;
    bool changed; /* waits to be read again */
};

/* Exports |subject| at |path| (transfer full) of |connection|, and says so on the bus where |announce|. NULL
 * with an errno as |*ret_errno| when it can't. */
Object *object_export(const ObjectClass *class, Bus *bus, sd_bus *connection, char *path, void *subject,
                      bool announce, int *ret_errno);
/* Reads again and announces what differs. */
void object_refresh(Object *object, sd_bus *connection);
/* Says that it is gone and frees it. */
void object_withdraw(Object *object, sd_bus *connection);
/* Frees it without a word: the bus itself ends. */
void object_free(Object *object);

/* Getter for properties of type ao, which sd-bus has none for. */
int object_get_paths(sd_bus *connection, const char *path, const char *interface, const char *property,
                     sd_bus_message *reply, void *userdata, sd_bus_error *error);

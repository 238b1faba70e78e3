/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A list of faults, oldest first, and two buckets. */

#include "tests/google-kms/faults.h"
#include <gio/gio.h>

typedef struct Bucket {
    bool limited;
    double left;
    double per_second;
    double size;
    gint64 filled_at;
} Bucket;

struct Faults {
    GArray *list; /* Fault */
    Bucket reads;
    Bucket signs;
};

static const char *const places[] = {"token",    "metadata",   "projects",    "locations", "rings", "keys",
                                     "versions", "public-key", "permissions", "sign",      "any"};
G_STATIC_ASSERT(G_N_ELEMENTS(places) == PLACE_ANY + 1);

static const char *const kinds[] = {"",          "status",          "slow",       "drop",
                                    "truncated", "large",           "not-json",   "wrong-crc",
                                    "damaged",   "request-damaged", "unverified", "wrong-name"};
G_STATIC_ASSERT(G_N_ELEMENTS(kinds) == FAULT_WRONG_NAME + 1);

const char *place_to_string(Place place)
{
    return places[place];
}

/* The index of |text| in |names|, or -1. */
static int find(const char *const *names, gsize count, const char *text)
{
    for (gsize i = 0; i < count; i++)
        if (g_strcmp0(names[i], text) == 0)
            return (int)i;
    return -1;
}

Faults *faults_new(void)
{
    Faults *faults = g_new0(Faults, 1);
    faults->list = g_array_new(FALSE, FALSE, sizeof(Fault));
    return faults;
}

void faults_free(Faults *faults)
{
    if (!faults)
        return;
    g_array_unref(faults->list);
    g_free(faults);
}

bool faults_add(Faults *faults, JsonObject *wish, GError **error)
{
    const char *at = json_object_get_string_member_with_default(wish, "at", "any");
    const char *name = json_object_get_string_member_with_default(wish, "kind", "");
    int place = find(places, G_N_ELEMENTS(places), at);
    int kind = find(kinds, G_N_ELEMENTS(kinds), name);
    if (place < 0 || kind <= FAULT_NONE) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT, "There is no fault \"%s\" at \"%s\"",
                    name, at);
        return false;
    }
    Fault fault = {
        .kind = (FaultKind)kind,
        .place = (Place)place,
        .left = (guint)json_object_get_int_member_with_default(wish, "count", 1),
        .status = (guint)json_object_get_int_member_with_default(wish, "status", 500),
        .milliseconds = (guint)json_object_get_int_member_with_default(wish, "milliseconds", 0),
        .retry_after = (int)json_object_get_int_member_with_default(wish, "retry_after", -1),
    };
    g_array_append_val(faults->list, fault);
    return true;
}

void faults_clear(Faults *faults)
{
    g_array_set_size(faults->list, 0);
}

Fault faults_strike(Faults *faults, Place place)
{
    for (guint i = 0; i < faults->list->len; i++) {
        Fault *fault = &g_array_index(faults->list, Fault, i);
        if (fault->place != place && fault->place != PLACE_ANY)
            continue;
        Fault struck = *fault;
        if (fault->left > 0 && --fault->left == 0)
            g_array_remove_index(faults->list, i);
        return struck;
    }
    return (Fault){.kind = FAULT_NONE, .place = place, .retry_after = -1};
}

bool faults_set_quota(Faults *faults, JsonObject *wish, GError **error)
{
    const char *at = json_object_get_string_member_with_default(wish, "at", "");
    bool signs = g_str_equal(at, "signs");
    if (!signs && !g_str_equal(at, "reads")) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                    "There is no quota of \"%s\"; use reads or signs", at);
        return false;
    }
    double left = json_object_get_double_member_with_default(wish, "left", -1);
    *(signs ? &faults->signs : &faults->reads) = (Bucket){
        .limited = left >= 0,
        .left = left,
        .size = left,
        .per_second = json_object_get_double_member_with_default(wish, "per_second", 0),
        .filled_at = g_get_monotonic_time(),
    };
    return true;
}

bool faults_within_quota(Faults *faults, bool sign)
{
    Bucket *bucket = sign ? &faults->signs : &faults->reads;
    if (!bucket->limited)
        return true;
    gint64 now = g_get_monotonic_time();
    double gained = bucket->per_second * (double)(now - bucket->filled_at) / G_USEC_PER_SEC;
    bucket->left = MIN(bucket->size, bucket->left + gained);
    bucket->filled_at = now;
    if (bucket->left < 1)
        return false;
    bucket->left -= 1;
    return true;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A seat is a reader with a card in it. Cards are counted: what a thread found out about an earlier one in
 * the same reader is thrown away. */

#include "daemon/token/yubikey/yubikey-source.h"
#include "daemon/error.h"
#include "daemon/token/yubikey/readers.h"
#include "daemon/token/yubikey/usb-keys.h"
#include "daemon/token/yubikey/yubikey.h"
#include "daemon/worker.h"

/* Reader names that pcscd makes of its drivers' list. */
#define READER_PREFIX "Yubico"
/* A hub full of keys is opened at once; one that does not answer keeps no other waiting. */
#define THREADS 8
#define QUEUE_LENGTH 256
/* Neither READY nor a reload waits longer than this for a card, or a pcscd, that does not answer. */
#define SETTLE_SECONDS 5
/* A card that can't be opened is tried again when PC/SC says that it is free, and by and by. */
#define RETRY_SECONDS_MIN 2
#define RETRY_SECONDS_MAX 60

typedef struct YubiKeySource {
    Source source;
    SourceEvents events;
    Readers *readers;
    UsbKeys *usb;
    Worker *worker;
    GHashTable *seats; /* reader → Seat */
    guint64 cards;     /* seen so far */
    guint openings;    /* under way */
    bool works;        /* PC/SC */
    GPtrArray *waiters;
    guint settle_idle;
    guint settle_timer; /* while there are waiters */
} YubiKeySource;

typedef struct Seat {
    YubiKeySource *source;
    char *reader;
    guint64 card;
    bool opening;
    bool again;   /* it became free while it was being opened */
    char *serial; /* as a token; NULL: it is none */
    char *rival;  /* its serial number, if the token is in another reader */
    guint bus, number;
    bool complained;
    guint retry;
    guint retry_after;
} Seat;

/* Who wants to know that everything that is there was reported. */
typedef struct Waiter {
    bool look; /* not before PC/SC was tried */
    DoneFunc done;
    void *userdata;
} Waiter;

static const SourceClass yubikey_source_class;

/* --- who waits --------------------------------------------------------------------------------------- */

static void complete_waiters(YubiKeySource *self, bool all)
{
    g_autoptr(GPtrArray) ready = g_ptr_array_new_with_free_func(g_free);
    for (guint i = self->waiters->len; i-- > 0;) {
        const Waiter *waiter = g_ptr_array_index(self->waiters, i);
        if (all || (!waiter->look && self->openings == 0))
            g_ptr_array_add(ready, g_ptr_array_steal_index(self->waiters, i));
    }
    if (self->waiters->len == 0)
        g_clear_handle_id(&self->settle_timer, g_source_remove);
    for (guint i = ready->len; i-- > 0;) {
        const Waiter *waiter = g_ptr_array_index(ready, i);
        waiter->done(NULL, waiter->userdata);
    }
}

static gboolean on_settle_idle(gpointer userdata)
{
    YubiKeySource *self = userdata;
    self->settle_idle = 0;
    complete_waiters(self, false);
    return G_SOURCE_REMOVE;
}

static gboolean on_settle_time(gpointer userdata)
{
    YubiKeySource *self = userdata;
    self->settle_timer = 0;
    complete_waiters(self, true);
    return G_SOURCE_REMOVE;
}

static void add_waiter(YubiKeySource *self, bool look, DoneFunc done, void *userdata)
{
    Waiter *waiter = g_new0(Waiter, 1);
    *waiter = (Waiter){look, done, userdata};
    g_ptr_array_add(self->waiters, waiter);
    if (self->settle_timer == 0)
        self->settle_timer = g_timeout_add_seconds(SETTLE_SECONDS, on_settle_time, self);
}

/* --- a card becomes a token -------------------------------------------------------------------------- */

typedef struct Opening {
    YubiKeySource *source; /* main thread */
    char *reader;
    guint64 card;
    /* What the thread found. */
    Backend *backend;
    char *serial;
    guint bus, number;
} Opening;

static void opening_free(void *data)
{
    Opening *opening = data;
    if (opening->backend)
        opening->backend->class->free(opening->backend);
    g_free(opening->serial);
    g_free(opening->reader);
    g_free(opening);
}

static bool opening_run(void *data, GCancellable *cancelled, GError **error)
{
    Opening *opening = data;
    (void)readers_usb_address(opening->reader, &opening->bus, &opening->number);
    opening->backend = yubikey_new(opening->reader, &opening->serial, error);
    return opening->backend != NULL;
}

static void on_opened(const GError *error, void *userdata);

static void seat_open(Seat *seat)
{
    YubiKeySource *self = seat->source;
    g_autoptr(GError) error = NULL;
    g_clear_handle_id(&seat->retry, g_source_remove);
    g_clear_pointer(&seat->rival, g_free);
    Opening *opening = g_new0(Opening, 1);
    *opening = (Opening){.source = self, .reader = g_strdup(seat->reader), .card = seat->card};
    seat->again = false;
    seat->opening = worker_submit(self->worker, opening_run, opening, opening_free, WORKER_NO_DEADLINE, NULL,
                                  on_opened, opening, &error);
    self->openings += seat->opening;
}

static gboolean on_retry(gpointer userdata)
{
    Seat *seat = userdata;
    seat->retry = 0;
    seat_open(seat);
    return G_SOURCE_REMOVE;
}

static void seat_complain(Seat *seat, const char *sentence)
{
    YubiKeySource *self = seat->source;
    if (*sentence || seat->complained)
        self->events.trouble(&self->source, seat->reader, sentence, self->events.userdata);
    seat->complained = *sentence != '\0';
}

/* That a card is gone, PC/SC says itself, or it is there again; UNSUPPORTED stays as it is. */
static void seat_fail(Seat *seat, const GError *error)
{
    if (!g_error_matches(error, IOTHSM_ERROR, IOTHSM_ERROR_TOKEN_GONE))
        seat_complain(seat, error->message);
    if (g_error_matches(error, IOTHSM_ERROR, IOTHSM_ERROR_UNSUPPORTED))
        return;
    if (seat->again) {
        seat_open(seat);
        return;
    }
    seat->retry_after = CLAMP(seat->retry_after * 2, RETRY_SECONDS_MIN, RETRY_SECONDS_MAX);
    seat->retry = g_timeout_add_seconds(seat->retry_after, on_retry, seat);
}

static Seat *find_token(const YubiKeySource *self, const char *serial)
{
    GHashTableIter iter;
    gpointer seat;
    g_hash_table_iter_init(&iter, self->seats);
    while (g_hash_table_iter_next(&iter, NULL, &seat))
        if (g_strcmp0(((const Seat *)seat)->serial, serial) == 0)
            return seat;
    return NULL;
}

static void seat_rival(Seat *seat, const Seat *first, const char *serial)
{
    g_autofree char *sentence =
        g_strdup_printf("YubiKey %s is in reader \"%s\" and in reader \"%s\", too; the first one is used",
                        serial, first->reader, seat->reader);
    seat->rival = g_strdup(serial);
    seat_complain(seat, sentence);
}

static void seat_take(Seat *seat, Opening *opening)
{
    YubiKeySource *self = seat->source;
    const Seat *first = find_token(self, opening->serial);
    seat->retry_after = 0;
    if (first) {
        seat_rival(seat, first, opening->serial);
        return;
    }
    seat_complain(seat, "");
    seat->serial = g_strdup(opening->serial);
    self->events.appeared(&self->source, g_steal_pointer(&opening->backend), seat->serial,
                          self->events.userdata);
}

/* --- seats ------------------------------------------------------------------------------------------- */

static void seat_free(void *data)
{
    Seat *seat = data;
    g_clear_handle_id(&seat->retry, g_source_remove);
    g_free(seat->reader);
    g_free(seat->serial);
    g_free(seat->rival);
    g_free(seat);
}

/* The first of those that waited for |serial| to be free gets it. */
static void call_rival(YubiKeySource *self, const char *serial)
{
    GHashTableIter iter;
    gpointer seat;
    g_hash_table_iter_init(&iter, self->seats);
    while (g_hash_table_iter_next(&iter, NULL, &seat))
        if (g_strcmp0(((const Seat *)seat)->rival, serial) == 0) {
            seat_open(seat);
            return;
        }
}

static void vacate(YubiKeySource *self, const char *reader)
{
    Seat *seat = g_hash_table_lookup(self->seats, reader);
    if (!seat)
        return;
    g_hash_table_steal(self->seats, reader);
    seat_complain(seat, "");
    if (seat->serial) {
        self->events.gone(&self->source, seat->serial, self->events.userdata);
        call_rival(self, seat->serial);
    }
    seat_free(seat);
    usb_keys_set_cards(self->usb, g_hash_table_size(self->seats));
}

static void on_opened(const GError *error, void *userdata)
{
    Opening *opening = userdata;
    YubiKeySource *self = opening->source;
    Seat *seat = g_hash_table_lookup(self->seats, opening->reader);
    self->openings--;
    if (seat && seat->card == opening->card) {
        seat->opening = false;
        seat->bus = opening->bus;
        seat->number = opening->number;
        if (usb_keys_left(self->usb, seat->bus, seat->number))
            vacate(self, opening->reader);
        else if (error)
            seat_fail(seat, error);
        else
            seat_take(seat, opening);
    }
    complete_waiters(self, false);
}

static void on_card_there(const char *reader, void *userdata)
{
    YubiKeySource *self = userdata;
    vacate(self, reader);
    Seat *seat = g_new0(Seat, 1);
    *seat = (Seat){.source = self, .reader = g_strdup(reader), .card = ++self->cards};
    g_hash_table_insert(self->seats, seat->reader, seat);
    usb_keys_set_cards(self->usb, g_hash_table_size(self->seats));
    seat_open(seat);
}

static void on_card_gone(const char *reader, void *userdata)
{
    vacate(userdata, reader);
}

static bool wants_card(const Seat *seat)
{
    return !seat->serial && !seat->rival && !seat->opening;
}

static void on_card_free(const char *reader, void *userdata)
{
    YubiKeySource *self = userdata;
    Seat *seat = g_hash_table_lookup(self->seats, reader);
    if (seat && wants_card(seat))
        seat_open(seat);
    else if (seat)
        seat->again = true;
}

static void on_looked(const char *trouble, void *userdata)
{
    YubiKeySource *self = userdata;
    self->works = trouble == NULL;
    usb_keys_set_service(self->usb, trouble);
    for (guint i = 0; i < self->waiters->len; i++)
        ((Waiter *)g_ptr_array_index(self->waiters, i))->look = false;
    complete_waiters(self, false);
}

/* --- USB --------------------------------------------------------------------------------------------- */

static void on_usb_trouble(const char *place, const char *sentence, void *userdata)
{
    YubiKeySource *self = userdata;
    self->events.trouble(&self->source, place, sentence, self->events.userdata);
}

void yubikey_source_usb_plugged(Source *source, const char *path, const char *model, bool ccid, guint bus,
                                guint number)
{
    YubiKeySource *self = (YubiKeySource *)source;
    usb_keys_add(self->usb, path, model, ccid, bus, number);
    if (ccid && !self->works)
        readers_look_again(self->readers);
}

void yubikey_source_usb_unplugged(Source *source, const char *path)
{
    YubiKeySource *self = (YubiKeySource *)source;
    guint bus = 0, number = 0;
    if (!usb_keys_remove(self->usb, path, &bus, &number) || bus == 0)
        return;
    GHashTableIter iter;
    gpointer value;
    g_hash_table_iter_init(&iter, self->seats);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        const Seat *seat = value;
        if (seat->bus == bus && seat->number == number) {
            g_autofree char *reader = g_strdup(seat->reader);
            vacate(self, reader);
            return;
        }
    }
}

/* --- the source -------------------------------------------------------------------------------------- */

static void yubikey_source_start(Source *source, const SourceEvents *events, DoneFunc done, void *userdata)
{
    YubiKeySource *self = (YubiKeySource *)source;
    const ReadersEvents readers_events = {on_card_there, on_card_gone, on_card_free, on_looked, self};
    self->events = *events;
    add_waiter(self, true, done, userdata);
    self->readers = readers_new(READER_PREFIX, &readers_events);
}

/* The watch is never out of date: what a reload can do is to try again what did not work. */
static void yubikey_source_reload(Source *source, DoneFunc done, void *userdata)
{
    YubiKeySource *self = (YubiKeySource *)source;
    GHashTableIter iter;
    gpointer seat;
    g_hash_table_iter_init(&iter, self->seats);
    while (g_hash_table_iter_next(&iter, NULL, &seat))
        if (wants_card(seat))
            seat_open(seat);
    add_waiter(self, !self->works, done, userdata);
    if (!self->works)
        readers_look_again(self->readers);
    else if (self->settle_idle == 0)
        self->settle_idle = g_idle_add(on_settle_idle, self);
}

static void yubikey_source_free(Source *source)
{
    YubiKeySource *self = (YubiKeySource *)source;
    readers_free(self->readers);
    g_clear_handle_id(&self->settle_timer, g_source_remove);
    g_clear_handle_id(&self->settle_idle, g_source_remove);
    g_ptr_array_set_size(self->waiters, 0);
    g_hash_table_remove_all(self->seats);
    worker_close_and_join(self->worker);
    usb_keys_free(self->usb);
    g_hash_table_unref(self->seats);
    g_ptr_array_unref(self->waiters);
    g_free(self);
}

static const SourceClass yubikey_source_class = {
    .name = "YubiKey",
    .start = yubikey_source_start,
    .reload = yubikey_source_reload,
    .free = yubikey_source_free,
};

Source *yubikey_source_new(void)
{
    YubiKeySource *self = g_new0(YubiKeySource, 1);
    self->source.class = &yubikey_source_class;
    self->seats = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, seat_free);
    self->waiters = g_ptr_array_new_with_free_func(g_free);
    self->usb = usb_keys_new(on_usb_trouble, self);
    self->worker = worker_new("yubikeys", THREADS, QUEUE_LENGTH);
    return &self->source;
}

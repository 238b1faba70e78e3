/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* One thread: try PC/SC; while it works, list the readers, wait for a change, tell what changed; when it does
 * not, sleep until its socket is touched.
 *
 * pcsc-lite before 2.3 does not tell of a reader that comes between the list and the wait. So one more look
 * follows half a second after each change, and then none until the next one. */

#include "daemon/token/yubikey/readers.h"
#include "daemon/token/yubikey/pcsc-socket.h"
#include <reader.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <winscard.h>

#define NEW_READERS "\\\\?PnP?\\Notification"
#define SECOND_LOOK_MS 500
#define STOP_SECONDS 3
/* A cancellation is lost on a thread that is about to wait: it is said again. */
#define CANCEL_AGAIN_MS 20

struct Readers {
    gint references; /* atomic: the owner, the thread, each report under way */
    ReadersEvents events;
    GMainContext *main;
    bool closed; /* main thread: nobody wants reports any more */
    GThread *thread;
    char *prefix;
    int wake; /* eventfd */

    GMutex lock; /* for what follows */
    GCond ended_changed;
    bool stopping;
    bool ended;
    bool waits_in_pcsc; /* |context| is the thread's */
    SCARDCONTEXT context;

    /* The thread's own. */
    SCARD_READERSTATE states[PCSCLITE_MAX_READERS_CONTEXTS]; /* names are owned, the last one's excepted */
    guint n_states;
    DWORD new_readers_state; /* of the entry that stands for all readers to come */
};

static void readers_unref(Readers *readers)
{
    if (!g_atomic_int_dec_and_test(&readers->references))
        return;
    g_main_context_unref(readers->main);
    g_mutex_clear(&readers->lock);
    g_cond_clear(&readers->ended_changed);
    close(readers->wake);
    g_free(readers->prefix);
    g_free(readers);
}

/* --- reports ----------------------------------------------------------------------------------------- */

typedef enum ReportKind { CARD_THERE, CARD_GONE, CARD_FREE, LOOKED } ReportKind;

typedef struct Report {
    Readers *readers;
    ReportKind kind;
    char *text; /* reader or trouble */
} Report;

static gboolean on_report(gpointer userdata)
{
    const Report *report = userdata;
    const ReadersEvents *events = &report->readers->events;
    if (report->readers->closed)
        return G_SOURCE_REMOVE;
    switch (report->kind) {
    case CARD_THERE:
        events->card_there(report->text, events->userdata);
        break;
    case CARD_GONE:
        events->card_gone(report->text, events->userdata);
        break;
    case CARD_FREE:
        events->card_free(report->text, events->userdata);
        break;
    case LOOKED:
        events->looked(report->text, events->userdata);
        break;
    }
    return G_SOURCE_REMOVE;
}

static void report_free(gpointer userdata)
{
    Report *report = userdata;
    readers_unref(report->readers);
    g_free(report->text);
    g_free(report);
}

static void tell(Readers *readers, ReportKind kind, const char *text)
{
    g_autoptr(GSource) source = g_idle_source_new();
    Report *report = g_new0(Report, 1);
    g_atomic_int_inc(&readers->references);
    *report = (Report){readers, kind, g_strdup(text)};
    g_source_set_priority(source, G_PRIORITY_DEFAULT);
    g_source_set_callback(source, on_report, report, report_free);
    g_source_attach(source, readers->main);
}

static void tell_trouble(Readers *readers, LONG result)
{
    g_autofree char *trouble =
        result == (LONG)SCARD_E_NO_SERVICE
            ? g_strdup(
                  "the smart card service (pcscd) is not running; install it where it is missing (Debian: "
                  "apt install pcscd) and run: systemctl enable --now pcscd.socket")
            : g_strdup_printf("the smart card service (pcscd) can't be used: %s; see: journalctl -u pcscd",
                              pcsc_stringify_error(result));
    tell(readers, LOOKED, trouble);
}

/* --- the table of readers ---------------------------------------------------------------------------- */

static bool has_card(DWORD state)
{
    return (state & SCARD_STATE_PRESENT) != 0;
}

static DWORD insertions(DWORD state)
{
    return state >> 16;
}

static void forget_reader(Readers *readers, guint at)
{
    SCARD_READERSTATE *state = &readers->states[at];
    if (has_card(state->dwCurrentState))
        tell(readers, CARD_GONE, state->szReader);
    g_free((char *)state->szReader);
    readers->n_states--;
    memmove(state, state + 1, (readers->n_states - at) * sizeof *state);
}

static void forget_all(Readers *readers)
{
    while (readers->n_states > 0)
        forget_reader(readers, readers->n_states - 1);
    readers->new_readers_state = SCARD_STATE_UNAWARE;
}

/* |names|: NUL after each, one more at the end. */
static bool is_listed(const char *names, const char *name)
{
    for (; *names; names += strlen(names) + 1)
        if (strcmp(names, name) == 0)
            return true;
    return false;
}

static bool is_known(const Readers *readers, const char *name)
{
    for (guint i = 0; i < readers->n_states; i++)
        if (strcmp(readers->states[i].szReader, name) == 0)
            return true;
    return false;
}

static void take_list(Readers *readers, const char *names)
{
    for (guint i = readers->n_states; i-- > 0;)
        if (!is_listed(names, readers->states[i].szReader))
            forget_reader(readers, i);
    for (const char *name = names; *name; name += strlen(name) + 1) {
        if (!g_str_has_prefix(name, readers->prefix) || is_known(readers, name) ||
            readers->n_states == G_N_ELEMENTS(readers->states))
            continue;
        readers->states[readers->n_states++] =
            (SCARD_READERSTATE){.szReader = g_strdup(name), .dwCurrentState = SCARD_STATE_UNAWARE};
    }
}

static LONG list_readers(Readers *readers, SCARDCONTEXT context)
{
    char *names = NULL;
    DWORD size = SCARD_AUTOALLOCATE;
    LONG result = SCardListReaders(context, NULL, (LPSTR)&names, &size);
    if (result == (LONG)SCARD_E_NO_READERS_AVAILABLE) {
        take_list(readers, "");
        return SCARD_S_SUCCESS;
    }
    if (result != SCARD_S_SUCCESS)
        return result;
    take_list(readers, names);
    SCardFreeMemory(context, names);
    return SCARD_S_SUCCESS;
}

/* What PC/SC has just said of one reader against what it said before. */
static void apply_state(Readers *readers, SCARD_READERSTATE *state)
{
    const DWORD sharing = SCARD_STATE_EXCLUSIVE | SCARD_STATE_INUSE;
    DWORD before = state->dwCurrentState, now = state->dwEventState & ~(DWORD)SCARD_STATE_CHANGED;
    bool another = has_card(before) && has_card(now) && insertions(before) != insertions(now);
    state->dwCurrentState = now;
    if (has_card(before) && (!has_card(now) || another))
        tell(readers, CARD_GONE, state->szReader);
    if (has_card(now) && (!has_card(before) || another))
        tell(readers, CARD_THERE, state->szReader);
    else if (has_card(now) && (before & sharing & ~now) != 0)
        tell(readers, CARD_FREE, state->szReader);
}

/* A reader that PC/SC doesn't know any more leaves the table now: it may be back when the next list is made.
 */
static void apply_states(Readers *readers)
{
    for (guint i = readers->n_states; i-- > 0;) {
        SCARD_READERSTATE *state = &readers->states[i];
        if (state->dwEventState & SCARD_STATE_UNKNOWN)
            forget_reader(readers, i);
        else
            apply_state(readers, state);
    }
}

/* --- the thread -------------------------------------------------------------------------------------- */

static bool is_stopping(Readers *readers)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&readers->lock);
    return readers->stopping;
}

static void set_context(Readers *readers, SCARDCONTEXT context, bool waits)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&readers->lock);
    readers->context = context;
    readers->waits_in_pcsc = waits;
}

/* More readers than PC/SC can have at all need not be waited for. */
static LONG wait_for_change(Readers *readers, SCARDCONTEXT context, DWORD timeout)
{
    guint n = readers->n_states;
    bool room = n < G_N_ELEMENTS(readers->states);
    if (room)
        readers->states[n] =
            (SCARD_READERSTATE){.szReader = NEW_READERS, .dwCurrentState = readers->new_readers_state};
    LONG result = SCardGetStatusChange(context, timeout, readers->states, room ? n + 1 : n);
    if (room && (result == SCARD_S_SUCCESS || result == (LONG)SCARD_E_TIMEOUT))
        readers->new_readers_state = readers->states[n].dwEventState & ~(DWORD)SCARD_STATE_CHANGED;
    if (result == SCARD_S_SUCCESS)
        apply_states(readers);
    return result;
}

/* Since 2.3 the entry for new readers counts them, and then no reader is missed. */
static DWORD time_until_next_look(const Readers *readers, bool changed)
{
    return changed && insertions(readers->new_readers_state) == 0 ? SECOND_LOOK_MS : INFINITE;
}

/* True: PC/SC worked, and when it ends it is worth trying again at once. */
static bool follow(Readers *readers, SCARDCONTEXT context)
{
    DWORD timeout = 0; /* the first time: what there is */
    bool worked = false;
    while (!is_stopping(readers)) {
        LONG result = list_readers(readers, context);
        if (result == SCARD_S_SUCCESS)
            result = wait_for_change(readers, context, timeout);
        bool answered = result == SCARD_S_SUCCESS || result == (LONG)SCARD_E_TIMEOUT;
        if (answered) {
            if (!worked)
                tell(readers, LOOKED, NULL);
            timeout = time_until_next_look(readers, result == SCARD_S_SUCCESS || !worked);
            worked = true;
        } else if (result != (LONG)SCARD_E_CANCELLED && result != (LONG)SCARD_E_UNKNOWN_READER) {
            if (!worked)
                tell_trouble(readers, result);
            return worked;
        }
    }
    return true;
}

static bool use_pcsc(Readers *readers)
{
    SCARDCONTEXT context = 0;
    LONG result = SCardEstablishContext(SCARD_SCOPE_SYSTEM, NULL, NULL, &context);
    if (result != SCARD_S_SUCCESS) {
        tell_trouble(readers, result);
        return false;
    }
    set_context(readers, context, true);
    bool worked = follow(readers, context);
    set_context(readers, 0, false);
    SCardReleaseContext(context);
    forget_all(readers);
    return worked;
}

static gpointer watch(gpointer userdata)
{
    Readers *readers = userdata;
    g_autoptr(PcscSocket) socket = pcsc_socket_new();
    while (!is_stopping(readers)) {
        pcsc_socket_arm(socket);
        if (!use_pcsc(readers))
            pcsc_socket_wait(socket, readers->wake);
    }
    g_mutex_lock(&readers->lock);
    readers->ended = true;
    g_cond_signal(&readers->ended_changed);
    g_mutex_unlock(&readers->lock);
    readers_unref(readers);
    return NULL;
}

/* --- the main thread --------------------------------------------------------------------------------- */

Readers *readers_new(const char *prefix, const ReadersEvents *events)
{
    Readers *readers = g_new0(Readers, 1);
    readers->references = 2;
    readers->events = *events;
    readers->prefix = g_strdup(prefix);
    readers->main = g_main_context_ref_thread_default();
    readers->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    g_mutex_init(&readers->lock);
    g_cond_init(&readers->ended_changed);
    readers->thread = g_thread_new("readers", watch, readers);
    return readers;
}

void readers_look_again(Readers *readers)
{
    const guint64 once = 1;
    (void)!write(readers->wake, &once, sizeof once);
}

/* With the lock. False: pcscd does not answer. */
static bool stop_thread(Readers *readers)
{
    gint64 end = g_get_monotonic_time() + STOP_SECONDS * G_TIME_SPAN_SECOND;
    readers->stopping = true;
    readers_look_again(readers);
    while (!readers->ended && g_get_monotonic_time() < end) {
        if (readers->waits_in_pcsc)
            SCardCancel(readers->context);
        g_cond_wait_until(&readers->ended_changed, &readers->lock,
                          g_get_monotonic_time() + CANCEL_AGAIN_MS * G_TIME_SPAN_MILLISECOND);
    }
    return readers->ended;
}

void readers_free(Readers *readers)
{
    if (!readers)
        return;
    readers->closed = true;
    g_mutex_lock(&readers->lock);
    bool ended = stop_thread(readers);
    g_mutex_unlock(&readers->lock);
    if (ended)
        g_thread_join(readers->thread);
    else
        g_thread_unref(readers->thread);
    readers_unref(readers);
}

/* --- where a reader is ------------------------------------------------------------------------------- */

/* SCARD_ATTR_CHANNEL_ID: 0020 for USB, then bus and device number, a byte each. */
static bool read_address(SCARDHANDLE card, guint *ret_bus, guint *ret_number)
{
    guint32 channel = 0;
    DWORD size = sizeof channel;
    if (SCardGetAttrib(card, SCARD_ATTR_CHANNEL_ID, (LPBYTE)&channel, &size) != SCARD_S_SUCCESS ||
        size != sizeof channel || channel >> 16 != 0x20)
        return false;
    *ret_bus = channel >> 8 & 0xff;
    *ret_number = channel & 0xff;
    return true;
}

bool readers_usb_address(const char *reader, guint *ret_bus, guint *ret_number)
{
    SCARDCONTEXT context = 0;
    SCARDHANDLE card = 0;
    DWORD protocol = 0;
    bool found = false;
    if (SCardEstablishContext(SCARD_SCOPE_SYSTEM, NULL, NULL, &context) != SCARD_S_SUCCESS)
        return false;
    if (SCardConnect(context, reader, SCARD_SHARE_DIRECT, 0, &card, &protocol) == SCARD_S_SUCCESS) {
        found = read_address(card, ret_bus, ret_number);
        SCardDisconnect(card, SCARD_LEAVE_CARD);
    }
    SCardReleaseContext(context);
    return found;
}

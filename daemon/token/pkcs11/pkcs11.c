/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A PKCS#11 module as a source of tokens: a thread that loads it and looks, and the list of the tokens that
 * were reported, which is compared with what the thread saw. */

#include "daemon/token/pkcs11/pkcs11-source.h"
#include "daemon/token/pkcs11/pkcs11-token.h"
#include "daemon/worker.h"

#define QUEUE_LENGTH 256

typedef struct Pkcs11Source {
    Source source;
    SourceClass class; /* its own, as |name| differs */
    Module *module;
    Worker *worker;
    SourceEvents events;
    GPtrArray *reported; /* serial numbers */
} Pkcs11Source;

/* A ModuleJob on its way. */
typedef struct Look {
    Pkcs11Source *source; /* main thread */
    Module *module;
    ModuleJob *job;
    GPtrArray *serials; /* what is there now; NULL: not looked */
    bool submitted;
} Look;

static void look_free(Look *look)
{
    ModuleJob *job = look->job;
    g_free(job->label);
    secret_unref(job->so_pin);
    secret_unref(job->pin);
    g_free(job->serial);
    g_free(job);
    if (look->serials)
        g_ptr_array_unref(look->serials);
    module_unref(look->module);
    g_free(look);
}

static void look_let_go(void *data)
{
    Look *look = data;
    if (look->submitted)
        look_free(look);
}

static bool look_run(void *data, GCancellable *cancelled, GError **error)
{
    Look *look = data;
    module_enter_alone(look->module);
    bool done = (look->module->functions && look->job->work) || module_initialise(look->module, error);
    done = done && (!look->job->work || look->job->work(look->module, look->job, error));
    if (look->module->functions)
        look->serials = module_serials(look->module);
    module_leave_alone(look->module);
    return done;
}

static bool contains(GPtrArray *serials, const char *serial)
{
    return g_ptr_array_find_with_equal_func(serials, serial, g_str_equal, NULL);
}

static void report_differences(Pkcs11Source *source, GPtrArray *serials)
{
    const SourceEvents *events = &source->events;
    for (guint i = source->reported->len; i-- > 0;) {
        if (contains(serials, g_ptr_array_index(source->reported, i)))
            continue;
        g_autofree char *serial = g_ptr_array_steal_index(source->reported, i);
        events->gone(&source->source, serial, events->userdata);
    }
    for (guint i = 0; i < serials->len; i++) {
        const char *serial = g_ptr_array_index(serials, i);
        if (contains(source->reported, serial))
            continue;
        g_ptr_array_add(source->reported, g_strdup(serial));
        events->appeared(&source->source, pkcs11_token_new(source->module, serial), serial, events->userdata);
    }
}

static void tell(const ModuleJob *job, const GError *error)
{
    if (job->text_done)
        job->text_done(error ? NULL : job->serial, error, job->userdata);
    else if (job->done)
        job->done(error, job->userdata);
}

static void look_done(const GError *error, void *userdata)
{
    Look *look = userdata;
    /* Of the two ways to end early, this worker knows only the one at its closing. */
    if (!g_error_matches(error, IOTHSM_ERROR, IOTHSM_ERROR_TOKEN_GONE) && look->serials)
        report_differences(look->source, look->serials);
    tell(look->job, error);
}

typedef struct Rejection {
    Look *look;
    GError *error;
} Rejection;

static gboolean on_rejection(gpointer data)
{
    Rejection *rejection = data;
    tell(rejection->look->job, rejection->error);
    look_free(rejection->look);
    g_error_free(rejection->error);
    g_free(rejection);
    return G_SOURCE_REMOVE;
}

static Look *look_new(Source *source, ModuleJob *job)
{
    Pkcs11Source *pkcs11 = (Pkcs11Source *)source;
    Look *look = g_new0(Look, 1);
    *look = (Look){.source = pkcs11, .module = module_ref(pkcs11->module), .job = job};
    return look;
}

static void reject(Look *look, GError *error)
{
    Rejection *rejection = g_new0(Rejection, 1);
    *rejection = (Rejection){look, error};
    g_idle_add_full(G_PRIORITY_DEFAULT, on_rejection, rejection, NULL);
}

void pkcs11_source_reject(Source *source, ModuleJob *job, GError *error)
{
    reject(look_new(source, job), error);
}

void pkcs11_source_submit(Source *source, ModuleJob *job)
{
    g_autoptr(GError) error = NULL;
    Look *look = look_new(source, job);
    look->submitted = worker_submit(look->source->worker, look_run, look, look_let_go, WORKER_NO_DEADLINE,
                                    NULL, look_done, look, &error);
    if (!look->submitted)
        reject(look, g_steal_pointer(&error));
}

bool pkcs11_source_is_softhsm(const Source *source)
{
    return ((const Pkcs11Source *)source)->module->softhsm;
}

static void look_again(Source *source, DoneFunc done, void *userdata)
{
    ModuleJob *job = g_new0(ModuleJob, 1);
    *job = (ModuleJob){.done = done, .userdata = userdata};
    pkcs11_source_submit(source, job);
}

static void pkcs11_start(Source *source, const SourceEvents *events, DoneFunc done, void *userdata)
{
    ((Pkcs11Source *)source)->events = *events;
    look_again(source, done, userdata);
}

static void pkcs11_source_free(Source *source)
{
    Pkcs11Source *pkcs11 = (Pkcs11Source *)source;
    worker_close_and_join(pkcs11->worker);
    module_unref(pkcs11->module);
    g_ptr_array_unref(pkcs11->reported);
    g_free((char *)pkcs11->class.name);
    g_free(pkcs11);
}

Source *pkcs11_source_new(const char *module, bool softhsm)
{
    Pkcs11Source *pkcs11 = g_new0(Pkcs11Source, 1);
    pkcs11->class = (SourceClass){.name = g_strdup(softhsm ? "SoftHSM2" : module),
                                  .start = pkcs11_start,
                                  .reload = look_again,
                                  .free = pkcs11_source_free};
    pkcs11->source.class = &pkcs11->class;
    pkcs11->module = module_new(module, softhsm);
    pkcs11->worker = worker_new("pkcs11", 1, QUEUE_LENGTH);
    pkcs11->reported = g_ptr_array_new_with_free_func(g_free);
    return &pkcs11->source;
}

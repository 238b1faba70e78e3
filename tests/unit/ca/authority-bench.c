/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "tests/unit/ca/authority-bench.h"
#include <string.h>

static void on_added(Authority *authority, void *bench)
{
    ((Bench *)bench)->added++;
    g_assert_cmpuint(authority_slots(authority)->len, ==, 1);
}

static void on_removed(Authority *authority, void *bench)
{
    ((Bench *)bench)->removed++;
    g_assert_cmpuint(authority_slots(authority)->len, ==, 0);
}

static void on_changed(Authority *authority, void *bench)
{
    ((Bench *)bench)->changed++;
}

Bench *bench_new(const char *specs)
{
    g_autoptr(GError) error = NULL;
    Bench *bench = g_new0(Bench, 1);
    Source *source = fake_source_new(specs, &error);
    g_assert_no_error(error);
    bench->tokens = fixture_new(source, false);
    const AuthorityEvents events = {on_added, on_removed, on_changed, bench};
    bench->set = authority_set_new(&events);
    return bench;
}

Bench *bench_new_with_authority(const char *specs)
{
    Bench *bench = bench_new(specs);
    bench->key = test_new_key("p256");
    g_autoptr(X509) ca = test_ca("CA", bench->key);
    bench->first = slot_of(bench, "F1", bench->key, ca);
    if (strstr(specs, "serial=F2"))
        bench->second = slot_of(bench, "F2", bench->key, ca);
    bench->authority = authority_ref(authority_set_of_slot(bench->set, bench->first));
    return bench;
}

void bench_free(Bench *bench)
{
    g_clear_pointer(&bench->authority, authority_unref);
    g_clear_pointer(&bench->first, slot_unref);
    g_clear_pointer(&bench->second, slot_unref);
    EVP_PKEY_free(bench->key);
    authority_set_free(bench->set);
    fixture_free(bench->tokens);
    g_free(bench);
    wait_for_token_threads();
}

Slot *import_key(Bench *bench, const char *serial, EVP_PKEY *key)
{
    g_autofree char *pem = test_key_pem(key, NULL);
    g_autoptr(Secret) secret = secret_of(pem);
    Token *token = fixture_token(bench->tokens, serial);
    g_auto(Ending) ending = {0};
    token_import_key(token, "", secret, NULL, NULL, NULL, ending_text, &ending);
    ending_ok(&ending);
    return slot_ref(token_find_slot(token, ending.text));
}

void write_certificate(Slot *slot, X509 *certificate)
{
    g_auto(Ending) ending = {0};
    slot_write_certificate(slot, certificate, NULL, ending_done, &ending);
    ending_ok(&ending);
}

Slot *slot_of(Bench *bench, const char *serial, EVP_PKEY *key, X509 *certificate)
{
    Slot *slot = import_key(bench, serial, key);
    write_certificate(slot, certificate);
    authority_set_update(bench->set, slot, true);
    return slot;
}

void assert_seen(const Bench *bench, guint added, guint removed, guint changed)
{
    g_assert_cmpuint(bench->added, ==, added);
    g_assert_cmpuint(bench->removed, ==, removed);
    g_assert_cmpuint(bench->changed, ==, changed);
}

AuthorityWork work_of(SlotKeyFunc run, void *data, DoneFunc done, void *userdata)
{
    return (AuthorityWork){
        .run = run,
        .data = data,
        .begin_by = WORKER_NO_DEADLINE,
        .end_by = WORKER_NO_DEADLINE,
        .done = done,
        .userdata = userdata,
    };
}

static void signed_unref(void *data)
{
    Signed *made = data;
    if (g_atomic_int_dec_and_test(&made->references))
        g_free(made);
}

void use_clear(Use *use)
{
    ending_clear(&use->ending);
    g_clear_pointer(&use->made, signed_unref);
}

bool use_start_by(Use *use, Authority *authority, gint64 begin_by, GError **error)
{
    use->made = g_new0(Signed, 1);
    use->made->references = 2;
    AuthorityWork work = work_of(sign_message, use->made, ending_done, &use->ending);
    work.free_data = signed_unref;
    work.begin_by = begin_by;
    return authority_use_key(authority, &work, error);
}

bool use_start(Use *use, Authority *authority, GError **error)
{
    return use_start_by(use, authority, WORKER_NO_DEADLINE, error);
}

void use_finish(Use *use, EVP_PKEY *key)
{
    ending_ok(&use->ending);
    g_assert_true(verifies(key, use->made));
}

void assert_authority_signs(Authority *authority, EVP_PKEY *key)
{
    g_auto(Use) use = {0};
    g_assert_true(use_start(&use, authority, NULL));
    use_finish(&use, key);
}

void bench_hold(Bench *bench, const char *serial, bool hold)
{
    fake_source_hold(bench->tokens->source, serial, hold);
}

static bool both_held(void *source)
{
    return fake_source_held(source, "F1") == 1 && fake_source_held(source, "F2") == 1;
}

void bench_start_held(Bench *bench, Use *uses, guint count)
{
    bench_hold(bench, "F1", true);
    bench_hold(bench, "F2", true);
    for (guint i = 0; i < count; i++)
        g_assert_true(use_start(&uses[i], bench->authority, NULL));
    test_poll_for(both_held, bench->tokens->source, 60);
}

void bench_finish(Bench *bench, Use *uses, guint count)
{
    for (guint i = 0; i < count; i++) {
        use_finish(&uses[i], bench->key);
        use_clear(&uses[i]);
    }
}

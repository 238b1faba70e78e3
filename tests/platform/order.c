/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Three kinds that know their check, and a raw one that has none. */

#include "tests/platform/order.h"
#include "tests/platform/check-certificate.h"
#include "tests/platform/check-cms.h"
#include "tests/platform/check-crl.h"

struct Order {
    gatomicrefcount references;
    char *signtype;
    char *inner;
    char *raw;
    bool is_raw;
    char *csr;
    X509_REQ *request;
    JsonObject *options;
    char *database;
    gint64 days;
};

static Order *order_new(const char *signtype)
{
    Order *order = g_new0(Order, 1);
    g_atomic_ref_count_init(&order->references);
    order->signtype = g_strdup(signtype);
    return order;
}

Order *order_certificate(const char *csr, JsonObject *options, GError **error)
{
    g_autoptr(X509_REQ) request = request_from_pem(csr, -1, error);
    if (!request)
        return NULL;
    Order *order = order_new("csr");
    order->csr = g_strdup(csr);
    order->request = g_steal_pointer(&request);
    order->options = options ? json_object_ref(options) : NULL;
    return order;
}

Order *order_crl(const char *database, gint64 days)
{
    Order *order = order_new("crl");
    order->database = g_strdup(database);
    order->days = days;
    return order;
}

Order *order_cms(JsonObject *options)
{
    Order *order = order_new("cms");
    order->options = json_object_ref(options);
    return order;
}

Order *order_raw(const char *signtype, const char *request, const char *inner)
{
    Order *order = order_new(signtype);
    order->is_raw = true;
    order->raw = g_strdup(request);
    order->inner = g_strdup(inner);
    return order;
}

Order *order_ref(Order *order)
{
    g_atomic_ref_count_inc(&order->references);
    return order;
}

void order_unref(Order *order)
{
    if (!order || !g_atomic_ref_count_dec(&order->references))
        return;
    g_free(order->signtype);
    g_free(order->inner);
    g_free(order->raw);
    g_free(order->csr);
    X509_REQ_free(order->request);
    g_clear_pointer(&order->options, json_object_unref);
    g_free(order->database);
    g_free(order);
}

const char *order_signtype(const Order *order)
{
    return order->signtype;
}

const char *order_inner(const Order *order)
{
    return order->inner;
}

bool order_is_delivered(const Order *order)
{
    return !order->is_raw && order->database != NULL;
}

bool order_is_raw(const Order *order)
{
    return order->is_raw;
}

char *order_request(const Order *order, const char *serial, const char *thumbprint)
{
    if (order->is_raw)
        return g_strdup(order->raw ?: "{}");
    g_autoptr(JsonObject) request = json_object_new();
    JsonObject *ca = json_object_new();
    json_object_set_string_member(ca, "serial", serial);
    json_object_set_string_member(ca, "thumbprint", thumbprint);
    json_object_set_object_member(request, "ca", ca);
    if (order->csr)
        json_object_set_string_member(request, "csr", order->csr);
    if (order->options)
        json_object_set_object_member(request, "options", json_object_ref(order->options));
    if (order->database) {
        json_object_set_string_member(request, "database", order->database);
        json_object_set_int_member(request, "days", order->days);
    }
    return object_to_text(request, false);
}

bool order_check(const Order *order, X509 *authority, X509_STORE *anchors, const char *result, GError **error)
{
    if (order->is_raw)
        return true;
    if (order->csr) {
        CertificateCheck check = {authority, anchors, order->request, order->options};
        return check_certificate(&check, result, error);
    }
    if (order->database) {
        CrlCheck check = {authority, order->database, order->days};
        return check_crl(&check, result, error);
    }
    CmsCheck check = {authority, anchors, order->options};
    return check_cms(&check, result, error);
}

/* function.c: /f/{name}: install or replace, look at, remove. Calls are in call.c. */
#include "base/log.h"
#include "resources/call.h"
#include "resources/resource.h"

/* 4.22: what is wrong with the module, and where. */
static void refuse_module(struct wm_coap_reply *rep, const struct wm_install *report)
{
    const struct wm_refused *why = &report->refused;
    const bool   import = why->reason == WM_REFUSED_IMPORT && why->import_module.len + why->import_name.len > 0;
    const size_t pairs = 1u + (why->function >= 0) + (why->offset >= 0) + import + (why->need_bytes > 0) + report->restarted;
    wm_problem_open(rep, WM_COAP_UNPROCESSABLE, "module refused", why->text, pairs);
    struct wm_sink *out = &rep->body;
    wm_cbor_str(out, "reason");
    wm_cbor_str(out, wm_refusal_name(why->reason));
    if (why->function >= 0) {
        wm_cbor_str(out, "index");
        wm_cbor_int(out, why->function);
    }
    if (why->offset >= 0) {
        wm_cbor_str(out, "offset");
        wm_cbor_int(out, why->offset);
    }
    if (import) {
        wm_cbor_str(out, "import");
        wm_cbor_array(out, 2);
        wm_cbor_text(out, why->import_module); /* UTF-8: validation came first */
        wm_cbor_text(out, why->import_name);
    }
    if (why->need_bytes > 0) {
        wm_cbor_str(out, "need");
        wm_cbor_uint(out, why->need_bytes);
    }
    if (report->restarted) {
        wm_cbor_str(out, "restarted");
        wm_cbor_bool(out, true);
    }
}

static void refuse_room(struct wm_coap_reply *rep, const struct wm_install *report)
{
    wm_problem_open(rep, WM_COAP_TOO_LARGE, "too large", "the function pool has no room for an instance of this module",
                    1u + (report->need_bytes > 0) + report->restarted);
    wm_cbor_str(&rep->body, "free");
    wm_cbor_uint(&rep->body, report->free_bytes);
    if (report->need_bytes > 0) {
        wm_cbor_str(&rep->body, "need");
        wm_cbor_uint(&rep->body, report->need_bytes);
    }
    if (report->restarted) {
        wm_cbor_str(&rep->body, "restarted");
        wm_cbor_bool(&rep->body, true);
    }
    rep->size1 = (int64_t)report->free_bytes;
}

static void install(struct wm_env *env, const struct wm_coap_request *req, struct wm_coap_reply *rep, struct wm_upload *up)
{
    struct wm_install report;
    uint8_t           digest[WM_SHA256_BYTES];
    wm_sha256_final(&up->sha, digest);
    const int err = wm_functions_install(env->functions, req->path[1], up->record, digest, &report);
    const int len = (int)req->path[1].len;
    const char *name = (const char *)req->path[1].ptr;
    if (err == 0) {
        up->record = -1; /* it is the function's now */
        rep->code = report.replaced ? WM_COAP_CHANGED : WM_COAP_CREATED;
        rep->etag_len = WM_ETAG_BYTES;
        wm_etag(rep->etag, digest, WM_FORMAT_OCTETS);
        wm_log_printf(env->now_ms, WM_LOG_INFO, "%s '%.*s'", report.replaced ? "replaced" : "installed", len, name);
        wm_coap_notify(env->coap, WM_KEY_METRICS);
        return;
    }
    wm_log_printf(env->now_ms, WM_LOG_WARNING, "refused '%.*s': %s", len, name,
                  err == WM_ERR_UNSUPPORTED ? report.refused.text : err == WM_ERR_BUSY ? "busy" : err == WM_ERR_IO ? "store" : "no room");
    switch (err) {
    case WM_ERR_UNSUPPORTED: refuse_module(rep, &report); break;
    case WM_ERR_NOSPACE:
        wm_problem(rep, WM_COAP_TOO_LARGE, "too many functions", "all %d places are taken: remove one", WM_FUNCTIONS);
        break;
    case WM_ERR_BUSY: wm_busy(rep, 1, "a function is running: try again"); break;
    case WM_ERR_NOMEM: refuse_room(rep, &report); break;
    default: wm_problem(rep, WM_COAP_INTERNAL_ERROR, "store failed", "error %d while writing", err); break;
    }
}

static void put(struct wm_env *env, const struct wm_coap_request *req, struct wm_coap_reply *rep)
{
    const struct wm_span name = req->path[1];
    if (!wm_name_ok(name)) {
        wm_problem(rep, WM_COAP_BAD_REQUEST, "bad name", "1 to %d characters of a-z A-Z 0-9 _ - . , no dot in front",
                   WM_NAME_BYTES - 1);
        return;
    }
    if (req->content_format != WM_FORMAT_OCTETS && req->content_format != WM_FORMAT_NONE) {
        wm_problem(rep, WM_COAP_UNSUPPORTED_FORMAT, "unsupported content-format", "a module is content-format 42");
        return;
    }
    /* In the first block, so that nobody sends a body for nothing; in the last, because it may have changed meanwhile. */
    const bool first = !req->block1.present || req->block1.num == 0;
    const bool last = !req->block1.present || !req->block1.more;
    if (first && !wm_preconditions_hold(req, rep, wm_functions_find(env->functions, name))) {
        return;
    }
    if (last && env->functions->running != NULL) {
        wm_busy(rep, 1, "a function is running: send the last block again"); /* the transfer stays open */
        return;
    }
    struct wm_upload *up;
    if (wm_upload_take(env->uploads, req, rep, WM_UPLOAD_MODULE, WM_MODULE_MAX_BYTES, env->now_ms, &up) != WM_UPLOAD_WHOLE) {
        return;
    }
    if (wm_preconditions_hold(req, rep, wm_functions_find(env->functions, name))) {
        install(env, req, rep, up);
    }
    wm_upload_settle(env->uploads, up, rep);
}

static void put_texts(struct wm_sink *out, struct wm_span types)
{
    wm_cbor_array(out, types.len);
    for (size_t i = 0; i < types.len; i++) {
        wm_cbor_str(out, wm_valtype_name(types.ptr[i]));
    }
}

static void put_uint(struct wm_sink *out, const char *key, uint64_t value)
{
    wm_cbor_str(out, key);
    wm_cbor_uint(out, value);
}

static void put_export(struct wm_sink *out, const struct wm_target *target)
{
    wm_cbor_map(out, 5u + target->idempotent); /* what is pure is idempotent */
    wm_cbor_str(out, "name");
    wm_cbor_text(out, target->export.name);
    put_uint(out, "index", target->export.index);
    wm_cbor_str(out, "params");
    put_texts(out, target->signature.params);
    wm_cbor_str(out, "results");
    put_texts(out, target->signature.results);
    wm_cbor_str(out, "kind");
    wm_cbor_str(out, target->bytes ? "bytes" : "numbers");
    if (target->idempotent) {
        wm_cbor_str(out, target->pure ? "pure" : "idempotent");
        wm_cbor_bool(out, true);
    }
}

static void put_exports(struct wm_sink *out, const struct wm_function *fn)
{
    struct wm_target target;
    size_t           count = 0;
    for (uint32_t index = 0; wm_function_next(fn, &index, &target) == 0;) {
        count++;
    }
    wm_cbor_str(out, "exports");
    wm_cbor_array(out, count);
    for (uint32_t index = 0; wm_function_next(fn, &index, &target) == 0;) {
        put_export(out, &target);
    }
}

static void put_imports(struct wm_sink *out, const struct wm_function *fn)
{
    struct wm_import import;
    uint32_t         count = 0;
    while (wm_module_import(fn->image.module, count, &import) == 0) {
        count++;
    }
    wm_cbor_str(out, "imports");
    wm_cbor_array(out, count);
    for (uint32_t n = 0; n < count && wm_module_import(fn->image.module, n, &import) == 0; n++) {
        wm_cbor_array(out, 2);
        wm_cbor_text(out, import.module);
        wm_cbor_text(out, import.name);
    }
}

static void get_metadata(const struct wm_function *fn, struct wm_sink *out)
{
    const struct wm_image *image = &fn->image;
    struct wm_target       target;
    const bool             has_default = wm_function_target(fn, wm_span(NULL, 0), &target) == 0;
    wm_cbor_map(out, 8u + has_default);
    wm_cbor_str(out, "name");
    wm_cbor_str(out, fn->name);
    wm_cbor_str(out, "version");
    wm_cbor_text(out, image->section.version);
    put_uint(out, "size", image->module.len);
    wm_cbor_str(out, "sha256");
    wm_cbor_bytes(out, wm_span(image->digest, sizeof image->digest));
    if (has_default) {
        wm_cbor_str(out, "default");
        wm_cbor_text(out, target.export.name);
    }
    put_exports(out, fn);
    put_imports(out, fn);
    wm_cbor_str(out, "quotas");
    wm_cbor_map(out, 6);
    put_uint(out, "fuel", image->quotas.fuel);
    put_uint(out, "memory", image->quotas.memory_bytes);
    put_uint(out, "stack", image->quotas.stack_bytes);
    put_uint(out, "native", image->quotas.native_bytes);
    put_uint(out, "output", image->quotas.output_bytes);
    put_uint(out, "log", image->quotas.log_lines);
    put_uint(out, "ram", wm_image_ram_bytes(image));
}

static void get(struct wm_env *env, const struct wm_coap_request *req, struct wm_coap_reply *rep)
{
    const struct wm_function *fn = wm_functions_find(env->functions, req->path[1]);
    if (fn == NULL) {
        wm_problem(rep, WM_COAP_NOT_FOUND, "not found", "no function of this name: see /f");
        return;
    }
    const int32_t format = req->accept == WM_FORMAT_OCTETS ? WM_FORMAT_OCTETS : WM_FORMAT_CBOR;
    if (!wm_accepts(req, rep, format)) {
        return;
    }
    rep->etag_len = WM_ETAG_BYTES;
    wm_etag(rep->etag, fn->image.digest, format);
    if (format == WM_FORMAT_OCTETS) {
        wm_sink_put(&rep->body, fn->image.module);
    } else {
        get_metadata(fn, &rep->body); /* what a version is; what it does is counted in /d/m */
    }
}

static void delete(struct wm_env *env, const struct wm_coap_request *req, struct wm_coap_reply *rep)
{
    const struct wm_span name = req->path[1];
    if (!wm_preconditions_hold(req, rep, wm_functions_find(env->functions, name))) {
        return;
    }
    const int err = wm_functions_remove(env->functions, name);
    if (err == WM_ERR_BUSY) {
        wm_busy(rep, 1, "the function is running: cancel its job or try again");
        return;
    }
    rep->code = WM_COAP_DELETED;
    if (err == 0) {
        wm_log_printf(env->now_ms, WM_LOG_INFO, "removed '%.*s'", (int)name.len, (const char *)name.ptr);
        wm_coap_notify(env->coap, WM_KEY_METRICS);
    }
}

void wm_res_function(struct wm_env *env, const struct wm_coap_request *req, struct wm_coap_reply *rep)
{
    switch (req->method) {
    case WM_COAP_PUT: put(env, req, rep); break;
    case WM_COAP_POST: wm_call_post(env, req, rep, wm_span(NULL, 0)); break;
    case WM_COAP_DELETE: delete(env, req, rep); break;
    default: get(env, req, rep); break;
    }
}

/* resources.c: the table of resources and the way to them. */
#include "base/hash.h"
#include "resources/resource.h"

#define GET    WM_METHOD(WM_COAP_GET)
#define POST   WM_METHOD(WM_COAP_POST)
#define PUT    WM_METHOD(WM_COAP_PUT)
#define DELETE WM_METHOD(WM_COAP_DELETE)
#define FETCH  WM_METHOD(WM_COAP_FETCH)

const struct wm_resource wm_resources[] = {
    {".well-known/core", NULL, "40", GET, false, wm_res_wellknown},
    {"d", "wm.d", "60", GET, false, wm_res_device},
    {"d/m", "wm.d.m", "112", GET, true, wm_res_metrics},
    {"d/log", "wm.d.log", "60", GET, true, wm_res_log},
    {"f", "wm.fs", "40", GET, false, wm_res_functions},
    {"f/*", NULL, NULL, GET | PUT | POST | DELETE, false, wm_res_function},
    {"f/*/*", NULL, NULL, POST | FETCH, false, wm_res_export},
    {"j", "wm.js", "60", GET, false, wm_res_jobs},
    {"j/*", NULL, NULL, GET | PUT | DELETE, true, wm_res_job},
};
const size_t wm_resource_count = sizeof wm_resources / sizeof wm_resources[0];

static bool path_matches(const char *pattern, const struct wm_coap_request *req)
{
    for (size_t i = 0; i < req->path_count; i++) {
        const struct wm_span segment = req->path[i];
        if (i > 0 && *pattern++ != '/') {
            return false;
        }
        if (*pattern == '*') {
            pattern++;
            continue;
        }
        for (size_t k = 0; k < segment.len; k++, pattern++) { /* a segment may hold any byte */
            if (*pattern != (char)segment.ptr[k] || *pattern == '/' || *pattern == '\0') {
                return false;
            }
        }
    }
    return *pattern == '\0' && req->path_count > 0;
}

void wm_resources_handle(struct wm_env *env, const struct wm_coap_request *req, struct wm_coap_reply *rep)
{
    for (size_t i = 0; i < wm_resource_count; i++) {
        const struct wm_resource *res = &wm_resources[i];
        if (!path_matches(res->path, req)) {
            continue;
        }
        if (req->method > WM_COAP_FETCH || (res->methods & WM_METHOD(req->method)) == 0) {
            wm_problem(rep, WM_COAP_METHOD_NOT_ALLOWED, "method not allowed", "/%s does not take this method", res->path);
            return;
        }
        res->handle(env, req, rep);
        return;
    }
    wm_problem(rep, WM_COAP_NOT_FOUND, "not found", "no such resource: see /.well-known/core");
}

uint32_t wm_key_job(const char *id)
{
    return wm_hash(WM_HASH_START, wm_span_str(id)) | 0x80000000u;
}

bool wm_accepts(const struct wm_coap_request *req, struct wm_coap_reply *rep, int32_t format)
{
    if (req->accept != WM_FORMAT_NONE && req->accept != format) {
        wm_problem(rep, WM_COAP_NOT_ACCEPTABLE, "not acceptable", "content-format here is %d", (int)format);
        return false;
    }
    rep->code = WM_COAP_CONTENT;
    rep->content_format = format;
    return true;
}

void wm_etag(uint8_t etag[WM_ETAG_BYTES], const uint8_t digest[WM_SHA256_BYTES], int32_t format)
{
    memcpy(etag, digest, WM_ETAG_BYTES - 1);
    etag[WM_ETAG_BYTES - 1] = (uint8_t)format;
}

static bool etag_is(struct wm_span etag, const struct wm_function *fn, int32_t format)
{
    uint8_t own[WM_ETAG_BYTES];
    wm_etag(own, fn->image.digest, format);
    return wm_span_eq(etag, wm_span(own, sizeof own));
}

bool wm_preconditions_hold(const struct wm_coap_request *req, struct wm_coap_reply *rep, const struct wm_function *fn)
{
    bool match = req->if_match_count == 0;
    for (size_t i = 0; i < req->if_match_count && fn != NULL; i++) {
        match = match || req->if_match[i].len == 0 || etag_is(req->if_match[i], fn, WM_FORMAT_OCTETS) ||
                etag_is(req->if_match[i], fn, WM_FORMAT_CBOR);
    }
    if (!match) {
        wm_problem(rep, WM_COAP_PRECONDITION_FAILED, "precondition failed",
                   fn == NULL ? "If-Match: there is none" : "If-Match: another version is installed");
    } else if (req->if_none_match && fn != NULL) {
        wm_problem(rep, WM_COAP_PRECONDITION_FAILED, "precondition failed", "If-None-Match: it exists already");
        return false;
    }
    return match;
}

void wm_busy(struct wm_coap_reply *rep, uint32_t retry_s, const char *detail)
{
    wm_problem(rep, WM_COAP_UNAVAILABLE, "busy", "%s", detail);
    rep->max_age_s = (int32_t)retry_s;
}

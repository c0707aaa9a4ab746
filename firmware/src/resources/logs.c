/* logs.c: /d/log, numbered lines. */
#include "base/log.h"
#include "resources/resource.h"

static bool parse_number(struct wm_span digits, uint32_t *out)
{
    uint64_t n = 0;
    for (size_t i = 0; i < digits.len; i++) {
        if (digits.ptr[i] < '0' || digits.ptr[i] > '9' || n > UINT32_MAX) {
            return false;
        }
        n = n * 10 + (digits.ptr[i] - '0');
    }
    *out = (uint32_t)n;
    return digits.len > 0 && n <= UINT32_MAX;
}

void wm_res_log(struct wm_env *env, const struct wm_coap_request *req, struct wm_coap_reply *rep)
{
    (void)env;
    struct wm_span from_text;
    uint32_t       from = 0;
    if (wm_coap_query(req, "from", &from_text) && !parse_number(from_text, &from)) {
        wm_problem(rep, WM_COAP_BAD_REQUEST, "bad request", "?from= takes a line number");
        return;
    }
    if (!wm_accepts(req, rep, WM_FORMAT_CBOR)) {
        return;
    }
    rep->observe_key = WM_KEY_LOG;
    struct wm_sink    *out = &rep->body;
    struct wm_log_line line;
    size_t             count = 0;
    for (uint32_t n = from; wm_log_read(n, &line) == 0; n = line.number + 1) {
        count++;
    }
    wm_cbor_map(out, 2);
    wm_cbor_str(out, "next");
    wm_cbor_uint(out, wm_log_next());
    wm_cbor_str(out, "lines");
    wm_cbor_array(out, count);
    for (uint32_t n = from; wm_log_read(n, &line) == 0; n = line.number + 1) {
        wm_cbor_array(out, 5);
        wm_cbor_uint(out, line.number);
        wm_cbor_uint(out, line.ms);
        wm_cbor_uint(out, line.level);
        wm_cbor_text(out, line.source);
        wm_cbor_text(out, line.text);
    }
}

#include "coap/rpc.h"

#include "base/assert.h"
#include "base/log.h"
#include "coap/internal.h"

#define WARN_EACH_MS 1000u /* a function may ask in a loop */

void wm_rpc_init(struct wm_rpc *rpc, struct wm_coap_endpoint *coap, struct wm_heap *pool, const struct wm_peer *server,
                 const char *ep)
{
    *rpc = (struct wm_rpc){.coap = coap, .pool = pool, .server = server, .ep = ep};
    for (size_t i = 0; i < WM_RPCS; i++) {
        rpc->requests[i].rpc = rpc;
    }
}

void wm_rpc_packed(struct wm_rpc *rpc, const void *first)
{
    for (size_t i = 0; i < WM_RPCS; i++) {
        if (rpc->requests[i].blob.cap > 0) {
            wm_blob_packed(&rpc->requests[i].blob, first);
        }
    }
}

static void warn(struct wm_rpc *rpc, uint32_t now_ms, struct wm_span name, const char *why)
{
    if (rpc->warned && now_ms - rpc->warned_ms < WARN_EACH_MS) {
        return;
    }
    rpc->warned = true;
    rpc->warned_ms = now_ms;
    wm_log_printf(now_ms, WM_LOG_WARNING, "rpcCall '%.*s': %s", (int)(name.len < 31 ? name.len : 31),
                  (const char *)name.ptr, why);
}

/* ---- a request comes ---- */

static struct wm_rpc_request *place(struct wm_rpc *rpc)
{
    for (size_t i = 0; i < WM_RPCS; i++) {
        if (rpc->requests[i].blob.cap == 0) {
            return &rpc->requests[i];
        }
    }
    return NULL;
}

static int fill(struct wm_rpc_request *r, const struct wm_span parts[4])
{
    int err = wm_blob_init(&r->blob, r->rpc->pool, parts[0].len + parts[1].len + parts[2].len + parts[3].len);
    for (size_t i = 0; i < 4 && err == 0; i++) {
        err = wm_blob_append(&r->blob, parts[i]);
    }
    return err;
}

void wm_rpc_ask(struct wm_rpc *rpc, struct wm_span function, struct wm_span context, struct wm_span name, struct wm_span data,
                uint32_t now_ms)
{
    const struct wm_span   parts[4] = {name, function, context, data};
    struct wm_rpc_request *r = place(rpc);
    const char            *why = NULL;
    if (rpc->server == NULL) {
        why = "this node was not told of a server";
    } else if (name.len == 0 || name.len > WM_RPC_NAME_BYTES) {
        why = "its name is empty, or too long";
    } else if (data.len > WM_RPC_DATA_BYTES) {
        why = "too much data";
    } else if (r == NULL) {
        why = "too many wait for the server";
    } else if (fill(r, parts) != 0) {
        why = "no memory for its data now";
    }
    if (why != NULL) {
        rpc->dropped++;
        warn(rpc, now_ms, name, why);
        return;
    }
    WM_ASSERT(function.len <= 64 && context.len <= 64);
    r->name_len = (uint8_t)name.len;
    r->function_len = (uint8_t)function.len;
    r->context_len = (uint8_t)context.len;
    r->szx = WM_COAP_SZX_ANY;
    r->asked = false;
    r->tag = rpc->tag++;
    r->sent = r->after = 0;
}

/* ---- and goes on ---- */

static struct wm_span name_of(const struct wm_rpc_request *r)
{
    return wm_span(r->blob.bytes, r->name_len);
}

static void end(struct wm_rpc_request *r, uint32_t *count, const char *why)
{
    (*count)++;
    if (why != NULL) {
        warn(r->rpc, r->rpc->coap->now_ms, name_of(r), why);
    }
    wm_blob_free(&r->blob);
}

/* Of the blocks that the server wants to have, no larger than the last one. */
static uint8_t szx_of(const struct wm_coap_msg *rsp, uint8_t szx)
{
    struct wm_coap_opt_iter iter = wm_coap_opts(rsp);
    struct wm_coap_opt      opt;
    uint32_t                value;
    while (wm_coap_opts_next(&iter, &opt)) {
        if (opt.number == WM_COAP_BLOCK1 && wm_coap_opt_uint(opt.value, &value) == 0 && (value & 7u) < szx) {
            szx = (uint8_t)(value & 7u);
        }
    }
    return szx;
}

static void on_response(void *ctx, const struct wm_coap_msg *rsp, int err)
{
    (void)err;
    struct wm_rpc_request *r = ctx;
    const size_t           head = (size_t)r->name_len + r->function_len + r->context_len;
    r->asked = false;
    if (rsp == NULL) {
        end(r, &r->rpc->failed, "the server does not answer; it may have it");
    } else if (rsp->code == WM_COAP_CONTINUE && head + r->after < r->blob.len) {
        r->sent = r->after;
        r->szx = szx_of(rsp, r->szx);
    } else if (rsp->code >> 5 == 2) {
        end(r, &r->rpc->queued, NULL);
    } else {
        char why[] = "the server says 0.00";
        why[sizeof why - 5] = (char)('0' + (rsp->code >> 5));
        why[sizeof why - 3] = (char)('0' + (rsp->code & 31) / 10);
        why[sizeof why - 2] = (char)('0' + (rsp->code & 31) % 10);
        end(r, &r->rpc->failed, why);
    }
}

static void write_query(struct wm_coap_writer *w, const char *key, struct wm_span value)
{
    uint8_t      query[5 + 64]; /* an ep, a function's name, a context: none is longer */
    const size_t key_len = strlen(key);
    WM_ASSERT(key_len + value.len <= sizeof query);
    memcpy(query, key, key_len);
    wm_span_copy(query + key_len, value);
    wm_coap_write_opt(w, WM_COAP_URI_QUERY, wm_span(query, key_len + value.len));
}

/* A name with a slash in it is a function and its export. */
static void write_path(struct wm_coap_writer *w, struct wm_span name)
{
    const uint8_t *slash = memchr(name.ptr, '/', name.len);
    const size_t   first = slash != NULL ? (size_t)(slash - name.ptr) : name.len;
    wm_coap_write_opt(w, WM_COAP_URI_PATH, wm_span_str("rpc"));
    wm_coap_write_opt(w, WM_COAP_URI_PATH, wm_span(name.ptr, first));
    if (slash != NULL) {
        wm_coap_write_opt(w, WM_COAP_URI_PATH, wm_span(slash + 1, name.len - first - 1));
    }
}

#define BLOCK_HEAD_BYTES 20u /* Block1, Size1, Request-Tag and the marker before the payload, at most */
#define BLOCK_MIN_BYTES  16u

/* All data that fit, or a block of them. */
static void write_data(struct wm_rpc_request *r, struct wm_coap_writer *w, struct wm_span data)
{
    size_t room = w->cap - w->len;
    room = room < BLOCK_HEAD_BYTES + BLOCK_MIN_BYTES ? BLOCK_MIN_BYTES : room - BLOCK_HEAD_BYTES; /* too little: commit says so */
    const size_t rest = data.len - r->sent;
    size_t       len = room < WM_COAP_PAYLOAD_BYTES ? room : WM_COAP_PAYLOAD_BYTES;
    if (r->sent > 0 || rest > len) {
        const uint8_t fits = wm_coap_szx_within(len);
        r->szx = fits < r->szx ? fits : r->szx;
        len = (size_t)16 << r->szx;
        const bool more = rest > len;
        wm_coap_write_opt_uint(w, WM_COAP_BLOCK1, r->sent >> (r->szx + 4) << 4 | (more ? 8u : 0) | r->szx);
        if (r->sent == 0) {
            wm_coap_write_opt_uint(w, WM_COAP_SIZE1, (uint32_t)data.len);
        }
        wm_coap_write_opt(w, WM_COAP_REQUEST_TAG, wm_span(&r->tag, sizeof r->tag));
    }
    len = rest < len ? rest : len;
    wm_coap_write_payload(w, wm_span(data.ptr + r->sent, len));
    r->after = r->sent + (uint32_t)len;
}

/* Returns false if no message can be begun now. */
static bool ask(struct wm_rpc_request *r, uint32_t now_ms)
{
    struct wm_rpc         *rpc = r->rpc;
    struct wm_coap_writer *w = wm_coap_client_begin(rpc->coap, rpc->server, WM_COAP_POST);
    if (w == NULL) {
        return false;
    }
    const uint8_t *at = r->blob.bytes + r->name_len;
    const size_t   head = (size_t)r->name_len + r->function_len + r->context_len;
    write_path(w, name_of(r));
    wm_coap_write_opt_uint(w, WM_COAP_CONTENT_FORMAT, WM_FORMAT_OCTETS);
    write_query(w, "from=", wm_span_str(rpc->ep));
    write_query(w, "f=", wm_span(at, r->function_len));
    if (r->context_len > 0) {
        write_query(w, "x=", wm_span(at + r->function_len, r->context_len));
    }
    write_data(r, w, wm_span(r->blob.bytes + head, r->blob.len - head));
    r->asked = true;
    if (wm_coap_client_commit(rpc->coap, on_response, r, now_ms) != 0) {
        r->asked = false;
        end(r, &rpc->dropped, "names and context do not fit a message");
    }
    return true;
}

void wm_rpc_poll(struct wm_rpc *rpc, uint32_t now_ms)
{
    for (size_t i = 0; i < WM_RPCS; i++) {
        struct wm_rpc_request *r = &rpc->requests[i];
        if (r->blob.cap > 0 && !r->asked && !ask(r, now_ms)) {
            return; /* all exchanges are in use: at the next poll */
        }
    }
}

#include "resources/upload.h"

#include "base/assert.h"
#include "base/hash.h"

enum { FREE, OPEN, WHOLE, SETTLED };

void wm_uploads_init(struct wm_uploads *ups, struct wm_store *store, struct wm_heap *pool)
{
    memset(ups, 0, sizeof *ups);
    ups->store = store;
    ups->pool = pool;
}

uint32_t wm_request_key(const struct wm_coap_request *req)
{
    uint32_t h = wm_hash_piece(WM_HASH_START, wm_span(&req->method, 1));
    for (size_t i = 0; i < req->path_count; i++) {
        h = wm_hash_piece(h, req->path[i]);
    }
    for (size_t i = 0; i < req->query_count; i++) {
        h = wm_hash_piece(h, req->query[i]);
    }
    return h;
}

/* The key is a hash that a client can calculate and bend: a slot of the other kind is never the caller's. */
static struct wm_upload *find(struct wm_uploads *ups, const struct wm_coap_request *req, enum wm_upload_kind kind, uint32_t key)
{
    for (size_t i = 0; i < WM_UPLOADS; i++) {
        struct wm_upload *up = &ups->slots[i];
        if (up->state != FREE && up->kind == kind && up->key == key && wm_coap_same_peer(&up->peer, req->peer) &&
            up->tagged == req->has_request_tag && wm_span_eq(wm_span(up->tag, up->tag_len), req->request_tag)) {
            return up;
        }
    }
    return NULL;
}

static void release(struct wm_uploads *ups, struct wm_upload *up)
{
    if (up->state != FREE && up->kind == WM_UPLOAD_MODULE && up->record >= 0) {
        wm_store_drop(ups->store, up->record);
    }
    if (up->state != FREE && up->kind == WM_UPLOAD_INPUT) {
        wm_blob_free(&up->blob);
    }
    up->state = FREE;
}

/* A free slot, else the one that is done or idle the longest. Never one that a caller holds. */
static struct wm_upload *make_room(struct wm_uploads *ups, uint32_t now_ms)
{
    struct wm_upload *best = NULL;
    for (size_t i = 0; i < WM_UPLOADS; i++) {
        struct wm_upload *up = &ups->slots[i];
        if (up->state == FREE) {
            return up;
        }
        if (up->state == WHOLE) {
            continue;
        }
        const bool better = best == NULL || (up->state == SETTLED && best->state != SETTLED) ||
                            (up->state == best->state && now_ms - up->last_ms > now_ms - best->last_ms);
        if (better) {
            best = up;
        }
    }
    if (best != NULL) {
        if (best->state == OPEN) {
            ups->evicted++;
        }
        release(ups, best);
    }
    return best;
}

static enum wm_upload_result too_large(struct wm_coap_reply *rep, size_t fits, const char *why)
{
    wm_problem(rep, WM_COAP_TOO_LARGE, "too large", "%s: %lu bytes would fit", why, (unsigned long)fits);
    rep->size1 = (int64_t)fits;
    return WM_UPLOAD_MORE;
}

/* There is room, but it cannot be made one piece while a function runs. */
static void in_pieces(struct wm_coap_reply *rep)
{
    wm_problem(rep, WM_COAP_UNAVAILABLE, "busy", "memory is in pieces while a function runs: send this block again");
    rep->max_age_s = 1;
}

static enum wm_upload_result gap(struct wm_coap_reply *rep, const char *why)
{
    wm_problem(rep, WM_COAP_INCOMPLETE, "incomplete", "%s: start again with block 0", why);
    return WM_UPLOAD_MORE;
}

static int body_begin(struct wm_uploads *ups, struct wm_upload *up, size_t size)
{
    if (up->kind == WM_UPLOAD_INPUT) {
        return wm_blob_init(&up->blob, ups->pool, size);
    }
    wm_sha256_init(&up->sha);
    up->record = wm_store_begin(ups->store, size);
    return up->record < 0 ? up->record : 0;
}

static int body_append(struct wm_uploads *ups, struct wm_upload *up, struct wm_span bytes)
{
    if (up->kind == WM_UPLOAD_INPUT) {
        return wm_blob_append(&up->blob, bytes);
    }
    const int err = wm_store_append(ups->store, up->record, bytes);
    if (err == 0) {
        wm_sha256_update(&up->sha, bytes);
    }
    return err;
}

static struct wm_upload *begin(struct wm_uploads *ups, const struct wm_coap_request *req, struct wm_coap_reply *rep,
                               enum wm_upload_kind kind, uint32_t key, size_t max_bytes, uint32_t now_ms)
{
    struct wm_upload *up = make_room(ups, now_ms);
    if (up == NULL) {
        wm_problem(rep, WM_COAP_UNAVAILABLE, "busy", "all transfers are in use");
        rep->max_age_s = 1;
        return NULL;
    }
    const bool single = !req->block1.present || !req->block1.more;
    size_t     size = single ? req->payload.len : req->size1 > 0 ? (size_t)req->size1 : 0;
    if (size > max_bytes || req->payload.len > max_bytes) {
        (void)too_large(rep, max_bytes, "more than this node takes");
        return NULL;
    }
    memset(up, 0, sizeof *up);
    up->kind = (uint8_t)kind;
    up->record = -1;
    const int err = body_begin(ups, up, size);
    if (err == WM_ERR_BUSY) {
        in_pieces(rep);
        return NULL;
    }
    if (err) {
        (void)too_large(rep, wm_heap_largest(ups->pool), err == WM_ERR_NOSPACE ? "no record free" : "no memory");
        return NULL;
    }
    up->state = OPEN;
    up->peer = *req->peer;
    up->key = key;
    up->tagged = req->has_request_tag;
    up->tag_len = (uint8_t)req->request_tag.len; /* at most 8: a longer one was not taken for one */
    wm_span_copy(up->tag, req->request_tag);
    return up;
}

/* The last block again: a client that lost our answer. */
static enum wm_upload_result repeat(const struct wm_upload *up, struct wm_coap_reply *rep, bool more)
{
    if (more) {
        rep->code = WM_COAP_CONTINUE;
    } else if (up->kind == WM_UPLOAD_INPUT) {
        return WM_UPLOAD_REPEATED;
    } else {
        rep->code = up->code;
        rep->etag_len = up->etag_len;
        memcpy(rep->etag, up->etag, sizeof rep->etag);
    }
    return WM_UPLOAD_MORE;
}

enum wm_upload_result wm_upload_take(struct wm_uploads *ups, const struct wm_coap_request *req, struct wm_coap_reply *rep,
                                     enum wm_upload_kind kind, size_t max_bytes, uint32_t now_ms, struct wm_upload **slot)
{
    const struct wm_coap_block *block = &req->block1;
    const size_t   off = block->present ? wm_coap_block_offset(block) : 0;
    const bool     more = block->present && block->more;
    const uint32_t key = wm_request_key(req);
    const uint32_t block_hash = wm_hash(WM_HASH_START, req->payload);
    struct wm_upload *up = block->present ? find(ups, req, kind, key) : NULL;

    rep->block1 = *block;
    if (up != NULL && up->state == WHOLE) {
        return gap(rep, "this transfer is being worked on");
    }
    if (up != NULL && block->num == up->last_block_num && block_hash == up->last_block_hash &&
        (up->state == SETTLED) == !more && off + req->payload.len == up->next) {
        up->last_ms = now_ms;
        return repeat(up, rep, more);
    }
    if (more && req->payload.len != wm_coap_block_size(block)) {
        wm_problem(rep, WM_COAP_BAD_REQUEST, "bad block", "a block that is not the last one must be full");
        return WM_UPLOAD_MORE;
    }
    if (off == 0) {
        if (up != NULL) {
            release(ups, up); /* the client starts again */
        }
        up = begin(ups, req, rep, kind, key, max_bytes, now_ms);
        if (up == NULL) {
            return WM_UPLOAD_MORE;
        }
    } else if (up == NULL || up->state != OPEN) {
        return gap(rep, "no such transfer");
    } else if (off != up->next) {
        return gap(rep, "a block is missing");
    }
    if (up->next + req->payload.len > max_bytes) {
        release(ups, up);
        return too_large(rep, max_bytes, "more than this node takes");
    }
    const int err = body_append(ups, up, req->payload);
    if (err == WM_ERR_BUSY) {
        if (off == 0) {
            release(ups, up);
        }
        in_pieces(rep); /* else the transfer stays open */
        return WM_UPLOAD_MORE;
    }
    if (err) {
        const size_t had = up->next;
        release(ups, up);
        return too_large(rep, had + wm_heap_largest(ups->pool), "no memory");
    }
    up->next += req->payload.len;
    up->last_ms = now_ms;
    up->last_block_num = block->num;
    up->last_block_hash = block_hash;
    if (more) {
        rep->code = WM_COAP_CONTINUE;
        return WM_UPLOAD_MORE;
    }
    up->state = WHOLE;
    *slot = up;
    return WM_UPLOAD_WHOLE;
}

void wm_upload_settle(struct wm_uploads *ups, struct wm_upload *slot, const struct wm_coap_reply *rep)
{
    WM_ASSERT(slot->state == WHOLE);
    const bool success = rep->deferred || rep->code >> 5 == 2;
    if (!success || slot->next <= WM_COAP_PAYLOAD_BYTES) {
        /* A refusal is not kept: who sends the body again is refused again. A body of one message is
         * protected by its message ID. */
        release(ups, slot);
        return;
    }
    if (slot->kind == WM_UPLOAD_MODULE && slot->record >= 0) {
        wm_store_drop(ups->store, slot->record);
        slot->record = -1;
    }
    if (slot->kind == WM_UPLOAD_INPUT) {
        wm_blob_free(&slot->blob);
    }
    slot->code = rep->code;
    slot->etag_len = rep->etag_len;
    memcpy(slot->etag, rep->etag, sizeof slot->etag);
    slot->state = SETTLED;
}

void wm_uploads_packed(struct wm_uploads *ups, const void *first)
{
    for (size_t i = 0; i < WM_UPLOADS; i++) {
        if (ups->slots[i].state != FREE && ups->slots[i].kind == WM_UPLOAD_INPUT) {
            wm_blob_packed(&ups->slots[i].blob, first);
        }
    }
}

void wm_uploads_expire(struct wm_uploads *ups, uint32_t now_ms)
{
    for (size_t i = 0; i < WM_UPLOADS; i++) {
        struct wm_upload *up = &ups->slots[i];
        if ((up->state == OPEN || up->state == SETTLED) && now_ms - up->last_ms >= WM_UPLOAD_IDLE_MS) {
            release(ups, up);
        }
    }
}

/* upload.h: request bodies that come in blocks (RFC 7959, Block1), in a bounded number of slots.
 *
 * take() for every request with a body. MORE: it has answered 2.31 or refused. WHOLE: the body is complete and the caller's:
 * it hands body on and then calls settle() with its reply, so that a final block that comes again gets the same one. */
#ifndef WM_RESOURCES_UPLOAD_H
#define WM_RESOURCES_UPLOAD_H

#include "coap/request.h"
#include "secure/sha256.h"
#include "store/store.h"

enum wm_upload_kind {
    WM_UPLOAD_MODULE, /* into a store record, hashed on the way */
    WM_UPLOAD_INPUT,  /* into a blob in the pool */
};

struct wm_upload {
    uint8_t        state;
    uint8_t        kind;
    bool           tagged;
    uint8_t        tag_len, tag[8]; /* Request-Tag */
    struct wm_peer peer;
    uint32_t       key;  /* hash of method, path and query */
    size_t         next; /* offset of the next block */
    uint32_t       last_ms, last_block_num, last_block_hash;
    /* the body, by kind */
    int              record; /* -1: handed on */
    struct wm_sha256 sha;
    struct wm_blob   blob;
    /* what settle kept of the reply */
    uint8_t code, etag_len, etag[WM_COAP_ETAG_BYTES];
};

struct wm_uploads {
    struct wm_store *store;
    struct wm_heap  *pool;
    uint32_t         evicted;
    struct wm_upload slots[WM_UPLOADS];
};

void wm_uploads_init(struct wm_uploads *ups, struct wm_store *store, struct wm_heap *pool);

enum wm_upload_result {
    WM_UPLOAD_MORE,
    WM_UPLOAD_WHOLE,
    WM_UPLOAD_REPEATED, /* the final block of an input again: the caller may still know the answer */
};

/* Take one request's payload. Bodies over max_bytes are 4.13. On WHOLE *slot holds the body; the slot stays the caller's until settle. */
enum wm_upload_result wm_upload_take(struct wm_uploads *ups, const struct wm_coap_request *req, struct wm_coap_reply *rep,
                                     enum wm_upload_kind kind, size_t max_bytes, uint32_t now_ms, struct wm_upload **slot);

/* The body has been handed on (record -1, blob empty) or is to be dropped; rep is the answer. */
void wm_upload_settle(struct wm_uploads *ups, struct wm_upload *slot, const struct wm_coap_reply *rep);

/* What a request is for: a hash of method, path and query. */
uint32_t wm_request_key(const struct wm_coap_request *req);

/* For the pool's keeper: inputs are about to be moved (wm_heap_pack). */
void wm_uploads_packed(struct wm_uploads *ups, const void *first);

/* Drop what has been idle too long. */
void wm_uploads_expire(struct wm_uploads *ups, uint32_t now_ms);

#endif

/* resource.h: what the resources share: their surroundings, the table that routes to them, and small helpers.
 * A file in this folder is one resource, or one thing that several need. */
#ifndef WM_RESOURCES_RESOURCE_H
#define WM_RESOURCES_RESOURCE_H

#include "base/cbor.h"
#include "coap/rpc.h"
#include "functions/jobs.h"
#include "resources/upload.h"
#include "wasmote/node.h"

/* All that a resource may touch; owned by the node. */
struct wm_env {
    const struct wm_node_config *config;
    struct wm_coap_endpoint     *coap;
    struct wm_heap              *pool;
    struct wm_store             *store;
    struct wm_functions         *functions;
    struct wm_jobs              *jobs;
    struct wm_uploads           *uploads;
#if WM_IMPORT_COMMUNICATION
    const struct wm_rpc         *rpc;
#endif
    uint32_t                     started_ms, now_ms;
};

typedef void wm_resource_handler(struct wm_env *env, const struct wm_coap_request *req, struct wm_coap_reply *rep);

#define WM_METHOD(code) ((uint8_t)(1u << (code)))

struct wm_resource {
    const char          *path; /* "d/m"; "*" matches any one segment */
    const char          *rt;   /* resource type for discovery; NULL: not listed */
    const char          *ct;   /* content-formats for discovery */
    uint8_t              methods; /* WM_METHOD bits */
    bool                 observable;
    wm_resource_handler *handle;
};

extern const struct wm_resource wm_resources[];
extern const size_t             wm_resource_count;

/* Route a request to its resource. */
void wm_resources_handle(struct wm_env *env, const struct wm_coap_request *req, struct wm_coap_reply *rep);

wm_resource_handler wm_res_wellknown, wm_res_device, wm_res_metrics, wm_res_log, wm_res_functions, wm_res_function, wm_res_export,
    wm_res_jobs, wm_res_job;

/* Keys of what can be observed. */
enum { WM_KEY_METRICS = 1, WM_KEY_LOG = 2 };
uint32_t wm_key_job(const char *id); /* never one of the above */

/* ---- helpers ---- */

/* Whether the client takes this format; if not, 4.06 is in rep. Otherwise rep gets 2.05 and the format. */
bool wm_accepts(const struct wm_coap_request *req, struct wm_coap_reply *rep, int32_t format);

/* ETag of a function in one of its formats: of the digest and the format. Writes 5 bytes. */
#define WM_ETAG_BYTES 5
void wm_etag(uint8_t etag[WM_ETAG_BYTES], const uint8_t digest[WM_SHA256_BYTES], int32_t format);

/* If-Match and If-None-Match against fn (NULL: there is none). If they do not hold, 4.12 is in rep and the result is false. */
bool wm_preconditions_hold(const struct wm_coap_request *req, struct wm_coap_reply *rep, const struct wm_function *fn);

/* 5.03 with Max-Age. */
void wm_busy(struct wm_coap_reply *rep, uint32_t retry_s, const char *detail);

/* `</path>;rt="..."` and so on, comma first unless it is the representation's first link. */
struct wm_link_filter {
    struct wm_span rt, href, interface;
    bool           has_rt, has_href, has_interface;
};
struct wm_link_filter wm_link_filter(const struct wm_coap_request *req);
void wm_link_put(struct wm_sink *out, const struct wm_link_filter *filter, const char *path, struct wm_span export_name, const char *rt,
                 const char *ct, int64_t size, bool observable);
void wm_links_of_functions(struct wm_env *env, struct wm_sink *out, const struct wm_link_filter *filter, bool exports);

/* ---- calls (call.c) ---- */

/* Answer whoever waits for this job, and let it go if nobody will ask for it again. */
void wm_call_finished(struct wm_env *env, struct wm_job *job);

/* Forget outputs that nobody has fetched the rest of for a while. */
void wm_call_expire(struct wm_env *env);

/* Fill rep with how job ended: its output, or problem details. */
void wm_call_outcome(struct wm_env *env, const struct wm_job *job, struct wm_coap_reply *rep);

#endif

/* call.h: POST and FETCH of an export; see also wm_call_* in resource.h. */
#ifndef WM_RESOURCES_CALL_H
#define WM_RESOURCES_CALL_H

#include "resources/resource.h"

/* POST or FETCH of an export of req->path[1]; export_ref empty: the default one. */
void wm_call_post(struct wm_env *env, const struct wm_coap_request *req, struct wm_coap_reply *rep, struct wm_span export_ref);

/* Check that function and export exist and fit a job; if not, rep says so and the result is false. */
bool wm_call_target_ok(struct wm_env *env, struct wm_coap_reply *rep, struct wm_span function, struct wm_span export_ref,
                       struct wm_target *target);

/* Take the request's body as a job's input, in blocks or whole. NULL: rep has the answer (more blocks, or a refusal). */
struct wm_job *wm_call_begin(struct wm_env *env, const struct wm_coap_request *req, struct wm_coap_reply *rep,
                             struct wm_span function, struct wm_span export_ref, bool borrow);

#endif

/* jobs.c: /j and /j/{id}: calls in the background, and those that somebody waits for until they have run. */
#include "resources/call.h"
#include "resources/resource.h"

static const char *state_name(const struct wm_job *job)
{
    static const char *const names[] = {
        [WM_JOB_QUEUED] = "queued", [WM_JOB_RUNNING] = "running", [WM_JOB_DONE] = "done",
        [WM_JOB_FAILED] = "failed", [WM_JOB_CANCELLED] = "cancelled",
    };
    return names[job->state];
}

/* The problem details that a POST would have got, embedded as a map. Its code goes before, so they are written twice:
 * first for that alone, then to where the rest of the window is. */
static void put_problem(struct wm_env *env, const struct wm_job *job, struct wm_sink *out)
{
    struct wm_coap_reply reply;
    wm_coap_reply_reset(&reply);
    wm_sink_init(&reply.body, NULL, 0, 0);
    wm_call_outcome(env, job, &reply);
    wm_cbor_str(out, "code");
    wm_cbor_uint(out, reply.code);
    wm_cbor_str(out, "problem");
    reply.body = wm_sink_rest(out);
    wm_call_outcome(env, job, &reply);
    out->total += reply.body.total;
}

static void put_job(struct wm_env *env, const struct wm_job *job, struct wm_sink *out, bool whole)
{
    const bool done = job->state == WM_JOB_DONE;
    const bool failed = job->state == WM_JOB_FAILED || job->state == WM_JOB_CANCELLED;
    char       id[WM_NAME_BYTES];
    wm_job_id(job, id);
    wm_cbor_map(out, 6u + (whole && (done || failed) ? 2u : 0u));
    wm_cbor_str(out, "id");
    wm_cbor_str(out, id);
    wm_cbor_str(out, "f");
    wm_cbor_str(out, job->function);
    wm_cbor_str(out, "export");
    wm_cbor_text(out, wm_span(job->export_ref, job->export_ref_len));
    wm_cbor_str(out, "state");
    wm_cbor_str(out, state_name(job));
    wm_cbor_str(out, "fuel");
    wm_cbor_uint(out, job->fuel);
    wm_cbor_str(out, "ms");
    wm_cbor_uint(out, job->ms);
    if (whole && done) {
        wm_cbor_str(out, "ct");
        wm_cbor_uint(out, job->bytes ? WM_FORMAT_OCTETS : WM_FORMAT_CBOR);
        wm_cbor_str(out, "result");
        wm_cbor_bytes_head(out, job->output.len);
        wm_sink_put(out, job->output);
    } else if (whole && failed) {
        put_problem(env, job, out);
    }
}

static bool listed(const struct wm_job *job)
{
    return job->background || job->state < WM_JOB_DONE;
}

void wm_res_jobs(struct wm_env *env, const struct wm_coap_request *req, struct wm_coap_reply *rep)
{
    if (!wm_accepts(req, rep, WM_FORMAT_CBOR)) {
        return;
    }
    size_t count = 0;
    for (struct wm_job *job = NULL; (job = wm_jobs_next(env->jobs, job)) != NULL;) {
        count += listed(job);
    }
    wm_cbor_array(&rep->body, count);
    for (struct wm_job *job = NULL; (job = wm_jobs_next(env->jobs, job)) != NULL;) {
        if (listed(job)) {
            put_job(env, job, &rep->body, false);
        }
    }
}

/* `?f=NAME` or `?f=NAME/EXPORT` */
static bool split_target(const struct wm_coap_request *req, struct wm_span *function, struct wm_span *export_ref)
{
    struct wm_span f;
    *export_ref = wm_span(NULL, 0);
    if (!wm_coap_query(req, "f", &f)) {
        return false;
    }
    const uint8_t *slash = f.len > 0 ? memchr(f.ptr, '/', f.len) : NULL;
    *function = f;
    if (slash != NULL) {
        *function = wm_span(f.ptr, (size_t)(slash - f.ptr));
        *export_ref = wm_span(slash + 1, f.len - function->len - 1);
    }
    return true;
}

static void start(struct wm_env *env, const struct wm_coap_request *req, struct wm_coap_reply *rep)
{
    const struct wm_span id = req->path[1];
    struct wm_span   function, export_ref;
    struct wm_target target;
    if (!wm_name_ok(id)) {
        wm_problem(rep, WM_COAP_BAD_REQUEST, "bad id", "1 to %d characters of a-z A-Z 0-9 _ - . , no dot in front", WM_NAME_BYTES - 1);
        return;
    }
    if (!req->if_none_match) {
        wm_problem(rep, WM_COAP_BAD_REQUEST, "bad request", "a job is started with If-None-Match, so that a retry cannot double it");
        return;
    }
    if (wm_jobs_find(env->jobs, id) != NULL) {
        wm_problem(rep, WM_COAP_PRECONDITION_FAILED, "precondition failed", "a job of this id exists: GET tells its state");
        return;
    }
    if (!split_target(req, &function, &export_ref)) {
        wm_problem(rep, WM_COAP_BAD_REQUEST, "bad request", "?f=NAME or ?f=NAME/EXPORT says what to call");
        return;
    }
    if (!wm_call_target_ok(env, rep, function, export_ref, &target)) {
        return;
    }
    struct wm_job *job = wm_call_begin(env, req, rep, function, export_ref, false);
    if (job != NULL) {
        job->background = true;
        job->kept = false;
        memcpy(job->id, id.ptr, id.len); /* begin has cleared the rest */
        rep->code = WM_COAP_CREATED;
    } else if (rep->code == 0) { /* the final block came again, and the job has been forgotten since */
        wm_problem(rep, WM_COAP_INCOMPLETE, "incomplete", "no such transfer: start again with block 0");
    }
}

static void cancel_or_forget(struct wm_env *env, struct wm_job *job, struct wm_coap_reply *rep)
{
    rep->code = WM_COAP_DELETED;
    if (job->background) {
        wm_coap_notify(env->coap, wm_key_job(job->id)); /* once it is forgotten, its observers hear 4.04 and are gone */
    }
    if (job->state < WM_JOB_DONE) {
        wm_job_cancel(job);
    } else {
        wm_job_release(env->jobs, job);
    }
}

void wm_res_job(struct wm_env *env, const struct wm_coap_request *req, struct wm_coap_reply *rep)
{
    if (req->method == WM_COAP_PUT) {
        start(env, req, rep);
        return;
    }
    struct wm_job *job = wm_jobs_find(env->jobs, req->path[1]);
    if (job == NULL && req->method == WM_COAP_DELETE) {
        rep->code = WM_COAP_DELETED; /* RFC 7252, 5.8.4: it is not there, as was asked for */
    } else if (job == NULL) {
        wm_problem(rep, WM_COAP_NOT_FOUND, "not found", "no job of this id: it never was, or its place was needed");
    } else if (req->method == WM_COAP_DELETE) {
        cancel_or_forget(env, job, rep);
    } else if (wm_accepts(req, rep, WM_FORMAT_CBOR)) {
        if (job->background) { /* any other ends with its answer, and leaves nothing to look at */
            rep->observe_key = wm_key_job(job->id);
        }
        put_job(env, job, &rep->body, true);
    }
}

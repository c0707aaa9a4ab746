/* call.c: /f/{name} and /f/{name}/{export} by POST, FETCH: from a request to a job, from a job to the reply. */
#include "resources/call.h"

#include <assert.h>

#include "base/assert.h"

static_assert(WM_COAP_TICKETS >= WM_JOBS, "every waiting call has a ticket");

#define KEEP_MS 15000u /* how long the rest of a large output waits to be fetched */

bool wm_call_target_ok(struct wm_env *env, struct wm_coap_reply *rep, struct wm_span function, struct wm_span export_ref,
                       struct wm_target *target)
{
    const struct wm_function *fn = wm_functions_find(env->functions, function);
    if (fn == NULL) {
        wm_problem(rep, WM_COAP_NOT_FOUND, "not found", "no function of this name: see /f");
        return false;
    }
    if (export_ref.len >= WM_EXPORT_REF_BYTES) {
        wm_problem(rep, WM_COAP_NOT_FOUND, "not found", "call an export with a name this long by its index, as /:N");
        return false;
    }
    if (wm_functions_target(env->functions, fn, export_ref, target) != 0) {
        if (export_ref.len == 0) {
            wm_problem(rep, WM_COAP_METHOD_NOT_ALLOWED, "no default export", "'%s' has none: name one of its exports, see /f?href=/f/%s*",
                       fn->name, fn->name);
        } else {
            wm_problem(rep, WM_COAP_NOT_FOUND, "not found", "'%s' exports no such function: see GET /f/%s", fn->name, fn->name);
        }
        return false;
    }
    return true;
}

/* ---- from a request to a job ---- */

struct wm_job *wm_call_begin(struct wm_env *env, const struct wm_coap_request *req, struct wm_coap_reply *rep,
                             struct wm_span function, struct wm_span export_ref, bool borrow)
{
    struct wm_job    *job;
    struct wm_upload *up = NULL;
    int               err = 0;
    struct wm_span    context;
    if (!wm_coap_query(req, "x", &context) || context.len > WM_CONTEXT_BYTES) {
        context = wm_span(NULL, 0);
    }
    if (req->block1.present && (req->block1.more || req->block1.num > 0)) {
        if (wm_upload_take(env->uploads, req, rep, WM_UPLOAD_INPUT, wm_heap_total_bytes(env->pool), env->now_ms, &up) !=
            WM_UPLOAD_WHOLE) {
            return NULL;
        }
        job = wm_jobs_begin(env->jobs, function, export_ref, WM_JOB_TAKE, wm_span(NULL, 0), &up->blob, context, &err);
    } else {
        rep->block1 = req->block1;
        job = wm_jobs_begin(env->jobs, function, export_ref, borrow ? WM_JOB_BORROW : WM_JOB_COPY, req->payload, NULL, context,
                            &err);
    }
    if (job == NULL) {
        wm_busy(rep, 1, err == WM_ERR_BUSY ? "all job places are in use" : "no memory for the input now");
    } else {
        job->peer = *req->peer;
        job->key = wm_request_key(req);
        job->tag_len = (uint8_t)req->request_tag.len; /* at most 8: a longer one was not taken for one */
        wm_span_copy(job->tag, req->request_tag);
        job->kept = up != NULL;
        rep->code = WM_COAP_CHANGED; /* for the upload's memory: it was taken */
    }
    if (up != NULL) {
        wm_upload_settle(env->uploads, up, rep);
    }
    return job;
}

/* A call of this very client whose output is still here. Behind a bridge many clients are one peer, and their tags
 * tell them apart; a client without one means its latest call. */
static struct wm_job *find_kept(struct wm_env *env, const struct wm_coap_request *req)
{
    const uint32_t key = wm_request_key(req);
    struct wm_job *latest = NULL;
    for (struct wm_job *job = NULL; (job = wm_jobs_next(env->jobs, job)) != NULL;) {
        const bool same_tag = !req->has_request_tag || wm_span_eq(wm_span(job->tag, job->tag_len), req->request_tag);
        if (job->kept && !job->background && job->key == key && same_tag && wm_coap_same_peer(&job->peer, req->peer) &&
            (latest == NULL || (int32_t)(job->order - latest->order) > 0)) {
            latest = job;
        }
    }
    return latest;
}

/* The next block of an output, or the answer to a final block that came again. */
static void answer_again(struct wm_env *env, const struct wm_coap_request *req, struct wm_coap_reply *rep)
{
    struct wm_job *job = find_kept(env, req);
    wm_coap_reply_reset(rep);
    rep->block1 = req->block1;
    if (job == NULL) {
        wm_problem(rep, WM_COAP_INCOMPLETE, "incomplete", "this call's output is no longer here: call again");
    } else if (job->state < WM_JOB_DONE) {
        wm_busy(rep, 1, "this call is still running");
    } else {
        job->done_ms = env->now_ms;
        wm_call_outcome(env, job, rep);
    }
}

void wm_call_post(struct wm_env *env, const struct wm_coap_request *req, struct wm_coap_reply *rep, struct wm_span export_ref)
{
    const bool       fetch = req->method == WM_COAP_FETCH;
    struct wm_target target;
    if (req->block2.present && req->block2.num > 0) {
        answer_again(env, req, rep);
        return;
    }
    if (!wm_call_target_ok(env, rep, req->path[1], export_ref, &target)) {
        return;
    }
    if (fetch && !target.pure) {
        wm_problem(rep, WM_COAP_METHOD_NOT_ALLOWED, "not pure", "FETCH is for exports that declare themselves pure: use POST");
        return;
    }
    if (!target.bytes && req->content_format != WM_FORMAT_CBOR && req->content_format != WM_FORMAT_NONE) {
        wm_problem(rep, WM_COAP_UNSUPPORTED_FORMAT, "unsupported content-format", "numbers come as CBOR: content-format 60");
        return;
    }
    const int32_t gives = target.bytes ? WM_FORMAT_OCTETS : WM_FORMAT_CBOR;
    if (req->accept != WM_FORMAT_NONE && req->accept != gives) {
        wm_problem(rep, WM_COAP_NOT_ACCEPTABLE, "not acceptable", "this export replies in content-format %d", (int)gives);
        return;
    }
    struct wm_job *job = wm_call_begin(env, req, rep, req->path[1], export_ref, env->jobs->running == NULL);
    if (job != NULL) {
        job->fresh = fetch;
        job->ticket = wm_coap_defer(env->coap, req);
        WM_ASSERT(job->ticket >= 0); /* there are at least as many tickets as jobs */
        rep->deferred = true;
    } else if (rep->code == 0) { /* the final block came again */
        answer_again(env, req, rep);
    }
}

void wm_res_export(struct wm_env *env, const struct wm_coap_request *req, struct wm_coap_reply *rep)
{
    wm_call_post(env, req, rep, req->path[2]);
}

/* ---- from a job to the reply ---- */

static void trapped(const struct wm_job *job, struct wm_coap_reply *rep)
{
    static const char *const sentences[] = {
        [WM_TRAP_FUEL] = "out of fuel: it ran too long",
        [WM_TRAP_STACK_NATIVE] = "calls are nested too deep for the C stack",
        [WM_TRAP_STACK_WASM] = "calls are nested too deep for its wasm stack",
        [WM_TRAP_MEMORY] = "memory access out of bounds",
        [WM_TRAP_MEMORY_QUOTA] = "memory access beyond its memory quota",
        [WM_TRAP_TABLE] = "table access out of bounds",
        [WM_TRAP_NULL_CALL] = "call of an empty table element",
        [WM_TRAP_SIGNATURE] = "indirect call with another signature",
        [WM_TRAP_DIV_ZERO] = "integer divide by zero",
        [WM_TRAP_INT_OVERFLOW] = "integer overflow",
        [WM_TRAP_INT_CONVERT] = "float does not convert to an integer",
        [WM_TRAP_UNREACHABLE] = "unreachable executed",
        [WM_TRAP_OUTPUT] = "more output than its quota or the pool allows",
        [WM_TRAP_LOG] = "more log lines a second than its quota",
        [WM_TRAP_CANCELLED] = "cancelled",
        [WM_TRAP_HOST] = "bad argument to a host function",
        [WM_TRAP_EXIT] = "it ended itself, and has no result",
    };
    const char *sentence = job->trap < WM_TRAP_OTHER ? sentences[job->trap] : NULL;
    wm_problem_open(rep, WM_COAP_INTERNAL_ERROR, "trap", sentence != NULL ? sentence : "the engine stopped it",
                    3u + (job->quota > 0));
    wm_cbor_str(&rep->body, "trap");
    wm_cbor_str(&rep->body, wm_trap_name((enum wm_trap_kind)job->trap));
    wm_cbor_str(&rep->body, "function");
    wm_cbor_str(&rep->body, job->function);
    wm_cbor_str(&rep->body, "fuel");
    wm_cbor_uint(&rep->body, job->fuel);
    if (job->quota > 0) {
        wm_cbor_str(&rep->body, "quota");
        wm_cbor_uint(&rep->body, job->quota);
    }
}

static void application_error(const struct wm_job *job, struct wm_coap_reply *rep)
{
    const bool    coap_like = job->status >= 400 && job->status <= 431;
    const uint8_t code = coap_like ? WM_COAP_CODE(4, (uint8_t)(job->status - 400)) : WM_COAP_BAD_REQUEST;
    const size_t  shown = job->output.len < 256 ? job->output.len : 256;
    wm_problem_open(rep, code, "application error", "the function returned a status other than 0", 2u + (shown > 0));
    wm_cbor_str(&rep->body, "function");
    wm_cbor_str(&rep->body, job->function);
    wm_cbor_str(&rep->body, "status");
    wm_cbor_int(&rep->body, job->status);
    if (shown > 0) {
        wm_cbor_str(&rep->body, "output");
        wm_cbor_bytes(&rep->body, wm_span(job->output.ptr, shown));
    }
}

static void bad_arguments(const struct wm_job *job, struct wm_coap_reply *rep)
{
    wm_problem_open(rep, WM_COAP_BAD_REQUEST, "bad arguments", job->bad.why, job->bad.index >= 0);
    if (job->bad.index >= 0) {
        wm_cbor_str(&rep->body, "arg");
        wm_cbor_int(&rep->body, job->bad.index);
    }
}

void wm_call_outcome(struct wm_env *env, const struct wm_job *job, struct wm_coap_reply *rep)
{
    (void)env;
    if (job->state == WM_JOB_DONE) {
        rep->code = job->fresh ? WM_COAP_CONTENT : WM_COAP_CHANGED;
        if (!job->bytes || job->output.len > 0) {
            rep->content_format = job->bytes ? WM_FORMAT_OCTETS : WM_FORMAT_CBOR;
        }
        wm_sink_put(&rep->body, job->output);
        return;
    }
    switch (job->failure) {
    case WM_JOB_TRAP: trapped(job, rep); break;
    case WM_JOB_STATUS: application_error(job, rep); break;
    case WM_JOB_ARGUMENTS: bad_arguments(job, rep); break;
    case WM_JOB_GONE:
        wm_problem(rep, WM_COAP_NOT_FOUND, "not found", "'%s' or its export was removed before the call ran", job->function);
        break;
    case WM_JOB_NOT_PURE:
        wm_problem(rep, WM_COAP_METHOD_NOT_ALLOWED, "not pure", "FETCH is for exports that declare themselves pure: use POST");
        break;
    case WM_JOB_NO_ROOM:
        wm_problem(rep, WM_COAP_UNAVAILABLE, "no room", "the pool has no room for a fresh instance of '%s'", job->function);
        rep->max_age_s = 5;
        break;
    case WM_JOB_NO_START:
        wm_problem(rep, WM_COAP_INTERNAL_ERROR, "no instance", "'%s' did not start again: its start function, or the C stack",
                   job->function);
        break;
    default: /* cancelled before it ran */
        wm_problem(rep, WM_COAP_INTERNAL_ERROR, "cancelled", "the job was cancelled before it ran");
        break;
    }
}

void wm_call_finished(struct wm_env *env, struct wm_job *job)
{
    wm_coap_notify(env->coap, WM_KEY_METRICS);
    if (job->background) {
        /* Without memory to keep it in, the output is lost, and the job says so rather than lie. */
        if (wm_job_keep(env->jobs, job) != 0) {
            job->state = WM_JOB_FAILED;
            job->failure = WM_JOB_TRAP;
            job->trap = WM_TRAP_OUTPUT;
            job->output = wm_span(NULL, 0);
        }
        wm_coap_notify(env->coap, wm_key_job(job->id));
        return;
    }
    struct wm_coap_reply *rep = wm_coap_respond_begin(env->coap, job->ticket, env->now_ms);
    wm_call_outcome(env, job, rep);
    const bool more = rep->body.total > wm_sink_kept(&rep->body) + rep->body.skip;
    wm_coap_respond_end(env->coap, job->ticket);
    job->ticket = -1;
    if ((!more && !job->kept) || wm_job_keep(env->jobs, job) != 0) {
        wm_job_release(env->jobs, job);
    } else {
        job->kept = true;
    }
}

void wm_call_expire(struct wm_env *env)
{
    for (struct wm_job *job = NULL; (job = wm_jobs_next(env->jobs, job)) != NULL;) {
        if (job->kept && !job->background && job->state >= WM_JOB_DONE && env->now_ms - job->done_ms >= KEEP_MS) {
            wm_job_release(env->jobs, job);
        }
    }
}

#include "functions/jobs.h"

#include "base/assert.h"
#include "base/fmt.h"
#include "base/log.h"

void wm_jobs_init(struct wm_jobs *js, struct wm_functions *functions, struct wm_heap *pool)
{
    memset(js, 0, sizeof *js);
    js->functions = functions;
    js->pool = pool;
}

/* ---- places ---- */

static bool finished(const struct wm_job *job)
{
    return job->state >= WM_JOB_DONE;
}

/* A free place, or that of the oldest result that is kept. */
static struct wm_job *place(struct wm_jobs *js)
{
    struct wm_job *oldest = NULL;
    for (size_t i = 0; i < WM_JOBS; i++) {
        struct wm_job *job = &js->jobs[i];
        if (job->state == WM_JOB_FREE) {
            return job;
        }
        if (finished(job) && (oldest == NULL || (int32_t)(job->order - oldest->order) < 0)) {
            oldest = job;
        }
    }
    if (oldest != NULL) {
        js->removed(js->ctx, oldest);
        wm_job_release(js, oldest);
    }
    return oldest;
}

/* What input_blob holds: the input, then the context. */
static void find_input(struct wm_job *job)
{
    const size_t len = job->input_blob.len - job->context_len;
    job->input = wm_span(job->input_blob.bytes, len);
}

struct wm_job *wm_jobs_begin(struct wm_jobs *js, struct wm_span function, struct wm_span export_ref, enum wm_job_input how,
                             struct wm_span input, struct wm_blob *blob, struct wm_span context, int *err)
{
    WM_ASSERT(function.len < WM_NAME_BYTES && export_ref.len < WM_EXPORT_REF_BYTES && context.len <= WM_CONTEXT_BYTES);
    struct wm_blob held = {.heap = js->pool};
    if (how == WM_JOB_TAKE) {
        held = *blob;
        *blob = (struct wm_blob){.heap = blob->heap};
    }
    struct wm_job *job = place(js);
    *err = job == NULL ? WM_ERR_BUSY : how == WM_JOB_COPY && wm_blob_append(&held, input) != 0 ? WM_ERR_NOMEM : 0;
    if (*err == 0 && how != WM_JOB_BORROW && context.len > 0 && wm_blob_append(&held, context) != 0) {
        *err = WM_ERR_NOMEM;
    }
    if (*err) {
        wm_blob_free(&held);
        return NULL;
    }
    memset(job, 0, sizeof *job);
    js->used++;
    job->state = WM_JOB_QUEUED;
    job->order = ++js->order;
    job->ticket = -1;
    job->input_blob = held;
    job->context_len = (uint8_t)context.len;
    if (how == WM_JOB_BORROW) {
#if WM_IMPORT_COMMUNICATION
        js->context = context.ptr;
#endif
        job->input = input;
    } else {
        find_input(job);
    }
    job->output_blob.heap = js->pool;
    wm_span_copy(job->function, function); /* a zero follows */
    wm_span_copy(job->export_ref, export_ref);
    job->export_ref_len = (uint8_t)export_ref.len;
    return job;
}

static struct wm_job *oldest_queued(struct wm_jobs *js)
{
    struct wm_job *oldest = NULL;
    uint32_t       left = js->used;
    for (struct wm_job *job = js->jobs; left > 0; job++) {
        left -= job->state != WM_JOB_FREE;
        if (job->state == WM_JOB_QUEUED && (oldest == NULL || (int32_t)(job->order - oldest->order) < 0)) {
            oldest = job;
        }
    }
    return oldest;
}

bool wm_jobs_waiting(const struct wm_jobs *js)
{
    uint32_t left = js->used;
    for (const struct wm_job *job = js->jobs; left > 0; job++) {
        if (job->state == WM_JOB_QUEUED) {
            return true;
        }
        left -= job->state != WM_JOB_FREE;
    }
    return false;
}

struct wm_job *wm_jobs_find(struct wm_jobs *js, struct wm_span id)
{
    for (size_t i = 0; i < WM_JOBS; i++) {
        struct wm_job *job = &js->jobs[i];
        char           own[WM_NAME_BYTES];
        if (job->state == WM_JOB_FREE || (!job->background && finished(job))) {
            continue;
        }
        wm_job_id(job, own);
        if (wm_span_is(id, own)) {
            return job;
        }
    }
    return NULL;
}

void wm_job_id(const struct wm_job *job, char *dst)
{
    if (job->background) {
        memcpy(dst, job->id, WM_NAME_BYTES);
    } else {
        wm_format(dst, WM_NAME_BYTES, ".%lu", (unsigned long)job->order); /* with a dot: never a client's (wm_name_ok) */
    }
}

struct wm_job *wm_jobs_next(struct wm_jobs *js, struct wm_job *after)
{
    if (js->used == 0) {
        return NULL;
    }
    for (struct wm_job *job = after == NULL ? js->jobs : after + 1; job < js->jobs + WM_JOBS; job++) {
        if (job->state != WM_JOB_FREE) {
            return job;
        }
    }
    return NULL;
}

int wm_job_keep(struct wm_jobs *js, struct wm_job *job)
{
    if (job->output.len == 0 || job->output_blob.cap > 0) {
        wm_blob_fit(&job->output_blob);
        return 0;
    }
    struct wm_blob kept;
    if (wm_blob_init(&kept, js->pool, job->output.len) != 0) {
        return WM_ERR_NOMEM;
    }
    (void)wm_blob_append(&kept, job->output); /* fits: it was reserved */
    job->output_blob = kept;
    job->output = wm_blob_span(&job->output_blob);
    return 0;
}

void wm_jobs_packed(struct wm_jobs *js, const void *first)
{
    for (struct wm_job *job = NULL; (job = wm_jobs_next(js, job)) != NULL;) {
        if (job->input_blob.cap > 0) {
            wm_blob_packed(&job->input_blob, first);
            find_input(job);
        }
        if (job->output_blob.cap > 0) {
            wm_blob_packed(&job->output_blob, first);
            job->output = wm_blob_span(&job->output_blob);
        }
    }
}

static void drop_input(struct wm_job *job)
{
    wm_blob_free(&job->input_blob);
    job->input = wm_span(NULL, 0);
    job->context_len = 0;
}

void wm_job_cancel(struct wm_job *job)
{
    if (job->state == WM_JOB_RUNNING || !job->background) {
        job->cancel = true; /* who waits for it is answered by wm_jobs_run's caller */
    } else if (job->state == WM_JOB_QUEUED) {
        job->state = WM_JOB_CANCELLED;
        drop_input(job);
    }
}

void wm_job_release(struct wm_jobs *js, struct wm_job *job)
{
    WM_ASSERT(job != js->running && job->state != WM_JOB_FREE);
    wm_blob_free(&job->input_blob);
    wm_blob_free(&job->output_blob);
    job->state = WM_JOB_FREE;
    js->used--;
}

/* ---- running ---- */

struct run { /* what the callbacks of one call see */
    struct wm_jobs *js;
    struct wm_job  *job;
    struct wm_function *fn;
    const struct wm_quotas *quotas;
};

/* Into jobs->reply while it fits, then into a blob. */
static int on_output(void *ctx, struct wm_span bytes)
{
    struct run    *run = ctx;
    struct wm_job *job = run->job;
    if (bytes.len > run->quotas->output_bytes - job->output.len) {
        return WM_ERR_NOSPACE;
    }
    const size_t len = job->output.len + bytes.len;
    if (job->output_blob.cap == 0 && len <= sizeof run->js->reply) {
        wm_span_copy(run->js->reply + job->output.len, bytes);
        job->output = wm_span(run->js->reply, len);
        return 0;
    }
    if (job->output_blob.cap == 0 && wm_blob_append(&job->output_blob, job->output) != 0) {
        return WM_ERR_NOMEM;
    }
    const int err = wm_blob_append(&job->output_blob, bytes);
    job->output = wm_blob_span(&job->output_blob);
    return err;
}

/* A leaking bucket, over all calls of a function: it holds as many lines as may be written in a second. */
static int on_log(void *ctx, int level, struct wm_span text)
{
    const struct run   *run = ctx;
    struct wm_function *fn = run->fn;
    const uint32_t      lines = run->quotas->log_lines, now_ms = wm_port_now_ms();
    const uint32_t      past_ms = now_ms - fn->logged_ms < 1000 ? now_ms - fn->logged_ms : 1000;
    const uint32_t      leaked = lines * past_ms;
    fn->logged = fn->logged > leaked ? fn->logged - leaked : 0;
    fn->logged_ms = now_ms;
    if (fn->logged + 1000 > lines * 1000) {
        return WM_ERR_NOSPACE;
    }
    fn->logged += 1000;
    wm_log_write(now_ms, (enum wm_log_level)level, wm_span_str(run->job->function), text);
    return 0;
}
_Static_assert(WM_LOG_RATE_MAX <= UINT32_MAX / 1000 - 1, "on_log calculates in 32 bits");

#if WM_IMPORT_COMMUNICATION
static void on_rpc(void *ctx, struct wm_span name, struct wm_span data)
{
    const struct run    *run = ctx;
    const struct wm_job *job = run->job;
    const struct wm_blob *blob = &job->input_blob;
    if (run->js->rpc != NULL) {
        const uint8_t *context = blob->cap > 0 ? blob->bytes + blob->len - job->context_len : run->js->context;
        run->js->rpc(run->js->ctx, job, wm_span(context, job->context_len), name, data);
    }
}
#else
#define on_rpc NULL
#endif

static bool on_tick(void *ctx)
{
    struct run *run = ctx;
    run->js->service(run->js->ctx);
    return run->job->cancel;
}

static void fail(struct wm_job *job, enum wm_job_failure failure)
{
    job->state = WM_JOB_FAILED;
    job->failure = (uint8_t)failure;
}

/* An application's own error stands in the result of a bytes export, or is what it has ended itself with. */
static void take_status(struct wm_job *job, int32_t status)
{
    job->status = status;
    if (job->status != 0) {
        fail(job, WM_JOB_STATUS);
    }
}

static void take_numbers(struct wm_jobs *js, struct wm_job *job, const struct wm_target *target, const uint64_t *results)
{
    struct wm_sink out;
    wm_sink_init(&out, js->reply, sizeof js->reply, 0);
    wm_values_encode(target->signature.results, results, &out);
    job->output = wm_span(js->reply, wm_sink_kept(&out));
}

static void take_trap(struct wm_job *job, struct wm_function *fn, enum wm_trap_kind trap)
{
    const struct wm_quotas *q = &fn->image.quotas;
    fail(job, WM_JOB_TRAP);
    job->trap = (uint8_t)trap;
    wm_blob_free(&job->output_blob); /* nobody gets to see half an output */
    job->output = wm_span(NULL, 0);
    switch (trap) {
    case WM_TRAP_FUEL: job->quota = q->fuel; break;
    case WM_TRAP_MEMORY_QUOTA: job->quota = q->memory_bytes; break;
    case WM_TRAP_STACK_WASM: job->quota = q->stack_bytes; break;
    case WM_TRAP_STACK_NATIVE: job->quota = q->native_bytes; break;
    case WM_TRAP_OUTPUT: job->quota = q->output_bytes; break;
    case WM_TRAP_LOG: job->quota = q->log_lines; break;
    default: break;
    }
    if (trap == WM_TRAP_CANCELLED) {
        job->state = WM_JOB_CANCELLED;
    }
    if (!job->fresh) {
        fn->stale = true; /* whatever ended it: its memory may be half-changed, and its C stack is not unwound */
    }
}

/* A program for WASI runs once from its beginning: the next call gets a fresh instance. */
static bool is_program(const struct wm_target *target)
{
    return WM_IMPORT_WASI && wm_span_is(target->export.name, "_start");
}

static void call(struct wm_jobs *js, struct wm_job *job, struct wm_function *fn, struct wm_image *image,
                 const struct wm_target *target)
{
    uint64_t args[WM_CALL_VALUES], results[WM_CALL_VALUES];
    if (target->signature.params.len > WM_CALL_VALUES || target->signature.results.len > WM_CALL_VALUES) {
        job->bad = (struct wm_bad_value){.index = -1, .why = "more parameters or results than can be called from outside"};
        fail(job, WM_JOB_ARGUMENTS);
        return;
    }
    if (!target->bytes && wm_values_decode(target->signature.params, job->input, args, &job->bad) != 0) {
        fail(job, WM_JOB_ARGUMENTS);
        return;
    }
    struct run         run = {.js = js, .job = job, .fn = fn, .quotas = &image->quotas};
    struct wm_call_env env = {
        .ctx = &run, .input = target->bytes ? job->input : wm_span(NULL, 0),
        .output = on_output, .log = on_log, .rpc = on_rpc, .tick = on_tick,
    };
    enum wm_trap_kind trap = WM_TRAP_NONE;
    job->state = WM_JOB_RUNNING;
    js->running = job;
    js->functions->running = fn;
    const uint32_t start_ms = wm_port_now_ms();
    const int      err = wm_engine_call(image->engine, target->export.item, args, results, image->quotas.fuel, &env, &trap);
    job->ms = wm_port_now_ms() - start_ms;
    js->functions->running = NULL;
    js->running = NULL;

    job->fuel = env.fuel_used;
    fn->fuel += env.fuel_used;
    fn->calls++;
    js->functions->fuel += env.fuel_used;
    js->functions->calls++;
    job->state = WM_JOB_DONE;
    if (target->bytes && trap == WM_TRAP_EXIT) {
        take_status(job, env.exit_status);
        fn->stale = fn->stale || !job->fresh; /* as after any trap */
    } else if (err) {
        take_trap(job, fn, trap);
        fn->traps++;
        js->functions->traps++;
    } else if (target->bytes) {
        take_status(job, target->signature.results.len > 0 ? (int32_t)(uint32_t)results[0] : 0);
    } else {
        take_numbers(js, job, target, results);
    }
    fn->stale = fn->stale || (is_program(target) && !job->fresh);
}

static void fail_instance(struct wm_job *job, int err)
{
    fail(job, err == WM_ERR_NOMEM ? WM_JOB_NO_ROOM : WM_JOB_NO_START);
}

/* Asked again where the pool may have been put in order: what it tells borrows from the module's bytes. */
static bool resolve(struct wm_jobs *js, const struct wm_job *job, const struct wm_function *fn, struct wm_target *target)
{
    return wm_functions_target(js->functions, fn, wm_span(job->export_ref, job->export_ref_len), target) == 0;
}

/* FETCH: on an instance that lives for this call only. */
static void call_fresh(struct wm_jobs *js, struct wm_job *job, struct wm_function *fn, struct wm_target *target)
{
    struct wm_image   image = fn->image;
    struct wm_refused refused;
    image.engine = NULL;
    image.state = NULL;
    if (!target->pure) {
        fail(job, WM_JOB_NOT_PURE);
        return;
    }
    js->functions->making = &image;
    const int err = wm_image_open(js->pool, &image, &refused);
    js->functions->making = NULL;
    if (err) {
        fail_instance(job, err);
        return;
    }
    resolve(js, job, fn, target);
    call(js, job, fn, &image, target);
    wm_image_close(js->pool, &image);
}

/* While the function runs, the pool cannot be put in order for an output that is larger than jobs->reply. */
static void make_room(struct wm_jobs *js, const struct wm_image *image, const struct wm_target *target)
{
    if (target->bytes && image->quotas.output_bytes > sizeof js->reply &&
        image->quotas.output_bytes > wm_heap_largest(js->pool)) {
        (void)wm_heap_tidy(js->pool, 0, NULL);
    }
}

struct wm_job *wm_jobs_run(struct wm_jobs *js)
{
    WM_ASSERT(js->running == NULL);
    struct wm_job *job = oldest_queued(js);
    if (job == NULL) {
        return NULL;
    }
    struct wm_function *fn = wm_functions_find(js->functions, wm_span_str(job->function));
    struct wm_target    target;
    if (job->cancel) {
        job->state = WM_JOB_CANCELLED;
    } else if (fn == NULL || !resolve(js, job, fn, &target)) {
        fail(job, WM_JOB_GONE);
    } else {
        job->bytes = target.bytes;
        const int err = job->fresh ? 0 : wm_function_refresh(js->functions, fn);
        make_room(js, &fn->image, &target);
        resolve(js, job, fn, &target);
        if (err) {
            fail_instance(job, err);
        } else if (job->fresh) {
            call_fresh(js, job, fn, &target);
        } else {
            call(js, job, fn, &fn->image, &target);
        }
    }
    drop_input(job);
    job->done_ms = wm_port_now_ms();
    return job;
}

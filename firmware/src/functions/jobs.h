/* jobs.h: every call is a job. One runs at a time, between requests.
 *
 * A synchronous call: begin -> (the owner polls) wm_jobs_run -> the owner answers from the job -> release. Until it has run
 * it has an id that no client may choose, so that others see it and can end it.
 * A background call has its client's id: begin -> run -> the result stays until it is deleted or its place is needed. */
#ifndef WM_FUNCTIONS_JOBS_H
#define WM_FUNCTIONS_JOBS_H

#include "functions/functions.h"
#include "functions/values.h"

enum wm_job_state { WM_JOB_FREE, WM_JOB_QUEUED, WM_JOB_RUNNING, WM_JOB_DONE, WM_JOB_FAILED, WM_JOB_CANCELLED };

/* How a call ended, when not with a result. */
enum wm_job_failure {
    WM_JOB_OK,
    WM_JOB_GONE,      /* no such function or export (any more) */
    WM_JOB_ARGUMENTS, /* bad */
    WM_JOB_TRAP,      /* trap */
    WM_JOB_STATUS,    /* status: the application's own error */
    WM_JOB_NO_ROOM,   /* no instance could be made: the pool is too full */
    WM_JOB_NO_START,  /* no instance could be made: its start function, or the stack */
    WM_JOB_NOT_PURE,  /* a fresh call of an export that does not declare itself pure */
};

#define WM_EXPORT_REF_BYTES 64 /* an export's name in a job; longer ones go by `:N` */

struct wm_job {
    uint8_t  state, failure;
    bool     background; /* has a client's id; its result is kept */
    bool     fresh;      /* FETCH: on an instance of its own */
    bool     cancel;     /* asked to stop */
    bool     bytes;      /* called with streams; set when it runs */
    char     id[WM_NAME_BYTES];
    char     function[WM_NAME_BYTES];
    uint8_t  export_ref[WM_EXPORT_REF_BYTES]; /* name, `:N`, or empty for the default; may hold a zero */
    uint8_t  export_ref_len;
    uint8_t  context_len; /* of the call's context: behind the input in input_blob, or jobs->context where that is empty */
    uint32_t order;                           /* rises with each job: the queue's order, and age */

    struct wm_span input; /* in input_blob; or borrowed, see wm_jobs_begin */
    struct wm_blob input_blob;

    struct wm_bad_value bad;
    uint8_t             trap; /* enum wm_trap_kind */
    int32_t             status;
    uint32_t            fuel, ms;
    uint32_t            quota; /* of the function, in the unit of the trap; 0: none */
    struct wm_span      output; /* what the call replied: CBOR of its results, or its output stream */
    struct wm_blob      output_blob; /* holds output if it did not fit jobs->reply, or is kept */

    /* The owner's: */
    int            ticket; /* of the request that waits; -1: none */
    bool           kept;   /* peer may fetch further blocks of the output, or the answer again */
    struct wm_peer peer;
    uint32_t       key;    /* of the request: method, path and query */
    uint8_t        tag_len, tag[8]; /* its Request-Tag */
    uint32_t       done_ms;
};

struct wm_jobs {
    struct wm_functions *functions;
    struct wm_heap      *pool;
    struct wm_job       *running; /* NULL: none */
    uint32_t             order;
    uint32_t             used; /* places that are not free: searches end after as many */
    struct wm_job        jobs[WM_JOBS];
    uint8_t              reply[WM_COAP_PAYLOAD_BYTES]; /* output of the call that runs or ran last */
#if WM_IMPORT_COMMUNICATION
    const uint8_t *context; /* of the job whose input is borrowed: there is only one, and it runs next */
    /* A function asks for a call of another one. NULL: none can. */
    void (*rpc)(void *ctx, const struct wm_job *job, struct wm_span context, struct wm_span name, struct wm_span data);
#endif
    void                *ctx;
    void (*service)(void *ctx); /* called while a function runs: read the links */
    void (*removed)(void *ctx, const struct wm_job *job); /* called before a finished job makes room for a new one */
};

/* The owner sets ctx, service, removed and rpc afterwards. */
void wm_jobs_init(struct wm_jobs *js, struct wm_functions *functions, struct wm_heap *pool);

/* Where a call's input is when its job begins. */
enum wm_job_input {
    WM_JOB_BORROW, /* valid until the job has run, which is before the next datagram is read */
    WM_JOB_COPY,   /* is gone when begin returns */
    WM_JOB_TAKE,   /* blob: the job owns it from now on, also on failure */
};

#define WM_CONTEXT_BYTES 64

/* Queue a call. function and export_ref must be of fitting length; context may be empty. Returns a job with state QUEUED, or NULL and *err:
 * WM_ERR_BUSY: no place; WM_ERR_NOMEM: no room for the input. */
struct wm_job *wm_jobs_begin(struct wm_jobs *js, struct wm_span function, struct wm_span export_ref, enum wm_job_input how,
                             struct wm_span input, struct wm_blob *blob, struct wm_span context, int *err);

/* For the pool's keeper: inputs and outputs are about to be moved (wm_heap_pack). */
void wm_jobs_packed(struct wm_jobs *js, const void *first);

/* Run the oldest queued job to its end. Returns it (DONE, FAILED or CANCELLED), or NULL: nothing to do. */
struct wm_job *wm_jobs_run(struct wm_jobs *js);

/* Whether wm_jobs_run would have something to do. */
bool wm_jobs_waiting(const struct wm_jobs *js);

/* NULL: none with this id; a call that somebody waits for has one until it has run. */
struct wm_job *wm_jobs_find(struct wm_jobs *js, struct wm_span id);

/* Next job in use, any order; start with NULL. NULL: no more. */
struct wm_job *wm_jobs_next(struct wm_jobs *js, struct wm_job *after);

/* Keep the output for later: it leaves jobs->reply for a blob of its own. Returns 0 or WM_ERR_NOMEM. */
int wm_job_keep(struct wm_jobs *js, struct wm_job *job);

/* The job's id in dst, of WM_NAME_BYTES. It costs nothing where nobody asks. */
void wm_job_id(const struct wm_job *job, char *dst);

/* End a job that has not finished: at its next slice of fuel if it runs, at once if it waits; but if somebody waits for it,
 * when its turn comes. */
void wm_job_cancel(struct wm_job *job);

/* Forget a job that is not running; frees what it holds. */
void wm_job_release(struct wm_jobs *js, struct wm_job *job);

#endif

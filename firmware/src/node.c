/* node.c: wiring. One node a process. */
#include "wasmote/node.h"

#include "base/assert.h"
#include "base/log.h"
#include "coap/registration.h"
#include "resources/resource.h"

struct wm_node {
    struct wm_node_config   config;
    struct wm_link          links[WM_LINKS];
    struct wm_coap_endpoint coap;
    struct wm_store         store;
    struct wm_functions     functions;
    struct wm_jobs          jobs;
    struct wm_uploads       uploads;
    struct wm_env           env;
    struct wm_registration  registration;
#if WM_IMPORT_COMMUNICATION
    struct wm_rpc           rpc;
    struct wm_peer          server;
#endif
    struct wm_heap_keeper   keeper;
    uint32_t                log_seen, swept_ms;
    uint32_t                job_seen; /* order of the job that was last seen running */
    uint8_t                 rx[WM_COAP_MESSAGE_BYTES];
    uint8_t                 rx_while_running[WM_COAP_MESSAGE_BYTES]; /* rx may hold the input of the call that runs */
};

static struct wm_node node_;

/* Datagrams taken from one link before the timers and the other links have their turn. */
#define BURST 64

/* How often what was left behind is looked for: uploads, outputs that nobody fetched. */
#define SWEEP_MS 1000u

static void send(void *ctx, const struct wm_peer *peer, struct wm_span datagram)
{
    struct wm_node       *node = ctx;
    const struct wm_link *link = &node->links[peer->link];
    /* A datagram that is lost here is no different from one that is lost later: CoAP repeats what matters. */
    (void)link->send(link->ctx, peer, datagram.ptr, datagram.len);
}

static void handle(void *ctx, const struct wm_coap_request *req, struct wm_coap_reply *rep)
{
    struct wm_node *node = ctx;
    wm_resources_handle(&node->env, req, rep);
}

static void flush(struct wm_node *node)
{
    for (size_t i = 0; i < node->config.link_count; i++) {
        if (node->links[i].flush != NULL) {
            node->links[i].flush(node->links[i].ctx);
        }
    }
}

/* Take one datagram from a link, if it has one. */
static bool receive(struct wm_node *node, size_t link, uint8_t *buf, size_t cap)
{
    struct wm_peer peer = {.multicast = false};
    const int      len = node->links[link].recv(node->links[link].ctx, &peer, buf, cap);
    if (len <= 0) {
        return false;
    }
    peer.link = (uint8_t)link;
    wm_coap_input(&node->coap, &peer, wm_span(buf, (size_t)len), node->env.now_ms);
    return true;
}

/* All that wait, before the next datagram is read into rx: a call may read its input where it was received. */
static void run_jobs(struct wm_node *node)
{
    struct wm_job *job;
    while ((job = wm_jobs_run(&node->jobs)) != NULL) {
        node->env.now_ms = wm_port_now_ms();
        wm_call_finished(&node->env, job);
    }
}

/* What time brings: what was left behind is forgotten, observers hear the news. Returns milliseconds until the next. */
static uint32_t tend(struct wm_node *node)
{
    if (node->env.now_ms - node->swept_ms >= SWEEP_MS) {
        node->swept_ms = node->env.now_ms;
        wm_uploads_expire(&node->uploads, node->env.now_ms);
        wm_call_expire(&node->env);
    }
    if (node->log_seen != wm_log_next()) {
        node->log_seen = wm_log_next();
        wm_coap_notify(&node->coap, WM_KEY_LOG);
    }
    if (node->config.register_at != NULL) {
        wm_registration_poll(&node->registration, node->env.now_ms);
    }
#if WM_IMPORT_COMMUNICATION
    wm_rpc_poll(&node->rpc, node->env.now_ms);
#endif
    const uint32_t wait_ms = wm_coap_poll(&node->coap, node->env.now_ms);
    flush(node);
    return wait_ms < SWEEP_MS ? wait_ms : SWEEP_MS;
}

/* A job is about to be forgotten: its observers hear 4.04 and are gone. */
static void removed(void *ctx, const struct wm_job *job)
{
    struct wm_node *node = ctx;
    if (job->background) {
        wm_coap_notify(&node->coap, wm_key_job(job->id));
    }
}

#if WM_IMPORT_COMMUNICATION
/* A function asks for a call of another one. */
static void ask_server(void *ctx, const struct wm_job *job, struct wm_span context, struct wm_span name, struct wm_span data)
{
    struct wm_node *node = ctx;
    wm_rpc_ask(&node->rpc, wm_span_str(job->function), context, name, data, wm_port_now_ms());
}
#endif

/* While a function runs: answer what does not need the engine. */
static void service(void *ctx)
{
    struct wm_node      *node = ctx;
    const struct wm_job *job = node->jobs.running;
    node->env.now_ms = wm_port_now_ms();
    if (job->order != node->job_seen) {
        node->job_seen = job->order;
        if (job->background) {
            wm_coap_notify(&node->coap, wm_key_job(job->id)); /* from queued to running */
        }
    }
    for (size_t i = 0; i < node->config.link_count; i++) {
        for (int n = 0; n < BURST && receive(node, i, node->rx_while_running, sizeof node->rx_while_running); n++) {
        }
    }
    (void)tend(node);
}

/* Everything in the pool has one of these owners. */
static int tidy(void *ctx, const void *first)
{
    struct wm_node *node = ctx;
    uint8_t         order[WM_FUNCTIONS];
    const int       count = wm_functions_sleep(&node->functions, order);
    if (count < 0) {
        return count;
    }
    wm_store_packed(&node->store, first);
    wm_functions_packed(&node->functions, first);
    wm_jobs_packed(&node->jobs, first);
    wm_uploads_packed(&node->uploads, first);
#if WM_IMPORT_COMMUNICATION
    wm_rpc_packed(&node->rpc, first);
#endif
    wm_heap_pack(node->env.pool, first);
    wm_functions_wake(&node->functions, order, count);
    return 0;
}

struct wm_node *wm_node_init(const struct wm_node_config *config)
{
    WM_ASSERT(config->link_count <= WM_LINKS && config->ep != NULL && config->board != NULL && config->chip != NULL &&
              config->reset != NULL);
    struct wm_node *node = &node_;
    memset(node, 0, sizeof *node);
    node->config = *config;
    for (size_t i = 0; i < config->link_count; i++) {
        node->links[i] = config->links[i];
    }
    node->config.links = node->links;

    struct wm_heap *pool = wm_heap_init(config->pool, config->pool_bytes);
    WM_ASSERT(pool != NULL);
    wm_log_init();
    wm_store_init(&node->store, pool);
    wm_functions_init(&node->functions, pool, &node->store);
    wm_jobs_init(&node->jobs, &node->functions, pool);
    node->jobs.ctx = node;
    node->jobs.service = service;
    node->jobs.removed = removed;
    wm_uploads_init(&node->uploads, &node->store, pool);
    const uint32_t now_ms = wm_port_now_ms();
    node->env = (struct wm_env){
        .config = &node->config,
        .coap = &node->coap,
        .pool = pool,
        .store = &node->store,
        .functions = &node->functions,
        .jobs = &node->jobs,
        .uploads = &node->uploads,
        .started_ms = now_ms,
        .now_ms = now_ms,
    };
    node->keeper = (struct wm_heap_keeper){.ctx = node, .tidy = tidy};
    wm_heap_set_keeper(pool, &node->keeper);
    uint32_t seed;
    wm_port_entropy(&seed, sizeof seed);
    wm_coap_init(&node->coap, &(struct wm_coap_config){
                                  .ctx = node,
                                  .handle = handle,
                                  .send = send,
                                  .ack_timeout_ms = config->ack_timeout_ms,
                                  .max_retransmit = config->max_retransmit,
                                  .seed = seed,
                              });
    if (config->register_at != NULL) {
        wm_registration_init(&node->registration, &node->coap, config->register_at, config->ep, config->register_lifetime_s,
                             now_ms);
    }
#if WM_IMPORT_COMMUNICATION
    if (config->register_at != NULL) {
        node->server = *config->register_at;
    }
    wm_rpc_init(&node->rpc, &node->coap, pool, config->register_at != NULL ? &node->server : NULL, config->ep);
    node->jobs.rpc = ask_server;
    node->env.rpc = &node->rpc;
#endif
    wm_log_printf(now_ms, WM_LOG_INFO, "started, version " WM_VERSION ", reset: %s", config->reset);
    return node;
}

void wm_node_nudge(void)
{
    wm_engine_nudge();
}

uint32_t wm_node_poll(struct wm_node *node, uint32_t now_ms)
{
    bool more = false;
    node->env.now_ms = now_ms;
    for (size_t i = 0; i < node->config.link_count; i++) {
        int n = 0;
        while (n < BURST && receive(node, i, node->rx, sizeof node->rx)) {
            run_jobs(node);
            n++;
        }
        more = more || n == BURST;
    }
    const uint32_t wait_ms = tend(node);
    return more ? 0 : wait_ms;
}

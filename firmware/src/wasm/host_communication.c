/* host_communication.c: `communication`, wasmiot's way for one function to ask for another. Nobody waits here: the node sends
 * the request on (docs/PROTOCOL.md 3.8), and this call goes on. */
#include "wasm/host.h"

/* (name, its length, data, its length) */
static enum wm_trap_kind rpc_call(struct wm_host_call *call, uint64_t *cells)
{
    struct wm_span    name, data;
    enum wm_trap_kind trap = wm_host_bytes(call, cells[0], cells[1], &name);
    if (trap == WM_TRAP_NONE) {
        trap = wm_host_bytes(call, cells[2], cells[3], &data);
    }
    if (trap == WM_TRAP_NONE && call->env->rpc != NULL) {
        call->env->rpc(call->env->ctx, name, data);
    }
    return trap;
}

static const struct wm_host_import imports[] = {{"rpcCall", "(iiii)", rpc_call}};

const struct wm_host_module wm_host_communication = {.name = "communication", .imports = imports, .count = 1};

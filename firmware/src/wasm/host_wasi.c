/* host_wasi.c: `wasi_snapshot_preview1`, so that what compilers make for WASI loads and runs: a program without files, arguments
 * and environment. Standard input is the call's, standard output and error are the node's log, as with `sys`. No other file
 * descriptor is open, and there is none to open one with, so whatever asks for one hears just that. */
#include "base/log.h"
#include "wasm/host.h"
#include "wasmote/port.h"

enum { OK = 0, BADF = 8, INVAL = 28, NOTSUP = 58, SPIPE = 70 }; /* errno */
enum { STDIN, STDOUT, STDERR };
enum { CHARACTER_DEVICE = 2, RIGHT_READ = 1 << 1, RIGHT_WRITE = 1 << 6 };

#define IOVS_MAX     1024u /* of one call, as Linux has it */
#define RANDOM_BYTES 4096u /* at a time, between two looks at the links */

static enum wm_trap_kind say(uint64_t *cells, uint32_t number)
{
    cells[0] = number;
    return WM_TRAP_NONE;
}

static enum wm_trap_kind store(const struct wm_host_call *call, uint64_t address, const void *value, size_t len)
{
    struct wm_span          into;
    const enum wm_trap_kind trap = wm_host_bytes(call, address, len, &into);
    if (trap == WM_TRAP_NONE) {
        memcpy(call->memory + (uint32_t)address, value, len);
    }
    return trap;
}

/* ---- what there is not ---- */

/* (fd, ...) for whatever standard streams cannot do. */
static enum wm_trap_kind no_file(struct wm_host_call *call, uint64_t *cells)
{
    (void)call;
    return say(cells, (uint32_t)cells[1] <= STDERR ? NOTSUP : BADF);
}

/* (fd, ...) for whatever moves in a file. */
static enum wm_trap_kind no_seek(struct wm_host_call *call, uint64_t *cells)
{
    (void)call;
    return say(cells, (uint32_t)cells[1] <= STDERR ? SPIPE : BADF);
}

static enum wm_trap_kind not_here(struct wm_host_call *call, uint64_t *cells)
{
    (void)call;
    return say(cells, NOTSUP);
}

/* (count, bytes): of arguments, or of variables */
static enum wm_trap_kind none(struct wm_host_call *call, uint64_t *cells)
{
    static const uint32_t zero;
    enum wm_trap_kind     trap = store(call, cells[1], &zero, sizeof zero);
    if (trap == WM_TRAP_NONE) {
        trap = store(call, cells[2], &zero, sizeof zero);
    }
    return trap != WM_TRAP_NONE ? trap : say(cells, OK);
}

static enum wm_trap_kind done(struct wm_host_call *call, uint64_t *cells)
{
    (void)call;
    return say(cells, OK);
}

/* ---- streams ---- */

/* The n-th of the vectors at that address. */
static enum wm_trap_kind iov(const struct wm_host_call *call, uint64_t address, uint32_t n, uint32_t *at, struct wm_span *bytes)
{
    struct wm_span    raw;
    uint32_t          pair[2];
    enum wm_trap_kind trap = wm_host_bytes(call, (uint32_t)address + 8u * n, sizeof pair, &raw);
    if (trap == WM_TRAP_NONE) {
        memcpy(pair, raw.ptr, sizeof pair);
        *at = pair[0];
        trap = wm_host_bytes(call, pair[0], pair[1], bytes);
    }
    return trap;
}

/* (fd, vectors, how many, out: bytes taken). May take less than all, as WASI has it. */
static enum wm_trap_kind fd_write(struct wm_host_call *call, uint64_t *cells)
{
    const uint32_t fd = (uint32_t)cells[1], count = (uint32_t)cells[3];
    uint32_t       taken = 0, at;
    if (fd != STDOUT && fd != STDERR) {
        return say(cells, BADF);
    }
    if (count > IOVS_MAX) {
        return say(cells, INVAL);
    }
    for (uint32_t i = 0; i < count && taken < WM_HOST_PRINT_BYTES; i++) {
        struct wm_span    bytes;
        enum wm_trap_kind trap = iov(call, cells[2], i, &at, &bytes);
        if (trap == WM_TRAP_NONE) {
            bytes.len = bytes.len < WM_HOST_PRINT_BYTES - taken ? bytes.len : WM_HOST_PRINT_BYTES - taken;
            trap = wm_host_print(call->env, bytes);
        }
        if (trap != WM_TRAP_NONE) {
            return trap;
        }
        taken += (uint32_t)bytes.len;
    }
    const enum wm_trap_kind trap = store(call, cells[4], &taken, sizeof taken);
    return trap != WM_TRAP_NONE ? trap : say(cells, OK);
}

/* (fd, vectors, how many, out: bytes read) */
static enum wm_trap_kind fd_read(struct wm_host_call *call, uint64_t *cells)
{
    struct wm_call_env *env = call->env;
    const uint32_t      count = (uint32_t)cells[3];
    uint32_t            got = 0, at;
    if ((uint32_t)cells[1] != STDIN) {
        return say(cells, BADF);
    }
    if (count > IOVS_MAX) {
        return say(cells, INVAL);
    }
    for (uint32_t i = 0; i < count && env->input_off < env->input.len; i++) {
        struct wm_span          into;
        const enum wm_trap_kind trap = iov(call, cells[2], i, &at, &into);
        if (trap != WM_TRAP_NONE) {
            return trap;
        }
        const size_t left = env->input.len - env->input_off, n = left < into.len ? left : into.len;
        wm_span_copy(call->memory + at, wm_span(env->input.ptr + env->input_off, n));
        env->input_off += n;
        got += (uint32_t)n;
    }
    const enum wm_trap_kind trap = store(call, cells[4], &got, sizeof got);
    return trap != WM_TRAP_NONE ? trap : say(cells, OK);
}

/* (fd, out: 24 bytes). A terminal: what is written comes out line by line. */
static enum wm_trap_kind fd_fdstat_get(struct wm_host_call *call, uint64_t *cells)
{
    const uint32_t fd = (uint32_t)cells[1];
    uint8_t        stat[24] = {CHARACTER_DEVICE};
    if (fd > STDERR) {
        return say(cells, BADF);
    }
    stat[8] = fd == STDIN ? RIGHT_READ : RIGHT_WRITE; /* of 64 bits, the lowest */
    const enum wm_trap_kind trap = store(call, cells[2], stat, sizeof stat);
    return trap != WM_TRAP_NONE ? trap : say(cells, OK);
}

/* (fd) */
static enum wm_trap_kind fd_close(struct wm_host_call *call, uint64_t *cells)
{
    (void)call;
    return say(cells, (uint32_t)cells[1] <= STDERR ? OK : BADF);
}

/* ---- the rest ---- */

/* (clock, precision, out: nanoseconds). A node does not know the time of day. */
static enum wm_trap_kind clock_time_get(struct wm_host_call *call, uint64_t *cells)
{
    const uint64_t ns = wm_host_now_ms() * 1000000u;
    if ((uint32_t)cells[1] != 1) {
        return say(cells, NOTSUP);
    }
    const enum wm_trap_kind trap = store(call, cells[3], &ns, sizeof ns);
    return trap != WM_TRAP_NONE ? trap : say(cells, OK);
}

/* (clock, out: nanoseconds) */
static enum wm_trap_kind clock_res_get(struct wm_host_call *call, uint64_t *cells)
{
    const uint64_t ns = 1000000u;
    if ((uint32_t)cells[1] != 1) {
        return say(cells, NOTSUP);
    }
    const enum wm_trap_kind trap = store(call, cells[2], &ns, sizeof ns);
    return trap != WM_TRAP_NONE ? trap : say(cells, OK);
}

/* (address, bytes) */
static enum wm_trap_kind random_get(struct wm_host_call *call, uint64_t *cells)
{
    struct wm_span          into;
    const enum wm_trap_kind trap = wm_host_bytes(call, cells[1], cells[2], &into);
    if (trap != WM_TRAP_NONE) {
        return trap;
    }
    const struct wm_call_env *env = call->env;
    for (size_t at = 0; at < into.len; at += RANDOM_BYTES) {
        if (at > 0 && env->tick != NULL && env->tick(env->ctx)) {
            return WM_TRAP_CANCELLED;
        }
        wm_port_entropy(call->memory + (uint32_t)cells[1] + at, into.len - at < RANDOM_BYTES ? into.len - at : RANDOM_BYTES);
    }
    return say(cells, OK);
}

/* (status) */
static enum wm_trap_kind proc_exit(struct wm_host_call *call, uint64_t *cells)
{
    call->env->exit_status = (int32_t)(uint32_t)cells[0];
    return WM_TRAP_EXIT;
}

static const struct wm_host_import imports[] = {
    {"args_get", "i(ii)", done},
    {"args_sizes_get", "i(ii)", none},
    {"clock_res_get", "i(ii)", clock_res_get},
    {"clock_time_get", "i(iIi)", clock_time_get},
    {"environ_get", "i(ii)", done},
    {"environ_sizes_get", "i(ii)", none},
    {"fd_advise", "i(iIIi)", no_seek},
    {"fd_allocate", "i(iII)", no_file},
    {"fd_close", "i(i)", fd_close},
    {"fd_datasync", "i(i)", no_file},
    {"fd_fdstat_get", "i(ii)", fd_fdstat_get},
    {"fd_fdstat_set_flags", "i(ii)", no_file},
    {"fd_fdstat_set_rights", "i(iII)", no_file},
    {"fd_filestat_get", "i(ii)", no_file},
    {"fd_filestat_set_size", "i(iI)", no_file},
    {"fd_filestat_set_times", "i(iIIi)", no_file},
    {"fd_pread", "i(iiiIi)", no_seek},
    {"fd_prestat_dir_name", "i(iii)", no_file},
    {"fd_prestat_get", "i(ii)", no_file},
    {"fd_pwrite", "i(iiiIi)", no_seek},
    {"fd_read", "i(iiii)", fd_read},
    {"fd_readdir", "i(iiiIi)", no_file},
    {"fd_renumber", "i(ii)", no_file},
    {"fd_seek", "i(iIii)", no_seek},
    {"fd_sync", "i(i)", no_file},
    {"fd_tell", "i(ii)", no_seek},
    {"fd_write", "i(iiii)", fd_write},
    {"path_create_directory", "i(iii)", no_file},
    {"path_filestat_get", "i(iiiii)", no_file},
    {"path_filestat_set_times", "i(iiiiIIi)", no_file},
    {"path_link", "i(iiiiiii)", no_file},
    {"path_open", "i(iiiiiIIii)", no_file},
    {"path_readlink", "i(iiiiii)", no_file},
    {"path_remove_directory", "i(iii)", no_file},
    {"path_rename", "i(iiiiii)", no_file},
    {"path_symlink", "i(iiiii)", not_here}, /* its first number is no file descriptor */
    {"path_unlink_file", "i(iii)", no_file},
    {"poll_oneoff", "i(iiii)", not_here},
    {"proc_exit", "(i)", proc_exit},
    {"proc_raise", "i(i)", not_here},
    {"random_get", "i(ii)", random_get},
    {"sched_yield", "i()", done},
    {"sock_accept", "i(iii)", no_file},
    {"sock_recv", "i(iiiiii)", no_file},
    {"sock_send", "i(iiiii)", no_file},
    {"sock_shutdown", "i(ii)", no_file},
};

const struct wm_host_module wm_host_wasi = {
    .name = "wasi_snapshot_preview1", .imports = imports, .count = sizeof imports / sizeof imports[0]};

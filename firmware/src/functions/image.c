#include "functions/image.h"

#include "base/assert.h"
#include "base/log.h"
#include "wasm/validate.h"

/* ---- what a module says of itself ---- */

static int refuse(struct wm_refused *refused, enum wm_refusal reason, const char *text)
{
    *refused = (struct wm_refused){.reason = reason, .text = text, .function = -1, .offset = -1};
    return WM_ERR_UNSUPPORTED;
}

static uint32_t pick(uint32_t asked, uint32_t fallback)
{
    return asked == WM_SECTION_NONE ? fallback : asked;
}

/* Memory the instance really gets: what its section asks for beyond __heap_base, else all its declared pages. */
static int memory_quota(const struct wm_image *image, uint32_t *bytes, struct wm_refused *refused)
{
    uint32_t  initial = 0, max = 0;
    const int err = wm_module_memory(image->module, &initial, &max);
    if (err) {
        *bytes = 0;
        return 0;
    }
    struct wm_export base;
    uint32_t         heap_base = 0;
    uint64_t         need = (uint64_t)initial * 65536u;
    if (image->section.heap_bytes != WM_SECTION_NONE &&
        wm_module_find_export(image->module, wm_span_str("__heap_base"), &base) == 0 && base.kind == WM_EXTERN_GLOBAL &&
        wm_module_global_i32(image->module, base.item, &heap_base) == 0) {
        const uint64_t asked = ((uint64_t)heap_base + image->section.heap_bytes + 15u) & ~(uint64_t)15u;
        need = asked < need ? asked : need;
        need = need == 0 && initial > 0 ? 16u : need; /* 0 would stand for all of its pages */
    }
    if (need > WM_MEMORY_MAX_BYTES) {
        (void)refuse(refused, WM_REFUSED_MEMORY, "asks for more memory than this node gives to one function");
        refused->need_bytes = need > SIZE_MAX ? SIZE_MAX : (size_t)need;
        return WM_ERR_UNSUPPORTED;
    }
    *bytes = (uint32_t)need;
    return 0;
}

static int validate(struct wm_heap *pool, const struct wm_image *image, struct wm_refused *refused)
{
    void *scratch = wm_heap_alloc(pool, WM_VALIDATE_SCRATCH_BYTES);
    if (scratch == NULL && wm_heap_tidy(pool, WM_VALIDATE_SCRATCH_BYTES, NULL) == 0) {
        scratch = wm_heap_alloc(pool, WM_VALIDATE_SCRATCH_BYTES);
    }
    if (scratch == NULL) {
        refused->need_bytes = WM_VALIDATE_SCRATCH_BYTES;
        return WM_ERR_NOMEM;
    }
    const int err = wm_validate(image->module, scratch, WM_VALIDATE_SCRATCH_BYTES, refused);
    wm_heap_free(pool, scratch);
    return err;
}

int wm_image_examine(struct wm_heap *pool, struct wm_image *image, struct wm_refused *refused)
{
    const int err = validate(pool, image, refused);
    if (err) {
        return err;
    }
    if (wm_section_read(image->module, &image->section) != 0) {
        return refuse(refused, WM_REFUSED_SECTION, "the custom section 'wasmote' is malformed");
    }
    const struct wm_section *section = &image->section;
    if (section->abi != WM_SECTION_NONE && section->abi != 1) {
        return refuse(refused, WM_REFUSED_SECTION, "made for another version of the host interface");
    }
    struct wm_quotas *q = &image->quotas;
    q->fuel = pick(section->fuel, WM_FUEL_DEFAULT);
    q->fuel = q->fuel < WM_FUEL_MAX ? q->fuel : WM_FUEL_MAX;
    q->stack_bytes = pick(section->stack_bytes, WM_WASM_STACK_DEFAULT_BYTES);
    q->output_bytes = pick(section->output_bytes, WM_OUTPUT_DEFAULT_BYTES);
    q->native_bytes = pick(section->native_bytes, WM_NATIVE_STACK_BYTES);
    q->log_lines = pick(section->log_lines, WM_LOG_RATE_DEFAULT);
    if (q->stack_bytes > WM_WASM_STACK_MAX_BYTES) {
        return refuse(refused, WM_REFUSED_LIMIT, "asks for a larger wasm stack than this node gives");
    }
    if (q->native_bytes > WM_NATIVE_STACK_BYTES) {
        return refuse(refused, WM_REFUSED_LIMIT, "asks for a larger native stack than this node gives");
    }
    if (q->output_bytes > WM_OUTPUT_MAX_BYTES) {
        return refuse(refused, WM_REFUSED_LIMIT, "asks for more output than this node gives");
    }
    if (q->log_lines > WM_LOG_RATE_MAX) {
        return refuse(refused, WM_REFUSED_LIMIT, "asks for more log lines a second than this node gives");
    }
    return memory_quota(image, &q->memory_bytes, refused);
}

/* ---- its instance ---- */

struct start {
    uint32_t began_ms, log_lines; /* log_lines: it may still write; it runs for less than a second */
};

static int log_start(void *ctx, int level, struct wm_span text)
{
    struct start *start = ctx;
    if (start->log_lines == 0) {
        return WM_ERR_NOSPACE;
    }
    start->log_lines--;
    wm_log_write(wm_port_now_ms(), (enum wm_log_level)level, wm_span_str("start"), text);
    return 0;
}

static bool start_is_late(void *ctx)
{
    const struct start *start = ctx;
    return wm_port_now_ms() - start->began_ms >= WM_START_MAX_MS;
}

static int refuse_output(void *ctx, struct wm_span bytes)
{
    (void)ctx;
    (void)bytes;
    return WM_ERR_NOSPACE; /* a start function has nobody to reply to */
}

static int open_in(struct wm_heap *pool, struct wm_image *image, void *arena, size_t room, bool resume,
                   struct wm_refused *refused)
{
    *refused = (struct wm_refused){.function = -1, .offset = -1};
    struct start       start = {wm_port_now_ms(), image->quotas.log_lines};
    struct wm_call_env env = {.ctx = &start, .output = refuse_output, .log = log_start, .tick = start_is_late};
    struct wm_quotas   quotas = image->quotas;
    quotas.fuel = quotas.fuel < WM_FUEL_START_MAX ? quotas.fuel : WM_FUEL_START_MAX;
    struct wm_engine_state state = {.block = image->state, .resume = resume};
    struct wm_engine      *engine = NULL;
    const int used = wm_engine_open_apart(&engine, arena, room, &state, image->module, &quotas, &env, refused);
    if (used < 0) {
        if (refused->reason == WM_REFUSED_INVALID) {
            refused->reason = WM_REFUSED_LIMIT; /* it has been validated, so what wasm3 cannot compile is its limit */
        }
        wm_heap_free(pool, arena);
        return used;
    }
    image->arena = wm_heap_resize(pool, arena, (size_t)used);
    image->arena_bytes = (size_t)used;
    image->peak_bytes = state.peak_bytes;
    image->engine = engine;
    return 0;
}

/* Open the image in a free piece of the pool that has at least min_bytes. */
static int open_in_piece(struct wm_heap *pool, struct wm_image *image, size_t min_bytes, struct wm_refused *refused)
{
    size_t room = 0;
    void  *arena = wm_heap_alloc_piece(pool, min_bytes, &room);
    refused->need_bytes = min_bytes;
    return arena == NULL ? WM_ERR_NOMEM : open_in(pool, image, arena, room, false, refused);
}

/* Arenas gather at the low end, what can be moved at the high end. */
static int open_arena(struct wm_heap *pool, struct wm_image *image, bool resume, struct wm_refused *refused)
{
    if (image->peak_bytes > 0) {
        void *arena = wm_heap_alloc(pool, image->peak_bytes);
        refused->need_bytes = image->peak_bytes;
        return arena == NULL ? WM_ERR_NOMEM : open_in(pool, image, arena, image->peak_bytes, resume, refused);
    }
    /* The lowest piece that may do, so that a function that is replaced again and again does not walk through the
     * pool and end in its middle. Loading takes more than what stays, so the piece may turn out too small. */
    const size_t sure = image->module.len + image->quotas.stack_bytes;
    const size_t likely = image->arena_bytes > sure ? image->arena_bytes : sure;
    const size_t largest = wm_heap_largest(pool);
    const int err = likely < largest ? open_in_piece(pool, image, likely, refused) : WM_ERR_NOMEM;
    return err == WM_ERR_NOMEM && largest > 0 ? open_in_piece(pool, image, largest, refused) : err;
}

int wm_image_wake(struct wm_heap *pool, struct wm_image *image, struct wm_refused *refused)
{
    *refused = (struct wm_refused){.function = -1, .offset = -1};
    const bool resume = image->state != NULL;
    if (!resume) {
        image->state_bytes = wm_engine_state_bytes(image->module, &image->quotas);
        image->state = wm_heap_alloc_high(pool, image->state_bytes);
        refused->need_bytes = image->state_bytes;
        if (image->state == NULL) {
            return WM_ERR_NOMEM;
        }
    }
    const int err = open_arena(pool, image, resume, refused);
    if (err && !resume) {
        wm_heap_free(pool, image->state);
        image->state = NULL;
        refused->need_bytes += err == WM_ERR_NOMEM ? image->state_bytes : 0;
    }
    return err;
}

int wm_image_open(struct wm_heap *pool, struct wm_image *image, struct wm_refused *refused)
{
    WM_ASSERT(image->engine == NULL);
    int err = wm_image_wake(pool, image, refused);
    if (err == WM_ERR_NOMEM && wm_heap_tidy(pool, refused->need_bytes, NULL) == 0) {
        err = wm_image_wake(pool, image, refused);
    }
    return err;
}

void wm_image_sleep(struct wm_heap *pool, struct wm_image *image)
{
    wm_engine_suspend(image->engine);
    wm_heap_free(pool, image->arena);
    image->engine = NULL;
    image->arena = NULL;
}

void wm_image_packed(struct wm_heap *pool, struct wm_image *image, const void *first)
{
    WM_ASSERT(image->engine == NULL);
    image->state = wm_heap_packed(pool, first, image->state);
}

size_t wm_image_ram_bytes(const struct wm_image *image)
{
    return image->module.len + (image->state != NULL ? image->state_bytes : 0) +
           (image->engine != NULL ? image->arena_bytes : 0);
}

void wm_image_close(struct wm_heap *pool, struct wm_image *image)
{
    if (image->engine != NULL) {
        wm_engine_close(image->engine);
    }
    wm_heap_free(pool, image->arena);
    wm_heap_free(pool, image->state);
    image->engine = NULL;
    image->arena = NULL;
    image->state = NULL;
}

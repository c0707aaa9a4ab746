/* runner.c: runs WebAssembly modules as a node does, by order of a script on stdin: validator, engine, calls.
 *
 *   open ID PATH            -> open | refused REASON TEXT
 *   call ID NAME CELL ...   -> return CELL ... | trap KIND | absent
 *   stack ID BYTES          -> stack: the wasm stack of what is opened from here on
 *   sweep ID                -> swept ANSWER ...: calls every export with zeros; return, or trap:KIND
 *   memory ID PATH          -> memory BYTES, which are in the file PATH now
 *   close ID                -> close
 *
 * ID is a small number, NAME an export's name in hexadecimal digits after an x, a CELL 16 of them. REASON is
 * one of reasons[], KIND one of wm_trap_name. One line answers each line, so that a crash belongs to the first
 * line without an answer. A script that makes no sense ends the program with status 2. An argument of the program is the
 * fuel of each call; otherwise it is as much as a node ever gives. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wasm/engine.h"
#include "wasm/validate.h"

#define INSTANCES   64
#define LINE_BYTES  65536u
#define PAGE_BYTES  65536u
#define ARENA_BYTES (1024u * 1024u) /* of an instance, without its memory */

struct instance {
    struct wm_engine *engine;
    uint8_t          *arena, *bytes;
    struct wm_span    module; /* bytes */
};

static struct instance instances[INSTANCES];
static uint32_t stack_bytes = WM_WASM_STACK_DEFAULT_BYTES;
static uint32_t fuel = WM_FUEL_MAX;

static const char *const reasons[] = {
    [WM_REFUSED_MALFORMED] = "malformed",
    [WM_REFUSED_INVALID] = "invalid",
    [WM_REFUSED_LIMIT] = "limit",
    [WM_REFUSED_UNSUPPORTED] = "unsupported",
    [WM_REFUSED_IMPORT] = "import",
    [WM_REFUSED_MEMORY] = "memory",
    [WM_REFUSED_START] = "start",
    [WM_REFUSED_SECTION] = "section",
};

static _Noreturn void senseless(const char *what)
{
    fprintf(stderr, "runner: %s\n", what);
    exit(2);
}

/* Exactly as long as asked for, so that AddressSanitizer sees the first byte beyond. */
static void *allocate(size_t bytes)
{
    void *ptr = malloc(bytes > 0 ? bytes : 1);
    if (ptr == NULL) {
        senseless("out of memory");
    }
    return ptr;
}

static int discard_output(void *ctx, struct wm_span bytes)
{
    (void)ctx;
    (void)bytes;
    return 0;
}

static int discard_log(void *ctx, int level, struct wm_span text)
{
    (void)ctx;
    (void)level;
    (void)text;
    return 0;
}

static struct wm_call_env quiet_env(void)
{
    return (struct wm_call_env){.output = discard_output, .log = discard_log};
}

static void read_file(struct instance *to, const char *path)
{
    FILE *file = fopen(path, "rb");
    long len = -1;
    if (file == NULL || fseek(file, 0, SEEK_END) != 0 || (len = ftell(file)) < 0 ||
        fseek(file, 0, SEEK_SET) != 0) {
        senseless("cannot read a module");
    }
    to->bytes = allocate((size_t)len);
    if (fread(to->bytes, 1, (size_t)len, file) != (size_t)len) {
        senseless("cannot read a module");
    }
    fclose(file);
    to->module = wm_span(to->bytes, (size_t)len);
}

static void forget(struct instance *it)
{
    free(it->arena);
    free(it->bytes);
    *it = (struct instance){0};
}

/* Validate and instantiate it->module. */
static int start(struct instance *it, struct wm_refused *refused)
{
    void *scratch = allocate(WM_VALIDATE_SCRATCH_BYTES);
    int err = wm_validate(it->module, scratch, WM_VALIDATE_SCRATCH_BYTES, refused);
    free(scratch);
    if (err) {
        return err;
    }
    uint32_t pages, max_pages;
    if (wm_module_memory(it->module, &pages, &max_pages) != 0) {
        pages = 0;
    }
    if (pages > WM_MEMORY_MAX_BYTES / PAGE_BYTES) {
        refused->reason = WM_REFUSED_MEMORY;
        refused->text = "more memory than this node gives";
        return WM_ERR_UNSUPPORTED;
    }
    const size_t arena_bytes = ARENA_BYTES + stack_bytes + (size_t)pages * PAGE_BYTES;
    it->arena = allocate(arena_bytes);
    const struct wm_quotas quotas = {
        .fuel = fuel,
        .stack_bytes = stack_bytes,
    };
    struct wm_call_env env = quiet_env();
    err = wm_engine_open(&it->engine, it->arena, arena_bytes, it->module, &quotas, &env, refused);
    return err < 0 ? err : 0;
}

static void run_open(struct instance *it, const char *path)
{
    if (it->engine != NULL) {
        senseless("open: there is an instance already");
    }
    read_file(it, path);
    struct wm_refused refused = {0};
    const int err = start(it, &refused);
    if (err == WM_ERR_UNSUPPORTED) {
        printf("refused %s %s\n", reasons[refused.reason], refused.text);
        forget(it);
    } else if (err) {
        printf("refused memory error %d\n", err);
        forget(it);
    } else {
        printf("open\n");
    }
}

static uint8_t digit(char c)
{
    const char *const digits = "0123456789abcdef";
    const char *at = c != '\0' ? strchr(digits, c) : NULL;
    if (at == NULL) {
        senseless("not a hexadecimal digit");
    }
    return (uint8_t)(at - digits);
}

static struct wm_span name_of(char *word)
{
    if (word == NULL || *word != 'x' || strlen(word) % 2 == 0) {
        senseless("not a name");
    }
    uint8_t *bytes = (uint8_t *)word; /* in place: two digits become a byte */
    const size_t len = strlen(word) / 2;
    for (size_t i = 0; i < len; i++) {
        bytes[i] = (uint8_t)(digit(word[1 + 2 * i]) << 4 | digit(word[2 + 2 * i]));
    }
    return wm_span(bytes, len);
}

static void run_call(struct instance *it)
{
    const struct wm_span name = name_of(strtok(NULL, " "));
    struct wm_export export;
    struct wm_signature type;
    if (it->engine == NULL || wm_module_find_export(it->module, name, &export) != 0 ||
        export.kind != WM_EXTERN_FUNC || wm_module_signature(it->module, export.item, &type) != 0) {
        printf("absent\n");
        return;
    }
    uint64_t *args = allocate(type.params.len * sizeof *args);
    uint64_t *results = allocate(type.results.len * sizeof *results);
    for (size_t i = 0; i < type.params.len; i++) {
        const char *word = strtok(NULL, " ");
        if (word == NULL) {
            senseless("too few arguments");
        }
        args[i] = strtoull(word, NULL, 16);
    }
    if (strtok(NULL, " ") != NULL) {
        senseless("too many arguments");
    }
    struct wm_call_env env = quiet_env();
    enum wm_trap_kind trap;
    if (wm_engine_call(it->engine, export.item, args, results, fuel, &env, &trap) != 0) {
        printf("trap %s\n", wm_trap_name(trap));
    } else {
        printf("return");
        for (size_t i = 0; i < type.results.len; i++) {
            printf(" %016" PRIx64, results[i]);
        }
        printf("\n");
    }
    free(args);
    free(results);
}

static void run_sweep(struct instance *it)
{
    struct wm_export export;
    printf("swept");
    for (uint32_t n = 0; it->engine != NULL && wm_module_export(it->module, n, &export) == 0; n++) {
        struct wm_signature type;
        if (export.kind != WM_EXTERN_FUNC || wm_module_signature(it->module, export.item, &type) != 0) {
            continue;
        }
        uint64_t *cells = calloc(type.params.len + type.results.len + 1, sizeof *cells);
        struct wm_call_env env = quiet_env();
        enum wm_trap_kind trap = WM_TRAP_NONE;
        if (cells == NULL) {
            senseless("out of memory");
        }
        (void)wm_engine_call(it->engine, export.item, cells, cells + type.params.len, fuel, &env, &trap);
        printf(trap == WM_TRAP_NONE ? " return" : " trap:%s", wm_trap_name(trap));
        free(cells);
    }
    printf("\n");
}

static void run_memory(const struct instance *it, const char *path)
{
    const struct wm_span memory = it->engine != NULL ? wm_engine_memory(it->engine) : wm_span(NULL, 0);
    FILE *file = fopen(path, "wb");
    if (file == NULL || (memory.len > 0 && fwrite(memory.ptr, 1, memory.len, file) != memory.len) ||
        fclose(file) != 0) {
        senseless("cannot write a memory");
    }
    printf("memory %zu\n", memory.len);
}

static void run_line(char *line)
{
    const char *verb = strtok(line, " ");
    const char *id = strtok(NULL, " ");
    const unsigned long index = id != NULL ? strtoul(id, NULL, 10) : INSTANCES;
    if (verb == NULL || index >= INSTANCES) {
        senseless("not a line of a script");
    }
    struct instance *it = &instances[index];
    if (strcmp(verb, "open") == 0) {
        const char *path = strtok(NULL, "");
        run_open(it, path != NULL ? path : "");
    } else if (strcmp(verb, "call") == 0) {
        run_call(it);
    } else if (strcmp(verb, "stack") == 0) {
        const char *bytes = strtok(NULL, " ");
        stack_bytes = bytes != NULL ? (uint32_t)strtoul(bytes, NULL, 10) : WM_WASM_STACK_DEFAULT_BYTES;
        printf("stack\n");
    } else if (strcmp(verb, "sweep") == 0) {
        run_sweep(it);
    } else if (strcmp(verb, "memory") == 0) {
        const char *path = strtok(NULL, "");
        run_memory(it, path != NULL ? path : "");
    } else if (strcmp(verb, "close") == 0) {
        if (it->engine != NULL) {
            wm_engine_close(it->engine);
        }
        forget(it);
        printf("close\n");
    } else {
        senseless("no such verb");
    }
    fflush(stdout);
}

int main(int argc, char **argv)
{
    static char line[LINE_BYTES];
    if (argc > 1) {
        fuel = (uint32_t)strtoul(argv[1], NULL, 10);
    }
    while (fgets(line, sizeof line, stdin) != NULL) {
        char *end = strchr(line, '\n');
        if (end == NULL) {
            senseless("a line is too long");
        }
        *end = '\0';
        run_line(line);
    }
    for (size_t i = 0; i < INSTANCES; i++) {
        forget(&instances[i]);
    }
    return 0;
}

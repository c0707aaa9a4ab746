/* plain_wasm3.c: wasm3 as it was published, in its own configuration, without anything of ours: loads the
 * module named on the command line, compiles and calls each of its exports with zeros. Built with
 * AddressSanitizer it ends with status 1 and a report where wasm3 crashes; status 0 is any other end. So
 * it shows that a module of known_crashes/ is what it is there for. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "m3_env.h"

#define ARGS_MAX 64

static uint8_t *read_file(const char *path, uint32_t *len)
{
    FILE *file = fopen(path, "rb");
    long size = -1;
    if (file == NULL || fseek(file, 0, SEEK_END) != 0 || (size = ftell(file)) < 0 ||
        fseek(file, 0, SEEK_SET) != 0) {
        fprintf(stderr, "plain_wasm3: cannot read %s\n", path);
        exit(2);
    }
    uint8_t *bytes = malloc((size_t)size > 0 ? (size_t)size : 1);
    if (bytes == NULL || fread(bytes, 1, (size_t)size, file) != (size_t)size) {
        fprintf(stderr, "plain_wasm3: cannot read %s\n", path);
        exit(2);
    }
    fclose(file);
    *len = (uint32_t)size;
    return bytes;
}

static const char *call_exports(IM3Runtime runtime, IM3Module module)
{
    static const uint64_t zero;
    const void *args[ARGS_MAX];
    for (size_t i = 0; i < ARGS_MAX; i++) {
        args[i] = &zero;
    }
    const char *last = NULL;
    for (uint32_t i = 0; i < module->numFunctions; i++) {
        IM3Function function;
        if (module->functions[i].numNames == 0) {
            continue;
        }
        const char *result = m3_FindFunction(&function, runtime, module->functions[i].names[0]);
        if (result == NULL) {
            result = m3_Call(function, m3_GetArgCount(function), args);
        }
        last = result != NULL ? result : last;
    }
    return last;
}

/* plain_wasm3 MODULE [STACK_BYTES] */
int main(int argc, char **argv)
{
    if (argc < 2) {
        return 2;
    }
    uint32_t len;
    uint8_t *bytes = read_file(argv[1], &len);
    IM3Environment environment = m3_NewEnvironment();
    IM3Runtime runtime =
        m3_NewRuntime(environment, argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 64 * 1024, NULL);
    IM3Module module = NULL;
    const char *result = m3_ParseModule(environment, &module, bytes, len);
    if (result == NULL) {
        result = m3_LoadModule(runtime, module);
        if (result != NULL) {
            m3_FreeModule(module);
        }
    }
    if (result == NULL) {
        result = call_exports(runtime, module);
    }
    m3_FreeRuntime(runtime);
    m3_FreeEnvironment(environment);
    free(bytes);
    printf("%s\n", result != NULL ? result : "ok");
    return 0;
}

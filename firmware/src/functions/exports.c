/* exports.c: which export a call means, and how it is called. */
#include "functions/functions.h"

static bool is_bytes(const struct wm_signature *sig)
{
    return sig->params.len == 0 &&
           (sig->results.len == 0 || (sig->results.len == 1 && sig->results.ptr[0] == WM_I32));
}

static int describe(const struct wm_function *fn, const struct wm_export *export, struct wm_target *out)
{
    *out = (struct wm_target){.export = *export};
    const int err = wm_module_signature(fn->image.module, export->item, &out->signature);
    if (err) {
        return WM_ERR_NOTFOUND;
    }
    out->bytes = is_bytes(&out->signature);
    out->pure = wm_section_lists(fn->image.section.pure, export->name);
    out->idempotent = out->pure || wm_section_lists(fn->image.section.idempotent, export->name);
    return 0;
}

int wm_function_next(const struct wm_function *fn, uint32_t *index, struct wm_target *out)
{
    struct wm_export export;
    while (wm_module_export(fn->image.module, *index, &export) == 0) {
        (*index)++;
        if (export.kind == WM_EXTERN_FUNC && describe(fn, &export, out) == 0) {
            return 0;
        }
    }
    return WM_ERR_NOTFOUND;
}

static int by_name(const struct wm_function *fn, struct wm_span name, struct wm_target *out)
{
    struct wm_export export;
    if (wm_module_find_export(fn->image.module, name, &export) != 0 || export.kind != WM_EXTERN_FUNC) {
        return WM_ERR_NOTFOUND;
    }
    return describe(fn, &export, out);
}

/* `:N` */
static int by_index(const struct wm_function *fn, struct wm_span digits, struct wm_target *out)
{
    uint32_t n = 0;
    if (digits.len == 0 || digits.len > 6) {
        return WM_ERR_NOTFOUND;
    }
    for (size_t i = 0; i < digits.len; i++) {
        if (digits.ptr[i] < '0' || digits.ptr[i] > '9') {
            return WM_ERR_NOTFOUND;
        }
        n = n * 10 + (digits.ptr[i] - '0');
    }
    struct wm_export export;
    if (wm_module_export(fn->image.module, n, &export) != 0 || export.kind != WM_EXTERN_FUNC) {
        return WM_ERR_NOTFOUND;
    }
    return describe(fn, &export, out);
}

/* The section's default, else the only one, else `main`, `run` or the function's own name. */
static int by_default(const struct wm_function *fn, struct wm_target *out)
{
    if (fn->image.section.default_export.len > 0) {
        return by_name(fn, fn->image.section.default_export, out);
    }
    uint32_t         index = 0;
    struct wm_target second;
    if (wm_function_next(fn, &index, out) != 0) {
        return WM_ERR_NOTFOUND;
    }
    if (wm_function_next(fn, &index, &second) != 0) {
        return 0;
    }
    if (by_name(fn, wm_span_str("main"), out) == 0 || by_name(fn, wm_span_str("run"), out) == 0) {
        return 0;
    }
    return by_name(fn, wm_span_str(fn->name), out);
}

int wm_function_target(const struct wm_function *fn, struct wm_span export_name, struct wm_target *out)
{
    if (export_name.len == 0) {
        return by_default(fn, out);
    }
    if (export_name.ptr[0] == ':') {
        return by_index(fn, wm_span(export_name.ptr + 1, export_name.len - 1), out);
    }
    return by_name(fn, export_name, out);
}

int wm_functions_target(struct wm_functions *fs, const struct wm_function *fn, struct wm_span export_name, struct wm_target *out)
{
    if (fs->last.fn == fn && wm_span_eq(export_name, wm_span(fs->last.ref, fs->last.ref_len))) {
        *out = fs->last.target;
        return 0;
    }
    const int err = wm_function_target(fn, export_name, out);
    if (err == 0 && export_name.len <= sizeof fs->last.ref) {
        fs->last.fn = fn;
        fs->last.ref_len = (uint8_t)export_name.len;
        wm_span_copy(fs->last.ref, export_name);
        fs->last.target = *out;
    }
    return err;
}

/* links.c: link format (RFC 6690) with the filters rt, if and href. */
#include "base/fmt.h"
#include "resources/resource.h"

struct wm_link_filter wm_link_filter(const struct wm_coap_request *req)
{
    struct wm_link_filter filter = {0};
    filter.has_rt = wm_coap_query(req, "rt", &filter.rt);
    filter.has_href = wm_coap_query(req, "href", &filter.href);
    filter.has_interface = wm_coap_query(req, "if", &filter.interface);
    return filter;
}

/* A trailing `*` in the filter matches any rest (RFC 6690, 4.1). */
static bool matches(bool has, struct wm_span filter, struct wm_span value)
{
    if (!has) {
        return true;
    }
    if (filter.len > 0 && filter.ptr[filter.len - 1] == '*') {
        filter.len--;
        return value.len >= filter.len && wm_span_eq(filter, wm_span(value.ptr, filter.len));
    }
    return wm_span_eq(filter, value);
}

static bool plain_in_path(uint8_t c)
{
    return ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' || c == '~' || c == ':';
}

static void put_escaped(struct wm_sink *out, struct wm_span segment)
{
    for (size_t i = 0; i < segment.len; i++) {
        if (plain_in_path(segment.ptr[i])) {
            wm_sink_put(out, wm_span(&segment.ptr[i], 1));
        } else {
            static const char hex[] = "0123456789ABCDEF";
            const char        escape[3] = {'%', hex[segment.ptr[i] >> 4], hex[segment.ptr[i] & 15]};
            wm_sink_put(out, wm_span(escape, sizeof escape));
        }
    }
}

static void put_attribute(struct wm_sink *out, const char *name, const char *value)
{
    if (value != NULL) {
        wm_sink_str(out, ";");
        wm_sink_str(out, name);
        wm_sink_str(out, "=\"");
        wm_sink_str(out, value);
        wm_sink_str(out, "\"");
    }
}

/* Whether the filter's href means `/path` or `/path/export`. */
static bool href_matches(const struct wm_link_filter *filter, const char *path, struct wm_span export_name)
{
    char whole[2 * WM_NAME_BYTES + WM_EXPORT_REF_BYTES];
    if (!filter->has_href) {
        return true;
    }
    const int len = export_name.len > 0
                        ? wm_format(whole, sizeof whole, "/%s/%.*s", path, (int)export_name.len, (const char *)export_name.ptr)
                        : wm_format(whole, sizeof whole, "/%s", path);
    return matches(true, filter->href, wm_span(whole, (size_t)len));
}

void wm_link_put(struct wm_sink *out, const struct wm_link_filter *filter, const char *path, struct wm_span export_name, const char *rt,
                 const char *ct, int64_t size, bool observable)
{
    if (!matches(filter->has_rt, filter->rt, wm_span_str(rt != NULL ? rt : "")) ||
        !matches(filter->has_interface, filter->interface, wm_span(NULL, 0)) || !href_matches(filter, path, export_name)) {
        return;
    }
    wm_sink_str(out, out->total > 0 ? ",</" : "</");
    wm_sink_str(out, path);
    if (export_name.len > 0) {
        wm_sink_str(out, "/");
        put_escaped(out, export_name);
    }
    wm_sink_str(out, ">");
    put_attribute(out, "rt", rt);
    put_attribute(out, "ct", ct);
    if (size >= 0) {
        char text[24];
        const int len = wm_format(text, sizeof text, ";sz=%lu", (unsigned long)size);
        wm_sink_put(out, wm_span(text, (size_t)len));
    }
    if (observable) {
        wm_sink_str(out, ";obs");
    }
}

void wm_links_of_functions(struct wm_env *env, struct wm_sink *out, const struct wm_link_filter *filter, bool exports)
{
    for (size_t i = 0; i < WM_FUNCTIONS; i++) {
        const struct wm_function *fn = &env->functions->table[i];
        if (fn->name[0] == '\0') {
            continue;
        }
        char path[WM_NAME_BYTES + 2];
        (void)wm_format(path, sizeof path, "f/%s", fn->name);
        wm_link_put(out, filter, path, wm_span(NULL, 0), "wm.f", "42 60", (int64_t)fn->image.module.len, false);
        struct wm_target target;
        for (uint32_t index = 0; exports && wm_function_next(fn, &index, &target) == 0;) {
            char ref[12];
            struct wm_span name = target.export.name;
            if (name.len == 0 || name.len >= WM_EXPORT_REF_BYTES || name.ptr[0] == ':' || name.ptr[0] == '.') {
                name = wm_span(ref, (size_t)wm_format(ref, sizeof ref, ":%lu", (unsigned long)target.export.index));
            }
            wm_link_put(out, filter, path, name, "wm.x", NULL, -1, false);
        }
    }
}

void wm_res_wellknown(struct wm_env *env, const struct wm_coap_request *req, struct wm_coap_reply *rep)
{
    const struct wm_link_filter filter = wm_link_filter(req);
    if (!wm_accepts(req, rep, WM_FORMAT_LINKS)) {
        return;
    }
    for (size_t i = 0; i < wm_resource_count; i++) {
        const struct wm_resource *res = &wm_resources[i];
        if (res->rt != NULL) {
            wm_link_put(&rep->body, &filter, res->path, wm_span(NULL, 0), res->rt, res->ct, -1, res->observable);
        }
    }
    wm_links_of_functions(env, &rep->body, &filter, false);
}

void wm_res_functions(struct wm_env *env, const struct wm_coap_request *req, struct wm_coap_reply *rep)
{
    const struct wm_link_filter filter = wm_link_filter(req);
    if (wm_accepts(req, rep, WM_FORMAT_LINKS)) {
        wm_links_of_functions(env, &rep->body, &filter, true);
    }
}

#include "base/sink.h"

void wm_sink_put(struct wm_sink *sink, struct wm_span bytes)
{
    const size_t at = sink->total;
    sink->total += bytes.len;
    if (bytes.len == 0 || sink->total <= sink->skip || at >= sink->skip + sink->cap) {
        return;
    }
    size_t from = 0, to = bytes.len;
    if (at < sink->skip) {
        from = sink->skip - at;
    }
    if (at + to > sink->skip + sink->cap) {
        to = sink->skip + sink->cap - at;
    }
    memcpy(sink->buf + (at + from - sink->skip), bytes.ptr + from, to - from);
}

void wm_sink_str(struct wm_sink *sink, const char *s)
{
    wm_sink_put(sink, wm_span_str(s));
}

struct wm_sink wm_sink_rest(const struct wm_sink *sink)
{
    const size_t kept = wm_sink_kept(sink);
    return (struct wm_sink){
        .buf = sink->buf + kept,
        .cap = sink->cap - kept,
        .skip = sink->total < sink->skip ? sink->skip - sink->total : 0,
    };
}

size_t wm_sink_kept(const struct wm_sink *sink)
{
    if (sink->total <= sink->skip) {
        return 0;
    }
    const size_t past = sink->total - sink->skip;
    return past < sink->cap ? past : sink->cap;
}

/* sink.h: where a representation is written, front to back, while only a window of it is kept.
 *
 * A resource writes all of its bytes each time; a block-wise GET keeps those of one block. So a
 * representation of any size needs no buffer of its own, and every block can be asked for at random. */
#ifndef WM_BASE_SINK_H
#define WM_BASE_SINK_H

#include "base/span.h"

struct wm_sink {
    uint8_t *buf;   /* window: room for cap bytes; owned by the caller */
    size_t   cap;
    size_t   skip;  /* position of the window in the representation */
    size_t   total; /* bytes written so far, kept or not */
};

static inline void wm_sink_init(struct wm_sink *sink, void *buf, size_t cap, size_t skip)
{
    *sink = (struct wm_sink){.buf = buf, .cap = cap, .skip = skip};
}

/* Append bytes. Cannot fail: what falls outside of the window is only counted. */
void wm_sink_put(struct wm_sink *sink, struct wm_span bytes);
void wm_sink_str(struct wm_sink *sink, const char *s);

/* A sink for what comes next, with as much of the window as is left for it. Whoever writes to it adds its total to sink's. */
struct wm_sink wm_sink_rest(const struct wm_sink *sink);

/* Bytes kept in the window so far. */
size_t wm_sink_kept(const struct wm_sink *sink);

#endif

/* log.h: numbered lines in a ring; what a node has to say for itself and what functions say. */
#ifndef WM_BASE_LOG_H
#define WM_BASE_LOG_H

#include "base/span.h"
#include "wasmote/config.h"

#define WM_LOG_TEXT_BYTES 80 /* longer lines are cut */

enum wm_log_level { WM_LOG_ERROR, WM_LOG_WARNING, WM_LOG_INFO, WM_LOG_DEBUG };

struct wm_log_line {
    uint32_t       number;
    uint32_t       ms;
    uint8_t        level;
    struct wm_span source; /* a function's name, empty for the node; borrowed until the next write */
    struct wm_span text;
};

/* One ring a node; init forgets everything. */
void wm_log_init(void);

/* Append a line. Control characters become '?'. The oldest lines make room. */
void wm_log_write(uint32_t ms, enum wm_log_level level, struct wm_span source, struct wm_span text);

/* The same from the node, printf-like (%s %d %u %lu %x). */
void wm_log_printf(uint32_t ms, enum wm_log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Fill line with the first line whose number is at least from. Returns 0; WM_ERR_NOTFOUND: no such line yet. */
int wm_log_read(uint32_t from, struct wm_log_line *line);

/* Number that the next line gets: 1 after init. */
uint32_t wm_log_next(void);

/* Lines overwritten since init. */
uint32_t wm_log_dropped(void);

#endif

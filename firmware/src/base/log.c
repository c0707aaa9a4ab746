#include "base/log.h"

#include <stdarg.h>

#include "base/fmt.h"
#include "wasmote/err.h"

/* A line lies in the ring as: head, source, text; it may wrap around the end anywhere. */
struct head {
    uint32_t number, ms;
    uint8_t  level, source_len, text_len;
};

static struct {
    uint8_t  ring[WM_LOG_BYTES];
    size_t   first, used; /* oldest byte, bytes in use */
    uint32_t next, dropped;
    struct {
        uint32_t number; /* 0: nothing was read since the last write */
        size_t   at, left;
    } after; /* the line last read: the log is read line by line, and would else be walked from its start for each */
    char     read[WM_NAME_BYTES + WM_LOG_TEXT_BYTES]; /* the line last read, in one piece */
} log_;

void wm_log_init(void)
{
    log_.first = log_.used = 0;
    log_.next = 1;
    log_.after.number = 0;
    log_.dropped = 0;
}

static void ring_get(size_t at, void *dst, size_t len)
{
    uint8_t *out = dst;
    for (size_t i = 0; i < len; i++) {
        out[i] = log_.ring[(at + i) % WM_LOG_BYTES];
    }
}

static void ring_put(const void *src, size_t len)
{
    const uint8_t *in = src;
    for (size_t i = 0; i < len; i++) {
        log_.ring[(log_.first + log_.used + i) % WM_LOG_BYTES] = in[i];
    }
    log_.used += len;
}

static size_t line_bytes(const struct head *head)
{
    return sizeof *head + head->source_len + head->text_len;
}

static void drop_oldest(void)
{
    struct head head;
    ring_get(log_.first, &head, sizeof head);
    log_.first = (log_.first + line_bytes(&head)) % WM_LOG_BYTES;
    log_.used -= line_bytes(&head);
    log_.dropped++;
}

void wm_log_write(uint32_t ms, enum wm_log_level level, struct wm_span source, struct wm_span text)
{
    uint8_t clean[WM_LOG_TEXT_BYTES];
    struct head head = {
        .number = log_.next++,
        .ms = ms,
        .level = (uint8_t)level,
        .source_len = (uint8_t)(source.len < WM_NAME_BYTES ? source.len : WM_NAME_BYTES - 1),
        .text_len = (uint8_t)(text.len < WM_LOG_TEXT_BYTES ? text.len : WM_LOG_TEXT_BYTES),
    };
    /* A line is sent as CBOR text, which must be UTF-8. What a function logs may be anything, so only ASCII
     * passes as it is. */
    for (size_t i = 0; i < head.text_len; i++) {
        clean[i] = text.ptr[i] >= ' ' && text.ptr[i] < 0x7f ? text.ptr[i] : '?';
    }
    log_.after.number = 0;
    while (log_.used + line_bytes(&head) > WM_LOG_BYTES) {
        drop_oldest();
    }
    ring_put(&head, sizeof head);
    ring_put(source.ptr, head.source_len);
    ring_put(clean, head.text_len);
}

void wm_log_printf(uint32_t ms, enum wm_log_level level, const char *format, ...)
{
    char    text[WM_LOG_TEXT_BYTES + 1];
    va_list ap;
    va_start(ap, format);
    const int len = wm_vformat(text, sizeof text, format, ap);
    va_end(ap);
    wm_log_write(ms, level, wm_span(NULL, 0), wm_span(text, (size_t)len));
}

int wm_log_read(uint32_t from, struct wm_log_line *line)
{
    const bool resumes = from != 0 && from == log_.after.number;
    size_t     at = resumes ? log_.after.at : log_.first;
    for (size_t left = resumes ? log_.after.left : log_.used; left > 0;) {
        struct head head;
        ring_get(at, &head, sizeof head);
        const size_t bytes = line_bytes(&head), after = (at + bytes) % WM_LOG_BYTES;
        left -= bytes;
        if (head.number >= from) {
            ring_get((at + sizeof head) % WM_LOG_BYTES, log_.read, head.source_len + (size_t)head.text_len);
            *line = (struct wm_log_line){
                .number = head.number,
                .ms = head.ms,
                .level = head.level,
                .source = wm_span(log_.read, head.source_len),
                .text = wm_span(log_.read + head.source_len, head.text_len),
            };
            log_.after.number = head.number + 1;
            log_.after.at = after;
            log_.after.left = left;
            return 0;
        }
        at = after;
    }
    return WM_ERR_NOTFOUND;
}

uint32_t wm_log_next(void)
{
    return log_.next;
}

uint32_t wm_log_dropped(void)
{
    return log_.dropped;
}

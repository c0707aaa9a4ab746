#include <stdarg.h>

#include "base/cbor.h"
#include "base/fmt.h"
#include "coap/request.h"

#define PROBLEM_TITLE   (-1)
#define PROBLEM_DETAIL  (-2)
#define PROBLEM_MEMBERS "tag:wasmote,2026:p"

#define DETAIL_BYTES 120 /* longer ones are cut */

/* No problem is as long as this. A window behind it belongs to the representation that the client was
 * reading, and would only hide why it cannot go on. */
#define REWIND_BYTES 512

void wm_problem_open(struct wm_coap_reply *rep, uint8_t code, const char *title, const char *detail,
                     size_t pairs)
{
    rep->code = code;
    rep->deferred = false;
    rep->content_format = WM_FORMAT_PROBLEM;
    rep->etag_len = 0;
    rep->observe_key = 0;
    rep->body.total = 0;
    if (rep->body.skip >= REWIND_BYTES) {
        rep->body.skip = 0;
    }
    wm_cbor_map(&rep->body, (size_t)1 + (detail != NULL) + (pairs > 0));
    wm_cbor_int(&rep->body, PROBLEM_TITLE);
    wm_cbor_str(&rep->body, title);
    if (detail != NULL) {
        wm_cbor_int(&rep->body, PROBLEM_DETAIL);
        wm_cbor_str(&rep->body, detail);
    }
    if (pairs > 0) {
        wm_cbor_str(&rep->body, PROBLEM_MEMBERS);
        wm_cbor_map(&rep->body, pairs);
    }
}

void wm_problem(struct wm_coap_reply *rep, uint8_t code, const char *title, const char *format, ...)
{
    char detail[DETAIL_BYTES];
    if (format != NULL) {
        va_list ap;
        va_start(ap, format);
        const int len = wm_vformat(detail, sizeof detail, format, ap);
        va_end(ap);
        /* Text in CBOR is UTF-8, but names quoted from a request may be anything, and a cut may fall
         * anywhere. */
        for (int i = 0; i < len; i++) {
            if (detail[i] < ' ' || detail[i] > '~') {
                detail[i] = '?';
            }
        }
    }
    wm_problem_open(rep, code, title, format != NULL ? detail : NULL, 0);
}

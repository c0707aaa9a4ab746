#include "wasm/refused.h"

const char *wm_refusal_name(enum wm_refusal reason)
{
    static const char *const names[] = {
        [WM_REFUSED_MALFORMED] = "malformed", [WM_REFUSED_INVALID] = "invalid", [WM_REFUSED_LIMIT] = "limit",
        [WM_REFUSED_UNSUPPORTED] = "unsupported", [WM_REFUSED_IMPORT] = "import", [WM_REFUSED_MEMORY] = "memory",
        [WM_REFUSED_START] = "start", [WM_REFUSED_SECTION] = "section",
    };
    return names[reason];
}

/* hash.h: 32 bits for telling things apart; never for security: anybody can calculate and bend it. */
#ifndef WM_BASE_HASH_H
#define WM_BASE_HASH_H

#include "base/span.h"

#define WM_HASH_START 2166136261u

/* Go on from h. The same bytes in other pieces give another hash. */
uint32_t wm_hash(uint32_t h, struct wm_span bytes);

/* The same, and ends the piece, so that "a", "bc" differs from "ab", "c". */
uint32_t wm_hash_piece(uint32_t h, struct wm_span bytes);

#endif

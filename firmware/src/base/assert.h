/* assert.h: the caller's bugs end here. Never for what comes from the wire, flash or wasm. */
#ifndef WM_BASE_ASSERT_H
#define WM_BASE_ASSERT_H

#include "wasmote/port.h"

#define WM_ASSERT(cond) ((cond) ? (void)0 : wm_port_panic(__FILE_NAME__, __LINE__))

#ifndef __FILE_NAME__ /* gcc before 12 */
#define __FILE_NAME__ __FILE__
#endif

#endif

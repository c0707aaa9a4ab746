/* config.h: compile-time limits. A port sets its own by defining WM_CONFIG_FILE to a header;
 * what that header leaves out comes from config_default.h. */
#ifndef WASMOTE_CONFIG_H
#define WASMOTE_CONFIG_H

#ifdef WM_CONFIG_FILE
#include WM_CONFIG_FILE
#endif
#include "wasmote/config_default.h"

#endif

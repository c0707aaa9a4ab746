/* wm_config_validator.h: how much the tables of the tools' validator hold: more than those of any node. */
#ifndef WM_CONFIG_VALIDATOR_H
#define WM_CONFIG_VALIDATOR_H

#define WM_MODULE_MAX_BYTES (256u * 1024u * 1024u)
#define WM_MODULE_TYPES 65535u
#define WM_MODULE_FUNCTIONS 65536u
#define WM_MODULE_GLOBALS 65536u
#define WM_MODULE_EXPORTS 65536u
#define WM_MODULE_SEGMENTS 1000000u
#define WM_MODULE_NAME_BYTES 65536u
#define WM_MODULE_TABLE 10000000u
#define WM_MODULE_PARAMS 254u
#define WM_MODULE_RESULTS 255u
#define WM_MODULE_HEIGHT 32767u
#define WM_MODULE_CONSTANTS 32767u
#define WM_MODULE_LOCALS 254u
#define WM_MODULE_NESTING 4096u
#define WM_MODULE_BR_TABLE 1000000u
#define WM_MODULE_CODE_BYTES (256u * 1024u * 1024u)

#endif

/* wm_config_host.h: limits of a node that is a process on a computer. */
#ifndef WM_CONFIG_HOST_H
#define WM_CONFIG_HOST_H

/* One client at 40,000 requests a second wraps its message IDs in 1.6 s: 8192 slots are 0.2 s of that. */
#define WM_COAP_DEDUP_SLOTS 8192
#define WM_COAP_DEDUP_BYTES (1024u * 1024u)
#define WM_COAP_TICKETS 64
#define WM_COAP_EXCHANGES 64
#define WM_COAP_EXCHANGE_BYTES 1400
#define WM_COAP_OBSERVERS 64
#define WM_UPLOADS 16

/* An IPv6 address, its port and its scope. */
#define WM_PEER_ADDR_BYTES 24

#define WM_FUNCTIONS 64
#define WM_MODULE_MAX_BYTES (4u * 1024u * 1024u)
#define WM_MODULE_TYPES 1024
#define WM_MODULE_FUNCTIONS 8192
#define WM_MODULE_GLOBALS 1024
#define WM_MODULE_EXPORTS 1024
#define WM_MODULE_SEGMENTS 4096
#define WM_MODULE_TABLE 65536
#define WM_MODULE_NESTING 256
#define WM_MODULE_BR_TABLE 32768
#define WM_MODULE_CODE_BYTES (256u * 1024u) /* some 5 ms of square roots, without a look at the links */
#define WM_JOBS 64
#define WM_LOG_BYTES (64u * 1024u)

#define WM_MEMORY_MAX_BYTES (64u * 1024u * 1024u)
#define WM_WASM_STACK_DEFAULT_BYTES (64u * 1024u)
#define WM_WASM_STACK_MAX_BYTES (1024u * 1024u)
#define WM_OUTPUT_DEFAULT_BYTES (1024u * 1024u)
#define WM_OUTPUT_MAX_BYTES (16u * 1024u * 1024u)
#define WM_FUEL_MAX 4000000000u
#define WM_FUEL_START_MAX 1000000u
#define WM_START_MAX_MS 250u
#define WM_LOG_RATE_MAX 100000u
#define WM_FUEL_SLICE 20000u

#define WM_IMPORT_COMMUNICATION 1
#define WM_RPCS 16
#define WM_IMPORT_DHT 1
#define WM_IMPORT_ENV 1
#define WM_IMPORT_WASI 1

/* C stack for functions, of the process' 8 MiB. Sanitizers keep the interpreter's frames apart and make each larger. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define WM_NATIVE_STACK_BYTES (4u * 1024u * 1024u)
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(memory_sanitizer)
#define WM_NATIVE_STACK_BYTES (4u * 1024u * 1024u)
#endif
#endif
#ifndef WM_NATIVE_STACK_BYTES
#define WM_NATIVE_STACK_BYTES (512u * 1024u)
#endif

#endif

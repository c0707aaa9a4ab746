/* config_default.h: every limit of a node in one table, sized for a chip with 128 KiB of RAM.
 * Include wasmote/config.h, not this file. */
#ifndef WASMOTE_CONFIG_DEFAULT_H
#define WASMOTE_CONFIG_DEFAULT_H

/* ---- CoAP ---- */
#ifndef WM_COAP_PAYLOAD_BYTES
#define WM_COAP_PAYLOAD_BYTES 1024 /* largest payload of one message: Block SZX 6 */
#endif
#ifndef WM_COAP_MESSAGE_BYTES
#define WM_COAP_MESSAGE_BYTES (WM_COAP_PAYLOAD_BYTES + 256) /* with header, token and options */
#endif
#ifndef WM_COAP_DEDUP_SLOTS
#define WM_COAP_DEDUP_SLOTS 32 /* requests remembered; a power of two, at most 32768 */
#endif
#ifndef WM_COAP_DEDUP_BYTES
#define WM_COAP_DEDUP_BYTES 3072 /* their replies; at least one whole message */
#endif
#ifndef WM_COAP_TICKETS
#define WM_COAP_TICKETS 8 /* requests whose reply comes later */
#endif
#ifndef WM_COAP_EXCHANGES
#define WM_COAP_EXCHANGES 8 /* confirmable messages of our own in flight */
#endif
#ifndef WM_COAP_EXCHANGE_BYTES
#define WM_COAP_EXCHANGE_BYTES 256 /* each; separate replies pick a block size that fits */
#endif
#ifndef WM_COAP_OBSERVERS
#define WM_COAP_OBSERVERS 4
#endif
#ifndef WM_COAP_OBSERVE_REQUEST_BYTES
#define WM_COAP_OBSERVE_REQUEST_BYTES 64 /* options of an observed GET, kept to ask it again */
#endif
#ifndef WM_COAP_ACK_TIMEOUT_MS
#define WM_COAP_ACK_TIMEOUT_MS 2000 /* RFC 7252, 4.8; the three may be changed when a node starts */
#endif
#ifndef WM_COAP_MAX_RETRANSMIT
#define WM_COAP_MAX_RETRANSMIT 4
#endif
#ifndef WM_COAP_LEISURE_MS
#define WM_COAP_LEISURE_MS 5000 /* RFC 7252, 8.2: spread of replies to a multicast request */
#endif
#ifndef WM_OBSERVE_MIN_MS
#define WM_OBSERVE_MIN_MS 250 /* between two notifications of one observation */
#endif
#ifndef WM_PEER_ADDR_BYTES
#define WM_PEER_ADDR_BYTES 20 /* longest link-level address: IPv6, port, scope */
#endif

#ifndef WM_REGISTER_LIFETIME_S
#define WM_REGISTER_LIFETIME_S 900 /* of a registration at a directory; renewed after half to three quarters of it */
#endif

/* ---- uploads ---- */
#ifndef WM_UPLOADS
#define WM_UPLOADS 2 /* block-wise request bodies in progress */
#endif
#ifndef WM_UPLOAD_IDLE_MS
#define WM_UPLOAD_IDLE_MS 60000
#endif

/* ---- functions ---- */
#ifndef WM_FUNCTIONS
#define WM_FUNCTIONS 16
#endif
#ifndef WM_NAME_BYTES
#define WM_NAME_BYTES 32 /* a function's name or a job's id, with the final zero */
#endif
#ifndef WM_MODULE_MAX_BYTES
#define WM_MODULE_MAX_BYTES (64u * 1024u)
#endif
#ifndef WM_CALL_VALUES
#define WM_CALL_VALUES 16 /* parameters or results of an export that is called from outside */
#endif
#ifndef WM_JOBS
#define WM_JOBS 4 /* queued, running and remembered */
#endif
#ifndef WM_LOG_BYTES
#define WM_LOG_BYTES 1024
#endif

/* ---- module limits ----
 * What wm_validate (wasm/validate.h) accepts beyond the rules of the specification. They bound its scratch
 * memory, and put out of reach what wasm3 0.5.0 does wrong with valid modules. A module beyond one is refused
 * with reason `limit`. tests/unit/test_validate.c has each from both sides. What no number bounds, because it
 * is a shape, is listed in wasm/validate.h. */
#ifndef WM_MODULE_TYPES
/* Function types; 4 bytes of scratch each. wasm3 compares each with all others when it loads. */
#define WM_MODULE_TYPES 128
#endif
#ifndef WM_MODULE_FUNCTIONS
#define WM_MODULE_FUNCTIONS 512 /* with imports; 2 bytes of scratch each */
#endif
#ifndef WM_MODULE_GLOBALS
#define WM_MODULE_GLOBALS 128 /* with imports; 1 byte of scratch each */
#endif
#ifndef WM_MODULE_EXPORTS
#define WM_MODULE_EXPORTS 128 /* names are compared pairwise: time grows with the square */
#endif
#ifndef WM_MODULE_SEGMENTS
#define WM_MODULE_SEGMENTS 512 /* of data, and of elements: wasm3 compiles an expression for each */
#endif
#ifndef WM_MODULE_NAME_BYTES
#define WM_MODULE_NAME_BYTES 512 /* an import's or export's: wasm3 copies it, and refuses those over 10,000 */
#endif
#ifndef WM_MODULE_TABLE
/* Where an element segment may end: wasm3 ignores the declared size of a table and makes it that long. */
#define WM_MODULE_TABLE 4096
#endif
#ifndef WM_MODULE_PARAMS
/* Of one type. wasm3 writes a callee's arguments beyond the end of its stack before it checks (#562): at most
 * 8 * (WM_MODULE_PARAMS + WM_MODULE_RESULTS) bytes, so that many must follow the stack that it is given. */
#define WM_MODULE_PARAMS 32
#endif
#ifndef WM_MODULE_RESULTS
/* Of one type. wasm3 marks result slots without a look at the end of its table: 129 results of a function
 * write past it, and about 900 past the heap block. It copies them by recursion, a C frame for each. */
#define WM_MODULE_RESULTS 16
#endif
#ifndef WM_MODULE_HEIGHT
/* wasm3's d_m3MaxFunctionStackHeight, and the two must be equal: parameters, locals, operands, and for each
 * open block its parameters and results once more. wasm3 does not look at the end of its tables when it
 * places the results of blocks and calls. It has two slots of 4 bytes for each of these, whose use the
 * validator bounds too: a call's result is placed above all in use, so f(f(f(...))) climbs two slots a call, and 128 of
 * them write past a table. 4 bytes of scratch each. */
#define WM_MODULE_HEIGHT 128
#endif
#ifndef WM_MODULE_CONSTANTS
/* wasm3's d_m3MaxConstantTableSize, and the two must be equal: slots for a function's constants, taken from
 * those of WM_MODULE_HEIGHT. More constants are no error: they are compiled into the code. */
#define WM_MODULE_CONSTANTS 64
#endif
#ifndef WM_MODULE_LOCALS
#define WM_MODULE_LOCALS 120 /* with the parameters; 1 byte of scratch each */
#endif
#ifndef WM_MODULE_NESTING
/* Blocks inside blocks, with the function itself; 16 bytes of scratch each. wasm3 compiles each by recursion, in 120 to
 * 184 bytes of C stack on a Cortex-M4: 64 take 14 KB, so chips say less (boards/README.md). A switch of n cases is n
 * blocks. */
#define WM_MODULE_NESTING 64
#endif
#ifndef WM_MODULE_BR_TABLE
/* Targets of one br_table: wasm3 makes a piece of code for each. (A count near 2^32 wraps in it, #570; but no
 * valid module has one, as each target takes a byte.) */
#define WM_MODULE_BR_TABLE 1024
#endif
#ifndef WM_MODULE_CODE_BYTES
#define WM_MODULE_CODE_BYTES (32u * 1024u) /* of one function: the longest way without a look at the links, too */
#endif

/* ---- quotas: a module's section asks, these decide ---- */
#ifndef WM_FUEL_DEFAULT
#define WM_FUEL_DEFAULT 10000000u /* loop turns and calls */
#endif
#ifndef WM_FUEL_MAX
#define WM_FUEL_MAX 1000000000u
#endif
#ifndef WM_FUEL_START_MAX
#define WM_FUEL_START_MAX 100000u /* of a start function, which runs in the midst of a request: nothing else is answered */
#endif
#ifndef WM_START_MAX_MS
#define WM_START_MAX_MS 100u /* the same in time, because fuel says little of long loop bodies (needs wm_node_nudge) */
#endif
#ifndef WM_MEMORY_MAX_BYTES
#define WM_MEMORY_MAX_BYTES (64u * 1024u)
#endif
#ifndef WM_WASM_STACK_DEFAULT_BYTES
#define WM_WASM_STACK_DEFAULT_BYTES 2048u
#endif
#ifndef WM_WASM_STACK_MAX_BYTES
#define WM_WASM_STACK_MAX_BYTES (16u * 1024u)
#endif
#ifndef WM_NATIVE_STACK_BYTES
#define WM_NATIVE_STACK_BYTES 4096u /* C stack that a running function may use: default and most */
#endif
#ifndef WM_OUTPUT_DEFAULT_BYTES
#define WM_OUTPUT_DEFAULT_BYTES 1024u
#endif
#ifndef WM_OUTPUT_MAX_BYTES
#define WM_OUTPUT_MAX_BYTES (16u * 1024u)
#endif
#ifndef WM_LOG_RATE_DEFAULT
#define WM_LOG_RATE_DEFAULT 100u /* log lines a second, saved up for one second at most */
#endif
#ifndef WM_LOG_RATE_MAX
#define WM_LOG_RATE_MAX 1000u
#endif
#ifndef WM_FUEL_SLICE
/* Fuel between two looks at the links while a function runs; the port's timer asks for more (wm_node_nudge). */
#define WM_FUEL_SLICE 2000u
#endif

/* ---- import modules for functions, beside `wasmote` (docs/PROTOCOL.md 7) ---- */
#ifndef WM_IMPORT_SYS
#define WM_IMPORT_SYS 1
#endif
#ifndef WM_IMPORT_COMMUNICATION
#define WM_IMPORT_COMMUNICATION 0 /* a port says 1 that can register: it is where the requests go */
#endif
#ifndef WM_RPCS
#define WM_RPCS 4 /* requests of functions that wait for the server's answer */
#endif
#ifndef WM_IMPORT_DHT
#define WM_IMPORT_DHT 0 /* 1: the port has wm_port_sensor */
#endif
#ifndef WM_IMPORT_ENV
#define WM_IMPORT_ENV 0 /* the same, and wm_port_sensor_set */
#endif
#ifndef WM_IMPORT_WASI
#define WM_IMPORT_WASI 0 /* some 2 KB of text; programs for it have megabytes of memory */
#endif

/* ---- links ---- */
#ifndef WM_LINKS
#define WM_LINKS 2
#endif

#endif

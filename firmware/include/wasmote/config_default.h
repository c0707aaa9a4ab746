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
#ifndef WM_CALL_INPUT_BYTES
#define WM_CALL_INPUT_BYTES WM_COAP_PAYLOAD_BYTES /* input held in place; more goes to the pool */
#endif
#ifndef WM_JOBS
#define WM_JOBS 4 /* queued, running and remembered */
#endif
#ifndef WM_LOG_BYTES
#define WM_LOG_BYTES 1024
#endif

/* ---- quotas: a module's section asks, these decide ---- */
#ifndef WM_FUEL_DEFAULT
#define WM_FUEL_DEFAULT 10000000u /* loop turns and calls */
#endif
#ifndef WM_FUEL_MAX
#define WM_FUEL_MAX 1000000000u
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
#define WM_NATIVE_STACK_BYTES 4096u /* C stack that a running function may use */
#endif
#ifndef WM_OUTPUT_DEFAULT_BYTES
#define WM_OUTPUT_DEFAULT_BYTES 1024u
#endif
#ifndef WM_OUTPUT_MAX_BYTES
#define WM_OUTPUT_MAX_BYTES (16u * 1024u)
#endif
#ifndef WM_FUEL_SLICE
#define WM_FUEL_SLICE 2000u /* fuel between two looks at the links while a function runs */
#endif

/* ---- links ---- */
#ifndef WM_LINKS
#define WM_LINKS 2
#endif

#endif

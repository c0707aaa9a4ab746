/* wasmiot.h: what wasmiot's and Fedra's functions see of the machine they run on, for apps that shall run there and here.
 * docs/PROTOCOL.md 7 says what each does; app.toml names the modules in `permissions`. Not every node has all of them. */
#ifndef WASMIOT_H
#define WASMIOT_H

#include "wasmote.h"

/* `sys`: time since the node's start, a pause (while which the node answers others), and text for the node's log. */
WASMOTE_IMPORT("sys", "millis") int32_t sys_millis(void);
WASMOTE_IMPORT("sys", "delay") void sys_delay(int32_t ms);
WASMOTE_IMPORT("sys", "print") void sys_print(const char *text, int32_t len);
WASMOTE_IMPORT("sys", "println") void sys_println(int32_t number);
WASMOTE_IMPORT("sys", "printInt") void sys_print_int(int32_t number);

/* `communication`: asks for a call of another function of the deployment. Nobody waits for it, and it has no result. */
WASMOTE_IMPORT("communication", "rpcCall")
void communication_rpc_call(const char *name, int32_t name_len, const void *data, int32_t len);

/* `dht`: degrees Celsius, percent. */
WASMOTE_IMPORT("dht", "getTemperature") float dht_temperature(void);
WASMOTE_IMPORT("dht", "getHumidity") float dht_humidity(void);

/* `env`: the rain gauge; what is written stands until its next reading. */
WASMOTE_IMPORT("env", "get_rainfall") float env_get_rainfall(void);
WASMOTE_IMPORT("env", "set_rainfall") void env_set_rainfall(float value);

#endif

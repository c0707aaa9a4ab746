/* A logger as wasmiot has them: some readings, a while apart, go to the log; when it is too warm another function is told. */
#include "wasmiot.h"

static void print(const char *text)
{
    sys_print(text, wasmote_strlen(text));
}

WASMOTE_EXPORT("log")
void log_readings(int32_t count, int32_t every_ms)
{
    for (int32_t i = 0; i < count; i++) {
        if (i > 0) {
            sys_delay(every_ms);
        }
        print("temperature ");
        sys_print_int((int32_t)dht_temperature());
        print(", humidity ");
        sys_println((int32_t)dht_humidity());
    }
}

/* Returns whether it is warmer than that, and calls the function `alarm` with the reading if it is. */
WASMOTE_EXPORT("check")
int32_t check(float limit)
{
    const float now = dht_temperature();
    if (!(now > limit)) {
        return 0;
    }
    communication_rpc_call("alarm", 5, &now, sizeof now);
    return 1;
}

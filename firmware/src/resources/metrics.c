/* metrics.c: /d/m, measurements as SenML in CBOR (RFC 8428). */
#include "base/fmt.h"
#include "base/log.h"
#include "resources/resource.h"

enum { SENML_BASE_NAME = -2, SENML_NAME = 0, SENML_UNIT = 1, SENML_VALUE = 2 };

/* One record up to its value; the base name goes into the first. */
static void put_name(struct wm_sink *out, bool first, const char *name, const char *unit)
{
    wm_cbor_map(out, 2u + first + (unit != NULL));
    if (first) {
        wm_cbor_int(out, SENML_BASE_NAME);
        wm_cbor_str(out, "wasmote:");
    }
    wm_cbor_int(out, SENML_NAME);
    wm_cbor_str(out, name);
    if (unit != NULL) {
        wm_cbor_int(out, SENML_UNIT);
        wm_cbor_str(out, unit);
    }
    wm_cbor_int(out, SENML_VALUE);
}

static void put(struct wm_sink *out, bool first, const char *name, const char *unit, uint64_t value)
{
    put_name(out, first, name, unit);
    wm_cbor_uint(out, value);
}

#if WM_IMPORT_DHT || WM_IMPORT_ENV
/* What the sensors say. Returns how many there are. out NULL: no more than that. */
static size_t put_sensors(struct wm_sink *out)
{
    static const struct {
        const char *name, *unit; /* RFC 8428, 12.1; what a function has written has none */
    } sensors[WM_SENSORS] = {
        [WM_SENSOR_TEMPERATURE] = {"sensor/temperature", "Cel"},
        [WM_SENSOR_HUMIDITY] = {"sensor/humidity", "%RH"},
        [WM_SENSOR_RAINFALL] = {"sensor/rainfall", NULL},
    };
    size_t count = 0;
    for (size_t i = 0; i < WM_SENSORS; i++) {
        float    value;
        uint32_t bits;
        if (!wm_port_sensor((enum wm_sensor)i, &value)) {
            continue;
        }
        count++;
        if (out != NULL) {
            memcpy(&bits, &value, sizeof bits);
            put_name(out, false, sensors[i].name, sensors[i].unit);
            wm_cbor_float32(out, bits);
        }
    }
    return count;
}
#else
static size_t put_sensors(struct wm_sink *out)
{
    (void)out;
    return 0;
}
#endif

static void put_function(struct wm_sink *out, const struct wm_function *fn)
{
    char name[WM_NAME_BYTES + 16];
    (void)wm_format(name, sizeof name, "f/%s/calls", fn->name);
    put(out, false, name, NULL, fn->calls);
    (void)wm_format(name, sizeof name, "f/%s/traps", fn->name);
    put(out, false, name, NULL, fn->traps);
    (void)wm_format(name, sizeof name, "f/%s/fuel", fn->name);
    put(out, false, name, NULL, fn->fuel);
    (void)wm_format(name, sizeof name, "f/%s/ram", fn->name);
    put(out, false, name, "B", wm_image_ram_bytes(&fn->image));
}

static size_t count_functions(const struct wm_env *env)
{
    size_t count = 0;
    for (size_t i = 0; i < WM_FUNCTIONS; i++) {
        count += env->functions->table[i].name[0] != '\0';
    }
    return count;
}

void wm_res_metrics(struct wm_env *env, const struct wm_coap_request *req, struct wm_coap_reply *rep)
{
    struct wm_sink *out = &rep->body;
    if (!wm_accepts(req, rep, WM_FORMAT_SENML_CBOR)) {
        return;
    }
    rep->observe_key = WM_KEY_METRICS;
    const struct wm_coap_stats coap = wm_coap_stats(env->coap);
    const size_t functions = count_functions(env);
    uint32_t     link_dropped = 0;
    for (size_t i = 0; i < env->config->link_count; i++) {
        const struct wm_link *link = &env->config->links[i];
        link_dropped += link->dropped != NULL ? link->dropped(link->ctx) : 0;
    }
    const struct {
        const char *name, *unit;
        uint64_t    value;
    } records[] = {
        {"ram/free", "B", wm_heap_free_bytes(env->pool)},
        {"ram/largest", "B", wm_heap_largest(env->pool)},
        {"ram/tidied", NULL, env->functions->tidied},
        {"up", "s", (env->now_ms - env->started_ms) / 1000},
        {"functions", NULL, functions},
        {"calls", NULL, env->functions->calls},
        {"traps", NULL, env->functions->traps},
        {"fuel", NULL, env->functions->fuel},
        {"rx", NULL, coap.rx},
        {"tx", NULL, coap.tx},
        {"rx/bad", NULL, coap.rx_bad + (uint64_t)link_dropped},
        {"dup", NULL, coap.duplicates},
        {"dup/evicted", NULL, coap.evicted},
        {"retransmit", NULL, coap.retransmits},
        {"unanswered", NULL, coap.unanswered},
        {"uploads/evicted", NULL, env->uploads->evicted},
        {"log/dropped", NULL, wm_log_dropped()},
#if WM_IMPORT_COMMUNICATION
        {"rpc", NULL, env->rpc->queued},
        {"rpc/failed", NULL, env->rpc->failed},
        {"rpc/dropped", NULL, env->rpc->dropped},
#endif
    };
    const size_t   count = sizeof records / sizeof records[0];
    const uint32_t stack = wm_port_stack_used();
    wm_cbor_array(out, count + (stack != 0) + put_sensors(NULL) + 4 * functions);
    for (size_t i = 0; i < count; i++) {
        put(out, i == 0, records[i].name, records[i].unit, records[i].value);
    }
    if (stack != 0) {
        put(out, false, "stack", "B", stack);
    }
    (void)put_sensors(out);
    for (size_t i = 0; i < WM_FUNCTIONS; i++) {
        if (env->functions->table[i].name[0] != '\0') {
            put_function(out, &env->functions->table[i]);
        }
    }
}

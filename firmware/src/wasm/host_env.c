/* host_env.c: `env`, Fedra's rain gauge: a place with one number in it, which the sensor fills with each of its readings and a
 * function may overwrite with what it has made of one. */
#include "wasm/host.h"
#include "wasmote/port.h"

static bool present(void)
{
    float value;
    return wm_port_sensor(WM_SENSOR_RAINFALL, &value);
}

/* () -> f32 */
static enum wm_trap_kind get_rainfall(struct wm_host_call *call, uint64_t *cells)
{
    (void)call;
    float    value = 0;
    uint32_t bits;
    (void)wm_port_sensor(WM_SENSOR_RAINFALL, &value);
    memcpy(&bits, &value, sizeof bits);
    cells[0] = bits;
    return WM_TRAP_NONE;
}

/* (f32) */
static enum wm_trap_kind set_rainfall(struct wm_host_call *call, uint64_t *cells)
{
    (void)call;
    const uint32_t bits = (uint32_t)cells[0];
    float          value;
    memcpy(&value, &bits, sizeof value);
    wm_port_sensor_set(WM_SENSOR_RAINFALL, value);
    return WM_TRAP_NONE;
}

static const struct wm_host_import imports[] = {{"get_rainfall", "f()", get_rainfall}, {"set_rainfall", "(f)", set_rainfall}};

const struct wm_host_module wm_host_env = {.name = "env", .imports = imports, .count = 2, .present = present};

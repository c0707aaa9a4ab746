/* host_dht.c: `dht`, wasmiot's sensor of temperature and humidity. */
#include "wasm/host.h"
#include "wasmote/port.h"

static bool present(void)
{
    float value;
    return wm_port_sensor(WM_SENSOR_TEMPERATURE, &value) && wm_port_sensor(WM_SENSOR_HUMIDITY, &value);
}

/* A reading that fails is 0, as there: the functions know nothing else. */
static enum wm_trap_kind get(uint64_t *cells, enum wm_sensor sensor)
{
    float    value = 0;
    uint32_t bits;
    (void)wm_port_sensor(sensor, &value);
    memcpy(&bits, &value, sizeof bits);
    cells[0] = bits;
    return WM_TRAP_NONE;
}

/* () -> f32, degrees Celsius */
static enum wm_trap_kind temperature(struct wm_host_call *call, uint64_t *cells)
{
    (void)call;
    return get(cells, WM_SENSOR_TEMPERATURE);
}

/* () -> f32, percent */
static enum wm_trap_kind humidity(struct wm_host_call *call, uint64_t *cells)
{
    (void)call;
    return get(cells, WM_SENSOR_HUMIDITY);
}

static const struct wm_host_import imports[] = {{"getTemperature", "f()", temperature}, {"getHumidity", "f()", humidity}};

const struct wm_host_module wm_host_dht = {.name = "dht", .imports = imports, .count = 2, .present = present};

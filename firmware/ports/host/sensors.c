/* sensors.c: sensors that a file plays. boards/host/README.md has the format.
 *
 * Each line of the file is a reading. What a function writes (wm_port_sensor_set) stands until the next reading. */
#include "host.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct reading {
    double s;
    float  value;
};

static const char *const names[WM_SENSORS] = {
    [WM_SENSOR_TEMPERATURE] = "temperature",
    [WM_SENSOR_HUMIDITY] = "humidity",
    [WM_SENSOR_RAINFALL] = "rainfall",
};

static struct sensor {
    struct reading *readings;
    size_t          count;
    bool            linear;
    bool            written; /* by a function, while this reading was the latest one */
    uint64_t        written_in;
    float           written_value;
} sensors[WM_SENSORS];

static double   loop_s; /* 0: the script is played once */
static uint64_t began_ms;

/* ---- what they say ---- */

/* Seconds since the script began, or began anew; *round says how often it has. */
static double script_s(uint64_t *round)
{
    const double s = (double)(host_now_ms() - began_ms) / 1000.0;
    *round = loop_s > 0 ? (uint64_t)(s / loop_s) : 0;
    return s - (double)*round * loop_s;
}

/* Of the readings at that time, the number of those that have come. */
static size_t come(const struct sensor *sensor, double s)
{
    size_t n = 0;
    while (n < sensor->count && sensor->readings[n].s <= s) {
        n++;
    }
    return n;
}

/* Which reading is the latest, over all rounds. */
static uint64_t latest(const struct sensor *sensor, uint64_t round, size_t n)
{
    return round * sensor->count + n;
}

bool wm_port_sensor(enum wm_sensor which, float *value)
{
    const struct sensor *sensor = &sensors[which];
    if (sensor->count == 0) {
        return false;
    }
    uint64_t     round;
    const double s = script_s(&round);
    const size_t n = come(sensor, s);
    if (sensor->written && sensor->written_in == latest(sensor, round, n)) {
        *value = sensor->written_value;
        return true;
    }
    const struct reading *before = &sensor->readings[n > 0 ? n - 1 : 0], *after = before + 1;
    *value = before->value;
    if (sensor->linear && n > 0 && n < sensor->count) {
        *value += (float)((after->value - before->value) * ((s - before->s) / (after->s - before->s)));
    }
    return true;
}

void wm_port_sensor_set(enum wm_sensor which, float value)
{
    struct sensor *sensor = &sensors[which];
    uint64_t       round;
    const size_t   n = come(sensor, script_s(&round));
    sensor->written = true;
    sensor->written_in = latest(sensor, round, n);
    sensor->written_value = value;
}

/* ---- the file ---- */

struct script {
    const char *path;
    unsigned    line;
};

static _Noreturn void bad(const struct script *script, const char *what)
{
    host_fail(EXIT_BAD_USAGE, "--sensors %s, line %u: %s; boards/host/README.md has the format", script->path, script->line, what);
}

static bool number(const char *text, double *value)
{
    char *end;
    *value = strtod(text, &end);
    return end != text && *end == '\0' && isfinite(*value);
}

static struct sensor *named(const struct script *script, const char *name)
{
    for (size_t i = 0; i < WM_SENSORS; i++) {
        if (strcmp(names[i], name) == 0) {
            return &sensors[i];
        }
    }
    bad(script, "the sensors are temperature, humidity and rainfall");
}

static void add(const struct script *script, struct sensor *sensor, double s, double value)
{
    if (sensor->count > 0 && s <= sensor->readings[sensor->count - 1].s) {
        bad(script, "its time is not after the one before of the same sensor");
    }
    struct reading *grown = realloc(sensor->readings, (sensor->count + 1) * sizeof *grown);
    if (grown == NULL) {
        host_fail(EXIT_SYSTEM, "no memory for --sensors %s", script->path);
    }
    grown[sensor->count++] = (struct reading){s, (float)value};
    sensor->readings = grown;
}

/* One line: `SECONDS NAME VALUE`, `linear NAME` or `loop SECONDS`. */
static void take(const struct script *script, char *text)
{
    static const char space[] = " \t\r\n";
    char             *words[4] = {NULL}, *rest = NULL;
    size_t            count = 0;
    double            s, value;
    text[strcspn(text, "#")] = '\0';
    for (char *word = strtok_r(text, space, &rest); word != NULL && count < 4; word = strtok_r(NULL, space, &rest)) {
        words[count++] = word;
    }
    if (count == 0) {
        return;
    }
    if (count == 2 && strcmp(words[0], "loop") == 0) {
        if (!number(words[1], &loop_s) || loop_s <= 0) {
            bad(script, "`loop` takes a number of seconds above 0");
        }
    } else if (count == 2 && strcmp(words[0], "linear") == 0) {
        named(script, words[1])->linear = true;
    } else if (count == 3 && number(words[0], &s) && s >= 0 && number(words[2], &value)) {
        add(script, named(script, words[1]), s, value);
    } else {
        bad(script, "expected `SECONDS NAME VALUE`, `linear NAME` or `loop SECONDS`");
    }
}

void host_sensors_open(const char *path)
{
    struct script script = {.path = path};
    char          text[256];
    FILE         *file = fopen(path, "r");
    if (file == NULL) {
        host_fail(EXIT_BAD_USAGE, "--sensors %s: %s", path, strerror(errno));
    }
    while (fgets(text, sizeof text, file) != NULL) {
        script.line++;
        if (strchr(text, '\n') == NULL && !feof(file)) {
            bad(&script, "it is too long");
        }
        take(&script, text);
    }
    if (ferror(file)) {
        host_fail(EXIT_BAD_USAGE, "--sensors %s: %s", path, strerror(errno));
    }
    fclose(file);
    for (size_t i = 0; i < WM_SENSORS; i++) {
        const struct sensor *sensor = &sensors[i];
        if (loop_s > 0 && sensor->count > 0 && sensor->readings[sensor->count - 1].s >= loop_s) {
            host_fail(EXIT_BAD_USAGE, "--sensors %s: a reading of %s comes at or after the end of the loop", path, names[i]);
        }
        if (sensor->linear && sensor->count == 0) {
            host_fail(EXIT_BAD_USAGE, "--sensors %s: `linear %s`, which has no reading", path, names[i]);
        }
    }
    began_ms = host_now_ms();
}

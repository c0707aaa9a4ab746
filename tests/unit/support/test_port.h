/* test_port.h: handles on the port that unit tests run on. */
#ifndef TEST_PORT_H
#define TEST_PORT_H

#include "wasmote/port.h"

extern uint32_t wm_test_now_ms;              /* what wm_port_now_ms returns */
extern float    wm_test_sensors[WM_SENSORS]; /* what wm_port_sensor gives, and a function writes */

#endif

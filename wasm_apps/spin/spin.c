/* Never ends. Its fuel does. */
#include "wasmote.h"

WASMOTE_EXPORT("spin")
void spin(void)
{
    for (;;) {
    }
}

/* The first half of a flood warning: the rain gauge's reading becomes a number from 0 to 1, for a model that was trained so. */
#include "wasmiot.h"

#define MOST_MM 80.0f /* in a day, where the gauge stands */

WASMOTE_EXPORT("preprocess_rainfall")
void preprocess_rainfall(void)
{
    const float mm = env_get_rainfall();
    env_set_rainfall(mm < 0 ? 0 : mm > MOST_MM ? 1 : mm / MOST_MM);
}

/* For whoever fetches it from here: a chain's next function. */
WASMOTE_EXPORT("rainfall")
float rainfall(void)
{
    return env_get_rainfall();
}

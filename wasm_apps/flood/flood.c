/* The second half of a flood warning: a small network with its weights in the code. Rain of yesterday and today and the river's
 * flow of yesterday, each scaled to 0..1, give the flow of today, likewise. It was not trained with any river: the weights are
 * numbers that floats hold exactly. */
#include "wasmote.h"

#define INPUTS 3
#define HIDDEN 4

static const float weights[HIDDEN][INPUTS] = {
    {0.75f, 0.5f, 0.25f},
    {0.0f, 1.5f, 0.5f},
    {-0.5f, 0.25f, 1.0f},
    {0.5f, -1.0f, 0.75f},
};
static const float biases[HIDDEN] = {-0.25f, -0.5f, 0.0f, -0.125f};
static const float output[HIDDEN] = {0.25f, 0.5f, 0.625f, 0.125f};

WASMOTE_EXPORT("run")
float run(float rain_yesterday, float rain_today, float flow_yesterday)
{
    const float in[INPUTS] = {rain_yesterday, rain_today, flow_yesterday};
    float flow = 0;
    for (int i = 0; i < HIDDEN; i++) {
        float sum = biases[i];
        for (int k = 0; k < INPUTS; k++) {
            sum += weights[i][k] * in[k];
        }
        flow += sum > 0 ? output[i] * sum : 0;
    }
    return flow;
}

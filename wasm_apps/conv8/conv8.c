/* An 8-bit convolution layer as small neural networks have them: 3 x 3, padded, 16 x 16 pixels of 8 channels to 8 channels,
 * 32-bit sums, bias, rescaling by a shift, ReLU, saturation. Input and weights come from a fixed generator. */
#include "wasmote.h"

enum { SIDE = 16, IN = 8, OUT = 8, TAPS = 3, SHIFT = 9 };

static int8_t image[SIDE][SIDE][IN];
static int8_t weights[OUT][TAPS][TAPS][IN];
static int32_t bias[OUT];
static int8_t result[SIDE][SIDE][OUT];

static uint32_t random_state;

static int8_t random8(void)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (int8_t)(random_state >> 24);
}

static void fill(void)
{
    random_state = 1;
    for (int i = 0; i < (int)sizeof image; i++) {
        (&image[0][0][0])[i] = random8();
    }
    for (int i = 0; i < (int)sizeof weights; i++) {
        (&weights[0][0][0][0])[i] = random8();
    }
    for (int i = 0; i < OUT; i++) {
        bias[i] = random8() * 16;
    }
}

static void convolve(void)
{
    for (int y = 0; y < SIDE; y++) {
        for (int x = 0; x < SIDE; x++) {
            for (int o = 0; o < OUT; o++) {
                int32_t sum = bias[o];
                for (int ky = 0; ky < TAPS; ky++) {
                    int iy = y + ky - 1;
                    if (iy < 0 || iy >= SIDE) {
                        continue;
                    }
                    for (int kx = 0; kx < TAPS; kx++) {
                        int ix = x + kx - 1;
                        if (ix < 0 || ix >= SIDE) {
                            continue;
                        }
                        for (int i = 0; i < IN; i++) {
                            sum += image[iy][ix][i] * weights[o][ky][kx][i];
                        }
                    }
                }
                sum >>= SHIFT;
                result[y][x][o] = (int8_t)(sum < 0 ? 0 : sum > 127 ? 127 : sum);
            }
        }
    }
}

/* Runs the layer `rounds` times, each on the result of the one before. Returns a checksum of the last result. */
WASMOTE_EXPORT("conv8")
int32_t conv8(int32_t rounds)
{
    fill();
    for (int32_t r = 0; r < rounds; r++) {
        convolve();
        for (int i = 0; i < (int)sizeof image; i++) {
            (&image[0][0][0])[i] = (&result[0][0][0])[i];
        }
    }
    uint32_t sum = 0;
    for (int i = 0; i < (int)sizeof image; i++) {
        sum = sum * 31u + (uint8_t)(&image[0][0][0])[i];
    }
    return (int32_t)sum;
}

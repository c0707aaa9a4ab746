/* SHA-256 (FIPS 180-4) of the request: 64 hexadecimal digits. */
#include "wasmote.h"

/* Fractional parts of the cube roots of the first 64 primes (FIPS 180-4, 4.2.2). */
static const uint32_t k[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t h[8];

static uint32_t rotr(uint32_t x, int n)
{
    return (x >> n) | (x << (32 - n));
}

static uint32_t load_be(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void compress(const uint8_t *block)
{
    static uint32_t w[16]; /* the schedule as a ring: 64 bytes instead of 256 */
    uint32_t s[8];
    for (int i = 0; i < 8; i++) {
        s[i] = h[i];
    }
    for (int t = 0; t < 64; t++) {
        uint32_t wt;
        if (t < 16) {
            wt = load_be(block + 4 * t);
        } else {
            uint32_t a = w[(t + 1) & 15], b = w[(t + 14) & 15];
            wt = w[t & 15] + w[(t + 9) & 15] + (rotr(a, 7) ^ rotr(a, 18) ^ (a >> 3)) +
                 (rotr(b, 17) ^ rotr(b, 19) ^ (b >> 10));
        }
        w[t & 15] = wt;
        uint32_t t1 = s[7] + (rotr(s[4], 6) ^ rotr(s[4], 11) ^ rotr(s[4], 25)) + ((s[4] & s[5]) ^ (~s[4] & s[6])) +
                      k[t] + wt;
        uint32_t t2 = (rotr(s[0], 2) ^ rotr(s[0], 13) ^ rotr(s[0], 22)) + ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
        for (int i = 7; i > 0; i--) {
            s[i] = s[i - 1];
        }
        s[4] += t1;
        s[0] = t1 + t2;
    }
    for (int i = 0; i < 8; i++) {
        h[i] += s[i];
    }
}

WASMOTE_EXPORT("sha256")
int32_t sha256(void)
{
    /* Square roots of the first eight primes (5.3.3). */
    static const uint32_t start[8] = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                       0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19 };
    static uint8_t block[64];
    uint64_t bytes = 0;
    int32_t used = 0;
    for (int i = 0; i < 8; i++) {
        h[i] = start[i];
    }
    for (int32_t n; (n = wasmote_input(block + used, (int32_t)sizeof block - used)) > 0;) {
        bytes += (uint64_t)n;
        used += n;
        if (used == (int32_t)sizeof block) {
            compress(block);
            used = 0;
        }
    }
    block[used++] = 0x80;
    if (used > 56) {
        while (used < 64) {
            block[used++] = 0;
        }
        compress(block);
        used = 0;
    }
    while (used < 56) {
        block[used++] = 0;
    }
    for (int i = 0; i < 8; i++) {
        block[56 + i] = (uint8_t)(bytes * 8 >> (56 - 8 * i));
    }
    compress(block);
    for (int i = 0; i < 8; i++) {
        const uint8_t be[4] = { (uint8_t)(h[i] >> 24), (uint8_t)(h[i] >> 16), (uint8_t)(h[i] >> 8), (uint8_t)h[i] };
        wasmote_print_hex(be, 4);
    }
    return 0;
}

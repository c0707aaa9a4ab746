/* CRC-32 (reflected, polynomial EDB88320, as in Ethernet and zip) of the request: 8 hexadecimal digits. */
#include "wasmote.h"

static uint32_t nibble[16];

static void fill(void)
{
    for (uint32_t i = 0; i < 16; i++) {
        uint32_t c = i;
        for (int bit = 0; bit < 4; bit++) {
            c = (c >> 1) ^ (0xEDB88320u & (0u - (c & 1u)));
        }
        nibble[i] = c;
    }
}

WASMOTE_EXPORT("crc32")
int32_t crc32(void)
{
    static uint8_t buf[128];
    uint32_t crc = 0xFFFFFFFFu;
    if (nibble[1] == 0) {
        fill();
    }
    for (int32_t n; (n = wasmote_input(buf, sizeof buf)) > 0;) {
        for (int32_t i = 0; i < n; i++) {
            crc ^= buf[i];
            crc = (crc >> 4) ^ nibble[crc & 15];
            crc = (crc >> 4) ^ nibble[crc & 15];
        }
    }
    crc = ~crc;
    const uint8_t bytes[4] = { (uint8_t)(crc >> 24), (uint8_t)(crc >> 16), (uint8_t)(crc >> 8), (uint8_t)crc };
    wasmote_print_hex(bytes, 4);
    return 0;
}

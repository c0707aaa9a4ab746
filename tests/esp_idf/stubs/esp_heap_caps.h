#ifndef STUB_ESP_HEAP_CAPS_H
#define STUB_ESP_HEAP_CAPS_H
#include <stddef.h>
#include <stdint.h>
#define MALLOC_CAP_8BIT (1 << 2)
void *heap_caps_aligned_alloc(size_t alignment, size_t size, uint32_t caps);
#endif

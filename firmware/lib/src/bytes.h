/* Little-endian access, byte by byte: no alignment, no aliasing, no byte order of the host. */
#ifndef RTLOOP_SRC_BYTES_H
#define RTLOOP_SRC_BYTES_H

#include <stdint.h>
#include <string.h>

static inline void rtl_put_u16(uint8_t *p, uint16_t v) {
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

static inline void rtl_put_u32(uint8_t *p, uint32_t v) {
    rtl_put_u16(p, (uint16_t)v);
    rtl_put_u16(p + 2, (uint16_t)(v >> 16));
}

static inline void rtl_put_u64(uint8_t *p, uint64_t v) {
    rtl_put_u32(p, (uint32_t)v);
    rtl_put_u32(p + 4, (uint32_t)(v >> 32));
}

static inline void rtl_put_f32(uint8_t *p, float v) {
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    rtl_put_u32(p, bits);
}

static inline uint16_t rtl_get_u16(const uint8_t *p) {
    return (uint16_t)(p[0] | (unsigned)p[1] << 8);
}

static inline uint32_t rtl_get_u32(const uint8_t *p) {
    return (uint32_t)rtl_get_u16(p) | (uint32_t)rtl_get_u16(p + 2) << 16;
}

static inline uint64_t rtl_get_u64(const uint8_t *p) {
    return (uint64_t)rtl_get_u32(p) | (uint64_t)rtl_get_u32(p + 4) << 32;
}

static inline float rtl_get_f32(const uint8_t *p) {
    const uint32_t bits = rtl_get_u32(p);
    float v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

#endif

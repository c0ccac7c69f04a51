/* What the rows of the generated vectors.h are. */
#ifndef RTLOOP_TESTS_VECTOR_TYPES_H_
#define RTLOOP_TESTS_VECTOR_TYPES_H_

#include <math.h>

#include "rtloop/frame.h"
#include "rtloop/messages.h"
#include "rtloop/packet.h"

typedef struct {
    const uint8_t *bytes;
    size_t size;
} blob;

typedef struct {
    const char *name;
    rtl_header header;
    blob payload, packet, frame;
} packet_vector;

typedef struct {
    const char *name;
    blob packet, frame;
} frame_vector;

typedef struct {
    const char *name;
    blob packet;
    rtl_status status;
} bad_packet_vector;

typedef struct {
    const char *name;
    blob bytes;
    const blob *packets;
    size_t n_packets;
    uint32_t errors, empty;
} stream_vector;

typedef struct {
    blob bytes;
    uint32_t crc32;
} checksum_vector;

typedef struct {
    blob text;
    uint16_t id;
} schema_id_vector;

#endif

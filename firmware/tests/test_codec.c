/* Packets, frames and messages against the shared vectors. */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "vectors.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static bool is_same(const uint8_t *bytes, size_t size, blob expected) {
    return size == expected.size && memcmp(bytes, expected.bytes, size) == 0;
}

static void packets_encode_to_their_vectors(void) {
    for (size_t i = 0; i < COUNT(packet_vectors); ++i) {
        const packet_vector *const v = &packet_vectors[i];
        uint8_t packet[RTL_PACKET_MAX];
        check_subject = v->name;
        const size_t size =
            rtl_packet_encode(&v->header, v->payload.bytes, v->payload.size, packet);
        CHECK(is_same(packet, size, v->packet));
    }
}

static void packets_decode_to_what_was_encoded(void) {
    for (size_t i = 0; i < COUNT(packet_vectors); ++i) {
        const packet_vector *const v = &packet_vectors[i];
        rtl_header h = {0};
        const uint8_t *payload = NULL;
        size_t size = 0;
        check_subject = v->name;
        CHECK_EQUAL(rtl_packet_decode(v->packet.bytes, v->packet.size, &h, &payload, &size),
                    RTL_OK);
        CHECK_EQUAL(h.flags, v->header.flags);
        CHECK_EQUAL(h.type, v->header.type);
        CHECK_EQUAL(h.seq, v->header.seq);
        CHECK_EQUAL(h.ack, v->header.ack);
        CHECK_EQUAL(h.schema_id, v->header.schema_id);
        CHECK_EQUAL(h.time_us, v->header.time_us);
        CHECK(is_same(payload, size, v->payload));
    }
}

static void every_single_bit_error_is_seen(void) {
    for (size_t i = 0; i < COUNT(packet_vectors); ++i) {
        const blob packet = packet_vectors[i].packet;
        uint8_t damaged[RTL_PACKET_MAX];
        memcpy(damaged, packet.bytes, packet.size);
        check_subject = packet_vectors[i].name;
        for (size_t bit = 0; bit < 8 * packet.size; ++bit) {
            rtl_header h;
            const uint8_t *payload;
            size_t size;
            damaged[bit / 8] ^= (uint8_t)(1u << bit % 8);
            CHECK_EQUAL(rtl_packet_decode(damaged, packet.size, &h, &payload, &size), RTL_CRC);
            damaged[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
    }
}

static void bad_packets_are_refused_with_their_status(void) {
    for (size_t i = 0; i < COUNT(bad_packet_vectors); ++i) {
        const bad_packet_vector *const v = &bad_packet_vectors[i];
        rtl_header h = {.seq = 99};
        const uint8_t *payload = NULL;
        size_t size = 99;
        check_subject = v->name;
        CHECK_EQUAL(rtl_packet_decode(v->packet.bytes, v->packet.size, &h, &payload, &size),
                    v->status);
        CHECK(h.seq == 99 && payload == NULL && size == 99);
    }
}

static void a_payload_that_does_not_fit_is_refused(void) {
    const uint8_t payload[RTL_PAYLOAD_MAX + 1] = {0};
    const rtl_header h = {0};
    uint8_t packet[RTL_PACKET_MAX];
    CHECK_EQUAL(rtl_packet_encode(&h, payload, RTL_PAYLOAD_MAX, packet), RTL_PACKET_MAX);
    CHECK_EQUAL(rtl_packet_encode(&h, payload, RTL_PAYLOAD_MAX + 1, packet), 0);
    CHECK_EQUAL(rtl_packet_encode(&h, NULL, 0, packet), RTL_PACKET_MIN);
}

static void check_frame(blob packet, blob expected) {
    uint8_t frame[RTL_FRAME_MAX];
    CHECK(is_same(frame, rtl_frame_encode(packet.bytes, packet.size, frame), expected));
    rtl_frame_decoder decoder;
    const uint8_t *decoded = NULL;
    size_t size = 0;
    rtl_frame_decoder_init(&decoder);
    CHECK_EQUAL(rtl_frame_decoder_feed(&decoder, expected.bytes, expected.size, &decoded, &size),
                expected.size);
    CHECK(is_same(decoded, size, packet));
    CHECK_EQUAL(decoder.errors, 0);
}

static void frames_match_their_vectors_both_ways(void) {
    for (size_t i = 0; i < COUNT(frame_vectors); ++i) {
        check_subject = frame_vectors[i].name;
        check_frame(frame_vectors[i].packet, frame_vectors[i].frame);
    }
    for (size_t i = 0; i < COUNT(packet_vectors); ++i) {
        check_subject = packet_vectors[i].name;
        check_frame(packet_vectors[i].packet, packet_vectors[i].frame);
    }
}

static void a_packet_of_no_or_too_many_bytes_makes_no_frame(void) {
    const uint8_t packet[RTL_PACKET_MAX + 1] = {0};
    uint8_t frame[RTL_FRAME_MAX];
    CHECK_EQUAL(rtl_frame_encode(packet, 0, frame), 0);
    CHECK_EQUAL(rtl_frame_encode(packet, RTL_PACKET_MAX + 1, frame), 0);
}

/* Feeds in pieces, from memory of exactly the piece's size so that a sanitizer sees over-reads. */
static void check_stream(const stream_vector *v, size_t piece_size) {
    rtl_frame_decoder decoder;
    size_t found = 0;
    rtl_frame_decoder_init(&decoder);
    for (size_t at = 0; at < v->bytes.size; at += piece_size) {
        const size_t rest = v->bytes.size - at;
        const size_t n = rest < piece_size ? rest : piece_size;
        uint8_t *const piece = malloc(n);
        memcpy(piece, v->bytes.bytes + at, n);
        for (size_t used = 0; used < n;) {
            const uint8_t *packet;
            size_t size;
            used += rtl_frame_decoder_feed(&decoder, piece + used, n - used, &packet, &size);
            if (size > 0) {
                CHECK(found < v->n_packets && is_same(packet, size, v->packets[found]));
                ++found;
            }
        }
        free(piece);
    }
    CHECK_EQUAL(found, v->n_packets);
    CHECK_EQUAL(decoder.errors, v->errors);
    CHECK_EQUAL(decoder.empty, v->empty);
}

static void streams_give_the_same_packets_in_pieces_of_any_size(void) {
    const size_t sizes[] = {1, 2, 3, 7, 64, 4096};
    for (size_t i = 0; i < COUNT(stream_vectors); ++i) {
        check_subject = stream_vectors[i].name;
        for (size_t k = 0; k < COUNT(sizes); ++k) {
            check_stream(&stream_vectors[i], sizes[k]);
        }
    }
}

static void checksums_are_those_of_zlib(void) {
    for (size_t i = 0; i < COUNT(checksum_vectors); ++i) {
        const checksum_vector *const v = &checksum_vectors[i];
        CHECK_EQUAL(rtl_crc32(v->bytes.bytes, v->bytes.size), v->crc32);
    }
}

static void a_schema_id_is_never_zero(void) {
    for (size_t i = 0; i < COUNT(schema_id_vectors); ++i) {
        const schema_id_vector *const v = &schema_id_vectors[i];
        CHECK_EQUAL(rtl_schema_id((const char *)v->text.bytes, v->text.size), v->id);
    }
}

/* Wrong sizes are tried from memory of exactly that size, for the sanitizer again. */
#define CHECK_MESSAGE(type, vector_name, vector_payload, ...)                                     \
    {                                                                                             \
        const type message = __VA_ARGS__;                                                         \
        const blob expected = {(const uint8_t *)vector_payload, sizeof vector_payload - 1};       \
        uint8_t payload[RTL_PAYLOAD_MAX];                                                         \
        type decoded;                                                                             \
        check_subject = vector_name;                                                              \
        CHECK(is_same(payload, type##_encode(&message, payload), expected));                      \
        CHECK(type##_decode(expected.bytes, expected.size, &decoded));                            \
        CHECK(is_same(payload, type##_encode(&decoded, payload), expected));                      \
        for (size_t n = 0; n < expected.size; ++n) {                                              \
            uint8_t *const cut = malloc(n > 0 ? n : 1);                                           \
            memcpy(cut, expected.bytes, n);                                                       \
            CHECK(!type##_decode(cut, n, &decoded) || IS_OPEN_ENDED(vector_name));                \
            free(cut);                                                                            \
        }                                                                                         \
        uint8_t longer[RTL_PAYLOAD_MAX + 1] = {0};                                                \
        memcpy(longer, expected.bytes, expected.size);                                            \
        CHECK(!type##_decode(longer, expected.size + 1, &decoded) || IS_OPEN_ENDED(vector_name)); \
    }
/* Any number of bytes may follow the head of a chunk. */
#define IS_OPEN_ENDED(name) (strncmp(name, "schema chunk", 12) == 0)

static void messages_match_their_vectors_and_refuse_other_sizes(void) {
    MESSAGE_VECTORS(CHECK_MESSAGE)
}

static void counts_that_do_not_fit_are_refused(void) {
    static const rtl_sensor sensor = {.count = RTL_VALUES_MAX + 1};
    static const rtl_command command = {.count = RTL_VALUES_MAX + 1};
    static const rtl_schema_chunk chunk = {.size = RTL_SCHEMA_CHUNK_MAX + 1};
    uint8_t payload[RTL_PAYLOAD_MAX] = {0};
    CHECK_EQUAL(rtl_sensor_encode(&sensor, payload), 0);
    CHECK_EQUAL(rtl_command_encode(&command, payload), 0);
    CHECK_EQUAL(rtl_schema_chunk_encode(&chunk, payload), 0);
    rtl_sensor decoded_sensor;
    rtl_command decoded_command;
    memset(payload, 0xff, sizeof payload); /* count 255 */
    for (size_t size = 0; size <= sizeof payload; ++size) {
        CHECK(!rtl_sensor_decode(payload, size, &decoded_sensor));
        CHECK(!rtl_command_decode(payload, size, &decoded_command));
    }
}

static void times_compare_across_the_wrap(void) {
    CHECK_EQUAL(rtl_time_difference_us(5, 3), 2);
    CHECK_EQUAL(rtl_time_difference_us(3, 5), -2);
    CHECK_EQUAL(rtl_time_difference_us(4, UINT32_MAX - 5), 10);
    CHECK_EQUAL(rtl_time_difference_us(UINT32_MAX - 5, 4), -10);
    CHECK_EQUAL(rtl_time_difference_us(0x80000000u, 0x7fffffffu), 1);
}

int main(void) {
    RUN(packets_encode_to_their_vectors);
    RUN(packets_decode_to_what_was_encoded);
    RUN(every_single_bit_error_is_seen);
    RUN(bad_packets_are_refused_with_their_status);
    RUN(a_payload_that_does_not_fit_is_refused);
    RUN(frames_match_their_vectors_both_ways);
    RUN(a_packet_of_no_or_too_many_bytes_makes_no_frame);
    RUN(streams_give_the_same_packets_in_pieces_of_any_size);
    RUN(checksums_are_those_of_zlib);
    RUN(a_schema_id_is_never_zero);
    RUN(messages_match_their_vectors_and_refuse_other_sizes);
    RUN(counts_that_do_not_fit_are_refused);
    RUN(times_compare_across_the_wrap);
    return check_verdict();
}

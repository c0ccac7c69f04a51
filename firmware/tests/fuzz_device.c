/*
 * fuzz_device BYTES SEED: a device whose host has gone mad.
 *
 * Feeds a whole device valid, mutated and random packets in any order under a virtual clock, and
 * asserts after every one what must hold whatever arrives:
 * - the machine is driven only while ACTIVE, only with finite values inside the hard limits;
 * - SAFE is left only by an intact CLEAR of the right schema, and only to IDLE;
 * - ARMED is entered only from IDLE, ACTIVE only from ARMED;
 * - ACTIVE never outlasts the command timeout, and a trip from an interrupt not the next call;
 * - a machine that objects is neither armed nor cleared;
 * - after a tick nothing is due before the present, so that a board can sleep;
 * - whatever the device sends is a well-formed packet for a host, and samples keep their rate.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "random.h"
#include "rig.h"

static rig r;
static uint64_t seed;
static unsigned long long bytes_fed, packets_fed, visits[5], transitions;
static unsigned applied_before;
static uint64_t last_applied_us;

static void fail(const char *what) {
    printf("after %llu packets in state %d: %s\n", packets_fed, (int)r.device.state, what);
    exit(1);
}

static bool may_follow(rtl_state from, rtl_state to, bool is_clear) {
    switch (to) {
        case RTL_STATE_IDLE:
            return from == RTL_STATE_SAFE && is_clear && r.veto == 0;
        case RTL_STATE_ARMED:
            return from == RTL_STATE_IDLE && r.veto == 0;
        case RTL_STATE_ACTIVE:
            return from == RTL_STATE_ARMED;
        case RTL_STATE_SAFE:
            return from != RTL_STATE_INIT;
        default:
            return false;
    }
}

static void check(rtl_state before, bool is_clear) {
    const rtl_state now = r.device.state;
    if (now != before) {
        ++transitions;
        if (!may_follow(before, now, is_clear)) {
            fail("no such transition");
        }
    }
    ++visits[now];
    if (r.applied != applied_before) {
        applied_before = r.applied;
        last_applied_us = r.now_us;
        if (now == RTL_STATE_ACTIVE && !(fabsf(r.applied_value) <= RIG_LIMIT)) {
            fail("driven with a value outside the limits");
        }
    }
    if (now == RTL_STATE_SAFE && (r.applied_value != 0.0f || r.device.reasons == 0)) {
        fail("not safe in SAFE");
    }
    if (r.moved_outside_active > 0) {
        fail("driven outside ACTIVE");
    }
    if (r.received_bad > 0) {
        fail("sent something malformed");
    }
}

/* ---- what the host sends ------------------------------------------------------------------- */

static float odd_value(void) {
    const float odd[] = {0.0f, RIG_LIMIT, -RIG_LIMIT, 20.5f, NAN, INFINITY, 1e-45f};
    const uint32_t i = random_below(&seed, 60);
    return i < 7 ? odd[i] : (float)random_below(&seed, 40) - 20.0f;
}

static size_t make_payload(uint8_t type, uint8_t *payload) {
    const rtl_hello hello = {1, (uint8_t)random_below(&seed, 3)};
    const rtl_schema_request chunk = {(uint16_t)random_below(&seed, 1000)};
    const rtl_time_request time = {random_word(&seed)};
    const rtl_arm arm = {(uint8_t)random_below(&seed, 4), (uint16_t)random_below(&seed, 4),
                         random_below(&seed, 2) * random_below(&seed, 200000)};
    const rtl_stop stop = {(uint16_t)random_word(&seed)};
    const rtl_command command = {
        .valid_until_us = (uint32_t)r.now_us + 3000u - random_below(&seed, 3500),
        .count = (uint8_t)(1 + (random_below(&seed, 50) == 0)),
        .values = {odd_value()},
    };
    switch (type) {
        case RTL_TYPE_HELLO:
            return rtl_hello_encode(&hello, payload);
        case RTL_TYPE_SCHEMA_REQUEST:
            return rtl_schema_request_encode(&chunk, payload);
        case RTL_TYPE_TIME_REQUEST:
            return rtl_time_request_encode(&time, payload);
        case RTL_TYPE_COMMAND:
            return rtl_command_encode(&command, payload);
        case RTL_TYPE_ARM:
            return rtl_arm_encode(&arm, payload);
        case RTL_TYPE_STOP:
            return rtl_stop_encode(&stop, payload);
        default:
            return 0;
    }
}

/* Mostly a sensible host, so that the states behind ARM and COMMAND are reached. */
static uint8_t choose_type(void) {
    const uint8_t sensible[] = {RTL_TYPE_COMMAND, RTL_TYPE_COMMAND, RTL_TYPE_COMMAND,
                                RTL_TYPE_COMMAND, RTL_TYPE_COMMAND, RTL_TYPE_ARM,
                                RTL_TYPE_ARM,     RTL_TYPE_CLEAR,   RTL_TYPE_TIME_REQUEST,
                                RTL_TYPE_HELLO};
    if (random_below(&seed, 20) == 0) {
        return (uint8_t)random_below(&seed, 20);
    }
    return sensible[random_below(&seed, sizeof sensible)];
}

static void feed(const uint8_t *bytes, size_t n) {
    uint8_t *const exact = malloc(n > 0 ? n : 1); /* so that a sanitizer sees over-reads */
    memcpy(exact, bytes, n);
    rig_receive(&r, exact, n);
    free(exact);
    bytes_fed += n;
}

static void send_packet(void) {
    uint8_t payload[RTL_PAYLOAD_MAX + 1];
    uint8_t packet[RTL_PACKET_MAX];
    uint8_t frame[RTL_FRAME_MAX];
    const rtl_header header = {
        .type = choose_type(),
        .seq = r.tx_seq++,
        .schema_id = (uint16_t)(r.schema_id ^ (random_below(&seed, 50) == 0)),
    };
    size_t size = make_payload(header.type, payload);
    if (random_below(&seed, 40) == 0) { /* intact, but not the message it says */
        size = random_below(&seed, RTL_PAYLOAD_MAX + 1);
        for (size_t i = 0; i < size; ++i) {
            payload[i] = (uint8_t)random_word(&seed);
        }
    }
    size_t frame_size =
        rtl_frame_encode(packet, rtl_packet_encode(&header, payload, size, packet), frame);
    const bool is_damaged = random_below(&seed, 10) == 0;
    if (is_damaged) {
        frame[random_below(&seed, (uint32_t)frame_size)] ^= (uint8_t)(1u << random_below(&seed, 8));
    }
    const rtl_state before = r.device.state;
    feed(frame, frame_size);
    ++packets_fed;
    check(before, header.type == RTL_TYPE_CLEAR && !is_damaged && header.schema_id == r.schema_id);
}

static void send_noise(void) {
    uint8_t noise[300];
    const size_t size = random_below(&seed, sizeof noise);
    for (size_t i = 0; i < size; ++i) {
        noise[i] = (uint8_t)random_word(&seed);
    }
    const rtl_state before = r.device.state;
    feed(noise, size);
    check(before, false);
    feed((const uint8_t *)"", 1);
    check(before, false);
}

/* The emergency stop, amid an `apply` or between two packets, and a machine that objects. */
static void interfere(void) {
    r.isr_when_applied = random_below(&seed, 100) == 0 ? RTL_REASON_HARDWARE : 0;
    r.veto = random_below(&seed, 4) == 0 ? RTL_REASON_LIMIT : 0;
    if (random_below(&seed, 100) == 0) {
        const rtl_state before = r.device.state;
        rtl_device_trip_from_isr(&r.device, RTL_REASON_HARDWARE);
        rtl_device_tick(&r.device);
        check(before, false);
        if (r.device.state != RTL_STATE_SAFE) {
            fail("not SAFE after a trip");
        }
    }
}

static void let_time_pass(void) {
    const unsigned samples = r.received[RTL_TYPE_SENSOR];
    const rtl_state before = r.device.state;
    const uint32_t us = random_below(&seed, 200) == 0 ? 150000 : random_below(&seed, 2000);
    const uint64_t grid_before = r.now_us / RIG_PERIOD_US;
    const bool is_streaming = r.device.peer_is_known;
    rig_run(&r, us);
    check(before, false);
    const uint64_t due = r.now_us / RIG_PERIOD_US - grid_before;
    if (is_streaming && r.received[RTL_TYPE_SENSOR] - samples != due) {
        fail("samples are missing");
    }
    if (r.device.state == RTL_STATE_ACTIVE &&
        r.now_us - last_applied_us > RIG_TIMEOUT_MAX_US + RIG_PERIOD_US) {
        fail("ACTIVE without commands");
    }
    rtl_device_tick(&r.device);
    if (rtl_device_next_due_us(&r.device) <= r.now_us) {
        fail("due, and due again");
    }
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fputs("usage: fuzz_device BYTES SEED\n", stderr);
        return 2;
    }
    const unsigned long long wanted = strtoull(argv[1], NULL, 10);
    seed = strtoull(argv[2], NULL, 10);
    rig_init(&r, (UINT64_C(1) << 32) - 5000000); /* through the wrap of 32-bit time soon */
    rtl_device_ready(&r.device);
    while (bytes_fed < wanted) {
        send_packet();
        if (random_below(&seed, 3) == 0) {
            let_time_pass();
        }
        if (random_below(&seed, 30) == 0) {
            send_noise();
        }
        interfere();
    }
    const rtl_device *const d = &r.device;
    printf(
        "fuzz_device seed %s: %llu bytes, %llu packets, %llu transitions (IDLE %llu, ARMED %llu, "
        "ACTIVE %llu, SAFE %llu); %u applied, %u late, %u rejected, %u timeouts, %u CRC errors, "
        "%u frame errors, %u samples, %u events\n",
        argv[2], bytes_fed, packets_fed, transitions, visits[RTL_STATE_IDLE],
        visits[RTL_STATE_ARMED], visits[RTL_STATE_ACTIVE], visits[RTL_STATE_SAFE], r.applied,
        (unsigned)d->late_commands, (unsigned)d->rejected_commands, (unsigned)d->command_timeouts,
        (unsigned)d->crc_errors, (unsigned)d->frame_errors, r.received[RTL_TYPE_SENSOR],
        r.received[RTL_TYPE_EVENT]);
    const bool is_telling =
        wanted < 100000 || (r.applied > 0 && d->late_commands > 0 && d->command_timeouts > 0 &&
                            d->crc_errors > 0 && visits[RTL_STATE_SAFE] > 0);
    return is_telling ? 0 : 1;
}

/*
 * A device whose host has gone mad: takes the input as the bytes of its line, or as the choices of
 * a host that sends valid, mutated and random packets in any order, under a virtual clock. What
 * must hold after every one, whatever arrives:
 * - the machine is driven only while ACTIVE, only with finite values inside the hard limits;
 * - SAFE is left only by an intact CLEAR of the right schema, and only to IDLE;
 * - ARMED is entered only from IDLE, ACTIVE only from ARMED;
 * - ACTIVE never outlasts the command timeout, and a trip from an interrupt not the next call;
 * - a machine that objects is neither armed nor cleared;
 * - after a tick nothing is due before the present, so that a board can sleep;
 * - whatever the device sends is a well-formed packet for a host, and samples keep their rate.
 */
#include <math.h>
#include <string.h>

#include "fuzz.h"
#include "rig.h"

static rig r;
static choices from;
static unsigned long long bytes_fed, packets_fed, visits[5], transitions;
static unsigned long long applied, late, rejected, timeouts, crc_errors, frame_errors, samples,
    events;
static unsigned applied_before;
static uint64_t last_applied_us;

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
            fuzz_fail("a transition is one of the protocol's");
        }
    }
    ++visits[now];
    if (r.applied != applied_before) {
        applied_before = r.applied;
        last_applied_us = r.now_us;
        if (now == RTL_STATE_ACTIVE && !(fabsf(r.applied_value) <= RIG_LIMIT)) {
            fuzz_fail("what drives it is inside the limits");
        }
    }
    if (now == RTL_STATE_SAFE && (r.applied_value != 0.0f || r.device.reasons == 0)) {
        fuzz_fail("it is safe in SAFE, and for a reason");
    }
    if (r.moved_outside_active > 0) {
        fuzz_fail("it is driven in ACTIVE only");
    }
    if (r.received_bad > 0) {
        fuzz_fail("what it sends is well-formed");
    }
}

/* ---- what the host sends ------------------------------------------------------------------- */

static float odd_value(void) {
    const float odd[] = {0.0f, RIG_LIMIT, -RIG_LIMIT, 20.5f, NAN, INFINITY, 1e-45f};
    const uint32_t i = choose(&from, 60);
    return i < 7 ? odd[i] : (float)choose(&from, 40) - 20.0f;
}

static size_t make_command(uint8_t *payload) {
    rtl_command command = {.valid_until_us = (uint32_t)r.now_us + 3000u - choose(&from, 3500)};
    command.count = (uint8_t)(1 + (choose(&from, 50) == 1));
    command.values[0] = odd_value();
    r.ack = (uint16_t)(r.device.tx_seq - choose(&from, 200) + 2u);
    return rtl_command_encode(&command, payload);
}

static size_t make_arm(uint8_t *payload) {
    rtl_arm arm = {.loop_class = (uint8_t)choose(&from, 4)};
    arm.max_late_commands = (uint16_t)choose(&from, 4);
    arm.command_timeout_us = choose(&from, 2) == 0 ? 0 : choose(&from, 200000);
    return rtl_arm_encode(&arm, payload);
}

static size_t make_payload(uint8_t type, uint8_t *payload) {
    switch (type) {
        case RTL_TYPE_HELLO:
            return rtl_hello_encode(&(rtl_hello){1, (uint8_t)choose(&from, 3)}, payload);
        case RTL_TYPE_SCHEMA_REQUEST:
            return rtl_schema_request_encode(&(rtl_schema_request){(uint16_t)choose(&from, 1000)},
                                             payload);
        case RTL_TYPE_TIME_REQUEST:
            return rtl_time_request_encode(&(rtl_time_request){choose_seed(&from)}, payload);
        case RTL_TYPE_COMMAND:
            return make_command(payload);
        case RTL_TYPE_ARM:
            return make_arm(payload);
        case RTL_TYPE_STOP:
            return rtl_stop_encode(&(rtl_stop){(uint16_t)choose(&from, 65536)}, payload);
        case RTL_TYPE_HISTOGRAM_REQUEST:
            return rtl_histogram_request_encode(&(rtl_histogram_request){(uint8_t)choose(&from, 4)},
                                                payload);
        default:
            return 0;
    }
}

/* Mostly a sensible host, so that the states behind ARM and COMMAND are reached. */
static uint8_t choose_type(void) {
    const uint8_t sensible[] = {
        RTL_TYPE_COMMAND, RTL_TYPE_COMMAND,       RTL_TYPE_COMMAND,
        RTL_TYPE_COMMAND, RTL_TYPE_COMMAND,       RTL_TYPE_ARM,
        RTL_TYPE_ARM,     RTL_TYPE_CLEAR,         RTL_TYPE_TIME_REQUEST,
        RTL_TYPE_HELLO,   RTL_TYPE_STATS_REQUEST, RTL_TYPE_HISTOGRAM_REQUEST};
    if (choose(&from, 20) == 0) {
        return (uint8_t)choose(&from, 20);
    }
    return sensible[choose(&from, sizeof sensible)];
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
        .schema_id = (uint16_t)(r.schema_id ^ (choose(&from, 50) == 0)),
    };
    size_t size = make_payload(header.type, payload);
    if (choose(&from, 40) == 0) { /* intact, but not the message it says */
        uint64_t content = choose_seed(&from);
        size = random_below(&content, RTL_PAYLOAD_MAX + 1);
        for (size_t i = 0; i < size; ++i) {
            payload[i] = (uint8_t)random_word(&content);
        }
    }
    size_t frame_size =
        rtl_frame_encode(packet, rtl_packet_encode(&header, payload, size, packet), frame);
    const bool is_damaged = choose(&from, 10) == 0;
    if (is_damaged) {
        frame[choose(&from, (uint32_t)frame_size)] ^= (uint8_t)(1u << choose(&from, 8));
    }
    const rtl_state before = r.device.state;
    feed(frame, frame_size);
    ++packets_fed;
    check(before, header.type == RTL_TYPE_CLEAR && !is_damaged && header.schema_id == r.schema_id);
}

static void send_noise(void) {
    uint8_t noise[300];
    uint64_t content = choose_seed(&from);
    const size_t size = random_below(&content, sizeof noise);
    for (size_t i = 0; i < size; ++i) {
        noise[i] = (uint8_t)random_word(&content);
    }
    const rtl_state before = r.device.state;
    feed(noise, size);
    check(before, false);
    feed((const uint8_t *)"", 1);
    check(before, false);
}

/* The emergency stop, amid an `apply` or between two packets, and a machine that objects. */
static void interfere(void) {
    r.isr_when_applied = choose(&from, 100) == 0 ? RTL_REASON_HARDWARE : 0;
    r.veto = choose(&from, 4) == 0 ? RTL_REASON_LIMIT : 0;
    if (choose(&from, 100) == 0) {
        const rtl_state before = r.device.state;
        rtl_device_trip_from_isr(&r.device, RTL_REASON_HARDWARE);
        rtl_device_tick(&r.device);
        check(before, false);
        if (r.device.state != RTL_STATE_SAFE) {
            fuzz_fail("a trip makes it SAFE");
        }
    }
}

static void let_time_pass(void) {
    const unsigned samples = r.received[RTL_TYPE_SENSOR];
    const rtl_state before = r.device.state;
    const uint32_t us = choose(&from, 200) == 0 ? 150000 : choose(&from, 2000);
    const uint64_t grid_before = r.now_us / RIG_PERIOD_US;
    const bool is_streaming = r.device.peer_is_known;
    rig_run(&r, us);
    check(before, false);
    const uint64_t due = r.now_us / RIG_PERIOD_US - grid_before;
    if (is_streaming && r.received[RTL_TYPE_SENSOR] - samples != due) {
        fuzz_fail("samples keep their rate");
    }
    if (r.device.state == RTL_STATE_ACTIVE &&
        r.now_us - last_applied_us > RIG_TIMEOUT_MAX_US + RIG_PERIOD_US) {
        fuzz_fail("ACTIVE ends without commands");
    }
    rtl_device_tick(&r.device);
    if (rtl_device_next_due_us(&r.device) <= r.now_us) {
        fuzz_fail("after a tick nothing is due");
    }
}

static void begin(void) {
    const rtl_loop_terms terms = {.loop_class = RTL_CLASS_SOFT,
                                  .period_us = RIG_PERIOD_US,
                                  .deadline_us = RIG_PERIOD_US,
                                  .max_misses = 1,
                                  .window = 3};
    /* Through the wrap of 32-bit time soon. */
    rig_init_accounting(&r, (UINT64_C(1) << 32) - 50000, &terms);
    rtl_device_ready(&r.device);
    applied_before = 0;
    last_applied_us = 0;
}

static void count(void) {
    const rtl_device *const d = &r.device;
    applied += r.applied;
    late += d->late_commands;
    rejected += d->rejected_commands;
    timeouts += d->command_timeouts;
    crc_errors += d->crc_errors;
    frame_errors += d->frame_errors;
    samples += r.received[RTL_TYPE_SENSOR];
    events += r.received[RTL_TYPE_EVENT];
}

/* A byte for how many come at once, one for the ms until then, the bytes; in ACTIVE from the start
 * where the input says so. */
static void take_line(const uint8_t *bytes, size_t n, bool is_active) {
    if (is_active) {
        rig_activate(&r);
    }
    while (n > 2) {
        const size_t piece = bytes[0] < n - 2 ? bytes[0] : n - 2;
        const rtl_state before = r.device.state;
        rig_run(&r, bytes[1] * UINT64_C(1000));
        check(before, false);
        feed(bytes + 2, piece);
        ++packets_fed;
        check(r.device.state,
              true); /* several packets may have come: which ways it went is not known */
        bytes += 2 + piece;
        n -= 2 + piece;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) {
        return 0;
    }
    begin();
    if (data[0] % 2 == 0) {
        take_line(data + 1, size - 1, data[0] % 4 == 0);
        count();
        return 0;
    }
    from = (choices){data + 1, size - 1};
    while (from.left > 0) {
        send_packet();
        if (choose(&from, 3) == 0) {
            let_time_pass();
        }
        if (choose(&from, 30) == 0) {
            send_noise();
        }
        interfere();
    }
    count();
    return 0;
}

bool fuzz_report(void) {
    printf(
        "%llu bytes on the line, %llu packets, %llu transitions (IDLE %llu, ARMED %llu, ACTIVE "
        "%llu, SAFE %llu); %llu applied, %llu late, %llu rejected, %llu timeouts, %llu CRC errors, "
        "%llu frame errors, %llu samples, %llu events\n",
        bytes_fed, packets_fed, transitions, visits[RTL_STATE_IDLE], visits[RTL_STATE_ARMED],
        visits[RTL_STATE_ACTIVE], visits[RTL_STATE_SAFE], applied, late, rejected, timeouts,
        crc_errors, frame_errors, samples, events);
    return applied > 0 && late > 0 && timeouts > 0 && crc_errors > 0 && visits[RTL_STATE_SAFE] > 0;
}

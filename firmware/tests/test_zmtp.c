/* The ZeroMQ peer against bytes that libzmq 4.3.5 sent, and against what it must not take. */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "rtloop/zmtp.h"

/* ---- what libzmq sends, recorded ---------------------------------------------------------------
 */

static const char libzmq_greeting[] =
    "\xff\0\0\0\0\0\0\0\1\x7f"
    "\3\1NULL\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
    "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
static const char libzmq_dealer[] = "\4\x29\5READY\xbSocket-Type\0\0\0\6DEALER\x8Identity\0\0\0\0";
static const char libzmq_dealer_with_identity[] =
    "\4\x2c\5READY\xbSocket-Type\0\0\0\6DEALER\x8Identity\0\0\0\3rob";
static const char libzmq_router[] = "\4\x29\5READY\xbSocket-Type\0\0\0\6ROUTER\x8Identity\0\0\0\0";
static const char libzmq_req[] = "\4\x26\5READY\xbSocket-Type\0\0\0\3REQ\x8Identity\0\0\0\0";
static const char libzmq_ping[] = "\4\7\4PING\0\xa"; /* TTL 1 s */
static const char libzmq_hello[] = "\0\5hello";

/* ---- rig ---------------------------------------------------------------------------------------
 */

#define IN_SIZE 540u
#define OUT_SIZE 1024u

static rtl_zmtp z;
static uint8_t in[IN_SIZE], out[OUT_SIZE];
static uint64_t now_us;
static uint8_t received[4096]; /* all messages one after the other */
static size_t received_size;
static unsigned messages;
static uint8_t sent[8192];
static size_t sent_size;

static void on_message(void *context, const uint8_t *message, size_t size) {
    (void)context;
    memcpy(received + received_size, message, size);
    received_size += size;
    ++messages;
}

static void begin_with_timeout(uint64_t idle_timeout_us) {
    const rtl_zmtp_settings settings = {in, sizeof in, out, sizeof out, idle_timeout_us};
    now_us = 1000;
    received_size = 0;
    messages = 0;
    sent_size = 0;
    CHECK(rtl_zmtp_init(&z, &settings, now_us));
}

static void begin(void) {
    begin_with_timeout(0);
}

static void give(const void *bytes, size_t n) {
    rtl_zmtp_receive(&z, bytes, n, now_us, on_message, NULL);
}

#define GIVE(literal) give(literal, sizeof(literal) - 1)

/* The connection takes `most` of what is pending. */
static void take(size_t most) {
    size_t n;
    const uint8_t *const bytes = rtl_zmtp_pending(&z, &n);
    n = n < most ? n : most;
    memcpy(sent + sent_size, bytes, n);
    sent_size += n;
    rtl_zmtp_consumed(&z, n);
}

static void take_all(void) {
    take(SIZE_MAX);
}

static bool was_sent(const char *expected, size_t n) {
    take_all();
    const bool is_same = sent_size == n && memcmp(sent, expected, n) == 0;
    sent_size = 0;
    return is_same;
}

#define WAS_SENT(literal) was_sent(literal, sizeof(literal) - 1)

static void begin_ready(void) {
    begin();
    GIVE(libzmq_greeting);
    GIVE(libzmq_dealer);
    CHECK(rtl_zmtp_is_ready(&z));
    take_all();
    sent_size = 0;
}

/* ---- handshake ---------------------------------------------------------------------------------
 */

static void the_greeting_is_pending_at_once_and_ready_answers_ready(void) {
    begin();
    CHECK(
        WAS_SENT("\xff\0\0\0\0\0\0\0\1\x7f"
                 "\3\0NULL\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
                 "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"));
    GIVE(libzmq_greeting);
    CHECK(!rtl_zmtp_is_ready(&z));
    CHECK(!rtl_zmtp_send(&z, "early", 5));
    CHECK(WAS_SENT(""));
    GIVE(libzmq_dealer);
    CHECK(rtl_zmtp_is_ready(&z));
    CHECK(WAS_SENT("\4\x1c\5READY\xbSocket-Type\0\0\0\6DEALER"));
}

static void routers_identities_and_other_spellings_are_accepted(void) {
    begin();
    GIVE(libzmq_greeting);
    GIVE(libzmq_router);
    CHECK(rtl_zmtp_is_ready(&z));
    begin();
    GIVE(libzmq_greeting);
    GIVE(libzmq_dealer_with_identity);
    CHECK(rtl_zmtp_is_ready(&z));
    begin();
    GIVE(libzmq_greeting);
    GIVE("\4\x1c\5READY\xbsocket-TYPE\0\0\0\6ROUTER");
    CHECK(rtl_zmtp_is_ready(&z));
}

static void other_socket_types_are_told_by_error_in_place_of_ready(void) {
    static const char *const types[] = {"REQ", "PUB", "dealer", ""};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; ++i) {
        uint8_t ready[64] = "\4\0\5READY\xbSocket-Type\0\0\0";
        const size_t size = strlen(types[i]);
        ready[1] = (uint8_t)(22 + size);
        ready[23] = (uint8_t)size;
        memcpy(ready + 24, types[i], size);
        begin();
        GIVE(libzmq_greeting);
        take_all();
        sent_size = 0;
        give(ready, 24 + size);
        CHECK_EQUAL(rtl_zmtp_failed(&z), RTL_ZMTP_SOCKET_TYPE);
        CHECK(WAS_SENT("\4\x2a\5ERROR\x23Socket-Type is not DEALER or ROUTER"));
    }
    begin();
    GIVE(libzmq_greeting);
    GIVE(libzmq_req);
    CHECK_EQUAL(rtl_zmtp_failed(&z), RTL_ZMTP_SOCKET_TYPE);
    begin();
    GIVE(libzmq_greeting);
    GIVE("\4\6\5READY"); /* says nothing */
    CHECK_EQUAL(rtl_zmtp_failed(&z), RTL_ZMTP_SOCKET_TYPE);
}

static void what_is_no_zmtp_3_null_is_told_apart_by_its_first_byte_that_is_wrong(void) {
    static const struct {
        size_t at;
        uint8_t byte;
        rtl_zmtp_failure failure;
    } cases[] = {
        {0, 'G', RTL_ZMTP_NO_GREETING}, {9, 0x7e, RTL_ZMTP_NO_GREETING},
        {10, 1, RTL_ZMTP_VERSION},      {10, 2, RTL_ZMTP_VERSION},
        {12, 'P', RTL_ZMTP_MECHANISM},  {16, 'X', RTL_ZMTP_MECHANISM},
        {31, 1, RTL_ZMTP_MECHANISM},    {11, 0, RTL_ZMTP_OK},
        {10, 4, RTL_ZMTP_OK},           {63, 9, RTL_ZMTP_OK},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        char greeting[64];
        memcpy(greeting, libzmq_greeting, sizeof greeting);
        greeting[cases[i].at] = (char)cases[i].byte;
        begin();
        give(greeting, cases[i].at);
        CHECK_EQUAL(rtl_zmtp_failed(&z), RTL_ZMTP_OK);
        give(greeting + cases[i].at, 64 - cases[i].at);
        CHECK_EQUAL(rtl_zmtp_failed(&z), cases[i].failure);
        GIVE(libzmq_dealer);
        CHECK_EQUAL(rtl_zmtp_is_ready(&z), cases[i].failure == RTL_ZMTP_OK);
    }
}

static void buffers_that_are_too_small_are_refused(void) {
    const rtl_zmtp_settings settings[] = {
        {NULL, IN_SIZE, out, OUT_SIZE, 0},
        {in, IN_SIZE, NULL, OUT_SIZE, 0},
        {in, RTL_ZMTP_IN_MIN - 1, out, OUT_SIZE, 0},
        {in, IN_SIZE, out, RTL_ZMTP_OUT_MIN - 1, 0},
    };
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; ++i) {
        CHECK(!rtl_zmtp_init(&z, &settings[i], 0));
    }
    /* The smallest do for the largest handshake. */
    const rtl_zmtp_settings least = {in, RTL_ZMTP_IN_MIN, out, RTL_ZMTP_OUT_MIN, 0};
    uint8_t ready[9 + 28 + 13 + 255] = {6, 0, 0, 0, 0, 0, 0, 1, 40};
    memcpy(ready + 9, "\5READY\xbSocket-Type\0\0\0\6DEALER\x8Identity\0\0\0\xff", 28 + 13);
    CHECK(rtl_zmtp_init(&z, &least, 0));
    GIVE(libzmq_greeting);
    give(ready, sizeof ready);
    CHECK(rtl_zmtp_is_ready(&z));
    CHECK(rtl_zmtp_init(&z, &least, 0));
    GIVE(libzmq_greeting);
    GIVE(libzmq_req); /* the greeting was not taken yet, either */
    CHECK_EQUAL(rtl_zmtp_failed(&z), RTL_ZMTP_SOCKET_TYPE);
}

/* ---- receiving ---------------------------------------------------------------------------------
 */

/* A whole session, with an expected end, cut in two at every place, and byte by byte. */
static void a_session_is_the_same_however_it_is_cut(void) {
    uint8_t session[1024];
    size_t n = 0;
#define ADD(literal) (memcpy(session + n, literal, sizeof(literal) - 1), n += sizeof(literal) - 1)
    ADD(libzmq_greeting);
    ADD(libzmq_router);
    ADD(libzmq_hello);
    ADD(libzmq_ping);
    ADD("\0\0");                /* an empty message */
    ADD("\1\1a\4\7\4PING\0\0"); /* two frames, and a PING between them */
    ADD("\2\0\0\0\0\0\0\0\1b");
    ADD("\4\5\4WHAT");
    ADD("\2\0\0\0\0\0\0\1\x2c"); /* 300 bytes, as libzmq writes them */
    memset(session + n, 'b', 300);
    n += 300;
#undef ADD
    for (size_t cut = 0; cut <= n + 1; ++cut) {
        begin();
        if (cut <= n) {
            give(session, cut);
            give(session + cut, n - cut);
        } else {
            for (size_t i = 0; i < n; ++i) {
                give(session + i, 1);
            }
        }
        CHECK_EQUAL(rtl_zmtp_failed(&z), RTL_ZMTP_OK);
        CHECK_EQUAL(messages, 3);
        CHECK_EQUAL(received_size, 305);
        CHECK(memcmp(received, "hellobbb", 8) == 0 && received[304] == 'b');
        CHECK_EQUAL(z.multipart, 1);
        take_all();
        CHECK_EQUAL(sent_size, 64 + 30 + 7 + 7);
        CHECK(memcmp(sent + 94, "\4\5\4PONG\4\5\4PONG", 14) == 0);
    }
}

static void frames_that_break_the_protocol_are_failures(void) {
    static const struct {
        const char *bytes;
        size_t size;
        rtl_zmtp_failure failure;
    } cases[] = {
        {"\x8", 1, RTL_ZMTP_MALFORMED},                 /* a flag that is not defined */
        {"\x80", 1, RTL_ZMTP_MALFORMED},                /* likewise */
        {"\5", 1, RTL_ZMTP_MALFORMED},                  /* a command with more to come */
        {"\4\0", 2, RTL_ZMTP_MALFORMED},                /* a command without a name */
        {"\4\3\4ab", 5, RTL_ZMTP_MALFORMED},            /* one shorter than its name */
        {"\4\6\4PING\0", 8, RTL_ZMTP_MALFORMED},        /* half a TTL */
        {"\2\0\0\0\0\0\0\2\x1d", 9, RTL_ZMTP_TOO_LONG}, /* one byte too long */
        {"\2\x80\0\0\0\0\0\0\0", 9, RTL_ZMTP_TOO_LONG}, /* 2^63 */
        {"\6\0\0\0\1\0\0\0\0", 9, RTL_ZMTP_TOO_LONG},   /* 2^32, which 32 bits do not hold */
        {"\3\xff\xff\xff\xff\xff\xff\xff\xff", 9, RTL_ZMTP_TOO_LONG},
        {"\4\x9\5ERROR\2no", 11, RTL_ZMTP_PEER_ERROR},
        {"\4\6\5ERROR", 8, RTL_ZMTP_PEER_ERROR},
        {"\4\6\5READY", 8, RTL_ZMTP_OK}, /* a second one says nothing */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        begin_ready();
        give(cases[i].bytes, cases[i].size);
        CHECK_EQUAL(rtl_zmtp_failed(&z), cases[i].failure);
        const bool is_well = cases[i].failure == RTL_ZMTP_OK;
        GIVE(libzmq_hello);
        CHECK_EQUAL(messages, is_well ? 1 : 0);
        CHECK_EQUAL(rtl_zmtp_send(&z, "x", 1), is_well);
    }
}

static void the_handshake_takes_no_messages_and_no_broken_properties(void) {
    static const struct {
        const char *bytes;
        size_t size;
    } cases[] = {
        {"\0\1x", 3},                                /* a message */
        {"\4\7\5READY\5", 9},                        /* no name */
        {"\4\x16\5READY\xbSocket-Type\0\0\0\1", 24}, /* a value of no bytes */
        {"\4\x1c\5READY\xbSocket-Type\xff\xff\xff\xff"
         "DEALER",
         30}, /* one of 4 GB */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        begin();
        GIVE(libzmq_greeting);
        give(cases[i].bytes, cases[i].size);
        CHECK_EQUAL(rtl_zmtp_failed(&z), RTL_ZMTP_MALFORMED);
        CHECK(!rtl_zmtp_is_ready(&z));
    }
    begin();
    GIVE(libzmq_greeting);
    GIVE("\4\5\4WHAT\4\7\4PING\0\xa"); /* unknown here, and ignored */
    CHECK_EQUAL(rtl_zmtp_failed(&z), RTL_ZMTP_OK);
    GIVE(libzmq_dealer);
    CHECK(rtl_zmtp_is_ready(&z));
}

static void a_message_as_long_as_the_buffer_is_taken(void) {
    uint8_t frame[9 + IN_SIZE] = {2, 0, 0, 0, 0, 0, 0, IN_SIZE >> 8, IN_SIZE & 255};
    memset(frame + 9, 7, IN_SIZE);
    begin_ready();
    give(frame, sizeof frame);
    CHECK_EQUAL(messages, 1);
    CHECK_EQUAL(received_size, IN_SIZE);
}

/* ---- sending -----------------------------------------------------------------------------------
 */

static void messages_leave_as_short_and_long_frames(void) {
    uint8_t message[300];
    memset(message, 'b', sizeof message);
    begin_ready();
    CHECK(rtl_zmtp_send(&z, NULL, 0));
    CHECK(rtl_zmtp_send(&z, "hello", 5));
    CHECK(WAS_SENT("\0\0\0\5hello"));
    CHECK(rtl_zmtp_send(&z, message, 255));
    take_all();
    CHECK_EQUAL(sent_size, 257);
    CHECK(memcmp(sent, "\0\xff", 2) == 0);
    sent_size = 0;
    CHECK(rtl_zmtp_send(&z, message, 256));
    take_all();
    CHECK_EQUAL(sent_size, 265);
    CHECK(memcmp(sent, "\2\0\0\0\0\0\0\1\0b", 10) == 0);
}

/* Numbered messages through a queue that is drained by few bytes at a time: those that it took
 * arrive whole and in order, and it did not take all. */
static void a_full_queue_refuses_and_corrupts_nothing(void) {
    static uint8_t stream[1u << 20];
    size_t stream_size = 0;
    static uint8_t taken[4096];
    unsigned n_taken = 0, refused = 0;
    begin_ready();
    for (unsigned i = 0; i < 4096; ++i) {
        uint8_t message[400];
        const size_t size = 1 + i * 37u % sizeof message;
        memset(message, (int)(n_taken & 255), size);
        if (rtl_zmtp_send(&z, message, size)) {
            taken[n_taken++] = (uint8_t)(size % 251);
        } else {
            ++refused;
        }
        sent_size = 0;
        take(i * 13u % 211);
        memcpy(stream + stream_size, sent, sent_size);
        stream_size += sent_size;
    }
    sent_size = 0;
    take_all();
    memcpy(stream + stream_size, sent, sent_size);
    stream_size += sent_size;
    CHECK(refused > 100);
    CHECK(n_taken > 100);
    size_t at = 0;
    for (unsigned i = 0; i < n_taken && at < stream_size; ++i) {
        const bool is_long = stream[at] == 2;
        const size_t size = is_long ? (size_t)stream[at + 7] << 8 | stream[at + 8] : stream[at + 1];
        CHECK(is_long || stream[at] == 0);
        at += is_long ? 9 : 2;
        CHECK_EQUAL(size % 251, taken[i]);
        for (size_t k = 0; k < size; ++k) {
            CHECK_EQUAL(stream[at + k], i & 255);
        }
        at += size;
    }
    CHECK_EQUAL(at, stream_size);
}

static void the_longest_message_of_a_queue_is_its_size_less_the_overhead(void) {
    static const uint8_t message[OUT_SIZE];
    begin_ready();
    CHECK(!rtl_zmtp_send(&z, message, OUT_SIZE - RTL_ZMTP_OUT_OVERHEAD + 1));
    CHECK(!rtl_zmtp_send(&z, message, SIZE_MAX));
    CHECK(rtl_zmtp_send(&z, message, OUT_SIZE - RTL_ZMTP_OUT_OVERHEAD));
    CHECK(!rtl_zmtp_send(&z, NULL, 0));
}

/* ---- heartbeats and time -----------------------------------------------------------------------
 */

static void a_ping_is_answered_with_its_context_also_when_the_queue_is_full(void) {
    static const uint8_t message[OUT_SIZE];
    begin_ready();
    GIVE("\4\xb\4PING\0\0abcd");
    CHECK(WAS_SENT("\4\x9\4PONGabcd"));
    GIVE(
        "\4\x1b\4PING\0\0"
        "0123456789abcdefXXXX"); /* no longer than 16 */
    CHECK(WAS_SENT("\4\x15\4PONG0123456789abcdef"));
    CHECK(rtl_zmtp_send(&z, message, OUT_SIZE - RTL_ZMTP_OUT_OVERHEAD));
    GIVE(
        "\4\x17\4PING\0\0"
        "0123456789abcdef");
    GIVE(
        "\4\x17\4PING\0\0"
        "0123456789ABCDEF"); /* no room for a second one */
    CHECK_EQUAL(rtl_zmtp_failed(&z), RTL_ZMTP_OK);
    take_all();
    CHECK_EQUAL(sent_size, OUT_SIZE);
    CHECK(memcmp(sent + OUT_SIZE - 23, "\4\x15\4PONG0123456789abcdef", 23) == 0);
}

static void silence_is_a_failure_after_the_idle_timeout(void) {
    begin_with_timeout(500);
    CHECK_EQUAL(rtl_zmtp_deadline_us(&z), 1500);
    now_us = 1400;
    GIVE(libzmq_greeting); /* bytes do not prolong a handshake */
    CHECK_EQUAL(rtl_zmtp_deadline_us(&z), 1500);
    GIVE(libzmq_dealer);
    CHECK_EQUAL(rtl_zmtp_deadline_us(&z), 1900);
    now_us = 1800;
    GIVE("\0"); /* any byte is a sign of life */
    CHECK_EQUAL(rtl_zmtp_deadline_us(&z), 2300);
    rtl_zmtp_tick(&z, 2299);
    CHECK_EQUAL(rtl_zmtp_failed(&z), RTL_ZMTP_OK);
    rtl_zmtp_tick(&z, 2300);
    CHECK_EQUAL(rtl_zmtp_failed(&z), RTL_ZMTP_SILENT);
    CHECK_EQUAL(rtl_zmtp_deadline_us(&z), RTL_ZMTP_NEVER_US);
}

static void without_timeouts_silence_is_no_failure(void) {
    begin();
    rtl_zmtp_tick(&z, UINT64_MAX);
    CHECK_EQUAL(rtl_zmtp_failed(&z), RTL_ZMTP_OK);
}

static void every_failure_has_words_of_its_own(void) {
    for (int a = RTL_ZMTP_OK; a <= RTL_ZMTP_SILENT + 1; ++a) {
        const char *const text = rtl_zmtp_failure_text((rtl_zmtp_failure)a);
        for (int b = RTL_ZMTP_OK; b < a; ++b) {
            CHECK(strcmp(text, rtl_zmtp_failure_text((rtl_zmtp_failure)b)) != 0);
        }
    }
}

static void the_ttl_of_a_ping_is_an_idle_timeout_until_the_next_one(void) {
    begin_ready();
    CHECK_EQUAL(rtl_zmtp_deadline_us(&z), RTL_ZMTP_NEVER_US);
    GIVE(libzmq_ping);
    CHECK_EQUAL(rtl_zmtp_deadline_us(&z), 1001000);
    GIVE("\4\7\4PING\1\0"); /* 25.6 s */
    CHECK_EQUAL(rtl_zmtp_deadline_us(&z), 25601000);
    GIVE("\4\7\4PING\0\0");
    CHECK_EQUAL(rtl_zmtp_deadline_us(&z), RTL_ZMTP_NEVER_US);
    GIVE(libzmq_ping);
    rtl_zmtp_tick(&z, 1001000);
    CHECK_EQUAL(rtl_zmtp_failed(&z), RTL_ZMTP_SILENT);
    begin_with_timeout(500); /* the earlier of the two */
    GIVE(libzmq_greeting);
    GIVE(libzmq_dealer);
    GIVE(libzmq_ping);
    CHECK_EQUAL(rtl_zmtp_deadline_us(&z), 1500);
}

int main(void) {
    RUN(the_greeting_is_pending_at_once_and_ready_answers_ready);
    RUN(routers_identities_and_other_spellings_are_accepted);
    RUN(other_socket_types_are_told_by_error_in_place_of_ready);
    RUN(what_is_no_zmtp_3_null_is_told_apart_by_its_first_byte_that_is_wrong);
    RUN(buffers_that_are_too_small_are_refused);
    RUN(a_session_is_the_same_however_it_is_cut);
    RUN(frames_that_break_the_protocol_are_failures);
    RUN(the_handshake_takes_no_messages_and_no_broken_properties);
    RUN(a_message_as_long_as_the_buffer_is_taken);
    RUN(messages_leave_as_short_and_long_frames);
    RUN(a_full_queue_refuses_and_corrupts_nothing);
    RUN(the_longest_message_of_a_queue_is_its_size_less_the_overhead);
    RUN(a_ping_is_answered_with_its_context_also_when_the_queue_is_full);
    RUN(silence_is_a_failure_after_the_idle_timeout);
    RUN(without_timeouts_silence_is_no_failure);
    RUN(every_failure_has_words_of_its_own);
    RUN(the_ttl_of_a_ping_is_an_idle_timeout_until_the_next_one);
    return check_verdict();
}

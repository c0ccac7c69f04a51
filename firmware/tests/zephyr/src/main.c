/* Every C test of firmware/tests, run by ztest under the kernel and its C library. */
#include <zephyr/ztest.h>

int test_codec(void);
int test_device(void);
int test_device_account(void);
int test_device_commands(void);
int test_device_refusals(void);
int test_device_safety(void);
int test_device_board(void);
int test_device_transports(void);
int test_sequence(void);
int test_zmtp(void);

ZTEST(firmware_lib, test_packets_frames_messages_match_the_vectors) {
    zassert_ok(test_codec());
}

ZTEST(firmware_lib, test_states) {
    zassert_ok(test_device());
}

ZTEST(firmware_lib, test_account) {
    zassert_ok(test_device_account());
}

ZTEST(firmware_lib, test_commands) {
    zassert_ok(test_device_commands());
}

ZTEST(firmware_lib, test_refusals) {
    zassert_ok(test_device_refusals());
}

ZTEST(firmware_lib, test_safety) {
    zassert_ok(test_device_safety());
}

ZTEST(firmware_lib, test_board) {
    zassert_ok(test_device_board());
}

ZTEST(firmware_lib, test_transports) {
    zassert_ok(test_device_transports());
}

ZTEST(firmware_lib, test_numbers_and_times) {
    zassert_ok(test_sequence());
}

ZTEST(firmware_lib, test_zeromq_peer) {
    zassert_ok(test_zmtp());
}

ZTEST_SUITE(firmware_lib, NULL, NULL, NULL, NULL, NULL);

/* What a device accounts for; every function does nothing where it has no account. */
#ifndef RTLOOP_DEVICE_ACCOUNT_INTERNAL_H_
#define RTLOOP_DEVICE_ACCOUNT_INTERNAL_H_

#include "rtloop/device.h"

/* Returns whether the account, if there is one, may be used. */
bool rtl_account_init(rtl_device *d);

/* ARM, and the state that is not armed any more. */
void rtl_account_begin(rtl_device *d);
void rtl_account_end(rtl_device *d);

void rtl_account_sensor_sent(rtl_device *d, uint16_t seq, uint64_t sample_us);

/* A command was applied just now, which says to know packet `ack`. */
void rtl_account_command_applied(rtl_device *d, uint16_t ack);

/* Answers; false: this device does not know such a question. */
bool rtl_on_stats_request(rtl_device *d);
/* Right behind a SENSOR: what had to wait for it. */
void rtl_send_due_stats(rtl_device *d, uint64_t now);
bool rtl_on_histogram_request(rtl_device *d, const rtl_histogram_request *request);

#endif

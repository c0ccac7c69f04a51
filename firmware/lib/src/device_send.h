/* What leaves a device: numbered packets, STATUS, and events as their rate allows. */
#ifndef RTLOOP_DEVICE_SEND_H_
#define RTLOOP_DEVICE_SEND_H_

#include "rtloop/device.h"

static inline uint64_t rtl_now_us(const rtl_device *d) {
    return d->hardware.now_us(d->hardware.context);
}

/* Returns whether the line had room for it. */
bool rtl_send_packet(rtl_device *d, rtl_type type, const uint8_t *payload, size_t size);
/* With flags in its header. */
bool rtl_send_flagged(rtl_device *d, uint8_t flags, rtl_type type, const uint8_t *payload,
                      size_t size);

/* `reasons`: those of the state, or why what was asked for was not done. */
void rtl_send_status(rtl_device *d, uint16_t reasons);

void rtl_send_events(rtl_device *d, uint64_t now);

#endif

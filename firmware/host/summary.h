/* What a simulated device says of itself at its end. C11 and stdio only. */
#ifndef RTLOOP_HOST_SUMMARY_H_
#define RTLOOP_HOST_SUMMARY_H_

#include <stdio.h>

#include "rtloop/device.h"

/* State, reasons, counters and what it accounts for, as members of a JSON object. */
void summary_print(const rtl_device *device, FILE *stream);

#endif /* RTLOOP_HOST_SUMMARY_H_ */

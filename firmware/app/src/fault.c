/* A fault, a failed assertion, a stack that ran over: the kernel by itself stands still then, with
 * the machine as it was driven last. */
#include <zephyr/fatal.h>
#include <zephyr/logging/log_ctrl.h>
#include <zephyr/sys/reboot.h>

#include "plant.h"

void k_sys_fatal_error_handler(unsigned int reason, const struct arch_esf *esf) {
    plant_safe(NULL);
    LOG_PANIC(); /* says what the kernel has found */
    sys_reboot(SYS_REBOOT_COLD);
}

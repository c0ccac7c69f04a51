/* A fault, a failed assertion, a stack that ran over: the kernel by itself stands still then, with
 * the machine as it was driven last. */
#include "fault.h"

#include <stdint.h>
#include <zephyr/fatal.h>
#include <zephyr/linker/section_tags.h>
#include <zephyr/logging/log_ctrl.h>
#include <zephyr/sys/reboot.h>

#include "plant.h"

#define HAS_FAILED 0x5afe0bad

static __noinit uint32_t mark; /* outlives a restart, and no loss of power */

void fault_restart(void) {
    mark = HAS_FAILED;
    LOG_PANIC(); /* says what there is to say */
    sys_reboot(SYS_REBOOT_COLD);
}

bool fault_was_before(void) {
    const bool was = mark == HAS_FAILED;
    mark = 0;
    return was;
}

void k_sys_fatal_error_handler(unsigned int reason, const struct arch_esf *esf) {
    static bool is_at_it; /* a fault in what follows is another call */
    mark = HAS_FAILED;
    if (!is_at_it) {
        is_at_it = true;
        plant_safe(NULL);
        fault_restart();
    }
    sys_reboot(SYS_REBOOT_COLD);
}

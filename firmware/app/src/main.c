/*
 * Starts everything, then supervises: says in the log what state the loop is in, and is watched
 * itself. What stands still is restarted: the machine is safe first, by the watchdog's interrupt.
 */
#include <zephyr/drivers/watchdog.h>
#include <zephyr/kernel.h>
#include <zephyr/logging/log.h>
#include <zephyr/task_wdt/task_wdt.h>

#include "device_time.h"
#include "fault.h"
#include "loop.h"
#include "network_link.h"
#include "plant.h"
#include "rtloop/words.h"
#include "settings.h"
#include "uart_link.h"

LOG_MODULE_REGISTER(rtloop);

#define LOOK_MS 50
#define OWN_WATCHDOG_MS 2000

static void on_standstill(int channel, void *who) {
    loop_trip();
    printk("rtloop: the %s stands still, restarting\n", (const char *)who);
    fault_restart();
}

static int start_link(void) {
    int failed = 0;
#ifdef CONFIG_APP_LINK_UART
    failed = uart_link_start();
#endif
#ifdef CONFIG_APP_LINK_NETWORK
    failed = failed != 0 ? failed : network_link_start();
#endif
    return failed;
}

static void log_state(const loop_snapshot *seen) {
    char words[RTL_STATE_WORDS_SIZE];
    LOG_INF("%s", rtl_state_words(seen->link.state, seen->link.reasons, words));
}

int main(void) {
    device_time_start();
    settings_start();
    int failed = plant_start();
    if (failed != 0) {
        LOG_ERR("the machine does not work: %d", failed);
        return failed;
    }
    /* Where the board has none, or it fails, the kernel's timer watches alone. */
    failed = task_wdt_init(DEVICE_DT_GET_OR_NULL(DT_ALIAS(watchdog0)));
    if (failed != 0) {
        LOG_ERR("no hardware watchdog: %d", failed);
        task_wdt_init(NULL);
    }
    loop_start(task_wdt_add(CONFIG_APP_LOOP_WATCHDOG_MS, on_standstill, "loop"));
    failed = start_link();
    if (failed != 0) {
        LOG_ERR("no link: %d", failed);
        return failed;
    }
    const int watchdog = task_wdt_add(OWN_WATCHDOG_MS, on_standstill, "supervisor");
    printk("READY %s\n", settings.name);

    loop_snapshot before = {0}, seen;
    for (;;) {
        task_wdt_feed(watchdog);
        loop_read(&seen);
        if (seen.link.state != before.link.state || seen.link.reasons != before.link.reasons) {
            log_state(&seen);
            before = seen;
        }
        k_msleep(LOOK_MS);
    }
}

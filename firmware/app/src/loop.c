#include "loop.h"

#include <zephyr/kernel.h>
#include <zephyr/random/random.h>
#include <zephyr/sys/atomic.h>
#include <zephyr/task_wdt/task_wdt.h>

#include "device_time.h"
#include "fault.h"
#include "network_link.h"
#include "plant.h"
#include "settings.h"
#include "uart_link.h"

BUILD_ASSERT(CONFIG_SYS_CLOCK_TICKS_PER_SEC % CONFIG_APP_RATE_HZ == 0,
             "SYS_CLOCK_TICKS_PER_SEC has to be a multiple of APP_RATE_HZ");
BUILD_ASSERT(1000000 % CONFIG_APP_RATE_HZ == 0, "a period is a whole number of us");
BUILD_ASSERT(CONFIG_APP_DEADLINE_US <= LOOP_PERIOD_US, "the deadline is after the next release");
BUILD_ASSERT(CONFIG_APP_WINDOW == 0 || CONFIG_APP_MAX_MISSES < CONFIG_APP_WINDOW,
             "no loss breaks the limit: APP_MAX_MISSES has to be below APP_WINDOW");
BUILD_ASSERT(CONFIG_APP_LOOP_WATCHDOG_MS >= 2000 / CONFIG_APP_RATE_HZ,
             "the loop feeds its watchdog once a period: APP_LOOP_WATCHDOG_MS has to be two");
BUILD_ASSERT(IS_ENABLED(CONFIG_APP_LINK_UART) || IS_ENABLED(CONFIG_APP_LINK_NETWORK),
             "a device without a link");

#define PERIOD_TICKS (CONFIG_SYS_CLOCK_TICKS_PER_SEC / CONFIG_APP_RATE_HZ)

#if defined(CONFIG_APP_CLASS_HARD)
#define CLASS RTL_CLASS_HARD
#elif defined(CONFIG_APP_CLASS_FIRM)
#define CLASS RTL_CLASS_FIRM
#else
#define CLASS RTL_CLASS_SOFT
#endif

static rtl_device device;
static rtl_device_account account = {
    .loop.terms =
        {
            .loop_class = CLASS,
            .fault_on_limit = CLASS == RTL_CLASS_FIRM,
            .max_misses = CONFIG_APP_MAX_MISSES,
            .window = CONFIG_APP_WINDOW,
            .period_us = LOOP_PERIOD_US,
            .deadline_us = CONFIG_APP_DEADLINE_US,
        },
};
static loop_snapshot published;
static atomic_t turn; /* odd while `published` is written */
static atomic_t has_begun, clear_is_asked;

static K_SEM_DEFINE(wake, 0, 1);

void loop_wake(void) {
    k_sem_give(&wake);
}

static void on_release(struct k_timer *timer) {
    loop_wake();
}

static K_TIMER_DEFINE(period, on_release, NULL);

/* ---- what others see and ask ----------------------------------------------------------------- */

static void publish(void) {
    atomic_inc(&turn);
    published = (loop_snapshot){
        .link = rtl_device_tell_status(&device),
        .own = rtl_device_tell_stats(&device),
        .tx_dropped = device.tx_dropped,
    };
    atomic_inc(&turn);
}

void loop_read(loop_snapshot *out) {
    atomic_val_t before;
    do {
        before = atomic_get(&turn);
        *out = published;
    } while ((before & 1) != 0 || before != atomic_get(&turn));
}

/* Before the first host there is no device to be latched, and the machine is safe. */
void loop_trip(void) {
    if (atomic_get(&has_begun)) {
        rtl_device_trip_from_isr(&device, RTL_REASON_HARDWARE);
        loop_wake();
    }
    plant_safe(&device);
}

void loop_clear(void) {
    if (atomic_get(&has_begun)) {
        atomic_set(&clear_is_asked, true);
        loop_wake();
    }
}

/* ---- the loop -------------------------------------------------------------------------------- */

static uint64_t now_us(void *context) {
    return device_time_us();
}

static void receive(void) {
#ifdef CONFIG_APP_LINK_UART
    uint64_t arrived_us;
    size_t n;
    uint8_t bytes[128];
    while ((n = uart_link_read(bytes, sizeof bytes, &arrived_us)) > 0) {
        rtl_device_receive(&device, bytes, n, arrived_us);
    }
#endif
#ifdef CONFIG_APP_LINK_NETWORK
    const network_packet *packet;
    while ((packet = network_link_read()) != NULL) {
        rtl_device_receive_packet_from(&device, &packet->peer, packet->bytes, packet->size,
                                       packet->arrived_us);
    }
#endif
}

/* Where nothing is random, the moment of the first frame is: every start has another id. */
static void begin(void) {
    const rtl_hardware hardware = {
        .context = &device,
        .now_us = now_us,
        .sample = plant_sample,
        .apply = plant_apply,
        .safe = plant_safe,
#ifdef CONFIG_APP_LINK_UART
        .transmit = uart_link_write,
#endif
#ifdef CONFIG_APP_LINK_NETWORK
        .transmit_packet = network_link_write,
#endif
        .state_changed = plant_state_changed,
        .command_min = settings.command_min,
        .command_max = settings.command_max,
    };
    const rtl_description description = {
        .name = settings.name,
        .schema = plant.schema,
        .n_sensor = plant.n_sensor,
        .n_command = plant.n_command,
        .max_link_errors = CONFIG_APP_MAX_LINK_ERRORS,
        .sensor_period_us = LOOP_PERIOD_US,
        .command_timeout_us = settings.command_timeout_ms * 1000u,
        .command_timeout_max_us = CONFIG_APP_COMMAND_TIMEOUT_MAX_MS * 1000u,
        .boot_id = sys_rand32_get() ^ k_cycle_get_32(),
        .account = &account,
    };
    if (!rtl_device_init(&device, &hardware, &description)) {
        k_panic(); /* the plant's description breaks a rule of device.h */
    }
    rtl_device_ready(&device);
    if (fault_was_before()) {
        rtl_device_trip(&device, RTL_REASON_HARDWARE);
    }
    atomic_set(&has_begun, true);
    const int64_t first = (k_uptime_ticks() / PERIOD_TICKS + 1) * PERIOD_TICKS;
    k_timer_start(&period, K_TIMEOUT_ABS_TICKS(first), K_TICKS(PERIOD_TICKS));
}

/* A job is a release by the timer; what arrives between two of them is taken at once, too. */
static void account_for_job(uint64_t start_us) {
    rtl_device_job(&device, start_us - start_us % LOOP_PERIOD_US, start_us, device_time_us());
}

static void run(void *channel, void *unused_2, void *unused_3) {
    const int watchdog = POINTER_TO_INT(channel);
    plant_safe(&device);
    while (k_sem_take(&wake, K_MSEC(CONFIG_APP_LOOP_WATCHDOG_MS / 4)) != 0) {
        task_wdt_feed(watchdog);
    }
    begin();
    for (;;) {
        task_wdt_feed(watchdog);
        /* In this order: a release between the two is the next pass's. The other way round it would
         * seem to have started before it, a period late: a miss that never was. */
        const bool is_released = k_timer_status_get(&period) > 0;
        const uint64_t start_us = device_time_us();
        receive(); /* first: what came in time is no timeout */
        if (atomic_set(&clear_is_asked, false)) {
            rtl_device_clear(&device);
        }
        rtl_device_tick(&device);
        if (is_released) {
            account_for_job(start_us);
        }
        publish();
        k_sem_take(&wake, K_FOREVER);
    }
}

static K_THREAD_STACK_DEFINE(stack, CONFIG_APP_LOOP_STACK_SIZE);
static struct k_thread thread;

void loop_start(int watchdog) {
    k_thread_create(&thread, stack, K_THREAD_STACK_SIZEOF(stack), run, INT_TO_POINTER(watchdog),
                    NULL, NULL, K_HIGHEST_THREAD_PRIO, K_FP_REGS, K_NO_WAIT);
    k_thread_name_set(&thread, "loop");
}

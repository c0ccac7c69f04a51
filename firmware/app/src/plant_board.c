/*
 * The board's own machine, as the devicetree has it (dts/bindings/rtloop,machine.yaml): ADC
 * channels and an IMU are its sensors, PWM outputs its commands. Conversions and buses are waited
 * for by a thread below the loop; the loop takes the newest values there are.
 */
#include <string.h>
#include <zephyr/drivers/adc.h>
#include <zephyr/drivers/pwm.h>
#include <zephyr/drivers/sensor.h>
#include <zephyr/kernel.h>

#include "device_time.h"
#include "loop.h"
#include "plant.h"

#define MACHINE DT_COMPAT_GET_ANY_STATUS_OKAY(rtloop_machine)
#define HAS_IMU DT_NODE_HAS_PROP(MACHINE, imu)
#define FOR_INPUTS(each)                                \
    COND_CODE_1(DT_NODE_HAS_PROP(MACHINE, io_channels), \
                (DT_FOREACH_PROP_ELEM(MACHINE, io_channels, each)), ())
#define FOR_OUTPUTS(each) DT_FOREACH_PROP_ELEM(MACHINE, pwms, each)

#define INPUTS DT_PROP_LEN_OR(MACHINE, io_channels, 0)
#define OUTPUTS DT_PROP_LEN(MACHINE, pwms)
#define SENSORS (INPUTS + (HAS_IMU ? 6 : 0))

BUILD_ASSERT(DT_PROP_LEN_OR(MACHINE, io_channel_names, 0) == INPUTS, "a name for each io-channel");
BUILD_ASSERT(DT_PROP_LEN(MACHINE, pwm_names) == OUTPUTS, "a name for each pwm");
BUILD_ASSERT(SENSORS > 0 && SENSORS <= RTL_VALUES_MAX,
             "too many io-channels, or nothing to sample");
BUILD_ASSERT(OUTPUTS <= PLANT_COMMANDS_MAX, "more pwms than PLANT_COMMANDS_MAX");

/* Older values are none: an input has failed, or the thread stands still. */
#define STALE_PERIODS 5u

#define RATE STRINGIFY(CONFIG_APP_RATE_HZ)
#define INPUT_LINE(node, prop, i) \
    "sensor " DT_PROP_BY_IDX(node, io_channel_names, i) " V f32 " RATE "\n"
#define OUTPUT_LINE(node, prop, i) "command " DT_PROP_BY_IDX(node, pwm_names, i) " - f32 " RATE "\n"
#define IMU_LINE(name, unit) "sensor " name " " unit " f32 " RATE "\n"
#define FULL_DUTY(node, prop, i) 1.0f,

const plant_description plant = {
    .schema = "rtloop-schema 1\nname machine\n" FOR_INPUTS(INPUT_LINE)
#if HAS_IMU
        IMU_LINE("accel_x", "m/s^2") IMU_LINE("accel_y", "m/s^2") IMU_LINE("accel_z", "m/s^2")
            IMU_LINE("gyro_x", "rad/s") IMU_LINE("gyro_y", "rad/s") IMU_LINE("gyro_z", "rad/s")
#endif
                FOR_OUTPUTS(OUTPUT_LINE),
    .n_sensor = SENSORS,
    .n_command = OUTPUTS,
    .command_min = {0.0f},
    .command_max = {FOR_OUTPUTS(FULL_DUTY)},
};

#define INPUT(node, prop, i) ADC_DT_SPEC_GET_BY_IDX(node, i),
#define OUTPUT(node, prop, i) PWM_DT_SPEC_GET_BY_IDX(node, i),

static const struct adc_dt_spec inputs[] = {FOR_INPUTS(INPUT)};
static const struct pwm_dt_spec outputs[] = {FOR_OUTPUTS(OUTPUT)};

static struct k_spinlock newest_lock;
static float newest[SENSORS];
static uint64_t newest_us;

/* ---- sampling, below the loop ---------------------------------------------------------------- */

static int read_input(const struct adc_dt_spec *input, float *value_v) {
    uint16_t raw = 0;
    struct adc_sequence sequence = {.buffer = &raw, .buffer_size = sizeof raw};
    adc_sequence_init_dt(input, &sequence);
    int failed = adc_read_dt(input, &sequence);
    int32_t value_uv = input->channel_cfg.differential ? (int16_t)raw : raw;
    failed = failed != 0 ? failed : adc_raw_to_microvolts_dt(input, &value_uv);
    *value_v = (float)value_uv * 1e-6f;
    return failed;
}

#if HAS_IMU
static const struct device *const imu = DEVICE_DT_GET(DT_PHANDLE(MACHINE, imu));

static int read_axes(enum sensor_channel channel, float *values) {
    struct sensor_value axes[3];
    const int failed = sensor_channel_get(imu, channel, axes);
    for (int i = 0; failed == 0 && i < 3; ++i) {
        values[i] = sensor_value_to_float(&axes[i]);
    }
    return failed;
}

static int read_imu(float *values) {
    int failed = sensor_sample_fetch(imu);
    failed = failed != 0 ? failed : read_axes(SENSOR_CHAN_ACCEL_XYZ, values);
    return failed != 0 ? failed : read_axes(SENSOR_CHAN_GYRO_XYZ, values + 3);
}
#endif

/* All of them are as old as the first. */
static int sample_all(void) {
    const uint64_t now_us = device_time_us();
    float values[SENSORS] = {0};
    int failed = 0;
    for (size_t i = 0; failed == 0 && i < ARRAY_SIZE(inputs); ++i) {
        failed = read_input(&inputs[i], &values[i]);
    }
#if HAS_IMU
    failed = failed != 0 ? failed : read_imu(values + INPUTS);
#endif
    K_SPINLOCK(&newest_lock) {
        if (failed == 0) {
            memcpy(newest, values, sizeof newest);
            newest_us = now_us;
        }
    }
    return failed;
}

/* Half a period ahead of the loop's releases, which are at multiples of the period. */
static void sample_forever(void *unused_1, void *unused_2, void *unused_3) {
    const int64_t period = CONFIG_SYS_CLOCK_TICKS_PER_SEC / CONFIG_APP_RATE_HZ;
    for (;;) {
        k_sleep(K_TIMEOUT_ABS_TICKS((k_uptime_ticks() / period + 1) * period + period / 2));
        sample_all();
    }
}

K_THREAD_DEFINE(sampling, 1536, sample_forever, NULL, NULL, NULL, K_PRIO_COOP(1), K_FP_REGS,
                SYS_FOREVER_MS);

int plant_start(void) {
    for (size_t i = 0; i < ARRAY_SIZE(inputs); ++i) {
        const int failed = adc_is_ready_dt(&inputs[i]) ? adc_channel_setup_dt(&inputs[i]) : -ENODEV;
        if (failed != 0) {
            return failed;
        }
    }
    for (size_t i = 0; i < ARRAY_SIZE(outputs); ++i) {
        if (!pwm_is_ready_dt(&outputs[i])) {
            return -ENODEV;
        }
    }
#if HAS_IMU
    if (!device_is_ready(imu)) {
        return -ENODEV;
    }
#endif
    const int failed = sample_all();
    if (failed == 0) {
        k_thread_start(sampling);
    }
    return failed;
}

/* ---- from the loop --------------------------------------------------------------------------- */

uint64_t plant_sample(void *context, float *values) {
    uint64_t taken_us;
    K_SPINLOCK(&newest_lock) {
        memcpy(values, newest, sizeof newest);
        taken_us = newest_us;
    }
    if (device_time_us() - taken_us > STALE_PERIODS * LOOP_PERIOD_US) {
        rtl_device_trip(context, RTL_REASON_HARDWARE);
    }
    return taken_us;
}

void plant_apply(void *context, const float *values) {
    rtl_device *const device = context;
    for (size_t i = 0; i < ARRAY_SIZE(outputs) && device->state == RTL_STATE_ACTIVE; ++i) {
        const uint32_t period_ns = outputs[i].period;
        const uint32_t pulse_ns = (uint32_t)((double)values[i] * period_ns);
        if (pwm_set_pulse_dt(&outputs[i], MIN(pulse_ns, period_ns)) != 0) {
            rtl_device_trip(device, RTL_REASON_HARDWARE);
        }
    }
}

void plant_safe(void *context) {
    for (size_t i = 0; i < ARRAY_SIZE(outputs); ++i) {
        pwm_set_pulse_dt(&outputs[i], 0);
    }
}

void plant_state_changed(void *context, rtl_state state, uint16_t reasons) {}

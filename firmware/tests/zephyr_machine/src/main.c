/* The machine of firmware/app (src/plant_board.c) on emulated ADC and IMU, and a PWM that notes
 * calls. */
#include <zephyr/drivers/adc/adc_emul.h>
#include <zephyr/drivers/emul.h>
#include <zephyr/drivers/emul_sensor.h>
#include <zephyr/drivers/pwm/pwm_fake.h>
#include <zephyr/fff.h>
#include <zephyr/ztest.h>

#include "device_time.h"
#include "fault.h"
#include "loop.h"
#include "plant.h"

DEFINE_FFF_GLOBALS;

#define PERIODS(n) K_USEC((n)*LOOP_PERIOD_US)
#define LEFT_NS 50000u
#define RIGHT_NS 100000u

static const struct device *const adc = DEVICE_DT_GET(DT_NODELABEL(adc_emul));
static rtl_device device;
static uint32_t pulse_cycles[4], period_cycles[4];
static int pwm_result, adc_result;

/* Seven ticks were past when the kernel began. */
uint64_t cycles_since_power_on(void);
uint64_t cycles_since_power_on(void) {
    const uint64_t tick_cycles = sys_clock_hw_cycles_per_sec() / CONFIG_SYS_CLOCK_TICKS_PER_SEC;
    return sys_clock_cycle_get_64() + 7 * tick_cycles;
}

static uint64_t now_us(void *context) {
    ARG_UNUSED(context);
    return device_time_us();
}

static bool drop(void *context, const uint8_t *bytes, size_t n) {
    ARG_UNUSED(context), ARG_UNUSED(bytes), ARG_UNUSED(n);
    return true;
}

static int note_cycles(const struct device *dev, uint32_t channel, uint32_t period, uint32_t pulse,
                       pwm_flags_t flags) {
    ARG_UNUSED(dev), ARG_UNUSED(flags);
    if (pwm_result == 0) {
        period_cycles[channel] = period;
        pulse_cycles[channel] = pulse;
    }
    return pwm_result;
}

static int input_mv(const struct device *dev, unsigned int channel, void *data, uint32_t *result) {
    ARG_UNUSED(dev), ARG_UNUSED(channel);
    *result = *(const uint32_t *)data;
    return adc_result;
}

static uint32_t position_mv = 1000, current_mv = 2500;

static void *start(void) {
    fake_pwm_set_cycles_fake.custom_fake = note_cycles;
    zassert_ok(adc_emul_value_func_set(adc, 0, input_mv, &position_mv));
    zassert_ok(adc_emul_value_func_set(adc, 1, input_mv, &current_mv));
    device_time_start();
    zassert_ok(plant_start());
    return NULL;
}

/* An armed and active device, with all inputs well. */
static void before(void *fixture) {
    ARG_UNUSED(fixture);
    fake_pwm_set_cycles_fake.custom_fake = note_cycles; /* ztest resets the fake */
    pwm_result = adc_result = 0;
    k_sleep(PERIODS(3));
    const rtl_hardware hardware = {.context = &device,
                                   .now_us = now_us,
                                   .sample = plant_sample,
                                   .apply = plant_apply,
                                   .safe = plant_safe,
                                   .transmit = drop,
                                   .state_changed = plant_state_changed,
                                   .command_min = plant.command_min,
                                   .command_max = plant.command_max};
    const rtl_description description = {.name = "machine",
                                         .schema = plant.schema,
                                         .n_sensor = plant.n_sensor,
                                         .n_command = plant.n_command,
                                         .sensor_period_us = LOOP_PERIOD_US,
                                         .command_timeout_us = 100000,
                                         .command_timeout_max_us = 1000000};
    zassert_true(rtl_device_init(&device, &hardware, &description));
    rtl_device_ready(&device);
    device.state = RTL_STATE_ACTIVE;
}

ZTEST(machine, test_the_schema_is_made_of_the_devicetree) {
    zassert_str_equal(plant.schema,
                      "rtloop-schema 1\n"
                      "name machine\n"
                      "sensor position V f32 1000\n"
                      "sensor current V f32 1000\n"
                      "sensor accel_x m/s^2 f32 1000\n"
                      "sensor accel_y m/s^2 f32 1000\n"
                      "sensor accel_z m/s^2 f32 1000\n"
                      "sensor gyro_x rad/s f32 1000\n"
                      "sensor gyro_y rad/s f32 1000\n"
                      "sensor gyro_z rad/s f32 1000\n"
                      "command left - f32 1000\n"
                      "command right - f32 1000\n");
    zassert_equal(plant.n_sensor, 8);
    zassert_equal(plant.n_command, 2);
    zassert_equal(plant.command_min[1], 0.0f);
    zassert_equal(plant.command_max[1], 1.0f);
}

ZTEST(machine, test_inputs_are_sampled_in_volts_every_period) {
    float values[8];
    position_mv = 500;
    k_sleep(PERIODS(3));
    const uint64_t first_us = plant_sample(&device, values);
    zassert_within(values[0], 0.5f, 0.002f);
    zassert_within(values[1], 2.5f, 0.002f);
    position_mv = 3000;
    k_sleep(PERIODS(3));
    const uint64_t second_us = plant_sample(&device, values);
    zassert_within(values[0], 3.0f, 0.002f);
    zassert_equal(second_us - first_us, 3 * LOOP_PERIOD_US);
    zassert_true(second_us <= device_time_us());
}

ZTEST(machine, test_the_imu_is_sampled_in_si_units) {
    const struct emul *imu = EMUL_DT_GET(DT_NODELABEL(bmi160));
    const struct sensor_chan_spec up = {.chan_type = SENSOR_CHAN_ACCEL_Z};
    const struct sensor_chan_spec yaw = {.chan_type = SENSOR_CHAN_GYRO_Z};
    const q31_t standard_gravity = (q31_t)(9.81 / 16 * 2147483648.0); /* with a shift of 4 */
    const q31_t quarter_rad_s = (q31_t)(0.25 * 2147483648.0);
    zassert_ok(emul_sensor_backend_set_channel(imu, up, &standard_gravity, 4));
    zassert_ok(emul_sensor_backend_set_channel(imu, yaw, &quarter_rad_s, 0));
    k_sleep(PERIODS(3));
    float values[8];
    plant_sample(&device, values);
    zassert_within(values[4], 9.81f, 0.01f);
    zassert_within(values[7], 0.25f, 0.01f);
}

ZTEST(machine, test_commands_are_duty_cycles) {
    plant_apply(&device, (const float[]){0.25f, 1.0f});
    zassert_equal(period_cycles[0], LEFT_NS);
    zassert_equal(pulse_cycles[0], LEFT_NS / 4);
    zassert_equal(period_cycles[3], RIGHT_NS);
    zassert_equal(pulse_cycles[3], RIGHT_NS);
}

ZTEST(machine, test_the_safe_output_is_off) {
    plant_apply(&device, (const float[]){0.5f, 0.5f});
    rtl_device_trip(&device, RTL_REASON_HARDWARE);
    zassert_equal(pulse_cycles[0], 0);
    zassert_equal(pulse_cycles[3], 0);
    plant_apply(&device, (const float[]){0.5f, 0.5f}); /* interrupted before it drove */
    zassert_equal(pulse_cycles[0], 0);
    zassert_equal(pulse_cycles[3], 0);
}

ZTEST(machine, test_an_input_that_fails_makes_it_safe) {
    float values[8];
    plant_apply(&device, (const float[]){0.5f, 0.5f});
    adc_result = -EIO;
    k_sleep(PERIODS(2));
    plant_sample(&device, values);
    zassert_equal(device.state, RTL_STATE_ACTIVE);
    k_sleep(PERIODS(10));
    plant_sample(&device, values);
    zassert_equal(device.state, RTL_STATE_SAFE);
    zassert_equal(device.reasons, RTL_REASON_HARDWARE);
    zassert_equal(pulse_cycles[0], 0);
}

ZTEST(machine, test_an_output_that_fails_makes_it_safe) {
    pwm_result = -EIO;
    plant_apply(&device, (const float[]){0.5f, 0.5f});
    zassert_equal(device.state, RTL_STATE_SAFE);
    zassert_equal(device.reasons, RTL_REASON_HARDWARE);
}

static bool has_restarted;

FUNC_NORETURN void note_restart(int type);
FUNC_NORETURN void note_restart(int type) {
    ARG_UNUSED(type);
    has_restarted = true;
    k_thread_abort(k_current_get());
    CODE_UNREACHABLE;
}

static void fault(void *unused_1, void *unused_2, void *unused_3) {
    ARG_UNUSED(unused_1), ARG_UNUSED(unused_2), ARG_UNUSED(unused_3);
    k_panic();
}

ZTEST(machine, test_a_fault_makes_it_safe_and_restarts) {
    static K_THREAD_STACK_DEFINE(stack, 4096);
    static struct k_thread thread;
    plant_apply(&device, (const float[]){0.5f, 0.5f});
    zassert_equal(pulse_cycles[0], LEFT_NS / 2);
    k_thread_create(&thread, stack, K_THREAD_STACK_SIZEOF(stack), fault, NULL, NULL, NULL, 0, 0,
                    K_NO_WAIT);
    zassert_ok(k_thread_join(&thread, K_SECONDS(1)));
    zassert_true(has_restarted);
    zassert_equal(pulse_cycles[0], 0);
    zassert_equal(pulse_cycles[3], 0);
    zassert_true(fault_was_before());
    zassert_false(fault_was_before(), "told once");
}

ZTEST(machine, test_releases_are_multiples_of_the_period_in_device_time) {
    const int64_t period_ticks = CONFIG_SYS_CLOCK_TICKS_PER_SEC / CONFIG_APP_RATE_HZ;
    const int64_t release_ticks = (k_uptime_ticks() / period_ticks + 2) * period_ticks;
    k_sleep(K_TIMEOUT_ABS_TICKS(release_ticks));
    zassert_equal(device_time_us(), (uint64_t)release_ticks / period_ticks * LOOP_PERIOD_US);
}

ZTEST_SUITE(machine, NULL, start, before, NULL, NULL);

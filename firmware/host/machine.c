#include "machine.h"

#include <string.h>
#include <time.h>

#include "summary.h"

/* What one pass takes from the line at most: a host that floods it cannot hold up a tick. */
#define READ_SIZE 4096

int64_t machine_clock_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* By thousands of ns: more would not fit in 64 bits after some days. */
static int64_t drift_ns(int64_t elapsed_ns, int64_t ppb) {
    return elapsed_ns / 1000 * ppb / 1000000;
}

uint64_t machine_time_us(const machine *self, int64_t clock_ns) {
    const int64_t gained_ns = drift_ns(clock_ns - self->clock_began_ns, self->clock_drift_ppb);
    return (uint64_t)(clock_ns - self->clock_origin_ns + gained_ns) / 1000u;
}

int64_t machine_clock_at_ns(const machine *self, uint64_t time_us) {
    const int64_t clock_ns = self->clock_origin_ns + (int64_t)time_us * 1000;
    if (self->clock_drift_ppb == 0) {
        return clock_ns;
    }
    const int64_t ppb = self->clock_drift_ppb * 1000000000 / (1000000000 + self->clock_drift_ppb);
    return clock_ns - drift_ns(clock_ns - self->clock_began_ns, ppb) + 2000;
}

uint64_t machine_now_us(void *context) {
    return machine_time_us(context, machine_clock_ns());
}

static bool transmit(void *context, const uint8_t *bytes, size_t n) {
    machine *const self = context;
    return pty_write_frame(&self->line, bytes, n);
}

static bool transmit_packet(void *context, const uint8_t *packet, size_t size) {
    machine *const self = context;
    return self->datagrams.fd >= 0
               ? udp_send(&self->datagrams, &self->device.answer_to.address, packet, size)
               : tcp_send(&self->zmq, packet, size);
}

/* As long as the button is pressed, nobody lets the machine move. */
static uint16_t veto(void *context, rtl_type request) {
    (void)request;
    const machine *const self = context;
    return self->emergency_stop ? RTL_REASON_HARDWARE : 0;
}

static void state_changed(void *context, rtl_state state, uint16_t reasons) {
    (void)reasons;
    machine *const self = context;
    if (state == RTL_STATE_ACTIVE && !self->is_released) {
        self->is_released = true;
        self->plant_ns = machine_clock_ns();
    }
}

static bool open_lines(machine *self, const options *chosen, char *error, size_t error_size) {
    const rtl_zmtp_settings settings = {
        .in = self->zmq_in,
        .in_size = sizeof self->zmq_in,
        .out = self->zmq_out,
        .out_size = sizeof self->zmq_out,
        .idle_timeout_us = MACHINE_ZMQ_IDLE_US,
    };
    self->zmq = (tcp)TCP_CLOSED;
    self->datagrams = (udp)UDP_CLOSED;
    if (!pty_open(&self->line, chosen->pty_path, error, error_size)) {
        return false;
    }
    if ((chosen->zmq_address != NULL &&
         !tcp_open(&self->zmq, chosen->zmq_address, &settings, error, error_size)) ||
        (chosen->udp_address != NULL &&
         !udp_open(&self->datagrams, chosen->udp_address, error, error_size))) {
        pty_close(&self->line);
        return false;
    }
    return true;
}

bool machine_open(machine *self, const machine_kind *kind, const options *chosen, char *error,
                  size_t error_size) {
    if (!open_lines(self, chosen, error, error_size)) {
        return false;
    }
    self->clock_began_ns = machine_clock_ns();
    self->clock_origin_ns = self->clock_began_ns - (int64_t)chosen->clock_start_us * 1000;
    self->clock_drift_ppb = (int64_t)(chosen->clock_drift_ppm * 1000);
    const rtl_hardware hardware = {
        .context = self,
        .now_us = machine_now_us,
        .sample = kind->sample,
        .apply = kind->apply,
        .safe = kind->safe,
        .transmit = transmit,
        .transmit_packet = transmit_packet,
        .veto = veto,
        .state_changed = state_changed,
        .command_min = kind->command_min,
        .command_max = kind->command_max,
    };
    const uint32_t timeout_us = chosen->command_timeout_ms * 1000u;
    const uint32_t period_us = 1000000u / chosen->rate_hz;
    self->delay_us = chosen->loop_delay_us;
    self->delay_interval = chosen->loop_delay_interval;
    self->account.loop.terms = (rtl_loop_terms){
        .loop_class = chosen->loop_class,
        .max_misses = chosen->loop_max_misses,
        .window = chosen->loop_window,
        .period_us = period_us,
        .deadline_us = chosen->loop_deadline_us > 0 ? chosen->loop_deadline_us : period_us,
    };
    const rtl_description description = {
        .name = kind->name,
        .schema = self->schema,
        .n_sensor = (uint8_t)kind->n_sensor,
        .n_command = (uint8_t)kind->n_command,
        .max_link_errors = 10,
        .sensor_period_us = period_us,
        .command_timeout_us = timeout_us,
        .command_timeout_max_us = timeout_us > 1000000u ? timeout_us : 1000000u,
        .boot_id = chosen->boot_id,
        .account = &self->account,
    };
    if (!rtl_device_init(&self->device, &hardware, &description)) {
        snprintf(error, error_size, "the device refused its own description");
        machine_unplug(self);
        return false;
    }
    rtl_device_ready(&self->device);
    return true;
}

uint32_t machine_take_steps(machine *self, int64_t step_ns) {
    if (!self->is_released) {
        return 0;
    }
    int64_t due_ns = machine_clock_ns() - self->plant_ns;
    if (due_ns > MACHINE_CATCH_UP_MAX_NS) {
        const int64_t dropped_ns = due_ns - MACHINE_CATCH_UP_MAX_NS;
        self->dropped_ns += dropped_ns;
        self->plant_ns += dropped_ns;
        due_ns = MACHINE_CATCH_UP_MAX_NS;
    }
    const int64_t steps = due_ns / step_ns;
    self->plant_ns += steps * step_ns;
    return (uint32_t)steps;
}

void machine_press(machine *self) {
    self->emergency_stop = !self->emergency_stop;
    if (self->emergency_stop) {
        rtl_device_trip_from_isr(&self->device, RTL_REASON_HARDWARE);
    }
}

/* ---- lines --------------------------------------------------------------------------------- */

static void on_packet(void *context, const uint8_t *packet, size_t size) {
    machine *const self = context;
    rtl_device_receive_packet(&self->device, packet, size, machine_now_us(self));
}

/* What a firmware that is too slow would do, where that was asked for. */
static void delay_job(machine *self) {
    if (self->device.state != RTL_STATE_ACTIVE || ++self->delayable % self->delay_interval != 0) {
        return;
    }
    const struct timespec delay = {.tv_sec = self->delay_us / 1000000u,
                                   .tv_nsec = (long)(self->delay_us % 1000000u) * 1000};
    if (self->delay_us > 0) {
        nanosleep(&delay, NULL);
    }
}

static void on_datagram(void *context, const rtl_address *from, const uint8_t *packet,
                        size_t size) {
    machine *const self = context;
    rtl_device_receive_packet_from(&self->device, from, packet, size, machine_now_us(self));
}

/* Received bytes go first: what came in time is not to be called a timeout by a late tick. */
void machine_pass(machine *self) {
    uint8_t bytes[READ_SIZE];
    rtl_device_begin_pass(&self->device);
    const uint64_t sample_us = rtl_device_next_sample_us(&self->device);
    self->advance(self);
    const size_t n = pty_read(&self->line, bytes, sizeof bytes);
    if (n > 0) {
        rtl_device_receive(&self->device, bytes, n, machine_now_us(self));
    }
    tcp_receive(&self->zmq, machine_now_us(self), on_packet, self);
    udp_receive(&self->datagrams, on_datagram, self);
    rtl_device_tick(&self->device);
    tcp_flush(&self->zmq);
    if (rtl_device_next_sample_us(&self->device) != sample_us) {
        delay_job(self);
    }
    rtl_device_end_pass(&self->device);
}

uint64_t machine_next_due_us(const machine *self) {
    const uint64_t device_us = rtl_device_next_due_us(&self->device);
    const uint64_t zmq_us = tcp_deadline_us(&self->zmq);
    return device_us < zmq_us ? device_us : zmq_us;
}

const char *machine_address(const machine *self) {
    return self->datagrams.fd >= 0 ? self->datagrams.address : self->zmq.address;
}

void machine_unplug(machine *self) {
    pty_close(&self->line);
    tcp_close(&self->zmq);
    udp_close(&self->datagrams);
}

/* ---- summary ------------------------------------------------------------------------------- */

void machine_print_summary(const machine *self, FILE *stream) {
    fputc('{', stream);
    summary_print(&self->device, stream);
    self->print_plant(self, stream);
    fprintf(stream, ", \"dropped_s\": %.4f, \"clock_origin_ns\": %lld}\n",
            (double)self->dropped_ns / 1e9, (long long)self->clock_origin_ns);
    fflush(stream);
}

#include "remote_device.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- plant --------------------------------------------------------------------------------- */

static void lose_plant(remote_device *self) {
    close(self->base.plant_fd);
    self->base.plant_fd = -1;
    rtl_device_trip(&self->base.device, RTL_REASON_HARDWARE);
}

/* As recv(): its own size when a sample came. A message of another size is none. */
static ssize_t receive_sample(remote_device *self) {
    const size_t size = offsetof(remote_sample, values) + self->n_sensor * sizeof(float);
    remote_sample came;
    const ssize_t n = recv(self->base.plant_fd, &came, sizeof came, MSG_DONTWAIT);
    if (n == (ssize_t)size) {
        memcpy(&self->sample, &came, size);
        return n;
    }
    return n < 0 ? n : 0;
}

/* Up to the newest that has come. */
static void receive_samples(remote_device *self) {
    ssize_t n = 1;
    while (self->base.plant_fd >= 0 && n > 0) {
        n = receive_sample(self);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
            lose_plant(self);
        }
    }
}

static void advance(machine *base) {
    remote_device *const self = (remote_device *)base;
    receive_samples(self);
    const uint32_t steps = machine_take_steps(base, self->step_ns);
    if (steps == 0 || base->plant_fd < 0) {
        return;
    }
    remote_request *const request = &self->request;
    request->until_ns = base->plant_ns;
    request->steps = steps;
    request->is_driven = self->is_driven ? 1 : 0;
    const size_t size = offsetof(remote_request, command) + self->n_command * sizeof(float);
    if (send(base->plant_fd, request, size, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) {
        return;
    }
    if (errno == EAGAIN || errno == EINTR) {
        base->dropped_ns += steps * self->step_ns;
    } else {
        lose_plant(self);
    }
}

static void print_plant(const machine *base, FILE *stream) {
    fprintf(stream, ", \"plant_is_lost\": %s", base->plant_fd < 0 ? "true" : "false");
}

/* ---- rtl_hardware -------------------------------------------------------------------------- */

static uint64_t sample(void *context, float *values) {
    remote_device *const self = context;
    advance(&self->base);
    memcpy(values, self->sample.values, self->n_sensor * sizeof(float));
    if (!self->base.is_released) {
        return machine_now_us(self); /* held still, it is as it was */
    }
    return machine_time_us(&self->base, self->sample.taken_ns);
}

static void apply(void *context, const float *values) {
    remote_device *const self = context;
    memcpy(self->request.command, values, self->n_command * sizeof(float));
    if (self->base.device.state == RTL_STATE_ACTIVE) {
        self->is_driven = 1;
    }
}

static void safe(void *context) {
    remote_device *const self = context;
    self->is_driven = 0;
}

/* ---- start --------------------------------------------------------------------------------- */

static uint32_t count_lines(const char *text, const char *beginning) {
    uint32_t count = 0;
    for (const char *line = text; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        count += strncmp(line, beginning, strlen(beginning)) == 0;
    }
    return count;
}

static bool read_schema(remote_device *self, char *error, size_t error_size) {
    char *const text = self->base.schema;
    const ssize_t n =
        recv(self->base.plant_fd, text, sizeof self->base.schema - 1, MSG_DONTWAIT | MSG_TRUNC);
    if (n < 0) {
        snprintf(error, error_size, "no schema came from the plant: %s", strerror(errno));
        return false;
    }
    if ((size_t)n >= sizeof self->base.schema) {
        snprintf(error, error_size, "the schema of the plant has %zd bytes; at most %zu do", n,
                 sizeof self->base.schema - 1);
        return false;
    }
    text[n] = '\0';
    self->n_sensor = count_lines(text, "sensor ");
    self->n_command = count_lines(text, "command ");
    if (self->n_sensor == 0 || self->n_sensor > RTL_VALUES_MAX || self->n_command == 0 ||
        self->n_command > RTL_VALUES_MAX) {
        snprintf(error, error_size,
                 "the schema of the plant has %u sensors and %u commands; 1 to %u of each do",
                 (unsigned)self->n_sensor, (unsigned)self->n_command, (unsigned)RTL_VALUES_MAX);
        return false;
    }
    if (sscanf(text, "rtloop-schema 1\nname %23[a-z0-9_]\n", self->name) != 1) {
        snprintf(error, error_size, "the schema of the plant does not begin with its name");
        return false;
    }
    return true;
}

bool remote_device_open(remote_device *self, const options *chosen, char *error,
                        size_t error_size) {
    memset(self, 0, sizeof *self);
    self->base.plant_fd = chosen->plant_fd;
    self->base.advance = advance;
    self->base.print_plant = print_plant;
    self->step_ns = 1000000000 / (int64_t)chosen->rate_hz;
    if (!read_schema(self, error, error_size)) {
        return false;
    }
    if (receive_sample(self) <= 0) {
        snprintf(error, error_size, "the plant sent no first sample of %u values",
                 (unsigned)self->n_sensor);
        return false;
    }
    const machine_kind kind = {
        .name = self->name,
        .n_sensor = self->n_sensor,
        .n_command = self->n_command,
        .sample = sample,
        .apply = apply,
        .safe = safe,
    };
    return machine_open(&self->base, &kind, chosen, error, error_size);
}

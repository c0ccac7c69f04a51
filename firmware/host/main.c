/*
 * rtloop-firmware: the device as a Linux program. One thread sleeps until bytes, the next tick or a
 * signal arrive; ticks are absolute and fall on the device's own sensor grid.
 */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "cartpole_device.h"
#include "options.h"

/* What one pass takes from the line at most: a host that floods it cannot hold up a tick. */
#define READ_SIZE 4096

static bool fail(const char *what) {
    fprintf(stderr, "rtloop-firmware: %s: %s\n", what, strerror(errno));
    return false;
}

/* Returns whether the parent is still there. */
static bool tie_to_parent(pid_t parent) {
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    return getppid() == parent; /* it may have ended before the line above */
}

static void ask_for_priority(int priority) {
    const struct sched_param parameters = {.sched_priority = priority};
    if (sched_setscheduler(0, SCHED_FIFO, &parameters) != 0) {
        fprintf(stderr,
                "rtloop-firmware: SCHED_FIFO %d was denied (%s), going on without; grant it with "
                "an rtprio limit in /etc/security/limits.d or CAP_SYS_NICE\n",
                priority, strerror(errno));
        return;
    }
    if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0) {
        fprintf(stderr, "rtloop-firmware: memory is not locked: %s\n", strerror(errno));
    }
}

/* Signals arrive as bytes, so that none is lost between two waits. */
static int open_signals(void) {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGUSR1);
    signal(SIGPIPE, SIG_IGN); /* whoever read READY may be gone at the summary */
    if (sigprocmask(SIG_BLOCK, &signals, NULL) != 0) {
        return -1;
    }
    return signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
}

static struct timespec to_timespec(int64_t ns) {
    return (struct timespec){.tv_sec = (time_t)(ns / 1000000000),
                             .tv_nsec = (long)(ns % 1000000000)};
}

static int open_ticks(const cartpole_device *machine) {
    const int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (fd < 0) {
        return -1;
    }
    const rtl_hardware *const hardware = &machine->device.hardware;
    const uint64_t period_us = machine->device.description.sensor_period_us;
    const uint64_t first_us = (hardware->now_us(hardware->context) / period_us + 1) * period_us;
    const struct itimerspec ticks = {
        .it_value = to_timespec(machine->clock_origin_ns + (int64_t)first_us * 1000),
        .it_interval = to_timespec((int64_t)period_us * 1000),
    };
    if (timerfd_settime(fd, TFD_TIMER_ABSTIME, &ticks, NULL) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

/* Returns whether to go on. */
static bool handle_signals(int fd, cartpole_device *machine) {
    struct signalfd_siginfo info;
    bool go_on = true;
    while (read(fd, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo == SIGUSR1) {
            pty_close(&machine->line);
        } else {
            go_on = false;
        }
    }
    return go_on;
}

/* Received bytes go first: what came in time is not to be called a timeout by a late tick. */
static void pass(cartpole_device *machine, int ticks_fd) {
    uint8_t bytes[READ_SIZE];
    uint64_t expirations;
    cartpole_device_advance(machine);
    const size_t n = pty_read(&machine->line, bytes, sizeof bytes);
    if (n > 0) {
        rtl_device_receive(&machine->device, bytes, n);
    }
    if (read(ticks_fd, &expirations, sizeof expirations) == (ssize_t)sizeof expirations) {
        rtl_device_tick(&machine->device);
    }
}

static bool run(cartpole_device *machine, int signals_fd) {
    const int ticks_fd = open_ticks(machine);
    if (ticks_fd < 0) {
        return fail("no timer");
    }
    for (;;) {
        struct pollfd waiting[] = {
            {.fd = signals_fd, .events = POLLIN},
            {.fd = ticks_fd, .events = POLLIN},
            {.fd = machine->line.fd, .events = POLLIN}, /* -1, unplugged, is not looked at */
        };
        if (poll(waiting, 3, -1) < 0 && errno != EINTR) {
            close(ticks_fd);
            return fail("poll");
        }
        if (!handle_signals(signals_fd, machine)) {
            break;
        }
        pass(machine, ticks_fd);
    }
    close(ticks_fd);
    return true;
}

int main(int argc, char **argv) {
    const pid_t parent = getppid();
    options chosen;
    switch (options_parse(argc, argv, &chosen)) {
        case OPTIONS_HELP:
            return 0;
        case OPTIONS_WRONG:
            return 2;
        case OPTIONS_RUN:
            break;
    }
    const int signals_fd = open_signals();
    if (signals_fd < 0) {
        fail("no signals");
        return 1;
    }
    if (chosen.die_with_parent && !tie_to_parent(parent)) {
        return 0;
    }
    if (chosen.priority > 0) {
        ask_for_priority(chosen.priority);
    }
    static cartpole_device machine;
    char error[2 * PATH_MAX];
    if (!cartpole_device_open(&machine, &chosen, error, sizeof error)) {
        fprintf(stderr, "rtloop-firmware: %s\n", error);
        return 1;
    }
    printf("READY %s\n", machine.line.line_path);
    fflush(stdout);
    const bool ended_well = run(&machine, signals_fd);
    pty_close(&machine.line);
    cartpole_device_print_summary(&machine, stdout);
    close(signals_fd);
    return ended_well ? 0 : 1;
}

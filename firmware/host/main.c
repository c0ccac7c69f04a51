/*
 * rtloop-firmware: the device as a Linux program. One thread sleeps until bytes or a signal arrive,
 * or something is due. The emergency stop is a signal handler, as it would be an interrupt on a
 * board.
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
#include "machine.h"
#include "options.h"
#include "remote_device.h"

static cartpole_device cartpole_machine;
static remote_device remote_machine;
static machine *the_machine; /* of these, the one that was asked for */
static bool is_orphan;       /* the parent it was to end with is gone */

static bool fail(const char *what) {
    fprintf(stderr, "rtloop-firmware: %s: %s\n", what, strerror(errno));
    return false;
}

/* Returns whether the parent is still there. */
static bool tie_to_parent(pid_t parent) {
    prctl(PR_SET_PDEATHSIG, SIGRTMIN);
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
static int open_signals(bool ignore_interrupt) {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGRTMIN);
    if (ignore_interrupt) {
        signal(SIGINT, SIG_IGN);
    } else {
        sigaddset(&signals, SIGINT);
    }
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

/* Ends the sleep when something is due; not at all, when nothing is before bytes come. */
static bool set_timer(int fd) {
    const uint64_t due_us = machine_next_due_us(the_machine);
    struct itimerspec due = {0};
    if (due_us != RTL_NEVER_US) {
        const int64_t due_ns = machine_clock_at_ns(the_machine, due_us);
        due.it_value = to_timespec(due_ns > 1 ? due_ns : 1); /* 0 would disarm it */
    }
    return timerfd_settime(fd, TFD_TIMER_ABSTIME, &due, NULL) == 0;
}

static void on_emergency_stop(int signal_number) {
    (void)signal_number;
    machine_press(the_machine);
}

/* Returns whether to go on. */
static bool handle_signals(int fd) {
    struct signalfd_siginfo info;
    bool go_on = true;
    while (read(fd, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo == SIGUSR1) {
            machine_unplug(the_machine);
        } else if (info.ssi_signo == (uint32_t)SIGRTMIN) {
            is_orphan = true;
        } else {
            go_on = false;
        }
    }
    return go_on;
}

static bool run(int signals_fd) {
    const int timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (timer_fd < 0) {
        return fail("no timer");
    }
    const tcp *const zmq = &the_machine->zmq;
    for (;;) {
        struct pollfd waiting[] = {
            {.fd = signals_fd, .events = POLLIN},
            {.fd = timer_fd, .events = POLLIN},
            {.fd = the_machine->line.fd, .events = POLLIN}, /* -1, unplugged, is not looked at */
            {.fd = the_machine->plant_fd, .events = POLLIN},
            {.fd = zmq->fd < 0 ? zmq->listen_fd : zmq->fd, .events = tcp_poll_events(zmq)},
            {.fd = the_machine->datagrams.fd, .events = POLLIN},
        };
        /* Pressed after the timer was set, the button would not end the sleep. */
        sigset_t button, awake;
        sigemptyset(&button);
        sigaddset(&button, SIGUSR2);
        sigprocmask(SIG_BLOCK, &button, &awake);
        if (!set_timer(timer_fd) ||
            (ppoll(waiting, sizeof waiting / sizeof waiting[0], NULL, &awake) < 0 &&
             errno != EINTR)) {
            close(timer_fd);
            return fail("cannot sleep");
        }
        sigprocmask(SIG_SETMASK, &awake, NULL);
        if (!handle_signals(signals_fd)) {
            break;
        }
        machine_pass(the_machine);
        /* Its host may be ending with the same parent, and its last word is STOP. */
        if (is_orphan && the_machine->device.state != RTL_STATE_ACTIVE) {
            break;
        }
    }
    close(timer_fd);
    return true;
}

static bool open_machine(const options *chosen, char *error, size_t error_size) {
    if (chosen->plant_fd >= 0) {
        the_machine = &remote_machine.base;
        return remote_device_open(&remote_machine, chosen, error, error_size);
    }
    the_machine = &cartpole_machine.base;
    return cartpole_device_open(&cartpole_machine, chosen, error, error_size);
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
    const int signals_fd = open_signals(chosen.ignore_interrupt);
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
    char error[2 * PATH_MAX];
    if (!open_machine(&chosen, error, sizeof error)) {
        fprintf(stderr, "rtloop-firmware: %s\n", error);
        return 1;
    }
    sigaction(SIGUSR2, &(struct sigaction){.sa_handler = on_emergency_stop}, NULL);
    const char *const address = machine_address(the_machine);
    printf("READY %s%s%s\n", the_machine->line.line_path, address[0] == '\0' ? "" : " ", address);
    fflush(stdout);
    const bool ended_well = run(signals_fd);
    machine_unplug(the_machine);
    machine_print_summary(the_machine, stdout);
    close(signals_fd);
    return ended_well ? 0 : 1;
}

/* `rtloop status | safe | clear | stats` on the board's console. */
#include <zephyr/shell/shell.h>

#include "loop.h"
#include "rtloop/words.h"
#include "settings.h"

static int on_status(const struct shell *shell, size_t argc, char **argv) {
    char words[RTL_STATE_WORDS_SIZE];
    loop_snapshot seen;
    loop_read(&seen);
    shell_print(shell, "%s: %s, boot %08x, %u Hz, command timeout %u ms, limits at %u %%",
                settings.name, rtl_state_words(seen.link.state, seen.link.reasons, words),
                seen.link.boot_id, CONFIG_APP_RATE_HZ, settings.command_timeout_ms,
                settings.limit_percent);
    return 0;
}

static int on_safe(const struct shell *shell, size_t argc, char **argv) {
    loop_trip();
    shell_print(shell, "safe");
    return 0;
}

static int on_clear(const struct shell *shell, size_t argc, char **argv) {
    loop_clear();
    k_sleep(K_USEC(2 * LOOP_PERIOD_US));
    return on_status(shell, argc, argv);
}

static int on_stats(const struct shell *shell, size_t argc, char **argv) {
    loop_snapshot seen;
    loop_read(&seen);
    shell_print(shell,
                "since ARM: %u jobs, %u skipped, %u missed their deadline of %u us; response at "
                "most %u us, sample to actuation at most %u us",
                seen.own.jobs, seen.own.skipped, seen.own.misses, CONFIG_APP_DEADLINE_US,
                seen.own.response_max_us, seen.own.sample_to_actuation_max_us);
    shell_print(shell, "received: %u packets, %u with a wrong CRC, %u damaged frames, %u lost",
                seen.link.rx_packets, seen.link.crc_errors, seen.link.frame_errors,
                seen.link.seq_gaps);
    shell_print(shell, "commands: %u late, %u rejected, %u times none in time",
                seen.link.late_commands, seen.link.rejected_commands, seen.link.command_timeouts);
    shell_print(shell, "sent: %u packets, %u had no room", seen.link.tx_packets, seen.tx_dropped);
    return 0;
}

SHELL_STATIC_SUBCMD_SET_CREATE(
    commands, SHELL_CMD_ARG(status, NULL, "State, reasons, settings", on_status, 1, 0),
    SHELL_CMD_ARG(safe, NULL, "Machine safe, latched as HARDWARE", on_safe, 1, 0),
    SHELL_CMD_ARG(clear, NULL, "Leave SAFE; arms nothing", on_clear, 1, 0),
    SHELL_CMD_ARG(stats, NULL, "The loop's jobs and misses, the link's counters", on_stats, 1, 0),
    SHELL_SUBCMD_SET_END);

SHELL_CMD_REGISTER(rtloop, &commands, "The device's end of the link", NULL);

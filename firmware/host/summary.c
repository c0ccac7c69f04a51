#include "summary.h"

#include "rtloop/words.h"

static void print_reasons(uint16_t reasons, FILE *stream) {
    const char *comma = "";
    for (unsigned bit = 0; rtl_reason_word(bit) != NULL; ++bit) {
        if ((reasons & 1u << bit) != 0) {
            fprintf(stream, "%s\"%s\"", comma, rtl_reason_word(bit));
            comma = ", ";
        }
    }
}

void summary_print(const rtl_device *d, FILE *stream) {
    fprintf(stream, "\"state\": \"%s\", \"reasons\": [", rtl_state_word(d->state));
    print_reasons(d->reasons, stream);
    fprintf(stream,
            "], \"counters\": {\"rx_packets\": %u, \"tx_packets\": %u, \"tx_dropped\": %u, "
            "\"crc_errors\": %u, \"frame_errors\": %u, \"seq_gaps\": %u, \"reordered\": %u, "
            "\"repeated\": %u, \"late_commands\": %u, \"rejected_commands\": %u, "
            "\"command_timeouts\": %u}",
            (unsigned)d->rx_packets, (unsigned)d->tx_packets, (unsigned)d->tx_dropped,
            (unsigned)d->crc_errors, (unsigned)d->frame_errors, (unsigned)d->seq_gaps,
            (unsigned)d->sequence.reordered, (unsigned)d->sequence.repeated,
            (unsigned)d->late_commands, (unsigned)d->rejected_commands,
            (unsigned)d->command_timeouts);
    if (d->description.account != NULL) {
        const rtl_loop_account *const loop = &d->description.account->loop;
        fprintf(stream, ", \"loop\": {\"jobs\": %u, \"skipped\": %u, \"misses\": %u}",
                (unsigned)loop->jobs, (unsigned)loop->skipped, (unsigned)loop->misses);
    }
}

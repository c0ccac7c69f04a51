/* The numbers of what was received: told cases, and a network that loses, doubles and overtakes at
 * random, against the truth. */
#include "rtloop/sequence.h"

#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "random.h"

static rtl_sequence s;

static void begin(uint16_t seq, uint32_t time_us) {
    memset(&s, 0, sizeof s);
    CHECK_EQUAL(rtl_sequence_take(&s, seq, time_us), RTL_ARRIVAL_NEWEST);
}

static void check_counts(unsigned lost, unsigned reordered, unsigned repeated) {
    CHECK_EQUAL(s.lost, lost);
    CHECK_EQUAL(s.reordered, reordered);
    CHECK_EQUAL(s.repeated, repeated);
}

static void what_is_missing_is_lost_until_it_comes(void) {
    begin(65534, 1000);
    CHECK_EQUAL(rtl_sequence_take(&s, 2, 5000), RTL_ARRIVAL_NEWEST); /* through the wrap */
    check_counts(3, 0, 0);
    CHECK_EQUAL(rtl_sequence_take(&s, 0, 3000), RTL_ARRIVAL_LATE);
    check_counts(2, 1, 0);
    CHECK_EQUAL(rtl_sequence_take(&s, 0, 3000), RTL_ARRIVAL_COPY);
    CHECK_EQUAL(rtl_sequence_take(&s, 2, 5000), RTL_ARRIVAL_COPY);
    CHECK_EQUAL(rtl_sequence_take(&s, 65534, 1000), RTL_ARRIVAL_COPY);
    check_counts(2, 1, 3);
    CHECK_EQUAL(rtl_sequence_take(&s, 65533, 900), RTL_ARRIVAL_OLD); /* before the first one */
    check_counts(2, 1, 3);
}

static void what_is_overtaken_by_more_than_the_window_stays_lost(void) {
    begin(0, 0);
    rtl_sequence_take(&s, RTL_SEQUENCE_WINDOW + 2, 66000);
    check_counts(RTL_SEQUENCE_WINDOW + 1, 0, 0);
    CHECK_EQUAL(rtl_sequence_take(&s, 1, 1000), RTL_ARRIVAL_OLD);
    CHECK_EQUAL(rtl_sequence_take(&s, 2, 2000), RTL_ARRIVAL_LATE);
    check_counts(RTL_SEQUENCE_WINDOW, 1, 0);
    rtl_sequence_take(&s, 1000, 1000000);
    CHECK_EQUAL(rtl_sequence_take(&s, 936, 936000), RTL_ARRIVAL_LATE);
    CHECK_EQUAL(rtl_sequence_take(&s, 935, 935000), RTL_ARRIVAL_OLD);
}

static void of_two_that_left_at_one_time_the_first_may_come_last(void) {
    begin(4, 700);
    rtl_sequence_take(&s, 6, 900);
    CHECK_EQUAL(rtl_sequence_take(&s, 5, 900), RTL_ARRIVAL_LATE);
    begin(6, 900);
    CHECK_EQUAL(rtl_sequence_take(&s, 5, 900), RTL_ARRIVAL_OLD);
    begin(6, 900);
    CHECK_EQUAL(rtl_sequence_take(&s, 7, 895), RTL_ARRIVAL_NEWEST); /* two threads send */
    check_counts(0, 0, 0);
}

static void a_sender_that_begins_anew_is_no_gap(void) {
    /* Its numbers begin anew and its clock goes on: another program of the same host. */
    begin(25, 1000);
    CHECK_EQUAL(rtl_sequence_take(&s, 1, 1001), RTL_ARRIVAL_NEWEST);
    CHECK_EQUAL(rtl_sequence_take(&s, 2, 1002), RTL_ARRIVAL_NEWEST);
    check_counts(0, 0, 0);
    /* Its clock does, too: a device that was reset; its numbers are ahead, or behind by a few. */
    begin(40000, 2000000000);
    CHECK_EQUAL(rtl_sequence_take(&s, 0, 100), RTL_ARRIVAL_NEWEST);
    check_counts(0, 0, 0);
    begin(30, 5000000);
    CHECK_EQUAL(rtl_sequence_take(&s, 0, 100), RTL_ARRIVAL_NEWEST);
    CHECK_EQUAL(rtl_sequence_take(&s, 1, 200), RTL_ARRIVAL_NEWEST);
    check_counts(0, 0, 0);
    /* Without a clock: by as many as nothing is overtaken by. */
    begin(65, 0);
    CHECK_EQUAL(rtl_sequence_take(&s, 0, 0), RTL_ARRIVAL_NEWEST);
    check_counts(0, 0, 0);
    /* What still comes of the count before is neither a gap nor a beginning. */
    begin(30000, 1000);
    rtl_sequence_begin(&s, 7, 2000);
    CHECK_EQUAL(rtl_sequence_take(&s, 30001, 1500), RTL_ARRIVAL_OLD);
    CHECK_EQUAL(rtl_sequence_take(&s, 8, 2100), RTL_ARRIVAL_NEWEST);
    check_counts(0, 0, 0);
}

static void the_wrap_of_the_clock_is_no_beginning(void) {
    begin(7, UINT32_MAX - 10);
    CHECK_EQUAL(rtl_sequence_take(&s, 9, 20), RTL_ARRIVAL_NEWEST);
    CHECK_EQUAL(rtl_sequence_take(&s, 8, 5), RTL_ARRIVAL_LATE);
    check_counts(0, 1, 0);
}

/* ---- at random ------------------------------------------------------------------------------- */

#define PACKETS 200000u

typedef struct {
    uint32_t number, arrives, order;
} delivery;

static delivery deliveries[3 * PACKETS];
static uint8_t received[PACKETS];

static int by_arrival(const void *a, const void *b) {
    const delivery *const p = a, *const q = b;
    if (p->arrives != q->arrives) {
        return p->arrives < q->arrives ? -1 : 1;
    }
    return (p->order > q->order) - (p->order < q->order);
}

/* In hundredths: how many are lost, doubled, delayed; by how many numbers at most. */
static void a_network(uint64_t seed, unsigned lost, unsigned doubled, unsigned delayed,
                      unsigned reach) {
    size_t n = 0;
    for (uint32_t i = 0; i < PACKETS; ++i) {
        const bool is_first = i == 0;
        unsigned copies = !is_first && random_below(&seed, 100) < lost ? 0 : 1;
        copies += copies > 0 && random_below(&seed, 100) < doubled;
        copies += copies > 1 && random_below(&seed, 4) == 0;
        for (unsigned c = 0; c < copies; ++c) {
            const bool waits = !is_first && random_below(&seed, 100) < delayed;
            const uint32_t delay = waits ? random_below(&seed, reach) : 0;
            deliveries[n++] = (delivery){i, i + delay, random_below(&seed, 1u << 30)};
        }
    }
    deliveries[0].order = 0;
    qsort(deliveries, n, sizeof *deliveries, by_arrival);

    unsigned truly_reordered = 0, truly_repeated = 0, arrived = 0;
    uint32_t newest = 0;
    memset(received, 0, sizeof received);
    memset(&s, 0, sizeof s);
    for (size_t i = 0; i < n; ++i) {
        const uint32_t number = deliveries[i].number;
        rtl_arrival truth = RTL_ARRIVAL_NEWEST;
        if (received[number] > 0) {
            truth = RTL_ARRIVAL_COPY;
            truly_repeated++;
        } else {
            arrived++;
            if (number < newest) {
                truth = RTL_ARRIVAL_LATE;
                truly_reordered++;
            }
        }
        received[number] = 1;
        newest = number > newest ? number : newest;
        CHECK_EQUAL(rtl_sequence_take(&s, (uint16_t)(number + 60000), number * 37), truth);
    }
    check_counts(newest + 1 - arrived, truly_reordered, truly_repeated);
}

static void the_counts_are_the_truth(void) {
    a_network(1, 0, 0, 0, 1);
    a_network(2, 10, 0, 0, 1);
    a_network(3, 0, 10, 0, 1);
    a_network(4, 0, 0, 10, 60);
    a_network(5, 5, 5, 5, 8);
    a_network(6, 50, 50, 50, 60);
    a_network(7, 90, 0, 90, 60);
    a_network(8, 1, 30, 100, 60);
}

int main(void) {
    RUN(what_is_missing_is_lost_until_it_comes);
    RUN(what_is_overtaken_by_more_than_the_window_stays_lost);
    RUN(of_two_that_left_at_one_time_the_first_may_come_last);
    RUN(a_sender_that_begins_anew_is_no_gap);
    RUN(the_wrap_of_the_clock_is_no_beginning);
    RUN(the_counts_are_the_truth);
    return check_verdict();
}

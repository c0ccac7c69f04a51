/*
 * A test is a function; CHECK reports what did not hold and goes on, so that one run shows all of
 * it. main() returns check_verdict().
 */
#ifndef RTLOOP_TESTS_CHECK_H_
#define RTLOOP_TESTS_CHECK_H_

#include <stdio.h>

static unsigned checks_failed;
static const char *check_subject = "";

#define CHECK(condition)                                                                      \
    do {                                                                                      \
        if (!(condition)) {                                                                   \
            printf("%s:%d: %s: not so: %s\n", __FILE__, __LINE__, check_subject, #condition); \
            ++checks_failed;                                                                  \
        }                                                                                     \
    } while (0)

#define CHECK_EQUAL(a, b)                                                                      \
    do {                                                                                       \
        const long long check_a = (long long)(a), check_b = (long long)(b);                    \
        if (check_a != check_b) {                                                              \
            printf("%s:%d: %s: %s is %lld, not %lld\n", __FILE__, __LINE__, check_subject, #a, \
                   check_a, check_b);                                                          \
            ++checks_failed;                                                                   \
        }                                                                                      \
    } while (0)

#define RUN(test)              \
    do {                       \
        check_subject = #test; \
        test();                \
    } while (0)

static int check_verdict(void) {
    if (checks_failed > 0) {
        printf("%u checks failed\n", checks_failed);
        return 1;
    }
    printf("all checks passed\n");
    return 0;
}

#endif

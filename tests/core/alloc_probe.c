/* Preloaded by test_no_allocation.py: counts what an active thread allocates outside ONNX Runtime's
 * Run. */
#define _GNU_SOURCE
#include <stddef.h>

void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);
void __libc_free(void *);

static __thread int active __attribute__((tls_model("initial-exec")));
static __thread int inside_run __attribute__((tls_model("initial-exec")));
static _Atomic long allocations, runs, threads;

static void count(void) {
    if (active && !inside_run) ++allocations;
}

void rtloop_probe_active(int on) {
    active = on;
    threads += on;
}
void rtloop_probe_run(int inside) {
    inside_run = inside;
    if (active && inside) ++runs;
}
long probe_allocations(void) {
    return allocations;
}
long probe_runs(void) {
    return runs;
}
long probe_threads(void) {
    return threads;
}
/* Proves that the counter counts: an allocation by an active thread. */
long probe_self_test(void) {
    const long before = allocations;
    active = 1;
    __libc_free(((void *(*volatile)(size_t))__builtin_malloc)(1));
    active = 0;
    const long counted = allocations - before;
    allocations = before;
    return counted;
}

void *malloc(size_t n) {
    count();
    return __libc_malloc(n);
}
void *calloc(size_t n, size_t size) {
    count();
    return __libc_calloc(n, size);
}
void *realloc(void *p, size_t n) {
    count();
    return __libc_realloc(p, n);
}
void *memalign(size_t alignment, size_t n) {
    count();
    return __libc_memalign(alignment, n);
}
void *aligned_alloc(size_t alignment, size_t n) {
    count();
    return __libc_memalign(alignment, n);
}
int posix_memalign(void **out, size_t alignment, size_t n) {
    count();
    *out = __libc_memalign(alignment, n);
    return *out == NULL ? 12 : 0;
}
void free(void *p) {
    if (p != NULL) count();
    __libc_free(p);
}

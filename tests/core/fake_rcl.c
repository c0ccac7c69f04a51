// As much of librcl as the core calls, played by the test: it pushes messages, and finds what was
// published. Built as librcl.so, in a process that has no other.
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct allocator {
    void *(*allocate)(size_t, void *);
    void (*deallocate)(void *, void *);
    void *(*reallocate)(void *, size_t, void *);
    void *(*zero_allocate)(size_t, size_t, void *);
    void *state;
};
struct bytes {
    uint8_t *buffer;
    size_t length;
    size_t capacity;
    struct allocator allocator;
};
struct info {
    int64_t source_timestamp;
    int64_t received_timestamp;
    uint64_t publication_number;
    uint64_t reception_number;
    struct {
        const char *implementation;
        uint8_t data[16];
    } gid;
    bool from_intra_process;
};

#define ROOM 4096
#define SIZE 256
struct message {
    uint8_t bytes[SIZE];
    size_t size;
    struct info info;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct message pushed[ROOM], published[ROOM];
static size_t first, n_pushed, n_published;
static void (*callback)(const void *, size_t);
static const void *user;
static int take_result, publish_result, unset_result;
static bool is_endless;
static int64_t publish_takes_ns;
static int n_takes, n_forgotten;
static atomic_int n_publishes;

int fake_has_callback(void) {
    return callback != NULL;
}
int fake_takes(void) {
    return n_takes;
}
int fake_publishes(void) {  // begun
    return n_publishes;
}
int fake_forgotten(void) {
    return n_forgotten;
}
void fake_take_result(int result) {
    take_result = result;
}
void fake_endless(bool is) {  // the message that is there stays there
    is_endless = is;
}
void fake_publish_result(int result) {
    publish_result = result;
}
void fake_unset_result(int result) {
    unset_result = result;
}
void fake_publish_takes(int64_t ns) {
    publish_takes_ns = ns;
}

void fake_push(const uint8_t *bytes, size_t size, uint64_t number, int publisher,
               int64_t received_ns) {
    pthread_mutex_lock(&mutex);
    struct message *to = &pushed[(first + n_pushed) % ROOM];
    memcpy(to->bytes, bytes, size);
    to->size = size;
    memset(&to->info, 0, sizeof(to->info));
    to->info.publication_number = number;
    to->info.received_timestamp = received_ns;
    to->info.gid.data[15] = (uint8_t)publisher;
    ++n_pushed;
    pthread_mutex_unlock(&mutex);
    if (callback != NULL) callback(user, 1);
}

size_t fake_published(uint8_t *bytes, size_t room) {
    pthread_mutex_lock(&mutex);
    size_t total = 0;
    for (size_t i = 0; i < n_published && total + published[i].size <= room; ++i) {
        memcpy(bytes + total, published[i].bytes, published[i].size);
        total += published[i].size;
    }
    pthread_mutex_unlock(&mutex);
    return total;
}

int32_t rcl_take_serialized_message(const void *subscription, struct bytes *message,
                                    struct info *info, void *unused) {
    (void)subscription, (void)unused;
    pthread_mutex_lock(&mutex);
    ++n_takes;
    int result = take_result;
    if (result == 0 && n_pushed == 0) result = 401;
    if (result == 0) {
        const struct message *from = &pushed[first];
        if (message->capacity < from->size) {
            message->buffer = message->allocator.reallocate(message->buffer, from->size,
                                                            message->allocator.state);
            message->capacity = from->size;
        }
        memcpy(message->buffer, from->bytes, from->size);
        message->length = from->size;
        *info = from->info;
        if (!is_endless) {
            first = (first + 1) % ROOM;
            --n_pushed;
        }
    }
    pthread_mutex_unlock(&mutex);
    return result;
}

int32_t rcl_publish_serialized_message(const void *publisher, const struct bytes *message,
                                       void *unused) {
    (void)publisher, (void)unused;
    ++n_publishes;
    const struct timespec takes = {publish_takes_ns / 1000000000, publish_takes_ns % 1000000000};
    nanosleep(&takes, NULL);
    if (publish_result != 0) return publish_result;
    pthread_mutex_lock(&mutex);
    if (n_published < ROOM) {
        memcpy(published[n_published].bytes, message->buffer, message->length);
        published[n_published++].size = message->length;
    }
    pthread_mutex_unlock(&mutex);
    return 0;
}

int32_t rcl_subscription_set_on_new_message_callback(const void *subscription,
                                                     void (*to)(const void *, size_t),
                                                     const void *with) {
    (void)subscription;
    if (to == NULL && unset_result != 0) return unset_result;
    callback = to;
    user = with;
    return 0;
}

void rcutils_reset_error(void) {
    __atomic_fetch_add(&n_forgotten, 1, __ATOMIC_RELAXED);
}

static void *allocate(size_t size, void *state) {
    (void)state;
    return malloc(size);
}
static void deallocate(void *pointer, void *state) {
    (void)state;
    free(pointer);
}
static void *reallocate(void *pointer, size_t size, void *state) {
    (void)state;
    return realloc(pointer, size);
}
static void *zero_allocate(size_t n, size_t size, void *state) {
    (void)state;
    return calloc(n, size);
}
struct allocator rcutils_get_default_allocator(void) {
    return (struct allocator){allocate, deallocate, reallocate, zero_allocate, NULL};
}

#include "rtloop/core/ports/zmq_process.hpp"

#include <dirent.h>
#include <netdb.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <system_error>

namespace rtloop::zmq {

namespace {

// libzmq's two and ours; beside the stack of each, its arena of malloc may begin.
constexpr size_t kThreads = 3;
constexpr size_t kBesideStack = 1024 * 1024;
// An event and a poll of each of those, an event of each socket, the connection; and some to spare.
constexpr int kDescriptors = 16;

[[noreturn]] void fail(const char *what) {
    throw std::system_error(errno, std::generic_category(), what);
}

// With locked memory and a limit on it, there may be no room for a stack.
void check_room_for_threads() {
    pthread_attr_t attributes;
    size_t stack = 0;
    pthread_getattr_default_np(&attributes);
    pthread_attr_getstacksize(&attributes, &stack);
    pthread_attr_destroy(&attributes);
    const size_t room = kThreads * (stack + kBesideStack);
    void *const tried =
        mmap(nullptr, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (tried == MAP_FAILED) fail("no memory for the threads of a ZeroMQ link");
    munmap(tried, room);
}

void check_room_for_descriptors() {
    int taken[kDescriptors];
    int n = 0;
    while (n < kDescriptors && (taken[n] = eventfd(0, EFD_CLOEXEC)) >= 0) ++n;
    const int error = errno;
    for (int i = 0; i < n; ++i) ::close(taken[i]);
    errno = error;
    if (n < kDescriptors) fail("no descriptors for a ZeroMQ link");
}

}  // namespace

void check_room_in_process() {
    check_room_for_threads();
    check_room_for_descriptors();
}

std::vector<pid_t> threads_of_process() {
    std::vector<pid_t> threads;
    DIR *const folder = opendir("/proc/self/task");
    if (folder == nullptr) return threads;
    while (const dirent *entry = readdir(folder)) {
        if (const int id = std::atoi(entry->d_name); id > 0) threads.push_back(id);
    }
    closedir(folder);
    std::sort(threads.begin(), threads.end());
    return threads;
}

std::string name_of_thread(pid_t thread) {
    std::string name;
    std::ifstream file("/proc/self/task/" + std::to_string(thread) + "/comm");
    std::getline(file, name);
    return name;
}

std::string peer_of(int fd) {
    sockaddr_storage peer;
    socklen_t size = sizeof(peer);
    char host[NI_MAXHOST], port[NI_MAXSERV];
    auto *const address = reinterpret_cast<sockaddr *>(&peer);
    if (getpeername(fd, address, &size) != 0 ||
        getnameinfo(address, size, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
        return "";
    }
    const std::string written = host;
    return "tcp://" + (peer.ss_family == AF_INET6 ? "[" + written + "]" : written) + ":" + port;
}

}  // namespace rtloop::zmq

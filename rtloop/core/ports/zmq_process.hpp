// What libzmq takes of the process that it is in, and does not say.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace rtloop::zmq {

// Where libzmq cannot make a thread, or gets no descriptor for its events, it ends the process.
// Throws std::system_error before that.
void check_room_in_process();

// Sorted.
std::vector<pid_t> threads_of_process();
std::string name_of_thread(pid_t thread);

// Of a connection, written as endpoints are; empty of what is none.
std::string peer_of(int fd);

}  // namespace rtloop::zmq

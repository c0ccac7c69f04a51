#include "rtloop/core/ports/wire.hpp"

#include "rtloop/core/ports/packet_wire.hpp"
#include "rtloop/core/ports/stream_wire.hpp"

namespace rtloop {

std::unique_ptr<Wire> Wire::make(bool keeps_packets) {
    if (keeps_packets) return std::make_unique<PacketWire>();
    return std::make_unique<StreamWire>();
}

}  // namespace rtloop

#include "device_send.h"

static bool transmit(rtl_device *d, const uint8_t *packet, size_t size) {
    const rtl_hardware *const hardware = &d->hardware;
    if (d->answer_to.transport == RTL_TRANSPORT_PACKETS) {
        return hardware->transmit_packet(hardware->context, packet, size);
    }
    uint8_t frame[RTL_FRAME_MAX];
    return hardware->transmit(hardware->context, frame, rtl_frame_encode(packet, size, frame));
}

bool rtl_send_packet(rtl_device *d, rtl_type type, const uint8_t *payload, size_t size) {
    return rtl_send_flagged(d, 0, type, payload, size);
}

bool rtl_send_flagged(rtl_device *d, uint8_t flags, rtl_type type, const uint8_t *payload,
                      size_t size) {
    const rtl_header header = {
        .flags = flags,
        .type = (uint8_t)type,
        .seq = d->tx_seq,
        .ack = d->rx_seq,
        .schema_id = d->schema_id,
        .time_us = (uint32_t)rtl_now_us(d),
    };
    uint8_t packet[RTL_PACKET_MAX];
    const size_t packet_size = rtl_packet_encode(&header, payload, size, packet);
    d->tx_seq++; /* a dropped packet is a gap the host can see */
    if (!transmit(d, packet, packet_size)) {
        d->tx_dropped++;
        return false;
    }
    d->tx_packets++;
    return true;
}

rtl_device_status rtl_device_tell_status(const rtl_device *d) {
    return (rtl_device_status){
        .state = (uint8_t)d->state,
        .loop_class = d->arm.loop_class,
        .reasons = d->reasons,
        .boot_id = d->description.boot_id,
        .rx_packets = d->rx_packets,
        .crc_errors = d->crc_errors,
        .frame_errors = d->frame_errors,
        .seq_gaps = d->seq_gaps,
        .late_commands = d->late_commands,
        .rejected_commands = d->rejected_commands,
        .command_timeouts = d->command_timeouts,
        .tx_packets = d->tx_packets,
    };
}

void rtl_send_status(rtl_device *d, uint16_t reasons) {
    rtl_device_status status = rtl_device_tell_status(d);
    status.reasons = reasons;
    uint8_t payload[RTL_PAYLOAD_MAX];
    rtl_send_packet(d, RTL_TYPE_STATUS, payload, rtl_device_status_encode(&status, payload));
}

static bool send_event(rtl_device *d, const rtl_event *event) {
    uint8_t payload[RTL_PAYLOAD_MAX];
    return rtl_send_packet(d, RTL_TYPE_EVENT, payload, rtl_event_encode(event, payload));
}

void rtl_send_events(rtl_device *d, uint64_t now) {
    const rtl_event *event;
    while ((event = rtl_event_queue_next(&d->events, now)) != NULL) {
        if (!send_event(d, event)) {
            d->next_event_us = now + RTL_EVENT_INTERVAL_US;
            return;
        }
        rtl_event_queue_sent(&d->events, event);
    }
}

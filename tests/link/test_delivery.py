"""The sentences for packets that did not reach a device."""

from __future__ import annotations

import pytest

from rtloop.link import transports
from rtloop.link.delivery import Delivery


@pytest.mark.parametrize(
    ("device", "place"),
    [
        ("/dev/ttyACM0", "baud rate"),
        ("udp://10.0.0.7:5555", "the network"),
        ("zmq+tcp://10.0.0.7:5555", "a gateway"),
    ],
)
def test_a_loss_sends_people_to_where_its_transport_can_lose(device: str, place: str) -> None:
    transport = transports.of(device)
    assert transport is not None
    problem = Delivery(sent=100, lost=10, rejected=0, damaged=3).problem("it", transport.where_lost)
    assert "10 of 100 packets (10.0%) that were sent to it did not arrive whole" in problem
    assert place in problem.partition("check ")[2]
    assert ("baud" in problem) is (device == "/dev/ttyACM0")

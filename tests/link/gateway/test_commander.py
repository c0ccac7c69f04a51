"""Who commands, without sockets: one peer at a time, and a STOP from anyone."""

from __future__ import annotations

from rtloop.link.gateway.commander import Commander, Peer
from tests.firmware import reference as ref

FIRST, SECOND = Peer(b"1", 10, "127.0.0.1"), Peer(b"2", 11, "127.0.0.2")
STATUS, SENSOR = ref.MESSAGES["device_status"][0], ref.MESSAGES["sensor"][0]


def packet(name: str, seq: int = 0, **fields: object) -> bytes:
    payload = ref.encode_message(name, dict(fields))
    return ref.encode_packet(ref.MESSAGES[name][0], seq, 0, 9, 0, payload)


HELLO = packet("hello", min_version=1, max_version=1)
COMMAND = packet("command", valid_until_us=1, values=[0.0])
STOP = packet("stop", 77, reason_bits=0)


def test_who_says_hello_first_commands_and_a_second_is_refused_in_words() -> None:
    commander = Commander("/dev/x")
    taken = commander.take(FIRST, HELLO)
    assert (taken.is_passed_on, taken.has_taken_over) == (True, True)
    assert commander.take(FIRST, COMMAND).is_passed_on
    for said in (HELLO, COMMAND, packet("clear"), packet("status_request")):
        refused = commander.take(SECOND, said)
        assert not refused.is_passed_on
        assert refused.refusal == (
            "/dev/x is commanded by another host, at 127.0.0.1; end that one first"
        )
    assert commander.peer == FIRST


def test_a_command_without_a_hello_is_refused() -> None:
    commander = Commander("/dev/x")
    assert "say HELLO first" in commander.take(FIRST, COMMAND).refusal
    assert commander.peer is None


def test_a_hello_that_is_repeated_takes_over_once() -> None:
    commander = Commander("/dev/x")
    commander.take(FIRST, HELLO)
    again = commander.take(FIRST, HELLO)
    assert (again.is_passed_on, again.has_taken_over) == (True, False)


def test_when_who_commands_has_left_another_may() -> None:
    commander = Commander("/dev/x")
    commander.take(FIRST, HELLO)
    assert not commander.has_left(SECOND.identity)
    assert commander.has_left(FIRST.identity)
    assert not commander.has_left(FIRST.identity)
    assert commander.take(SECOND, HELLO).has_taken_over


def test_a_stop_is_passed_on_from_anyone_and_answered_to_who_asked() -> None:
    commander = Commander("/dev/x")
    commander.take(FIRST, HELLO)
    assert commander.take(SECOND, STOP).is_passed_on
    assert commander.peer == FIRST, "it does not command for that"
    assert commander.receivers(STATUS, 76) == [FIRST.identity]
    assert commander.receivers(STATUS, 77) == [FIRST.identity, SECOND.identity]
    assert commander.receivers(STATUS, 77) == [FIRST.identity], "once"
    assert commander.receivers(SENSOR, 77) == [FIRST.identity]


def test_stops_of_the_same_number_are_all_answered() -> None:
    commander = Commander("/dev/x")
    commander.take(FIRST, STOP)
    commander.take(SECOND, STOP)
    assert commander.receivers(STATUS, 77) == [FIRST.identity, SECOND.identity]


def test_stops_without_an_answer_are_forgotten() -> None:
    commander = Commander("/dev/x")
    for seq in range(1000):
        commander.take(SECOND, packet("stop", seq, reason_bits=0))
    assert commander.receivers(STATUS, 0) == []
    assert commander.receivers(STATUS, 999) == [SECOND.identity]


def test_what_is_no_packet_is_refused_with_the_reason() -> None:
    commander = Commander("/dev/x")
    damaged = HELLO[:-1] + bytes([HELLO[-1] ^ 1])
    for said, reason in ((b"", "too short"), (damaged, "fails its CRC"), (b"x" * 541, "too long")):
        verdict = commander.take(FIRST, said)
        assert not verdict.is_passed_on
        assert reason in verdict.refusal
    assert commander.peer is None


def test_a_type_of_a_later_version_is_the_devices_to_judge() -> None:
    commander = Commander("/dev/x")
    commander.take(FIRST, HELLO)
    assert commander.take(FIRST, ref.encode_packet(99, 1, 0, 9, 0, b"")).is_passed_on

"""Bytes of ROS messages ↔ float vectors, without ROS: rtloop/core/topics/cdr_reader.hpp and cdr_writer.hpp."""

from __future__ import annotations

import contextlib
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtloop.core import CdrOp, CdrReader, CdrType, CdrWriter
from tests.core.cdr import FORMATS, Encoder, joint_state

HEADER = [(CdrOp.stamp, 0, 0), (CdrOp.skip, 4, 2), (CdrOp.strings, 1, 1)]
JOINTS = ["hip", "knee"]


def joints_reader(fields: int = 2) -> CdrReader:
    """Position and velocity of hip and knee, out of a JointState."""
    taken = [(CdrOp.joints, CdrType.float64, 2 * i) for i in range(fields)]
    return CdrReader([*HEADER, (CdrOp.names, 0, 0), *taken], JOINTS, 2 * fields)


def sentence(reader: CdrReader, message: bytes) -> str:
    with pytest.raises(ValueError, match=" ") as caught:
        reader.read(message)
    return str(caught.value)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", list(CdrType))
def test_each_type_in_both_orders_of_bytes(kind: CdrType, order: str) -> None:
    values = {CdrType.boolean: [True, False, True]}.get(kind, [1, 100, 7])
    before = Encoder(order).number(CdrType.uint8, 3)
    message = before.number(kind, *values).message
    steps = [(CdrOp.skip, 1, 1), *((CdrOp.take, kind, i) for i in range(3))]
    assert CdrReader(steps, [], 3).read(message)[0].tolist() == values

    slots = [(before.size - (3 - i) * size, kind, i) for size in [_size(kind)] for i in range(3)]
    blank = Encoder(order).number(CdrType.uint8, 3).number(kind, 0, 0, 0).message
    assert CdrWriter(blank, slots, -1).data(np.array(values, np.float32), 0) == message


def _size(kind: CdrType) -> int:
    return len(Encoder().number(kind, 0).message) - 4


@pytest.mark.parametrize("order", "<>")
def test_joints_are_found_by_name_whatever_their_order(order: str) -> None:
    reader = joints_reader()
    drawn = random.Random(1)
    names = ["hip", "knee", "hip_2", "", "ankle"]
    for _ in range(200):
        if drawn.random() < 0.5:
            drawn.shuffle(names)
            padding = bytes([drawn.randrange(256)])
        position = {name: drawn.uniform(-3, 3) for name in names}
        velocity = {name: drawn.uniform(-9, 9) for name in names}
        message = joint_state(
            names, [position[n] for n in names], [velocity[n] for n in names], [],
            order=drawn.choice([order, "<"]), padding=padding,
        )  # fmt: skip
        values, stamp_ns = reader.read(message)
        expected = [field[joint] for field in (position, velocity) for joint in JOINTS]
        assert values.tolist() == np.array(expected, np.float32).tolist()
        assert stamp_ns == 12_000_000_034


def test_names_that_come_behind_their_numbers() -> None:
    message = Encoder().sequence(CdrType.float32, [1, 2, 3]).strings(["x", "knee", "hip"]).message
    reader = CdrReader([(CdrOp.joints, CdrType.float32, 0), (CdrOp.names, 0, 0)], JOINTS, 2)
    assert reader.read(message)[0].tolist() == [3, 2]


def test_names_longer_than_what_is_remembered_are_matched_in_every_message() -> None:
    names = [*(f"joint_{'x' * 50}_{i}" for i in range(1000)), *JOINTS]
    numbers = [float(i) for i in range(len(names))]
    reader = joints_reader(1)
    for _ in range(2):
        assert reader.read(joint_state(names, numbers))[0].tolist() == [1000, 1001]
        names.reverse()
        assert reader.read(joint_state(names, numbers))[0].tolist() == [1, 0]
        names.reverse()


def test_what_is_wrong_is_said_in_a_sentence() -> None:
    reader = joints_reader()
    good = joint_state(["hip", "knee"], [1, 2], [3, 4], [])
    assert reader.read(good)[0].tolist() == [1, 2, 3, 4]
    assert "'knee'" in sentence(reader, joint_state(["hip", "Knee"], [1, 2], [3, 4]))
    assert "'hip'" in sentence(reader, joint_state([], [], []))
    assert "twice" in sentence(reader, joint_state(["hip", "knee", "hip"], [1, 2, 3], [3, 4, 5]))
    assert "another length" in sentence(reader, joint_state(["hip", "knee"], [1, 2], [3]))
    assert "another length" in sentence(reader, joint_state(["hip", "knee"], [1, 2, 3], [3, 4]))
    assert "does not send it" in sentence(reader, joint_state(["hip", "knee"], [1, 2], []))
    assert "no time" in sentence(reader, joint_state(JOINTS, [1, 2], [3, 4], stamp=(1, 10**9)))
    assert "1970" in sentence(reader, joint_state(JOINTS, [1, 2], [3, 4], stamp=(-1, 0)))
    for order in (b"\0\2", b"\0\7", b"\1\1"):  # of parameter lists, of XCDR2
        assert "plain CDR" in sentence(reader, order + good[2:])
    assert "plain CDR" in sentence(reader, good[:3])
    for size in range(4, len(good) - 4):  # the effort, which is not wanted, is the last
        assert "ends before" in sentence(reader, good[:size])
    assert reader.read(good)[0].tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("size", [3, 2**31, 2**32 - 1])
def test_a_length_that_the_message_does_not_have(size: int) -> None:
    steps = [(CdrOp.count, 1, 0), (CdrOp.take, CdrType.float64, 0), (CdrOp.skip_rest, 8, 1)]
    reader = CdrReader([*steps, (CdrOp.take, CdrType.float64, 1)], [], 2)
    good = Encoder().sequence(CdrType.float64, [1, 2]).number(CdrType.float64, 5).message
    assert reader.read(good)[0].tolist() == [1, 5]
    assert "ends before" in sentence(reader, good[:4] + size.to_bytes(4, "little") + good[8:])
    strings = CdrReader([(CdrOp.strings, 4, 1), (CdrOp.take, CdrType.uint8, 0)], [], 1)
    assert "ends before" in sentence(strings, good[:4] + size.to_bytes(4, "little") * 3)
    structs = CdrReader([(CdrOp.count, 0, 0), (CdrOp.rest, 1, 0), (CdrOp.skip, 8, 1)], [], 0)
    assert "ends before" in sentence(structs, good[:4] + size.to_bytes(4, "little") * 3)


def test_an_index_beyond_the_length_and_a_length_that_must_be_met() -> None:
    third = CdrReader(
        [(CdrOp.count, 3, 0), (CdrOp.skip, 4, 2), (CdrOp.take, CdrType.float32, 0)], [], 1
    )
    exact = CdrReader([(CdrOp.count, 1, 1), (CdrOp.take, CdrType.float32, 0)], [], 1)
    for n in range(6):
        message = Encoder().sequence(CdrType.float32, range(n)).message
        if n < 3:
            assert "before the element" in sentence(third, message)
        else:
            assert third.read(message)[0].tolist() == [2]
        if n == 1:
            assert exact.read(message)[0].tolist() == [0]
        else:
            assert "another length" in sentence(exact, message)


def test_sequences_of_structs_in_sequences_of_structs_are_passed() -> None:
    inner = [(CdrOp.skip, 1, 1), (CdrOp.skip, 8, 1)]
    steps = [
        *[(CdrOp.count, 0, 0), (CdrOp.rest, 6, 0)],
        *[(CdrOp.strings, 1, 2), (CdrOp.count, 0, 0), (CdrOp.rest, 2, 0), *inner],
        *[(CdrOp.strings, 4, 1)],
        (CdrOp.take, CdrType.int16, 0),
    ]
    encoder = Encoder().count(2)
    for elements in (3, 0):
        encoder.string("a").string("").count(elements)
        for i in range(elements):
            encoder.number(CdrType.uint8, i).number(CdrType.float64, i)
        encoder.wstring("öß" * elements)
    message = encoder.number(CdrType.int16, -5).message
    assert CdrReader(steps, [], 1).read(message)[0].tolist() == [-5]


def test_nothing_repeated_very_often_ends_at_once() -> None:
    often = 2**32 - 1
    steps = [(CdrOp.count, 0, 0), (CdrOp.rest, 2, 0), (CdrOp.repeat, 1, often), (CdrOp.skip, 1, 0)]
    reader = CdrReader([*steps, (CdrOp.take, CdrType.uint8, 0)], [], 1)
    message = Encoder().count(often).number(CdrType.uint8, 9).message
    assert reader.read(message)[0].tolist() == [9]


@pytest.mark.parametrize(
    ("steps", "joints", "n_values", "why"),
    [
        ([(10, 0, 0)], [], 0, "no such step"),
        ([(CdrOp.take, 11, 0)], [], 1, "no such type"),
        ([(CdrOp.take, 0, 1)], [], 1, "no such value"),
        ([(CdrOp.names, 0, 0), (CdrOp.joints, 0, 2**32 - 1)], JOINTS, 2, "no such value"),
        ([(CdrOp.take, 0, 0)], [], 2, "by no step"),
        ([(CdrOp.take, 0, 0), (CdrOp.take, 0, 0)], [], 1, "by several"),
        ([(CdrOp.skip, 3, 1)], [], 0, "1, 2, 4 or 8"),
        ([(CdrOp.skip_rest, 1, 0)], [], 0, "not open"),
        ([(CdrOp.repeat, 1, 1)], [], 0, "not there"),
        ([(CdrOp.repeat, 2, 1), (CdrOp.skip, 1, 1)], [], 0, "not there"),
        ([(CdrOp.repeat, 1, 1), (CdrOp.count, 0, 0)], [], 0, "stays open"),
        ([(CdrOp.count, 0, 0), (CdrOp.repeat, 1, 1), (CdrOp.rest, 1, 1)], [], 0, "not open"),
        ([(CdrOp.repeat, 1, 2), (CdrOp.take, 0, 0)], [], 1, "not repeated"),
        ([(CdrOp.count, 0, 0)] * 17, [], 0, "more than 16"),
        ([*((CdrOp.repeat, 30 - i, 1) for i in range(29)), (CdrOp.skip, 1, 1)] * 2, [], 0, "16"),
        ([(CdrOp.joints, 0, 0)], JOINTS, 2, "without names"),
        ([(CdrOp.names, 0, 0), (CdrOp.names, 0, 0)], [], 0, "once"),
    ],
)
def test_a_program_that_could_not_be_run_is_refused(
    steps: list[tuple[int, int, int]], joints: list[str], n_values: int, why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        CdrReader(steps, joints, n_values)


def test_integers_round_and_saturate() -> None:
    kinds = [kind for kind in CdrType if CdrType.boolean < kind < CdrType.float32]
    floats = [
        0.4,
        0.5,
        -0.5,
        2.5,
        -1e30,
        1e30,
        np.inf,
        -np.inf,
        np.nan,
        127.5,
        4294967296.0,
        -129.0,
    ]
    for kind in kinds:
        size = _size(kind)
        writer = CdrWriter(Encoder().number(kind, 0).message, [(4, kind, 0)], -1)
        least, most = {"b": (-128, 127), "B": (0, 255)}.get(
            FORMATS[kind],
            (-(2 ** (8 * size - 1)), 2 ** (8 * size - 1) - 1)
            if FORMATS[kind].islower()
            else (0, 2 ** (8 * size) - 1),
        )
        for value in floats:
            away = 0 if np.isnan(value) else np.copysign(np.floor(abs(value) + 0.5), value)
            expected = int(min(max(away, least), most)) if np.isfinite(away) else None
            if expected is None:
                expected = most if value > 0 else least
            if expected >= 2**62:  # beyond what float64 tells apart
                expected = min(int(away), most) if np.isfinite(away) else most
            message = writer.data(np.array([value], np.float32), 0)
            assert message == Encoder().number(kind, expected).message, (kind, value)


def test_booleans_and_floats_that_are_written() -> None:
    blank = Encoder().number(CdrType.boolean, 0).number(CdrType.float64, 0).message
    writer = CdrWriter(blank, [(12, CdrType.float64, 0), (4, CdrType.boolean, 1)], -1)
    for value, flag in [(0.1, 0.49), (np.float32(np.inf), 0.5), (-3e38, np.nan), (1e-42, -7)]:
        message = writer.data(np.array([value, flag], np.float32), 5)
        expected = Encoder().number(CdrType.boolean, abs(flag) >= 0.5)
        assert message == expected.number(CdrType.float64, float(np.float32(value))).message


@pytest.mark.parametrize("order", "<>")
def test_a_stamp_is_written(order: str) -> None:
    blank = Encoder(order).stamp(0, 0).number(CdrType.float32, 0).message
    writer = CdrWriter(blank, [(12, CdrType.float32, 0)], 4)
    message = Encoder(order).stamp(1_800_000_000, 999_999_999).number(CdrType.float32, 2).message
    assert writer.data(np.array([2], np.float32), 1_800_000_000_999_999_999) == message


@pytest.mark.parametrize(
    ("slots", "stamp_offset", "why"),
    [
        ([(16, CdrType.uint8, 0)], -1, "byte 16"),
        ([(12, CdrType.float64, 0)], -1, "byte 12"),
        ([(2**32 - 4, CdrType.float64, 0)], -1, "byte 4294967292"),
        ([(0, CdrType.uint8, 0)], -1, "byte 0"),
        ([(6, CdrType.float32, 0)], -1, "byte 6"),
        ([(4, 11, 0)], -1, "no such type"),
        ([(4, CdrType.uint8, 1)], -1, "by no slot"),
        ([(4, CdrType.uint8, 0), (5, CdrType.uint8, 0)], -1, "by several"),
        ([], 12, "byte 12"),
        ([], 2**62, "byte"),
    ],
)
def test_a_slot_that_is_not_in_the_message_is_refused(
    slots: list[tuple[int, int, int]], stamp_offset: int, why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        CdrWriter(b"\0\1\0\0" + bytes(12), slots, stamp_offset)


def test_a_template_that_is_no_cdr_is_refused() -> None:
    for message in (b"", b"\0\1\0", b"\0\2\0\0"):
        with pytest.raises(ValueError, match="plain CDR"):
            CdrWriter(message, [], -1)


PROGRAM = [
    *HEADER,
    (CdrOp.names, 0, 0),
    (CdrOp.joints, CdrType.float64, 0),
    *[(CdrOp.count, 2, 0), (CdrOp.take, CdrType.int16, 2), (CdrOp.repeat, 1, 1)],
    *[(CdrOp.skip, 2, 1), (CdrOp.skip_rest, 2, 2)],
    *[(CdrOp.count, 0, 0), (CdrOp.rest, 3, 0)],
    *[(CdrOp.strings, 1, 1), (CdrOp.count, 0, 0), (CdrOp.skip_rest, 8, 0)],
    (CdrOp.take, CdrType.boolean, 3),
]
WHOLE = (
    Encoder()
    .stamp(1, 2)
    .string("base")
    .strings(["knee", "hip"])
    .sequence(CdrType.float64, [1, 2])
    .sequence(CdrType.int16, [3, 4, 5])
    .count(2)
    .string("a")
    .sequence(CdrType.float64, [1])
    .string("")
    .sequence(CdrType.float64, [])
    .number(CdrType.boolean, True)
    .message
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    message = bytearray(WHOLE)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(message) - 1))
        message[at] = draw(
            st.sampled_from([0, 1, 2, 127, 255, message[at] ^ 1 << draw(st.integers(0, 7))])
        )
    return bytes(message[: draw(st.integers(0, len(message)))])


@settings(max_examples=2000, deadline=None)
@given(
    st.one_of(damaged(), st.binary(max_size=200), st.binary(max_size=200).map(b"\0\1\0\0".__add__))
)
def test_no_bytes_crash_it_and_the_next_message_is_read(message: bytes) -> None:
    reader = _shared()
    with contextlib.suppress(ValueError):  # what it says of it is told elsewhere
        assert reader.read(message)[0].shape == (4,)
    values, stamp_ns = reader.read(WHOLE)
    assert values.tolist() == [2, 1, 3, 1]
    assert stamp_ns == 1_000_000_002


_READERS: list[CdrReader] = []


def _shared() -> CdrReader:
    """One for all examples: what a message leaves behind must not matter to the next."""
    if not _READERS:
        _READERS.append(CdrReader(PROGRAM, JOINTS, 4))
    return _READERS[0]

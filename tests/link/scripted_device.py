"""A device that misbehaves on purpose: answers on a pty from a thread, as each test scripts it."""

from __future__ import annotations

import os
import pty
import select
import threading
import time
import tty
from collections.abc import Callable
from typing import Any

from rtloop.link import parse_schema
from rtloop.link.handshake import LinkInfo
from rtloop.link.messages import DeviceState, Reason
from tests.firmware import reference as ref

SCHEMA = "rtloop-schema 1\nname scripted\nsensor a m f32 100\nsensor b m/s f32 100\ncommand c N f32 100\n"
#: Of four sensor values and one command: the schema of the demo.
CARTPOLE_SCHEMA = (
    "rtloop-schema 1\nname cartpole\nsensor cart_position m f32 100\nsensor cart_velocity m/s f32 100\n"
    "sensor pole_angle rad f32 100\nsensor pole_rate rad/s f32 100\ncommand force N f32 100\n"
)
#: Its own, where ARM asks for none.
TIMEOUT_US = 20_000
#: Takes a request, returns the answers (name and fields) or None for the ordinary one.
Answers = list[tuple[str, dict[str, Any]]] | None
Script = Callable[[ref.Packet], Answers]


def scripted_info(offset_ns: int = 0) -> LinkInfo:
    """What a handshake finds, right now; its clock is ours plus ``offset_ns``."""
    schema = parse_schema(SCHEMA)
    return LinkInfo(
        name="scripted",
        schema=schema,
        schema_id=schema.id,
        boot_id=1,
        device_state=DeviceState.IDLE,
        reasons=Reason(0),
        sensor_period_us=10_000,
        command_timeout_us=20_000,
        clock_offset_ns=offset_ns,
        clock_error_ns=1000,
        clock_time_ns=time.monotonic_ns(),
        round_trip_ns=2000,
    )


class ScriptedDevice:
    """Ordinary unless ``script`` says otherwise. Its clock is ours plus ``offset_us``."""

    def __init__(self, script: Script = lambda _: None, schema: str = SCHEMA) -> None:
        self.script = script
        self.schema = schema
        self.schema_id = ref.schema_id(schema)
        self.offset_us = 5_000_000_000
        self.boot_id = 1
        self.state = 1
        self.reasons = 0
        self.n_sensor, self.n_command = schema.count("\nsensor "), schema.count("\ncommand ")
        self.timeout_us = TIMEOUT_US  # of the last ARM
        self.garbage = b""  # sent before every answer
        self.requests: list[ref.Packet] = []
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        self.path = os.ttyname(self._slave)
        self._ended = False
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> ScriptedDevice:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._ended = True
        self._thread.join()
        os.close(self._master)
        os.close(self._slave)

    def now_us(self) -> int:
        return time.monotonic_ns() // 1000 + self.offset_us

    def names(self) -> list[str]:
        """What was asked so far."""
        return [packet.name for packet in self.requests]

    def _serve(self) -> None:
        received = b""
        while not self._ended:
            if not select.select([self._master], [], [], 0.01)[0]:
                continue
            whole, delimiter, received = (received + os.read(self._master, 4096)).rpartition(b"\0")
            for frame in ref.decode_frames(whole + delimiter)[0]:
                self._take(ref.decode_packet(frame))

    def _take(self, request: ref.Packet) -> None:
        self.requests.append(request)
        answers = self.script(request)
        self.send(self.ordinary(request) if answers is None else answers, request.seq)

    def send(self, answers: list[tuple[str, dict[str, Any]]], ack: int, seq: int = 0) -> None:
        for name, fields in answers:
            payload = ref.encode_message(name, fields)
            kind = ref.MESSAGES[name][0]
            packet = ref.encode_packet(kind, seq, ack, self.schema_id, 0, payload)
            os.write(self._master, self.garbage + ref.encode_frame(packet))

    def ordinary(self, request: ref.Packet) -> list[tuple[str, dict[str, Any]]]:
        if request.name == "hello":
            return [("hello_reply", self.hello_reply())]
        if request.name == "schema_request":
            text, offset = self.schema.encode(), request.fields["offset"]
            part = text[offset : offset + 200]
            return [("schema_chunk", {"offset": offset, "total": len(text), "bytes": part})]
        if request.name == "time_request":
            now_us = self.now_us()
            return [("time_reply", {**request.fields, "t2_us": now_us, "t3_us": now_us})]
        if request.name == "clear":
            self.reasons = 0
        if request.name == "arm":
            self.timeout_us = request.fields["command_timeout_us"] or TIMEOUT_US
        self.state = {"arm": 2, "clear": 1, "stop": 4}.get(request.name, self.state)
        return [("device_status", self.status())]

    def hello_reply(self) -> dict[str, Any]:
        return {
            "version": 1,
            "state": self.state,
            "reasons": self.reasons,
            "n_sensor": self.n_sensor,
            "n_command": self.n_command,
            "schema_bytes": len(self.schema),
            "sensor_period_us": 10000,
            "command_timeout_us": self.timeout_us if self.state in (2, 3) else TIMEOUT_US,
            "boot_id": self.boot_id,
            "name": "scripted",
        }

    def status(self) -> dict[str, Any]:
        names = ref.MESSAGES["device_status"][2]
        fields = dict.fromkeys(names, 0)
        return {**fields, "state": self.state, "reasons": self.reasons, "boot_id": self.boot_id}

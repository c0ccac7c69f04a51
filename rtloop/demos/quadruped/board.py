"""The quadruped as a board at the end of a line: ``python -m rtloop.demos.quadruped.board --pty PATH``.

The real firmware library is ``rtloop-firmware``; this process is its plant, at the other end of a
socket, as firmware/host/remote_device.h says. Both end together. The last lines that they print are
what they have to say of the run, as JSON.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import signal
import socket
import struct
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from rtloop.demos.firmware import firmware_path
from rtloop.demos.parent import end_with_parent
from rtloop.demos.quadruped.plant import JOINTS, SENSORS, TICK_S, Plant
from rtloop.demos.quadruped.track import RATE_HZ as TRACK_HZ
from rtloop.demos.quadruped.track import Track, TrackWriter

_RATE_HZ = round(1 / TICK_S)
_TICK_NS = round(TICK_S * 1e9)
_REQUEST = struct.Struct("=qII")
_SAMPLE = struct.Struct("=q")
_PUSH_TICKS = 50
_TRACK_TICKS = _RATE_HZ // TRACK_HZ


def schema(command: str) -> str:
    """What the board measures and takes; ``command`` is torques or targets."""
    units = {"gyro": "rad/s", "quat": "-", "vel": "rad/s", "pos": "rad"}
    lines = ["rtloop-schema 1", "name quadruped"]
    for name in SENSORS:
        unit = next(unit for part, unit in units.items() if part in name.split("_"))
        lines.append(f"sensor {name} {unit} f32 {_RATE_HZ}")
    kind, unit = {"torques": ("torque", "Nm"), "targets": ("target", "rad")}[command]
    lines += [f"command {joint}_{kind} {unit} f32 {_RATE_HZ}" for joint in JOINTS]
    return "\n".join(lines) + "\n"


class Board:
    """The plant, advanced by the requests of the firmware; it is judged while it is driven."""

    def __init__(
        self,
        command: str,
        *,
        seed: int,
        push_newton: float,
        push_interval_s: float,
        track: Track | None = None,
    ):
        self._plant = Plant()
        self._track = None if track is None else TrackWriter(track)
        self._untracked_ticks = 0
        self._plant.reset(seed=seed)
        self._steps = {"torques": self._plant.step, "targets": self._plant.step_targets}[command]
        self._random = np.random.default_rng(seed)
        self._push_newton = push_newton
        self._pause_ticks = push_interval_s / TICK_S
        self._driven_ticks = 0
        self._next_push = self._pause()
        self._fell_at_s: float | None = None
        self._largest_tilt_rad = 0.0

    def _pause(self) -> int:
        return self._driven_ticks + 1 + int(self._random.exponential(self._pause_ticks))

    def sample(self, taken_ns: int) -> bytes:
        """A message to the firmware."""
        return _SAMPLE.pack(taken_ns) + self._plant.sense().astype(np.float32).tobytes()

    def answer(self, request: bytes) -> bytes:
        """Lives through what is asked, and returns the sample that follows."""
        until_ns, ticks, is_driven = _REQUEST.unpack_from(request)
        if is_driven:
            self._push()
            self._steps(np.frombuffer(request, np.float32, offset=_REQUEST.size), ticks)
            self._driven_ticks += ticks
            self._judge()
        else:
            self._plant.step_damped(ticks)
        self._write_down(until_ns, ticks, bool(is_driven))
        return self.sample(until_ns - _TICK_NS)

    def _write_down(self, now_ns: int, ticks: int, is_driven: bool) -> None:
        self._untracked_ticks += ticks
        if self._track is None or self._untracked_ticks < _TRACK_TICKS:
            return
        self._untracked_ticks %= _TRACK_TICKS
        self._track.append(
            now_ns,
            self._driven_ticks * TICK_S,
            self._plant.qpos,
            is_driven=is_driven,
            is_pushed=self._plant.is_pushed(),
            has_fallen=self._fell_at_s is not None,
        )

    def _push(self) -> None:
        since = self._driven_ticks - self._next_push
        if since >= _PUSH_TICKS:
            self._plant.push(np.zeros(3))
            self._next_push = self._pause()
        elif since >= 0 and self._push_newton and not self._plant.is_pushed():
            angle = self._random.uniform(0.0, 2 * np.pi)
            self._plant.push(self._push_newton * np.array([np.cos(angle), np.sin(angle), 0.0]))

    def _judge(self) -> None:
        if self._fell_at_s is None and self._plant.has_fallen():
            self._fell_at_s = round(self._driven_ticks * TICK_S, 3)
        self._largest_tilt_rad = max(self._largest_tilt_rad, self._plant.tilt())

    def told(self) -> dict[str, Any]:
        x, y = self._plant.qpos[:2]
        return {
            "driven_s": round(self._driven_ticks * TICK_S, 3),
            "fell_at_s": self._fell_at_s,
            "ahead_m": round(float(x), 3),
            "left_m": round(float(y), 3),
            "largest_tilt_rad": round(self._largest_tilt_rad, 3),
        }


def _ask_for_priority(priority: int) -> None:
    if priority:
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
        except OSError as error:
            print(f"the plant runs without SCHED_FIFO {priority}: {error}", file=sys.stderr)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--pty", type=Path, required=True, help="make it a link to the line")
    parser.add_argument("--zmq", help="serve ZeroMQ, too, at tcp://127.0.0.1:PORT")
    parser.add_argument("--udp", help="serve UDP, too, at udp://127.0.0.1:PORT")
    parser.add_argument("--command", choices=("torques", "targets"), default="torques")
    parser.add_argument("--seed", type=int, default=1, help="of noise and pushes")
    parser.add_argument("--push-newton", type=float, default=0.0)
    parser.add_argument("--push-interval-s", type=float, default=4.0)
    parser.add_argument("--command-timeout-ms", type=int, default=20)
    parser.add_argument("--priority", type=int, default=0, help="SCHED_FIFO of both processes")
    parser.add_argument("--track-fd", type=int, help="memory to write down in where it goes")
    options = parser.parse_args()

    end_with_parent()
    board = Board(
        options.command,
        seed=options.seed,
        push_newton=options.push_newton,
        push_interval_s=options.push_interval_s,
        track=None if options.track_fd is None else Track(options.track_fd),
    )
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.send(schema(options.command).encode())
    ours.send(board.sample(0))
    arguments = ["--plant-fd", theirs.fileno(), "--pty", options.pty, "--rate-hz", _RATE_HZ]
    arguments += ["--command-timeout-ms", options.command_timeout_ms, "--die-with-parent"]
    arguments += ["--priority", options.priority]
    arguments += ["--zmq", options.zmq] if options.zmq else []
    arguments += ["--udp", options.udp] if options.udp else []
    firmware = subprocess.Popen(
        [str(firmware_path()), "remote", *map(str, arguments)], pass_fds=[theirs.fileno()]
    )
    theirs.close()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: firmware.terminate())
    _ask_for_priority(options.priority)
    gc.freeze()
    gc.disable()  # the loop makes no cycles, and a collection would be a late sample
    # Reset: the firmware ended before it took the newest sample.
    with suppress(BrokenPipeError, ConnectionResetError):
        while request := ours.recv(1024):
            ours.send(board.answer(request))
    code = firmware.wait()
    print(json.dumps(board.told()), flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())

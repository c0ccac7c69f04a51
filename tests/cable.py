"""A cable between a host and a device on a pty, which can be pulled out and plugged in again."""

from __future__ import annotations

import os
import pty
import select
import threading
import time
import tty
from contextlib import suppress
from pathlib import Path

from rtloop import core


class Cable:
    """``path`` is where the host finds the device, as udev would have it: a link that comes and goes.

    The device does not notice: its own line, ``device``, stays open. A context manager, plugged in.
    """

    def __init__(self, path: Path, device: Path) -> None:
        self.path = path
        self._device = os.open(device, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        tty.setraw(self._device)
        self._lock = threading.Lock()
        self._master = self._slave = -1
        self._ended = False
        self._thread = threading.Thread(target=self._carry, daemon=True)

    def plug_in(self) -> None:
        master, slave = pty.openpty()
        tty.setraw(slave)
        os.set_blocking(master, False)  # what does not fit is lost, as on a wire
        self.path.symlink_to(os.ttyname(slave))
        # Ours is the only other end: closed before the host has opened it, it would read like a hang-up.
        self._slave = slave
        with self._lock:
            self._master = master

    def to_device(self, data: bytes) -> bytes:
        """What of it arrives."""
        return data

    def unplug(self) -> None:
        self.path.unlink()
        with self._lock:
            os.close(self._master)
            os.close(self._slave)
            self._master = -1

    def __enter__(self) -> Cable:
        self.plug_in()
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._ended = True
        self._thread.join()
        if self._master >= 0:
            self.unplug()
        os.close(self._device)

    def _carry(self) -> None:
        while not self._ended:
            with self._lock:  # nothing is pulled out while it is read
                ends = {self._device: self._master, self._master: self._device}
                ends.pop(-1, None)
                for end in select.select(list(ends), [], [], 0)[0]:
                    with suppress(OSError):
                        data = os.read(end, 4096)
                        if end == self._master:
                            data = self.to_device(data)
                        if ends[end] >= 0:
                            os.write(ends[end], data)
            time.sleep(0.001)


class LossyCable(Cable):
    """Of the commands one in ``one_in`` arrives, and all else."""

    def __init__(self, path: Path, device: Path, one_in: int) -> None:
        super().__init__(path, device)
        self._one_in = one_in
        self._commands = 0
        self._frames = core.FrameDecoder()

    def to_device(self, data: bytes) -> bytes:
        arrives = b""
        for packet in self._frames.feed(data):
            if core.packet_decode(packet)[0] == core.MESSAGE_TYPES["COMMAND"]:
                self._commands += 1
                if self._commands % self._one_in:
                    continue
            arrives += core.frame_encode(packet)
        return arrives

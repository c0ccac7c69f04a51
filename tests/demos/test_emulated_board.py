"""Signals to the emulated board, without an emulator."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import cast

import pytest

from rtloop.demos.emulated.board import _serve
from rtloop.demos.emulated.emulator import Emulator
from tests.running import wait_for


class Board:
    """Notes what is done to it, and starts again when the test says so."""

    def __init__(self) -> None:
        self.console, self._far = socket.socketpair()
        self.done: list[str] = []

    def reset(self) -> None:
        self.done.append("reset")

    def press(self, letter: bytes) -> None:
        self.done.append(letter.decode())

    def lines(self) -> list[str]:
        return self.console.recv(4096).decode().splitlines()

    def starts(self, why: str) -> None:
        self._far.send(f"READY {why}\n".encode())

    def close(self) -> None:
        self.console.close()
        self._far.close()


@pytest.fixture
def board() -> Iterator[Board]:
    with closing(Board()) as board:
        yield board


def test_signals_that_come_at_once_are_obeyed_one_start_after_the_other(
    board: Board, capsys: pytest.CaptureFixture[str]
) -> None:
    woken, waker = socket.socketpair()
    thread = threading.Thread(target=_serve, args=(cast(Emulator, board), woken))
    with woken, waker:
        thread.start()
        waker.send(bytes([signal.SIGUSR2, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR2]))
        wait_for(lambda: board.done == ["e", "reset"], "the reset")
        waker.send(bytes([signal.SIGHUP]))
        board.starts("EXTERNAL")
        wait_for(lambda: board.done == ["e", "reset", "f"], "the fault")
        board.starts("FAULT")
        wait_for(lambda: board.done == ["e", "reset", "f", "e", "reset"], "the second reset")
        waker.send(bytes([signal.SIGHUP, signal.SIGTERM]))  # it does not wait to end
        thread.join(10)
        assert not thread.is_alive()
    assert capsys.readouterr().out.splitlines() == ["RESTARTED EXTERNAL", "RESTARTED FAULT"]

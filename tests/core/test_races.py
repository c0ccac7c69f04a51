"""Ring, ports, relay, safe command, stand-in, deadline gate and the bridge to ZeroMQ under ThreadSanitizer."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
import zmq

from rtloop.link.transports.zeromq import libzmq

ROOT = Path(__file__).parents[2]
FLAGS = ["-std=c++20", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-pthread"]


needs_compiler = pytest.mark.skipif(
    shutil.which("g++") is None, reason="no C++ compiler: apt-get install g++"
)
both_sanitizers = pytest.mark.parametrize("sanitizer", ["thread", "address,undefined"])


@pytest.mark.timeout(320)  # ThreadSanitizer is slow where cores are shared
@needs_compiler
@both_sanitizers
def test_ring_ports_relay_stand_in_and_gate_are_free_of_races(
    tmp_path: Path, sanitizer: str
) -> None:
    program = tmp_path / "races"
    core = ROOT / "rtloop" / "core"
    library = ROOT / "firmware" / "lib"
    sources = [Path(__file__).parent / "cpp" / "races.cpp", core / "ring" / "ring.cpp"]
    link = ("line", "link", "link_receive", "link_send", "packet_wire", "stream_wire", "wire")
    ports = (*link, "mailbox", "relay")
    sources += [core / "ports" / f"{name}.cpp" for name in ports]
    sources += [core / "graph" / "external.cpp"]
    objects = []
    for name in ("frame", "messages", "messages_stats", "packet", "sequence"):
        objects.append(tmp_path / f"{name}.o")
        compiled = ["gcc", "-O1", "-g", f"-fsanitize={sanitizer}", f"-I{library / 'include'}", "-c"]
        subprocess.run([*compiled, library / "src" / f"{name}.c", "-o", objects[-1]], check=True)
    # A fence that ThreadSanitizer cannot follow would be an error here (-Wtsan): there is none.
    includes = [f"-I{ROOT}", f"-I{library / 'include'}"]
    subprocess.run(
        ["g++", *FLAGS, f"-fsanitize={sanitizer}", *includes, *sources, *objects, "-o", program],
        check=True,
    )
    # ThreadSanitizer and a randomised address space do not always agree.
    environment = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
    done = subprocess.run(
        ["setarch", "-R", program, tmp_path],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no race" in done.stdout


HANG_UP = 2


def send_back(end: zmq.Socket[bytes], address: str, over: threading.Event) -> None:
    """A device that returns what it gets, and hangs up when it is told to."""
    while not over.is_set():
        if not end.poll(50):
            continue
        message = end.recv()
        if message[0] != HANG_UP:
            with suppress(zmq.Again):  # whom it was from has left
                end.send(message, zmq.DONTWAIT)
            continue
        end.unbind(address)  # and with it the connection
        end.close()
        end = bound(end.context, address)


def bound(context: zmq.Context[zmq.Socket[bytes]], address: str) -> zmq.Socket[bytes]:
    end = context.socket(zmq.DEALER)
    end.linger = 0
    end.sndhwm = 100_000
    until_s = time.monotonic() + 20
    while True:
        try:
            end.bind(address)
            return end
        except zmq.ZMQError:  # the one before lets go of it in its own time
            assert time.monotonic() < until_s
            time.sleep(0.005)


@pytest.mark.timeout(320)
@needs_compiler
@both_sanitizers
def test_the_bridge_to_zeromq_is_free_of_races(tmp_path: Path, sanitizer: str) -> None:
    program = tmp_path / "zmq_races"
    core = ROOT / "rtloop" / "core"
    sources = [Path(__file__).parent / "cpp" / "zmq_races.cpp"]
    sources += [core / "ports" / f"zmq_{name}.cpp" for name in ("api", "bridge", "process")]
    sources += [core / "threads" / "thread_setup.cpp"]
    includes = [f"-I{ROOT}", f"-I{ROOT / 'firmware' / 'lib' / 'include'}"]
    flags = [*FLAGS, f"-fsanitize={sanitizer}", *includes]
    subprocess.run(["g++", *flags, *sources, "-ldl", "-o", program], check=True)
    (tmp_path / "left_out").write_text("called_from_lib:libzmq\n")
    environment = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
    environment["TSAN_OPTIONS"] = f"suppressions={tmp_path / 'left_out'}"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
    context = zmq.Context()
    over = threading.Event()
    device = threading.Thread(target=send_back, args=(bound(context, address), address, over))
    device.start()
    try:
        done = subprocess.run(
            ["setarch", "-R", program, libzmq(), address],
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
    finally:
        over.set()
        device.join()
        context.destroy(linger=0)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no race" in done.stdout

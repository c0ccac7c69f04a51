"""loop_node in one process with other ROS 2 code: what the cycle does, and what /diagnostics makes of it."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rtloop import core
from rtloop.run import Run
from tests.nodes.ros import (
    ERROR,
    LOOP,
    WARN,
    Client,
    DiagnosticArray,
    Float64MultiArray,
    loop_node_here,
    rclpy,
    runs,
)
from tests.running import edited, firmware, wait_for, write_config

BUSY_TOPICS = ("joints", "imu")
BUSY_PERIOD_S = 1 / 500
PERIOD_NS = 5_000_000


@contextmanager
def busy_subscriptions(client: Client, executor: Any) -> Iterator[list[float]]:
    """Two subscriptions in the executor, fed at 500 Hz by a thread; what they heard."""
    node = rclpy.create_node("busy", context=client.context)
    heard: list[float] = []
    publishers = []

    def listen(message: Any) -> None:
        heard.append(message.data[0])

    for topic in BUSY_TOPICS:
        node.create_subscription(Float64MultiArray, topic, listen, 10)
        publishers.append(node.create_publisher(Float64MultiArray, topic, 10))
    executor.add_node(node)
    stop = threading.Event()

    def publish() -> None:
        message = Float64MultiArray(data=[0.5] * 12)
        while not stop.wait(BUSY_PERIOD_S):
            for publisher in publishers:
                publisher.publish(message)

    thread = threading.Thread(target=publish, name="publisher")
    thread.start()
    try:
        yield heard
    finally:
        stop.set()
        thread.join()
        executor.remove_node(node)
        node.destroy_node()


def thread_names() -> list[str]:
    return [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]


def stalled(monkeypatch: pytest.MonkeyPatch, stall: core.Stall) -> None:
    run = functools.partial(Run, stalls={LOOP: [stall]})
    monkeypatch.setattr("rtloop.nodes.loop_node.Run", run)


def test_beside_a_busy_executor_every_release_is_counted_and_no_record_lost(tmp_path: Path) -> None:
    with firmware(tmp_path) as device, Client() as client:
        config = write_config(tmp_path, device.link)
        with (
            loop_node_here(client, config=str(config)) as (_, executor),
            busy_subscriptions(client, executor) as heard,
        ):
            assert client.request("configure")
            assert client.request("activate")
            client.status_when(lambda s: runs(s) and s["executed"] > 200, "it runs")
            client.spin_until(lambda: len(heard) > 300, "the subscriptions are busy")
            assert client.request("deactivate")
            ended = client.status_when(lambda s: s.message == "inactive", "it ended")
    assert ended["executed"] > 200
    assert ended["elapsed_periods"] == ended["executed"] + ended["skipped"]
    assert ended["records_lost"] == 0


def test_missed_soft_deadlines_are_a_warning_with_their_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stalled(monkeypatch, core.Stall(core.Stage.infer, 20, 20, PERIOD_NS * 3 // 2))
    with firmware(tmp_path) as device, Client() as client:
        config = write_config(tmp_path, device.link)
        heard: list[DiagnosticArray] = []
        client.node.create_subscription(
            DiagnosticArray, "/loop_node/deadline_miss", heard.append, 10
        )
        with loop_node_here(client, config=str(config)):
            assert client.request("configure")
            assert client.request("activate")
            warned = client.status_when(lambda s: s["misses"] > 0, "the misses are told of")
            client.spin_until(lambda: len(heard) > 1, "each of them, too")
            assert client.request("deactivate")
            statistics = client.node.count_publishers("/loop_node/statistics/balance")
    assert statistics == 1
    assert heard[0].status[0].name == "/loop_node: balance"
    assert warned.level == WARN
    assert "soft deadline misses in" in warned.message
    assert warned["misses"] > 0
    assert warned.values["state"] == "active"


def test_a_missed_hard_deadline_is_an_error_until_the_loop_is_activated_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stalled(monkeypatch, core.Stall(core.Stage.infer, 5, 0, 75_000_000))
    slow = {"rate_hz: 200": "rate_hz: 20"}  # a busy machine is late by less
    with firmware(tmp_path) as device, Client() as client:
        config = edited(
            write_config(tmp_path, device.link),
            {"class: soft": "class: hard", "missed: 1, skipped: 1, ": "", **slow},
        )
        with loop_node_here(client, config=str(config)):
            assert client.request("configure")
            assert client.request("activate")
            missed = client.status_when(
                lambda s: s.level == ERROR and bool(s.values["fault"]), "the miss is told of"
            )
            assert "a hard deadline was missed" in missed.message
            # Where the guard has judged a cycle that a busy machine had not even begun, no record counts it.
            assert missed["misses"] <= 1
            assert client.state == "active"
            assert client.request("deactivate")
            assert client.request("activate")
            assert client.state == "active"
        told = device.stop()
    assert told["state"] == "SAFE"


def test_a_cycle_that_never_returns_leaves_the_node_unconfigured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stalled(monkeypatch, core.Stall(core.Stage.infer, 20, 0, 4_000_000_000))
    with firmware(tmp_path) as device, Client() as client:
        config = write_config(tmp_path, device.link)
        with loop_node_here(client, config=str(config)):
            assert client.request("configure")
            assert client.request("activate")
            client.status_when(lambda s: s.level == ERROR, "the hang is told of")
            assert not client.request("deactivate")
            assert client.state == "unconfigured"
        told = device.stop()
        wait_for(lambda: "rt:balance" not in thread_names(), "the cycle returns after all")
    assert (told["state"], told["reasons"]) == ("SAFE", ["HOST_STOP"])


def test_an_error_of_ours_is_logged_and_leaves_the_node_unconfigured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> Run:
        raise ZeroDivisionError("a bug")

    with firmware(tmp_path) as device, Client() as client:
        config = write_config(tmp_path, device.link)
        with loop_node_here(client, config=str(config)):
            monkeypatch.setattr("rtloop.nodes.loop_node.Run", broken)
            assert not client.request("configure")
            assert client.state == "unconfigured"
    assert "ZeroDivisionError: a bug" in capfd.readouterr().err


def test_destroying_an_active_node_ends_its_loops(tmp_path: Path) -> None:
    with firmware(tmp_path) as device, Client() as client:
        config = write_config(tmp_path, device.link)
        with loop_node_here(client, config=str(config)):
            assert client.request("configure")
            assert client.request("activate")
            client.status_when(runs, "it runs")
        told = device.stop()
    assert (told["state"], told["reasons"]) == ("SAFE", ["HOST_STOP"])

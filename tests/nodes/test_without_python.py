"""Topics while the interpreter stands still: nothing of a sample's way to a command is Python."""

from __future__ import annotations

import ctypes
import os
import time
from pathlib import Path

import pytest

from rtloop.config import load
from rtloop.ports.topic import TopicOutputPort
from rtloop.run import Run
from rtloop.telemetry.observe.ring import Ring
from tests.nodes.programs import started
from tests.nodes.ros import Client
from tests.nodes.test_topic_ports import JOINTS, Listener, graph, written
from tests.running import rings_of

HELD_US = 500_000


def test_while_one_call_keeps_the_gil_samples_come_and_commands_leave(tmp_path: Path) -> None:
    pytest.importorskip("sensor_msgs", reason="no sensor_msgs: install rtloop[ros]")
    path = written(tmp_path, f"{JOINTS}, max_age_ms: 5000")
    with started("joint_publisher"), graph() as (_, made), Client() as client:
        listener = Listener(client)
        run = Run(load(path), record=False, graph=made)
        run.start()
        try:
            client.spin_until(lambda: len(listener.heard) > 10, "it runs")
            (ring,) = rings_of(os.getpid())
            ports = run.loops["balance"].ports
            (commands,) = (port for port in ports if isinstance(port, TopicOutputPort))
            published, began_ns = commands.counters()["published"], time.monotonic_ns()
            ctypes.PyDLL(None).usleep(HELD_US)
            ended_ns = time.monotonic_ns()
            published = commands.counters()["published"] - published
            batch = Ring(ring).read()
        finally:
            run.stop()
    records = batch.records
    inside = (records["start_ns"] > began_ns) & (records["finish_ns"] < ended_ns)
    # 50 cycles and 250 messages; a busy machine has fewer.
    assert len(set(batch.inputs[inside][:, 0].tolist())) > 10
    assert published > 10

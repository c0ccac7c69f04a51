"""A loop of loop_node between topics: what comes in, what goes out, and what is said of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from rtloop import core
from rtloop.telemetry.observe.ring import Ring
from tests.nodes.ros import OK, WARN, Client, Float64MultiArray, loop_node_here, runs
from tests.running import POLICY, rings_of

LOOP = """\
loops:
  balance:
    class: soft
    rate_hz: 200
    inputs:
      cart:
        topic: cart
        type: std_msgs/msg/Float64MultiArray
        fields: ["data[0]", "data[1]", "data[2]", "data[3]"]
        max_age_ms: 400
    policy: {{model: {policy}, observation: [{{input: cart}}]}}
    outputs:
      force:
        topic: force
        type: std_msgs/msg/Float64MultiArray
        joints: [cart]
        fields: [data]
        safe: 0.25
        receiver_times_out: false
    realtime: {{scheduler: other, lock_memory: false, cpu_dma_latency_us: null}}
    max_share: {{missed: 1, skipped: 1, stale: 1, held: 1}}
"""


def test_a_loop_reads_one_topic_and_commands_another_through_the_lifecycle(tmp_path: Path) -> None:
    path = tmp_path / "loop.yaml"
    path.write_text(LOOP.format(policy=POLICY))
    heard: list[float] = []

    def listen(message: Any) -> None:
        heard.append(message.data[0])

    with Client() as client:
        client.node.create_subscription(Float64MultiArray, "/force", listen, 10)
        publisher = client.node.create_publisher(Float64MultiArray, "/cart", 10)
        timer = client.node.create_timer(
            0.01, lambda: publisher.publish(Float64MultiArray(data=[0.0, 0.0, 0.1, 0.0]))
        )
        with loop_node_here(client, config=str(path)) as (node, _):
            assert client.request("configure")
            assert client.request("activate"), node.state.failure
            client.status_when(runs, "it runs")
            source = client.named_when("/loop_node: balance.cart", lambda s: s.level == OK)
            assert float(source.values["rate_hz"]) > 10
            client.spin_until(lambda: len(heard) > 20, "commands")
            assert any(abs(command) > 0.3 for command in heard)
            client.node.destroy_timer(timer)
            stale = client.named_when("/loop_node: balance.cart", lambda s: s.level == WARN)
            assert stale.message.startswith("stale in ")
            assert client.request("deactivate")
            client.spin_until(lambda: heard[-1] == 0.25, "the safe command is the last")
            assert client.request("cleanup")
            assert "/force" not in dict(
                node.get_publisher_names_and_types_by_node("loop_node", "/")
            )


def test_a_loop_is_released_by_the_messages_of_a_topic(tmp_path: Path) -> None:
    path = tmp_path / "loop.yaml"
    text = LOOP.format(policy=POLICY)
    clock = "rate_hz: 100\n    clock: {input: cart, timeout_ms: 2000}"
    path.write_text(text.replace("rate_hz: 200", clock))

    with Client() as client:
        publisher = client.node.create_publisher(Float64MultiArray, "/cart", 10)
        message = Float64MultiArray(data=[0.0, 0.0, 0.1, 0.0])
        timer = client.node.create_timer(0.05, lambda: publisher.publish(message))
        with loop_node_here(client, config=str(path)) as (node, _):
            assert client.request("configure")
            assert client.request("activate"), node.state.failure
            client.status_when(runs, "it runs")
            # 20 Hz: far more often than the time-out, far less often than the rate.
            (ring,) = rings_of(os.getpid())
            client.spin_until(lambda: len(Ring(ring).read()) > 15, "cycles")
            records = Ring(ring).read().records
            client.node.destroy_timer(timer)
            assert client.request("deactivate")
    came = (records["events"] & core.EVENTS["timed_out"]) == 0
    assert came.sum() > 10
    assert records["skipped"][came].sum() > came.sum(), "most releases of a loop of 100 Hz"
    assert (records["release_ns"] <= records["start_ns"]).all()

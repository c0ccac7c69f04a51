"""What /diagnostics says of the topics of a loop, and of who is at their other ends, over real DDS."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rtloop.config import load
from tests.nodes.ros import OK, WARN, Client, Float64MultiArray, Status, loop_node_here
from tests.nodes.test_topic_ports import TWIST, Listener, twist, written
from tests.running import edited

# After ros.py has skipped all of it without rclpy.
from geometry_msgs.msg import TwistStamped  # isort: skip
from rclpy.duration import Duration  # isort: skip
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy  # isort: skip

TOLD, ARM = "/loop_node: balance.told", "/loop_node: balance.arm"
#: Of an input that need not come for the loop to run.
OPTIONAL = f"{TWIST}, max_age_ms: 200, on_stale: {{use: [0, 0]}}"


def activated(client: Client) -> None:
    assert client.request("configure")
    assert client.request("activate")


def says(*texts: str) -> Callable[[Status], bool]:
    return lambda status: all(text in status.message for text in texts)


def is_fresh(status: Status) -> bool:
    return status.message == "fresh"


def test_a_topic_is_told_of_with_what_is_at_its_other_end(tmp_path: Path) -> None:
    config = written(tmp_path, OPTIONAL)
    (note,) = load(config).loops["balance"].outputs["arm"].notes("arm")
    assert "the last command stands for ever" in note
    with Client() as client, loop_node_here(client, config=str(config)):
        activated(client)
        told = client.named_when(TOLD, says("no sample yet; stale in "))
        assert told.level == WARN
        assert ". No message came on /cmd_vel: nobody publishes it. Look at" in told.message
        assert (told.values["topic"], told["messages"]) == ("/cmd_vel", 0)
        arm = client.named_when(ARM, says("nobody subscribes"))
        assert (arm.level, arm.message) == (WARN, f"nobody subscribes to /commands; {note}")
        assert (arm.values["topic"], arm["subscriptions"]) == ("/commands", 0)
        assert arm.values["receiver_times_out"] == "False"

        Listener(client)
        arm = client.named_when(ARM, lambda status: status.level == OK)
        assert (arm.message, arm["subscriptions"]) == (note, 1)
        assert arm["published"] > 0

        publisher = client.node.create_publisher(TwistStamped, "cmd_vel", 10)
        timer = client.node.create_timer(0.01, lambda: publisher.publish(twist(0.5, -0.25)))
        told = client.named_when(TOLD, is_fresh)
        assert told.level == OK
        assert told["messages"] > 0
        assert told["publishers_seen"] == 1
        client.node.destroy_timer(timer)
        late = client.named_when(TOLD, says("stale in ", "/cmd_vel: /test_client publishes it"))
        assert late.level == WARN
        client.node.destroy_publisher(publisher)
        gone = client.named_when(TOLD, says("stale in ", ". /cmd_vel: nobody publishes it"))
        assert gone.level == WARN

        # Whoever was told of is not silent afterwards: an aggregator would make an error of that.
        assert client.request("deactivate")
        for name in (TOLD, ARM):
            assert client.named_when(name, says("inactive")).level == OK
        assert client.request("cleanup")
        client.named_when("/loop_node: lifecycle", says("unconfigured"))
        client.named_when("/loop_node: lifecycle", says("unconfigured"))
        assert TOLD not in client.named


def test_who_does_not_fit_together_with_it_is_told_while_it_is_there(tmp_path: Path) -> None:
    config = written(tmp_path, f"{OPTIONAL}, qos: default")
    best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    apart = "/test_client and this loop do not fit together: "
    with Client() as client, loop_node_here(client, config=str(config)):
        activated(client)
        unheard = client.node.create_publisher(TwistStamped, "cmd_vel", best_effort)
        told = client.named_when(TOLD, says(f"/cmd_vel: {apart}"))
        assert told.level == WARN
        assert told.message.count(apart) == 1
        heard = client.node.create_publisher(TwistStamped, "cmd_vel", 10)
        client.node.create_timer(0.01, lambda: heard.publish(twist(0.5, -0.25)))
        told = client.named_when(TOLD, says("fresh; ", f"/cmd_vel: {apart}"))
        assert (told.level, told["incompatible_qos"]) == (WARN, 1)
        client.node.destroy_publisher(unheard)
        assert client.named_when(TOLD, is_fresh).level == OK

        deaf = client.node.create_subscription(
            Float64MultiArray, "commands", lambda _: None, latched
        )
        arm = client.named_when(ARM, says(f"/commands: {apart}"))
        assert (arm.level, arm["subscriptions"]) == (WARN, 0)
        assert "nobody subscribes" not in arm.message
        Listener(client)
        arm = client.named_when(ARM, lambda status: status["subscriptions"] == 1)
        assert arm.level == WARN
        assert f"/commands: {apart}" in arm.message
        client.node.destroy_subscription(deaf)
        assert client.named_when(ARM, lambda status: status.level == OK)["subscriptions"] == 1


def test_messages_that_make_no_sample_are_the_reason_for_a_stale_input(tmp_path: Path) -> None:
    config = written(tmp_path, f"{OPTIONAL}, stamp: header")
    with Client() as client, loop_node_here(client, config=str(config)):
        activated(client)
        publisher = client.node.create_publisher(TwistStamped, "cmd_vel", 10)
        is_stamped = True

        def send() -> None:
            message = twist(0.5, -0.25)
            if is_stamped:
                message.header.stamp = client.node.get_clock().now().to_msg()
            publisher.publish(message)

        client.node.create_timer(0.01, send)
        client.named_when(TOLD, is_fresh)
        is_stamped = False
        told = client.named_when(TOLD, says("stale in ", "could not be used: "))
        assert told.level == WARN
        assert "messages on /cmd_vel" in told.message
        assert told.message.endswith("its header's stamp is 0: the publisher leaves it out")
        assert told["unstamped"] > 0


def test_a_deadline_that_was_missed_since_is_told_in_the_words_of_the_log(tmp_path: Path) -> None:
    config = written(tmp_path, f"{TWIST}, qos: {{deadline_ms: 200}}")
    promised = QoSProfile(depth=1, deadline=Duration(seconds=0.2))
    with Client() as client, loop_node_here(client, config=str(config)):
        publisher = client.node.create_publisher(TwistStamped, "cmd_vel", promised)
        timer = client.node.create_timer(0.01, lambda: publisher.publish(twist(0.5, -0.25)))
        activated(client)
        assert client.named_when(TOLD, is_fresh).level == OK
        client.node.destroy_timer(timer)
        told = client.named_when(TOLD, says("no message within the deadline that its `qos`"))
        assert told.level == WARN
        assert told["deadline_missed"] > 0


def test_an_output_that_is_called_as_an_input_is_has_a_status_of_its_own(tmp_path: Path) -> None:
    config = edited(
        written(tmp_path, OPTIONAL),
        {
            "told: {": "arm: {",
            "input: told": "input: arm",
            "safe: [-1, -2]": "safe: [-1, -2]\n        receiver_times_out: true",
        },
    )
    with Client() as client, loop_node_here(client, config=str(config)):
        Listener(client)
        activated(client)
        told = client.named_when(f"{ARM} (output)", lambda status: status.level == OK)
        assert told.message == "in order"
        assert told.values["receiver_times_out"] == "True"
        assert "rate_hz" in client.named_when(ARM, lambda status: status.level == WARN).values

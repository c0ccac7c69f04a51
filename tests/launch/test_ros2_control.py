"""The example between two controllers: its files fit each other, and what these controllers really do.

Their names, types and topics are those of joint_state_broadcaster and forward_command_controller in Jazzy's
ros2_controllers: the broadcaster publishes sensor_msgs/msg/JointState on `joint_states`, with the joints in an
order of its own; the controller takes a std_msgs/msg/Float64MultiArray on `~/commands`, as many finite numbers
as it has joints, in the order of its parameter, and keeps the last one for ever.
"""

from __future__ import annotations

import threading
import xml.etree.ElementTree as ET
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from rtloop.config import load
from tests.launch.places import ROOT
from tests.launch.stand_in import context, described
from tests.running import wait_for

FOLDER = ROOT / "examples/ros2_control"
CONTROLLERS: dict[str, Any] = {
    name: content["ros__parameters"]
    for name, content in yaml.safe_load((FOLDER / "controllers.yaml").read_text()).items()
}
BROADCASTER, FORWARDER = "joint_state_broadcaster", "forward_position_controller"


def interfaces(kind: str) -> dict[str, list[str]]:
    """Of each joint of the robot under <ros2_control>."""
    control = ET.parse(FOLDER / "robot.urdf").getroot().find("ros2_control")
    assert control is not None
    return {
        joint.attrib["name"]: [each.attrib["name"] for each in joint.findall(kind)]
        for joint in control.findall("joint")
    }


def test_the_loop_reads_what_the_broadcaster_publishes() -> None:
    config = load(FOLDER / "loop.yaml")
    section: Any = config.loops["arm"].inputs["joints"]
    assert CONTROLLERS[BROADCASTER]["type"] == "joint_state_broadcaster/JointStateBroadcaster"
    assert "use_local_topics" not in CONTROLLERS[BROADCASTER]
    assert (section.topic, section.type) == ("joint_states", "sensor_msgs/msg/JointState")
    states = interfaces("state_interface")
    assert set(section.joints) <= set(states)
    assert all(set(section.fields) <= set(states[joint]) for joint in section.joints)


def test_the_loop_writes_what_the_controller_takes() -> None:
    config = load(FOLDER / "loop.yaml")
    section: Any = config.loops["arm"].outputs["arm"]
    parameters = CONTROLLERS[FORWARDER]
    assert parameters["type"] == "forward_command_controller/ForwardCommandController"
    assert section.topic == f"{FORWARDER}/commands"
    assert (section.type, list(section.fields)) == ("std_msgs/msg/Float64MultiArray", ["data"])
    assert list(section.joints) == parameters["joints"]  # by position: the order counts
    assert section.receiver_times_out is False
    commands = interfaces("command_interface")
    assert all(parameters["interface_name"] in commands[joint] for joint in section.joints)
    assert config.loops["arm"].rate_hz <= CONTROLLERS["controller_manager"]["update_rate"]


def test_the_controllers_that_are_spawned_are_those_of_the_file() -> None:
    nodes = [each for each in described("ros2_control.launch.py") if each.kind == "Node"]
    (spawner,) = (node for node in nodes if node.named["executable"] == "spawner")
    names = [each for each in spawner.named["arguments"] if isinstance(each, str)]
    assert names == [BROADCASTER, FORWARDER, "--param-file"]
    assert {*CONTROLLERS} == {BROADCASTER, FORWARDER, "controller_manager"}


def test_controllers_that_crash_are_an_error_of_the_launch() -> None:
    nodes = [each for each in described("ros2_control.launch.py") if each.kind == "Node"]
    (manager,) = (node for node in nodes if node.named["executable"] == "ros2_control_node")
    on_exit = manager.named["on_exit"]
    crashed, ended, interrupted = (SimpleNamespace(returncode=code) for code in (-11, 0, -2))
    with pytest.raises(RuntimeError, match="ros2_control_node ended with exit code -11"):
        on_exit(crashed, context(False)).named["function"](context(False))
    assert on_exit(ended, context(False)).kind == "Shutdown"
    assert on_exit(interrupted, context(False)) is None
    assert on_exit(crashed, context(True)) is None


def test_the_loop_runs_between_stand_ins_for_the_controllers() -> None:
    """Joints in the broadcaster's order and with joints of others; commands to where a controller listens."""
    rclpy = pytest.importorskip("rclpy", reason="no rclpy: source setup.bash, or rtloop[ros]")
    pytest.importorskip("sensor_msgs", reason="no sensor_msgs: install rtloop[ros]")
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.parameter import Parameter
    from sensor_msgs.msg import JointState
    from std_msgs.msg import Float64MultiArray

    from rtloop.nodes.loop_node import LoopNode

    context = rclpy.Context()
    rclpy.init(context=context)
    executor = SingleThreadedExecutor(context=context)  # the controller manager's
    given = {"config": str(FOLDER / "loop.yaml"), "record": False}
    node = LoopNode(
        context=context,
        parameter_overrides=[Parameter(name, value=value) for name, value in given.items()],
    )
    manager = rclpy.create_node("controller_manager", context=context)
    # SystemDefaultsQoS of rclcpp is reliable and volatile, as a depth alone is.
    states = manager.create_publisher(JointState, "joint_states", 10)
    commands: list[list[float]] = []
    manager.create_subscription(
        Float64MultiArray,
        f"{FORWARDER}/commands",
        lambda message: commands.append(list(message.data)),
        10,
    )
    message = JointState(
        name=["knee", "gripper", "hip"], position=[-0.5, 9.0, 0.25], velocity=[0.0, 9.0, 2.0]
    )

    def broadcast() -> None:
        message.header.stamp = manager.get_clock().now().to_msg()
        states.publish(message)

    manager.create_timer(0.005, broadcast)
    executor.add_node(manager)
    thread = threading.Thread(target=executor.spin)
    thread.start()
    try:
        assert node.trigger_configure().name == "SUCCESS"
        assert node.trigger_activate().name == "SUCCESS"
        expected = pytest.approx([0.98 * 0.25 - 0.01 * 2.0, 0.98 * -0.5], abs=1e-6)
        wait_for(lambda: commands[-1:] == [expected], "commands come, joints by name", 30)
        assert node.trigger_deactivate().name == "SUCCESS"
        wait_for(lambda: commands[-1] == [0.0, 0.0], "the safe command comes last", 30)
    finally:
        node.destroy_node()
        executor.shutdown()
        thread.join()
        manager.destroy_node()
        rclpy.try_shutdown(context=context)

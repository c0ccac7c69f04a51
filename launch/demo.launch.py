"""The demo as a ROS 2 system: a simulated microcontroller, and the loop that balances its cart-pole.

Start it with ``ros2 launch rtloop demo.launch.py``, watch it with ``ros2 topic echo /diagnostics``.
"""

import os
import signal
import tempfile

from launch import LaunchContext, LaunchDescription
from launch.action import Action
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    ExecuteProcess,
    OpaqueFunction,
    RegisterEventHandler,
    Shutdown,
)
from launch.event_handlers import OnProcessExit, OnProcessIO
from launch.events import matches_action
from launch.events.process import ProcessExited, ProcessIO, SignalProcess
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import LifecycleNode
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import ChangeState
from launch_ros.substitutions import ExecutableInPackage, FindPackageShare
from lifecycle_msgs.msg import Transition


def generate_launch_description() -> LaunchDescription:
    """Device ready → configure → activate. Whatever ends it, the loop goes first, then its device."""
    # Nothing here imports rtloop: `ros2` may run on another Python than the node.
    files = PathJoinSubstitution([FindPackageShare("rtloop"), "config"])
    arguments = [
        DeclareLaunchArgument(
            "config",
            default_value=PathJoinSubstitution([files, "cartpole.yaml"]),
            description="loops whose only link is named cart",
        ),
        DeclareLaunchArgument(
            "params_file",
            default_value=PathJoinSubstitution([files, "demo.params.yaml"]),
            description="parameters of loop_node",
        ),
    ]

    def fail(problem: str) -> Action:
        def raise_it(context: LaunchContext) -> None:
            # launch has no other way to an exit code.
            if not context.is_shutdown:
                raise RuntimeError(f"{problem}: the log above says why")

        return OpaqueFunction(function=raise_it)

    def when_the_device_is_gone(event: ProcessExited, context: LaunchContext) -> Action | None:
        if context.is_shutdown:  # not a second time: launch_ros does not bear it
            return None
        if event.returncode != 0:
            return fail(f"the device ended with exit code {event.returncode}")
        return Shutdown(reason="no device")

    device = os.path.join(tempfile.gettempdir(), f"rtloop-demo-{os.getpid()}")
    # launch sends SIGINT to all its processes at once, as Ctrl-C does in a terminal, and none when it is
    # killed. A board outlives its host: this one ends by SIGTERM, or, an orphan, once no host holds it ACTIVE.
    firmware = ExecuteProcess(
        name="firmware",
        output="screen",
        cmd=[
            ExecutableInPackage("rtloop-firmware", "rtloop"),
            *("cartpole", "--pty", device, "--die-with-parent", "--ignore-interrupt"),
        ],
        # After loop_node, which has its own 2 × 10 s.
        sigterm_timeout="25",
        on_exit=when_the_device_is_gone,
    )
    loop_node = LifecycleNode(
        package="rtloop",
        executable="loop_node",
        exec_name="loop_node",
        name="loop_node",
        namespace="",
        prefix="setpriv --pdeathsig TERM",  # no orphan
        output="screen",
        sigterm_timeout="10",
        sigkill_timeout="10",
        parameters=[
            LaunchConfiguration("params_file"),
            {"config": LaunchConfiguration("config"), "links.cart.device": device},
        ],
    )

    def request(transition_id: int) -> EmitEvent:
        is_ours = matches_action(loop_node)
        return EmitEvent(
            event=ChangeState(lifecycle_node_matcher=is_ours, transition_id=transition_id)
        )

    def when_ready(event: ProcessIO) -> EmitEvent | None:
        return request(Transition.TRANSITION_CONFIGURE) if b"READY" in event.text else None

    def failed(start: str, goal: str, problem: str) -> RegisterEventHandler:
        return RegisterEventHandler(
            OnStateTransition(
                target_lifecycle_node=loop_node,
                start_state=start,
                goal_state=goal,
                entities=[fail(problem)],
            )
        )

    def when_the_loop_is_gone(event: ProcessExited, context: LaunchContext) -> list[Action]:
        end_device = EmitEvent(
            event=SignalProcess(
                signal_number=signal.SIGTERM, process_matcher=matches_action(firmware)
            )
        )
        if event.returncode != 0:
            return [end_device, fail(f"loop_node ended with exit code {event.returncode}")]
        return [end_device]

    return LaunchDescription(
        [
            *arguments,
            RegisterEventHandler(OnProcessIO(target_action=firmware, on_stdout=when_ready)),
            RegisterEventHandler(
                OnStateTransition(
                    target_lifecycle_node=loop_node,
                    # Without it a deactivate by hand, which also ends in inactive, would be undone.
                    start_state="configuring",
                    goal_state="inactive",
                    entities=[request(Transition.TRANSITION_ACTIVATE)],
                )
            ),
            failed("configuring", "unconfigured", "the loop could not be configured"),
            failed("activating", "inactive", "the loop could not be activated"),
            failed("errorprocessing", "unconfigured", "the loop failed"),
            RegisterEventHandler(
                OnProcessExit(target_action=loop_node, on_exit=when_the_loop_is_gone)
            ),
            firmware,
            loop_node,
        ]
    )

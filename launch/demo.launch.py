"""The demo as a ROS 2 system: a simulated microcontroller, and the loop that balances its cart-pole.

Start it with ``ros2 launch rtloop demo.launch.py``, watch it with ``ros2 topic echo /diagnostics``.
"""

import os
import signal
import tempfile

from launch import LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    ExecuteProcess,
    RegisterEventHandler,
    Shutdown,
)
from launch.event_handlers import OnProcessExit, OnProcessIO
from launch.events import matches_action
from launch.events.process import ProcessIO, SignalProcess
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import LifecycleNode
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import ChangeState
from launch_ros.substitutions import ExecutableInPackage, FindPackageShare
from lifecycle_msgs.msg import Transition


def generate_launch_description() -> LaunchDescription:
    """Device ready → configure → activate. At the end the loop goes first, then its device."""
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
    device = os.path.join(tempfile.gettempdir(), f"rtloop-demo-{os.getpid()}")
    # Ctrl-C in a terminal reaches a whole session at once, but a board outlives its host: hence setsid.
    firmware = ExecuteProcess(
        name="firmware",
        cmd=[
            "setsid",
            ExecutableInPackage("rtloop-firmware", "rtloop"),
            *("cartpole", "--pty", device, "--die-with-parent"),
        ],
        # Not a second time: launch_ros does not bear it.
        on_exit=lambda _, context: None if context.is_shutdown else Shutdown(reason="no device"),
    )
    loop_node = LifecycleNode(
        package="rtloop",
        executable="loop_node",
        name="loop_node",
        namespace="",
        output="screen",
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
            RegisterEventHandler(
                OnProcessExit(
                    target_action=loop_node,
                    on_exit=EmitEvent(
                        event=SignalProcess(
                            signal_number=signal.SIGTERM, process_matcher=matches_action(firmware)
                        )
                    ),
                )
            ),
            firmware,
            loop_node,
        ]
    )

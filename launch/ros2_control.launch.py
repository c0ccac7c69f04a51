"""A loop between two controllers of ros2_control: joint_state_broadcaster → loop → forward_position_controller.

The files are those of examples/ros2_control: a robot of mock_components, whose joints go to zero; ``files:=``
names a folder of yours. Needs the distribution's ros2_control, ros2_controllers and robot_state_publisher.
"""

import signal

from launch import LaunchContext, LaunchDescription
from launch.action import Action
from launch.actions import (
    DeclareLaunchArgument,
    IncludeLaunchDescription,
    OpaqueFunction,
    RegisterEventHandler,
    Shutdown,
)
from launch.event_handlers import OnProcessExit
from launch.events.process import ProcessExited
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import FileContent, LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare


def generate_launch_description() -> LaunchDescription:
    """Controllers active → loop active: it finds fresh samples, and somebody who hears its commands."""
    share = FindPackageShare("rtloop")
    files = LaunchConfiguration("files")
    controllers = PathJoinSubstitution([files, "controllers.yaml"])
    robot = FileContent(PathJoinSubstitution([files, "robot.urdf"]))
    spawner = Node(
        package="controller_manager",
        executable="spawner",
        arguments=[
            *("joint_state_broadcaster", "forward_position_controller"),
            *("--param-file", controllers),
        ],
        output="screen",
    )
    loop = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(PathJoinSubstitution([share, "launch", "loop.launch.py"])),
        launch_arguments={
            "config": PathJoinSubstitution([files, "loop.yaml"]),
            "autostart": LaunchConfiguration("autostart"),
        }.items(),
    )

    def fail(problem: str) -> Action:
        def raise_it(_: LaunchContext) -> None:
            raise RuntimeError(f"{problem}: the log above says why")

        return OpaqueFunction(function=raise_it)

    def when_spawned(event: ProcessExited, context: LaunchContext) -> list[Action]:
        if event.returncode == 0:
            return [loop]
        return [] if context.is_shutdown else [fail("the controllers could not be started")]

    def when_the_controllers_are_gone(
        event: ProcessExited, context: LaunchContext
    ) -> Action | None:
        # Interrupted with launch, it may be gone before launch knows that it is to end.
        if context.is_shutdown or event.returncode == -signal.SIGINT:
            return None
        if event.returncode != 0:
            return fail(f"ros2_control_node ended with exit code {event.returncode}")
        return Shutdown(reason="no controllers")

    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "files",
                default_value=PathJoinSubstitution([share, "examples", "ros2_control"]),
                description="folder with robot.urdf, controllers.yaml and loop.yaml",
            ),
            DeclareLaunchArgument(
                "autostart",
                default_value="true",
                description="of the loop, once there are controllers",
            ),
            Node(
                package="robot_state_publisher",
                executable="robot_state_publisher",
                parameters=[{"robot_description": ParameterValue(robot, value_type=str)}],
                output="screen",
            ),
            Node(
                package="controller_manager",
                executable="ros2_control_node",
                parameters=[controllers],
                output="screen",
                on_exit=when_the_controllers_are_gone,
            ),
            spawner,
            RegisterEventHandler(OnProcessExit(target_action=spawner, on_exit=when_spawned)),
        ]
    )

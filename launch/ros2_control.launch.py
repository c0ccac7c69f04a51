"""A loop between two controllers of ros2_control: joint_state_broadcaster → loop → forward_position_controller.

The files are those of examples/ros2_control: a robot of mock_components, whose joints go to zero; ``files:=``
names a folder of yours. Needs the distribution's ros2_control, ros2_controllers and robot_state_publisher.
"""

from launch import LaunchContext, LaunchDescription
from launch.action import Action
from launch.actions import (
    DeclareLaunchArgument,
    IncludeLaunchDescription,
    OpaqueFunction,
    RegisterEventHandler,
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

    def when_spawned(event: ProcessExited, context: LaunchContext) -> list[Action]:
        def fail(_: LaunchContext) -> None:
            raise RuntimeError("the controllers could not be started: spawner's log above says why")

        if event.returncode == 0:
            return [loop]
        return [] if context.is_shutdown else [OpaqueFunction(function=fail)]

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
            ),
            spawner,
            RegisterEventHandler(OnProcessExit(target_action=spawner, on_exit=when_spawned)),
        ]
    )

"""The loops of one file as a managed node, on a real robot.

Start it with ``ros2 launch rtloop loop.launch.py config:=robot.yaml autostart:=true``.
``loop.launch.yaml`` is the same in YAML, to be included or copied where launch files are not programs.
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution, PythonExpression
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare


def generate_launch_description() -> LaunchDescription:
    """One loop_node. With autostart it is active by itself, again after a respawn, too."""
    # Nothing here imports rtloop: `ros2` may run on another Python than the node.
    default_parameters = PathJoinSubstitution(
        [FindPackageShare("rtloop"), "config", "loop.params.yaml"]
    )
    cpus = LaunchConfiguration("cpus")
    return LaunchDescription(
        [
            DeclareLaunchArgument("config", description="path of the YAML file of the loops"),
            DeclareLaunchArgument(
                "name", default_value="loop_node", description="name of the node"
            ),
            DeclareLaunchArgument("namespace", default_value="", description="of the node"),
            DeclareLaunchArgument(
                "params_file",
                default_value=default_parameters,
                description="parameters of loop_node",
            ),
            DeclareLaunchArgument(
                "autostart",
                default_value="false",
                description="configure and activate without being asked: the robot moves",
            ),
            DeclareLaunchArgument(
                "respawn",
                default_value="false",
                description="start the node again when it has ended",
            ),
            DeclareLaunchArgument("log_level", default_value="info", description="of the node"),
            DeclareLaunchArgument(
                "cpus",
                default_value="",
                description="CPUs of the node but for the loops, such as 0,2-3; a loop's own are "
                "cpu_affinity in its file",
            ),
            DeclareLaunchArgument(
                "nice",
                default_value="0",
                description="of the node but for the loops; a loop's own is thread_priority in "
                "its file",
            ),
            Node(
                package="rtloop",
                executable="loop_node",
                exec_name="loop_node",  # of the process; else that of the prefix
                name=LaunchConfiguration("name"),
                namespace=LaunchConfiguration("namespace"),
                # A launch that is killed would leave behind a robot that nobody stops.
                prefix=[
                    "setpriv --pdeathsig TERM nice -n ",
                    LaunchConfiguration("nice"),
                    PythonExpression(["' taskset -c ", cpus, "' if '", cpus, "' else ''"]),
                ],
                parameters=[
                    LaunchConfiguration("params_file"),
                    {
                        "config": ParameterValue(LaunchConfiguration("config"), value_type=str),
                        "autostart": ParameterValue(
                            LaunchConfiguration("autostart"), value_type=bool
                        ),
                    },
                ],
                ros_arguments=["--log-level", LaunchConfiguration("log_level")],
                respawn=LaunchConfiguration("respawn"),
                respawn_delay=2.0,
                # The loops end within a cycle; the recording may take longer.
                sigterm_timeout="15",
                sigkill_timeout="15",
                output="screen",
            ),
        ]
    )

"""A program for test_topic_ports: a node that publishes cmd_vel at 100 Hz and prints what it hears."""

from __future__ import annotations

import rclpy
from geometry_msgs.msg import TwistStamped
from std_msgs.msg import Float64MultiArray


def main() -> None:
    rclpy.init()
    node = rclpy.create_node("peer")
    publisher = node.create_publisher(TwistStamped, "cmd_vel", 10)
    message = TwistStamped()
    message.twist.linear.x, message.twist.angular.z = 0.5, -0.25
    node.create_subscription(
        Float64MultiArray, "commands", lambda m: print(list(m.data), flush=True), 10
    )
    node.create_timer(0.01, lambda: publisher.publish(message))
    rclpy.spin(node)


if __name__ == "__main__":
    main()

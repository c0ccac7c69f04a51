"""A program for tests: publishes joint_states at 500 Hz, the joints in another order each time.

In the nth message hip is at n and knee at -n, and there are joints of others.
"""

from __future__ import annotations

import itertools
import random
import signal

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import JointState


def main() -> None:
    stops: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _frame: stops.append(number))
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node("joint_publisher")
    publisher = node.create_publisher(JointState, "joint_states", 10)
    numbers = itertools.count(1)

    def publish() -> None:
        n = float(next(numbers))
        joints = [("hip", n), ("knee", -n), ("ankle", 1e6), ("toe", 2e6)]
        random.shuffle(joints)
        names, positions = zip(*joints, strict=True)
        publisher.publish(JointState(name=list(names), position=list(positions)))

    node.create_timer(0.002, publish)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    while not stops:
        executor.spin_once(timeout_sec=0.1)
    executor.shutdown()
    node.destroy_node()
    rclpy.try_shutdown()


if __name__ == "__main__":
    main()

"""A program for tests: prints what it hears on commands, which it confirms."""

from __future__ import annotations

import signal

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions
from std_msgs.msg import Float64MultiArray


def main() -> None:
    stops: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _frame: stops.append(number))
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node("command_listener")
    node.create_subscription(
        Float64MultiArray, "commands", lambda m: print(list(m.data), flush=True), 100
    )
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    while not stops:
        executor.spin_once(timeout_sec=0.1)
    executor.shutdown()
    node.destroy_node()
    rclpy.try_shutdown()


if __name__ == "__main__":
    main()

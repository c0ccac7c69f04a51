"""A program for test_topic_ports: it runs a loop between topics, and ends without ending it."""

from __future__ import annotations

import atexit
import gc
import os
import sys
import threading

import rclpy
from geometry_msgs.msg import TwistStamped

from rtloop.config import load
from rtloop.nodes.graph import RclpyGraph
from rtloop.run import Run


def main(path: str, how: str) -> None:
    rclpy.init()
    node, feeder = rclpy.create_node("leaver"), rclpy.create_node("feeder")
    publisher = feeder.create_publisher(TwistStamped, "cmd_vel", 10)
    stop = threading.Event()

    def feed() -> None:
        while not stop.wait(0.01):
            publisher.publish(TwistStamped())

    feeding = threading.Thread(target=feed)
    feeding.start()
    run = Run(load(path), record=False, graph=RclpyGraph(node))
    run.start()
    if how == "forked":
        child = os.fork()
        if child == 0:
            # Not through exit(): the logging of ROS waits there for a thread that only its parent has.
            atexit._run_exitfuncs()
            del run
            gc.collect()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert run.state == "active"
    stop.set()
    feeding.join()
    if how == "destroyed":
        node.destroy_node()
        feeder.destroy_node()
        rclpy.shutdown()
    print("left", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])

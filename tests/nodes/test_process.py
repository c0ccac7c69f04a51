"""The main thread of a node's process, which does what others ask for, and hears signals."""

from __future__ import annotations

import signal
import threading
import time

from tests.nodes.ros import rclpy  # noqa: F401  skips all of it where there is none

from rtloop.nodes.process import MainThread  # isort: skip


def test_a_signal_at_the_end_of_a_wait_makes_it_no_longer() -> None:
    main = MainThread()
    rescued = threading.Event()

    def rescue() -> None:
        rescued.set()
        main.do(lambda: None)

    before = signal.signal(signal.SIGUSR1, lambda *_: time.sleep(0.3))
    here = threading.get_ident()
    strike = threading.Timer(0.03, signal.pthread_kill, (here, signal.SIGUSR1))
    late = threading.Timer(5.0, rescue)
    try:
        strike.start()
        late.start()
        main.serve(0.1)
        assert not rescued.is_set()
    finally:
        late.cancel()
        strike.join()
        signal.signal(signal.SIGUSR1, before)

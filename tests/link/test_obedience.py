"""A device that does not do as it is told, in a whole run: never exit code 0."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from rtloop.config import load
from rtloop.run import Run, exit_code
from tests.running import UNDISTURBED, firmware, write_config


def test_a_stop_that_is_not_confirmed_is_a_problem_and_exit_code_1(tmp_path: Path) -> None:
    with firmware(tmp_path, *UNDISTURBED) as device:
        run = Run(load(write_config(tmp_path, device.link)), "test", record=False)
        run.start()
        run.wait(0.2)
        os.kill(device.pid, signal.SIGSTOP)
        try:
            summary = run.stop()
        finally:
            os.kill(device.pid, signal.SIGCONT)
        assert any("did not confirm STOP" in problem for problem in summary.problems)
        assert exit_code(summary) == 1

"""The walking robot in MuJoCo's own viewer: ``rtloop demo quadruped --viewer`` starts it for each robot.

A process of its own, which only reads what the board writes down: however slow it draws, and when its
window is closed, the robot walks on.
"""

from __future__ import annotations

import argparse
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

import numpy as np
import numpy.typing as npt

from rtloop import child
from rtloop.demos.parent import end_with_parent
from rtloop.demos.quadruped.track import RATE_HZ, Track
from rtloop.errors import RtloopError

_START_S = 30.0
_END_S = 2.0
_NICE = 5


class Window(Protocol):
    """What shows a robot."""

    def is_running(self) -> bool:
        """False once a person has closed it."""

    def show(self, qpos: npt.NDArray[np.float32], time_s: float) -> None:
        """The robot in this pose. May take its time."""


def follow(track: Track, window: Window, period_s: float = 1 / RATE_HZ) -> None:
    """Shows the newest pose again and again, whatever came between, until the window is closed."""
    shown = 0
    next_s = time.monotonic()
    while window.is_running():
        if (count := len(track)) > shown:
            shown = count
            row = track.newest(1)[-1]
            window.show(row["qpos"], float(row["driven_s"]))
        # After a frame that took too long the next one comes at once, and none is made up for.
        next_s = max(next_s + period_s, time.monotonic())
        time.sleep(max(0.0, next_s - time.monotonic()))


def missing_display() -> str:
    """What a window lacks here, and how it is had; may be empty."""
    if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        return ""
    return (
        "--viewer opens a window, and there is no display: neither DISPLAY nor WAYLAND_DISPLAY is set. "
        "Run it on a desktop, through `ssh -X`, or under `xvfb-run`, on a display that nobody sees "
        "(Debian's package xvfb)"
    )


class ViewerProcess:
    """The window of one robot. A context manager: it is open from entry until a person closes it, or exit."""

    program: tuple[str, ...] = ("-m", "rtloop.demos.quadruped.viewer")

    def __init__(self, track: Track, title: str, avoid_cpus: Sequence[int] = ()) -> None:
        self._track = track
        cpus = [option for cpu in avoid_cpus for option in ("--avoid-cpu", str(cpu))]
        arguments = ["--track-fd", str(track.descriptor), "--title", title, *cpus]
        self._command = [*child.python(), *self.program, *arguments]
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> ViewerProcess:
        """Raises RtloopError where no window opens."""
        if missing := missing_display():
            raise RtloopError(missing)
        # A file: what nobody reads out of a pipe would hold the viewer up some day.
        with tempfile.TemporaryFile() as said:
            self.process = subprocess.Popen(
                self._command,
                env=child.environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=said,
                pass_fds=(self._track.descriptor,),
                start_new_session=True,  # Ctrl-C is the run's
            )
            try:
                if not self._is_ready(self.process):
                    said.seek(0)
                    lines = said.read().decode(errors="replace").strip().splitlines()
                    why = lines[-1] if lines else f"it said nothing for {_START_S:g} s"
                    display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
                    raise RtloopError(
                        f"--viewer: MuJoCo's viewer opened no window on the display {display}: {why}"
                    )
            except BaseException:
                self.close()
                raise
        return self

    @staticmethod
    def _is_ready(process: subprocess.Popen[bytes]) -> bool:
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], _START_S)
        return bool(ready) and process.stdout.readline().startswith(b"READY")

    def close(self) -> None:
        """Ends it, also where it hangs."""
        process, self.process = self.process, None
        if process is None:
            return
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_END_S)
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()

    def __exit__(self, *_error: object) -> None:
        self.close()


class _MujocoWindow:
    """MuJoCo's passive viewer; the camera goes along with the trunk."""

    def __init__(self, title: str) -> None:
        import mujoco
        import mujoco.viewer

        from rtloop.demos.quadruped.plant import Plant

        self._mujoco = mujoco
        plant = Plant()  # as it stands before it is driven; only ever posed, never stepped
        self._model, self._data = plant.model, plant.data
        self._viewer = mujoco.viewer.launch_passive(
            self._model, self._data, show_left_ui=False, show_right_ui=False
        )
        with self._viewer.lock():
            camera = self._viewer.cam
            camera.type = mujoco.mjtCamera.mjCAMERA_TRACKING
            camera.trackbodyid = self._model.body("trunk").id
            camera.distance, camera.azimuth, camera.elevation = 1.6, 110.0, -15.0
        self._viewer.set_texts((None, mujoco.mjtGridPos.mjGRID_TOPLEFT, title, ""))
        self._viewer.sync()

    def is_running(self) -> bool:
        return bool(self._viewer.is_running())

    def show(self, qpos: npt.NDArray[np.float32], time_s: float) -> None:
        with self._viewer.lock():
            self._data.qpos[:] = qpos
            self._data.time = time_s
            self._mujoco.mj_forward(self._model, self._data)
        self._viewer.sync()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--track-fd", type=int, required=True, help="where the board writes down")
    parser.add_argument("--title", default="")
    parser.add_argument("--avoid-cpu", type=int, action="append", default=[])
    options = parser.parse_args()
    end_with_parent()
    child.become_ordinary(options.avoid_cpu, nice=_NICE)
    os.chdir("/proc/self")  # where it cannot leave the log file that it writes of errors
    window = _MujocoWindow(options.title)
    print("READY", flush=True)
    follow(Track(options.track_fd), window)
    return 0


if __name__ == "__main__":
    sys.exit(main())

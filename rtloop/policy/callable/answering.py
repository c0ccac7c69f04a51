"""The thread that a policy's Python function runs in: asked by the cycle, never waited for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from rtloop import core
from rtloop.policy.callable.function import FunctionError, PolicyFunction
from rtloop.telemetry.observe.histogram import Histogram
from rtloop.telemetry.observe.statistics import percentiles
from rtloop.telemetry.observe.summary import FunctionTimes

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

#: Calls with zeros before the first release: the first ones of a function import and allocate.
WARM_UP_CALLS = 20
#: They end after this, for a slow function.
WARM_UP_S = 1.0
#: How long a call may go on after the loop has ended, before the thread is left behind.
END_TIMEOUT_S = 1.0
LOOK_S = 0.02
_BATCH = 256


class CallTimes:
    """What calls took, in memory that does not grow. One thread adds; anybody may look."""

    def __init__(self) -> None:
        import numpy as np

        self._wake, self._call = Histogram(), Histogram()
        self._batch: npt.NDArray[np.int64] = np.zeros((2, _BATCH), np.int64)
        self._n = 0
        self._lock = threading.Lock()

    def add(self, wake_ns: int, call_ns: int) -> None:
        """``wake_ns`` from the observation to the call: the thread woke up, and had the interpreter.

        Of one that was left while the call before went on: from the end of that.
        """
        with self._lock:
            self._batch[:, self._n] = wake_ns, call_ns
            self._n += 1
            if self._n == _BATCH:
                self._count()

    def told(self, function: str) -> FunctionTimes:
        with self._lock:
            self._count()
            return FunctionTimes(function, percentiles(self._wake), percentiles(self._call))

    def _count(self) -> None:
        self._wake.add(self._batch[0, : self._n])
        self._call.add(self._batch[1, : self._n])
        self._n = 0


class Answering:
    """One activation: warm and reset once :meth:`start` returns, the function answers until :meth:`end`."""

    def __init__(
        self, function: PolicyFunction, external: core.External, setup: core.ThreadSetup
    ) -> None:
        self._function = function
        self._external = external
        self._setup = setup
        self._times = CallTimes()
        self._is_ready = threading.Event()
        self._why_not = ""
        self._thread = threading.Thread(target=self._run, name=setup.name, daemon=True)

    def start(self, go_on: Callable[[], None]) -> None:
        """While nothing runs the graph. ``go_on`` is called now and then; what it raises ends the wait.

        Raises FunctionError, where a call raises or answers no action.
        """
        self._external.open()
        self._thread.start()
        try:
            while not self._is_ready.wait(LOOK_S):
                go_on()
            if self._why_not:
                raise FunctionError(self._why_not)
        except BaseException:
            self._external.close()
            raise

    def end(self, period_s: float = 0.0) -> bool:
        """After the loop has ended. False where a call hangs: its thread is left behind, and sends nothing.

        One that goes on for a second more than ``period_s``, which is a call's time, hangs.
        """
        self._external.close()
        self._thread.join(END_TIMEOUT_S + period_s)
        return not self._thread.is_alive()

    @property
    def is_this_thread(self) -> bool:
        return threading.current_thread() is self._thread

    def times(self) -> FunctionTimes:
        """So far, without the calls before the first release."""
        return self._times.told(self._function.name)

    def _run(self) -> None:
        try:
            core.apply_to_this_thread(self._setup)
            self._warm_up()
        except BaseException as error:
            self._why_not = str(error) or type(error).__name__
            self._is_ready.set()
            return
        self._is_ready.set()
        try:
            left_ns = 0
            while (question := self._external.next()) is not None:
                observation, asked_ns, _ = question
                entered_ns = time.monotonic_ns()
                wake_ns = entered_ns - max(asked_ns, left_ns)  # before, it was busy by itself
                answer = self._function.answer(observation)
                left_ns = time.monotonic_ns()
                self._external.answer(answer)
                self._times.add(wake_ns, left_ns - entered_ns)
        except BaseException as error:  # the loop is to know of it, whatever it was
            self._external.fail(str(error) or type(error).__name__)

    def _warm_up(self) -> None:
        import numpy as np

        end_s = time.monotonic() + WARM_UP_S
        for _ in range(WARM_UP_CALLS):
            self._function.answer(np.zeros(self._external.question_size, np.float32))
            if time.monotonic() > end_s:
                break
        self._function.reset()

"""Who opens a lost port anew, beside its loop: an ordinary thread for each port that may come back."""

from __future__ import annotations

import contextvars
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from rtloop.errors import StoppedError
from rtloop.ports.port import BackOff, GoneForGoodError, Port
from rtloop.stopping import go_on, stopped_when
from rtloop.telemetry.observe.summary import PortLosses

#: How soon a loss is seen, and a request to end.
LOOK_S = 0.05
#: An attempt looks at the request between any two packets; a driver may hold it up for longer.
END_TIMEOUT_S = 3.0
#: Of a device that comes and goes for days, what is beyond is only counted.
TOLD_MAX = 1000


class Reconnection:
    """Looks after one port of a loop that is active, from :meth:`start` to :meth:`end`.

    The cycle never waits for it. It obeys whoever could stop the start of the loop, too: nothing is
    armed after a request.
    """

    def __init__(
        self, loop: str, port: Port, back_off: BackOff, has_ended: Callable[[], bool]
    ) -> None:
        """``has_ended`` says whether the loop has ended by itself."""
        self.told: list[str] = []
        """What happened, a sentence each; another thread only appends."""
        self._loop = loop
        self._port = port
        self._back_off = back_off
        self._has_ended = has_ended
        self._end_is_requested = False
        self._began_s = 0.0  # when it was lost, the first time since it last held
        self._delay_s = back_off.first_s
        self._back_since_s = float("-inf")
        # The requests to stop that count in this thread count in the other, too.
        context = contextvars.copy_context()
        self._thread = threading.Thread(
            target=context.run, args=(self._run,), name=f"reconnect {port.name}", daemon=True
        )

    def start(self) -> None:
        """The loop is active."""
        self._thread.start()

    def request_end(self) -> None:
        """Returns at once: no attempt begins any more, and one that goes on arms nothing."""
        self._end_is_requested = True

    def end(self) -> None:
        """Afterwards the port is the caller's."""
        self.request_end()
        self._thread.join(END_TIMEOUT_S)

    def losses(self) -> PortLosses:
        """What became of the port since the loop was activated."""
        counters = self._port.core.counters()
        return PortLosses(
            loop=self._loop,
            port=self._port.name,
            hardware_id=self._port.hardware_id,
            losses=counters["losses"],
            reconnections=counters["reconnections"],
            lost_ms=counters["lost_ns"] / 1e6,
            is_armed=self._port.is_armed,
        )

    def _run(self) -> None:
        # Once a stop was asked for there is nothing more to do: the line stays open for the STOP.
        with suppress(StoppedError), stopped_when(lambda: "its end" if self._is_over() else ""):
            while self._waited(LOOK_S):
                if self._port.core.is_lost:
                    self._bring_back()

    def _bring_back(self) -> None:
        now_s = time.monotonic()
        if now_s - self._back_since_s > self._back_off.max_s:
            self._began_s, self._delay_s = now_s, self._back_off.first_s
        else:  # it did not hold: the loss before goes on
            self._double_delay()
        self._tell(f"was lost: {os.strerror(self._port.core.loss_error)}. It is opened anew")
        with suppress(
            Exception
        ):  # a kernel may need it, to give the device its old name; it may also do without
            self._port.let_go()
        failed = ""
        while self._waited(min(self._delay_s, self._left_s())):
            if self._left_s() <= 0:
                self._give_up(f"given up after {self._back_off.give_up_s:g} s{failed}")
                return
            try:
                go_on()
                self._port.reconnect()
            except StoppedError:
                raise
            except GoneForGoodError as error:
                self._give_up(str(error), error.fault)
                return
            except Exception as error:  # a port is anybody's code: not yet, perhaps the next time
                failed = f"; at last: {error}"
                self._double_delay()
            else:
                self._back_since_s = time.monotonic()
                unarmed = "" if self._port.is_armed else ", and not armed (rearm: never)"
                self._tell(f"is back after {self._back_since_s - now_s:.1f} s{unarmed}")
                return

    def _give_up(self, why: str, fault: str = "port_error") -> None:
        self._port.give_up(why, fault)
        self._tell(f"will not come back: {why}")

    def _left_s(self) -> float:
        """Until it is given up."""
        give_up_s = self._back_off.give_up_s
        return float("inf") if give_up_s is None else self._began_s + give_up_s - time.monotonic()

    def _double_delay(self) -> None:
        self._delay_s = min(2 * self._delay_s, self._back_off.max_s)

    def _waited(self, seconds: float) -> bool:
        """False once it is over."""
        end_s = time.monotonic() + seconds
        while not self._is_over():
            left_s = end_s - time.monotonic()
            if left_s <= 0:
                return True
            time.sleep(min(left_s, LOOK_S))
        return False

    def _is_over(self) -> bool:
        return self._end_is_requested or self._has_ended()

    def _tell(self, what: str) -> None:
        self.told.append(
            f"loop '{self._loop}': '{self._port.name}' ({self._port.hardware_id}) {what}"
        )

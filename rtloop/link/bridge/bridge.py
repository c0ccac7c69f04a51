"""Between a device's line and who listens and commands: one thread that keeps the line."""

from __future__ import annotations

import math
import os
import select
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Literal

from rtloop import core
from rtloop.errors import LinkError, StoppedError
from rtloop.link.bridge.told import LOST, SILENT, Counts, Listener, Note, Terms
from rtloop.link.handshake import LinkInfo
from rtloop.link.link import LatchedError, Link
from rtloop.link.messages import DeviceEvent, DeviceState, DeviceStatus, Reason, Sample, told_state
from rtloop.link.watch import Watch
from rtloop.stopping import stopped_when

#: How long what waits on the line is taken, before commands and requests are looked at again.
TAKE_S = 0.001
LOOK_S = 0.05
#: From the loss of the line to the next attempt, doubled up to the second.
FIRST_S, LATER_S = 0.1, 2.0
#: A device that was never armed says something at least as often, or is told of as SILENT.
SILENT_S = 1.0
#: What a request takes at most: HELLO is asked for 3 s, everything else for 1 s.
ANSWER_S = 8.0
_Asked = Literal["arm", "stop", "clear"]


class _Request:
    def __init__(self, asked: _Asked) -> None:
        self.asked = asked
        self.done = threading.Event()
        self.told = ""
        self.error: LinkError | None = None
        self.is_given_up = False


class Bridge:
    """Opened and started, it serves in a thread of its own until :meth:`close`. Any thread may call methods.

    ``info`` is that of the newest handshake; its schema stays: another one is not taken for the same device.
    Everything that ends commanding sends STOP.
    """

    def __init__(self, device: str, baud: int, terms: Terms, listener: Listener) -> None:
        """Opens the device and shakes hands. Raises LinkError, StoppedError."""
        self._device, self._baud, self._terms, self._listener = device, baud, terms, listener
        self.state = ""
        self.rate_hz = 0.0
        """Samples a second, over the last one."""
        self.counts = Counts()
        self.error: BaseException | None = None
        """What ended the thread that serves, if it was not close()."""
        self._lock = threading.Lock()
        self._requests: list[_Request] = []
        self._newest_request: _Request | None = None
        """To arm or to clear; there is one at a time."""
        self._newest: tuple[tuple[float, ...], int] | None = None
        self._is_new = False
        self._is_armed = False
        self._ends = False
        self._timeout_ns = 0
        self._sent_ns = 0
        self._retry_s, self._wait_s, self._told_why = 0.0, FIRST_S, ""
        self._lost_before = self._damaged_before = 0
        """What watches, and links, had counted that are gone."""
        self._link: Link | None
        self._link = self._opened()
        self.info: LinkInfo = self._link.info
        self._watch: Watch = self._link.watch(self._take)
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._serve, name="firmware bridge", daemon=True)

    def start(self) -> None:
        """From now on the listener hears."""
        self._thread.start()

    @property
    def is_armed(self) -> bool:
        return self._is_armed

    @property
    def device_status(self) -> DeviceStatus | None:
        """The device's newest counters; None before it told them."""
        return self._watch.status

    @property
    def age_ns(self) -> int | None:
        """Of the newest sample, now."""
        return self._watch.age_ns

    def command(self, values: Sequence[float]) -> str:
        """The newest command, in the schema's order. Why it is refused; empty where it is not."""
        refusal = self._refusal(values)
        if refusal:
            self.counts.refused_commands += 1
            return refusal
        with self._lock:
            self._newest, self._is_new = (tuple(values), time.monotonic_ns()), True
        self.counts.commands += 1
        self._awake()
        return ""

    def arm(self) -> str:
        """From IDLE, or SAFE after a mere STOP: the next command moves the machine. What came of it, in words.

        Raises LinkError; at once where another :meth:`arm` or :meth:`clear` has not been answered yet.
        """
        return self._ask("arm")

    def stop(self) -> str:
        """SAFE; also while :meth:`arm` goes on, which it ends. Raises LinkError where that is not confirmed."""
        return self._ask("stop")

    def clear(self) -> str:
        """From SAFE to IDLE. Raises LinkError, as :meth:`arm`."""
        return self._ask("clear")

    def close(self) -> bool:
        """STOP, and the end. Whether the device said that it is SAFE. May be called again."""
        if not self._ends:
            self._ends = True
            self._awake()
        if self._thread.is_alive():
            self._thread.join()
        with self._lock:
            if self._wake >= 0:
                os.close(self._wake)
            self._wake = -1
        link, self._link = self._link, None
        if link is None:
            return False
        is_safe = link.stop() is not None
        link.close()
        return is_safe

    # --- for any thread ---

    def _refusal(self, values: Sequence[float]) -> str:
        fields = self.info.schema.commands
        if len(values) != len(fields):
            names = ", ".join(field.name for field in fields)
            return f"found {len(values)} values; expected {len(fields)}: {names}"
        for field, value in zip(fields, values, strict=True):
            if not abs(value) <= _F32_MAX:
                return f"found {value:g} for {field.name}; expected a finite number of 32 bits"
        if not self._is_armed:
            return "the device is not armed: call ~/arm first"
        return ""

    def _ask(self, asked: _Asked) -> str:
        if self._link is None:
            raise LinkError(f"{self._device} is lost, and is being looked for")
        request = _Request(asked)
        with self._lock:
            if self._ends:
                raise LinkError("the bridge has ended")
            if asked == "stop":
                self._newest = None
                self._take_back("stopped by ~/stop, which came after it")
            else:
                before = self._newest_request
                if before is not None and not before.done.is_set():
                    raise LinkError(
                        f"{self._device} was asked to {before.asked}, and has not answered yet"
                    )
                self._newest_request = request
            self._requests.append(request)
        self._awake()
        if not request.done.wait(ANSWER_S):
            self._give_up(request)
        if request.error is not None:
            raise request.error
        return request.told

    def _give_up(self, request: _Request) -> None:
        """Raises LinkError, unless it was just answered. What is told to have failed must not work afterwards,
        but for a STOP."""
        with self._lock:
            if request.done.is_set():
                return
            request.is_given_up = True
            if request.asked != "stop" and request in self._requests:
                self._requests.remove(request)
                request.done.set()
        raise LinkError(
            f"{self._device} was asked to {request.asked}, and {ANSWER_S:g} s later no word"
        )

    def _take_back(self, why: str) -> None:
        """What has not begun, but a stop, never does. With the lock held."""
        for request in self._requests:
            if request.asked != "stop":
                request.error = LinkError(why)
                request.done.set()
        self._requests = [request for request in self._requests if request.asked == "stop"]

    def _awake(self) -> None:
        with self._lock:
            if self._wake >= 0:
                os.eventfd_write(self._wake, 1)

    # --- the thread ---

    def _serve(self) -> None:
        try:
            with stopped_when(self._asked_to_stop):
                while not self._ends:
                    try:
                        self._serve_once()
                    except LinkError as error:
                        self._lose(str(error))
                    except StoppedError:
                        pass  # whoever asked for it is next
        except BaseException as error:
            self.error = error
            if self._link is not None:
                self._link.stop()
            raise
        finally:
            self._is_armed = False
            with self._lock:
                self._ends = True
                left, self._requests = self._requests, []
            for request in left:
                request.error = LinkError("the bridge has ended")
                request.done.set()

    def _asked_to_stop(self) -> str:
        if self._ends:
            return "its end"
        return "~/stop" if any(request.asked == "stop" for request in self._requests) else ""

    def _serve_once(self) -> None:
        while (request := self._next_request()) is not None:
            self._answer(request)
        if self._link is None:
            self._reopen()
            return
        self._drive(time.monotonic_ns())
        # Also where the device says nothing meanwhile, a command is repeated on time.
        look_s = min(LOOK_S, self._repeat_ns / 1e9) if self._is_armed else LOOK_S
        self._wait(self._link.fileno(), look_s)
        for said in self._watch.until(time.monotonic() + TAKE_S):
            if isinstance(said, DeviceEvent):
                self._listener.event(said, max(0, self._watch.since_ns(said.time_us)))
        self._judge()

    def _next_request(self) -> _Request | None:
        """One at a time: a stop takes those back that wait."""
        with self._lock:
            return self._requests.pop(0) if self._requests else None

    def _wait(self, fd: int | None, at_most_s: float = LOOK_S) -> None:
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        if fd is not None:
            poll.register(fd, select.POLLIN)
        poll.poll(1000 * at_most_s)
        with suppress(BlockingIOError):
            os.eventfd_read(self._wake)

    def _drive(self, now_ns: int) -> None:
        """Sends the newest command, again and again while it holds."""
        with self._lock:
            newest, is_new, self._is_new = self._newest, self._is_new, False
        link = self._link
        if link is None or newest is None or not self._is_armed:
            return
        values, received_ns = newest
        hold_ns = int(self._terms.command_hold_ms * 1e6)
        if hold_ns and now_ns - received_ns >= hold_ns:
            self._disarm(Reason.COMMAND_TIMEOUT)
            text = f"no command for {hold_ns / 1e6:g} ms: {self.info.name} was told to stop"
            self._note("held", text)
        elif is_new or (hold_ns and now_ns - self._sent_ns >= self._repeat_ns):
            valid_ns = self._timeout_ns * 7 // 8 - self._watch.clock_error_ns
            link.command(values, self._watch.device_time_us(now_ns + valid_ns))
            self._sent_ns = now_ns

    @property
    def _repeat_ns(self) -> int:
        return self._timeout_ns // 4

    def _judge(self) -> None:
        """What the device has come to, by its newest sample."""
        self._count_losses()
        watch, sample = self._watch, self._watch.sample
        self.rate_hz = watch.rate_hz
        if watch.boot_id != self.info.boot_id:
            self._lose(f"{self.info.name} has restarted", "restarted")
            return
        if self._is_armed and watch.silent_s > self._silence_s:
            self._disarm(Reason.COMMAND_TIMEOUT)
            text = (
                f"{self.info.name} has said nothing for {watch.silent_s:.1f} s: it was told to stop"
            )
            self._note("silent", text)
        if watch.silent_s > max(SILENT_S, self._silence_s):
            self._tell(SILENT)
        elif sample is not None:
            if self._is_armed and sample.state not in (DeviceState.ARMED, DeviceState.ACTIVE):
                self._is_armed = False
                told = told_state(sample.state, sample.reasons)
                self._note("disarmed", f"{self.info.name} is {told}: no command is passed on")
            self._tell(told_state(sample.state, sample.reasons))

    @property
    def _silence_s(self) -> float:
        return max(self._timeout_ns / 1e9, 3 * self.info.sensor_period_us / 1e6, LOOK_S)

    def _disarm(self, reasons: Reason) -> DeviceStatus | None:
        """STOP. The device's answer, if it is SAFE."""
        self._is_armed, self._newest = False, None
        link = self._link
        status = None if link is None else link.stop(reasons)
        self._watch_anew()
        return status

    # --- requests ---

    def _answer(self, request: _Request) -> None:
        was_armed = self._is_armed
        try:
            if self._link is None:
                raise LinkError(f"{self._device} is lost, and is being looked for")
            did = {"arm": self._arm, "stop": self._stop, "clear": self._clear}[request.asked]
            request.told = did(self._link)
        except (LinkError, StoppedError) as error:
            request.error = LinkError(str(error))
        except BaseException as error:  # which ends the thread
            request.error = LinkError(f"asking {self._device} to {request.asked} failed: {error!r}")
            raise
        finally:
            with self._lock:
                request.done.set()
        if request.is_given_up and self._is_armed and not was_armed:
            self._disarm(Reason.HOST_STOP)
            text = f"{self.info.name} was armed when nobody waited for it any more: it was told to stop"
            self._note("disarmed", text)

    def _arm(self, link: Link) -> str:
        if self._is_armed:
            return f"{self.info.name} is armed already"
        timeout_us = round(1000 * self._terms.command_timeout_ms) or self.info.command_timeout_us
        try:
            link.resync()
            link.refuse_unready(link.info.device_state, link.info.reasons, Reason.HOST_STOP)
            link.arm(loop_class=core.CLASSES["soft"], command_timeout_us=timeout_us)
        except LatchedError as error:
            raise LinkError(
                f"{self.info.name} is latched SAFE: {error.reasons.names()}. Find out why; when it may move "
                "again, call ~/clear, then ~/arm"
            ) from error
        except BaseException:
            link.stop()  # it may be ARMED, and the answer lost
            raise
        finally:
            self._watch_anew()
        self._timeout_ns = 1000 * timeout_us
        with self._lock:
            self._newest, self._sent_ns = None, 0
        self._is_armed = True
        return (
            f"{self.info.name} is ARMED: the next command moves it; without one for "
            f"{self._timeout_ns / 1e6:g} ms it latches SAFE"
        )

    def _stop(self, link: Link) -> str:
        status = self._disarm(Reason.HOST_STOP)
        if status is None:
            raise LinkError(
                f"{self.info.name} did not confirm STOP: whether it is SAFE is not known. Stop the machine by "
                "its own means, and go and look"
            )
        return f"{self.info.name} is {told_state(status.state, status.reasons)}"

    def _clear(self, link: Link) -> str:
        before = link.status()
        told = told_state(before.state, before.reasons)
        if before.state != DeviceState.SAFE:
            return f"{self.info.name} is {told}: there is nothing to clear"
        status = link.clear()
        self._watch_anew()
        if status.state != DeviceState.IDLE:
            raise LinkError(
                f"{self.info.name} was not cleared: it is {told_state(status.state, status.reasons)}. Its "
                "machine objects, or the cause is still there: remove it"
            )
        return f"{self.info.name} was {told}, and is IDLE now, not armed"

    # --- the line ---

    def _opened(self) -> Link:
        return Link.open(self._device, self._device, self._baud)

    def _reopen(self) -> None:
        wait_s = self._retry_s - time.monotonic()
        if wait_s > 0:
            self._wait(None, wait_s)
            return
        try:
            link = self._opened()
            if link.info.schema_id != self.info.schema_id:
                link.close()
                raise LinkError(
                    f"'{link.info.name}' on {self._device} has another schema than '{self.info.name}' had: "
                    "another firmware runs now; begin anew"
                )
        except LinkError as error:
            self._wait_s = min(2 * self._wait_s, LATER_S)
            self._retry_s = time.monotonic() + self._wait_s
            if self._told_why != str(error):
                self._told_why = str(error)
                self._note("lost", str(error))
            return
        self._link, self.info, self._watch = link, link.info, link.watch(self._take)
        self.counts.reconnections += 1
        self._told_why = ""
        if self.info.device_state in (DeviceState.ARMED, DeviceState.ACTIVE):
            self._disarm(Reason.HOST_STOP)  # it was not reset: what it was armed for is over
        self._note("back", f"{self.info.name} on {self._device} is back; it is not armed")

    def _lose(self, why: str, what: str = "lost") -> None:
        link, self._link = self._link, None
        self._is_armed, self._newest, self.rate_hz = False, None, 0.0
        self._count_losses()
        self._lost_before, self._damaged_before = (
            self.counts.lost_packets,
            self.counts.damaged_packets,
        )
        if link is not None:
            link.stop()
            link.close()
        self._retry_s, self._wait_s = time.monotonic() + FIRST_S, FIRST_S
        self._tell(LOST)
        self._note(what, why)

    def _take(self, sample: Sample) -> None:
        self.counts.samples += 1
        self._listener.sample(sample)

    def _watch_anew(self) -> None:
        """After a request, which took what came meanwhile."""
        if self._link is not None:
            self._count_losses()
            self._lost_before = self.counts.lost_packets
            self._watch = self._link.watch(self._take)

    def _count_losses(self) -> None:
        self.counts.lost_packets = self._lost_before + self._watch.lost
        self.counts.damaged_packets = self._damaged_before + self._watch.damaged

    def _tell(self, state: str) -> None:
        if state != self.state:
            self.state = state
            self._listener.state(state)

    def _note(self, what: str, text: str) -> None:
        self._listener.event(Note(what, text), 0)


_F32_MAX = math.ldexp(2.0 - math.ldexp(1.0, -23), 127)

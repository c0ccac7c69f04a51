"""What the page says about devices: their clocks, and what they reported."""

import re
from pathlib import Path

import numpy as np

from rtloop import core
from rtloop.report.devices import ErrorOverTime
from tests.telemetry.loops import cycles, port_events

from .test_report import Page, report_of


def page_of(tmp_path: Path, n: int, lost: int = 0) -> Page:
    events = port_events(n + lost)[lost:]
    return report_of(tmp_path, ("balance", "firm", cycles(900)), events=events)


def test_the_clock_of_a_device_is_drawn_with_its_bounds(tmp_path: Path) -> None:
    page = page_of(tmp_path, 39)
    assert page.broken == []
    assert "Error bound of the clock of cart: known to ±26 µs at the end" in page.text
    assert "to ±1 ms at worst; it runs 1.5 ppm faster than the host's" in page.text
    (drawing,) = re.findall(
        r'<svg[^>]*aria-label="Error bound of the clock of cart.*?</svg>', page.source
    )
    assert drawing.count("L") >= 30


def test_a_clock_whose_bound_does_not_hold_is_not_called_known(tmp_path: Path) -> None:
    events = port_events(39)
    events["clock_skew_ppb"] = 0
    assert "does not hold" not in page_of(tmp_path, 39).text
    events["total"][events["kind"] == core.PORT_EVENTS["clock"]] = 12
    (tmp_path / "set").mkdir()
    page = report_of(tmp_path / "set", ("balance", "firm", cycles(900)), events=events)
    assert page.broken == []
    assert "how fast it runs was not measured yet" in page.text
    assert "The bound does not hold: 12 contradictions" in page.text


def test_refused_commands_are_a_row_with_count_times_lateness_and_class(tmp_path: Path) -> None:
    page = page_of(tmp_path, 40)
    (row,) = re.findall(r"<tr><td[^>]*><span[^>]*>cart: late command.*?</tr>", page.source)
    cells = [re.sub("<[^>]*>", "", cell) for cell in re.findall(r"<td.*?</td>", row)]
    assert cells[1:4] == ["15", "0.400", "3.900"]
    assert cells[4] == "139\u00a0µs"
    assert cells[5] == "firm"
    assert "lateness of the loop" in cells[6]


def test_lost_events_are_told_and_a_loop_without_devices_has_no_section(tmp_path: Path) -> None:
    assert "3 events were lost" in page_of(tmp_path, 20, lost=3).text
    (tmp_path / "none").mkdir()
    page = report_of(tmp_path / "none", ("balance", "firm", cycles(900)))
    assert "Devices" not in page.text


def test_a_port_that_told_no_clock_has_its_table_all_the_same(tmp_path: Path) -> None:
    events = port_events(5)
    events["kind"] = core.PORT_EVENTS["lost"]
    page = report_of(tmp_path, ("balance", "firm", cycles(900)), events=events)
    assert page.broken == []
    assert "cart: lost" in page.text
    assert "Error bound" not in page.text


def test_errors_over_days_take_no_more_memory_and_none_is_forgotten() -> None:
    over_time = ErrorOverTime()
    time_ns = np.arange(0, 48 * 3600, dtype=np.int64) * 10**9
    error_ns = np.full(len(time_ns), 1000, np.int64)
    error_ns[100_000] = 7_000_000
    for begin in range(0, len(time_ns), 5000):
        over_time.add(time_ns[begin : begin + 5000], error_ns[begin : begin + 5000])
    assert len(over_time.largest_ns) == 500
    assert over_time.n > 250
    (peak,) = np.flatnonzero(over_time.largest_ns == 7_000_000).tolist()
    assert peak == 100_000 * 10**9 // over_time.bin_ns
    assert set(over_time.largest_ns.tolist()) == {-1, 1000, 7_000_000}

import dataclasses
import os
import stat
import threading
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtloop import core
from rtloop.errors import RecordingError
from rtloop.report.page import write_report
from rtloop.report.svg import Axis, round_step, tick_label
from rtloop.report.typography import count, duration_us, share, span_s
from rtloop.telemetry.mcap.writer import RecordingWriter
from rtloop.telemetry.observe import records as rec
from rtloop.telemetry.observe.statistics import LoopStatistics
from tests.telemetry.loops import batch_of, cycles, metadata, port_events

VOID = {"meta", "br", "line", "rect", "path", "circle"}
RUN: dict[str, Any] = {
    "kernel": "Linux 6.18 <custom>",
    "preempt_rt": False,
    "cpu": "A processor & its cores",
    "hostname": "bench",
    "config_text": "loops:\n  balance: {class: firm}  # <script>alert(1)</script>\n",
    "config_path": "robot.yaml",
    "versions": {"rtloop": "0.1.0"},
    "started": "2026-01-14T15:32:10.120+00:00",
    "rights": [
        {"name": "kernel", "requested": "PREEMPT_RT", "actual": "no", "granted": False, "fix": "x"},
        {"name": "scheduler", "requested": "FIFO 80", "actual": "FIFO 80", "granted": True, "fix": ""},
        {
            "name": "lock_memory", "requested": "all", "actual": "none", "granted": False,
            "fix": "raise RLIMIT_MEMLOCK",
        },
    ],
}  # fmt: skip


class Page(HTMLParser):
    """A page taken apart, with every element that was left open or closed twice."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text()
        self.text = ""
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.ids: list[str] = []
        self.broken: list[str] = []
        self._open: list[str] = []
        self.feed(self.source)
        self.broken += self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in VOID or (tag in ("rect", "path", "circle") and not self._self_closed()):
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def _self_closed(self) -> bool:
        return (self.get_starttag_text() or "").endswith("/>")

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self.broken.append(f"/{tag}")

    def handle_data(self, data: str) -> None:
        self.text += data.replace("\u202f", " ").replace("\u00a0", " ")


def report_of(
    tmp_path: Path,
    *loops: tuple[str, str, rec.Records],
    run: dict[str, Any] = RUN,
    events: rec.PortEvents | None = None,
    **status: Any,
) -> Page:
    writer = RecordingWriter(tmp_path / "run.mcap")
    writer.describe_run("20260114T153210-test", run)
    summaries = {}
    for name, loop_class, records in loops:
        loop = dataclasses.replace(metadata(name, loop_class))
        writer.add_loop(loop)
        writer.write(name, batch_of(records, loop))
        statistics = LoopStatistics(loop)
        statistics.update(records)
        if events is not None:
            writer.write_events(name, events)
            statistics.devices.update(events)
        summaries[name] = {**statistics.summary().as_dict(), **status}
    writer.finish({"loops": summaries})
    return Page(write_report(tmp_path / "run.mcap", tmp_path / "report.html"))


def overloaded(tmp_path: Path) -> Page:
    return report_of(
        tmp_path,
        ("watch", "soft", cycles(900, loop_class="soft", miss_every=30)),
        ("guard_joint", "hard", cycles(900, loop_class="hard", miss_every=450)),
        ("balance", "firm", cycles(900, miss_every=100, skip_after_miss=True)),
        events=port_events(40),
    )


def test_the_page_is_well_formed_and_needs_nothing_from_anywhere(tmp_path: Path) -> None:
    page = overloaded(tmp_path)
    assert page.broken == []
    assert not {"script", "link", "img", "iframe", "object", "base", "form"} & set(page.tags)
    for name, value in page.attributes:
        assert not name.startswith("on")
        if name in ("href", "src", "xlink:href", "action"):
            assert value.startswith("#")
    for forbidden in ("http:", "https:", "@import", "url(", "//cdn"):
        assert forbidden not in page.source


def test_every_link_leads_somewhere(tmp_path: Path) -> None:
    page = overloaded(tmp_path)
    targets = {value[1:] for name, value in page.attributes if name == "href"}
    assert targets <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))


def test_the_page_has_all_its_parts(tmp_path: Path) -> None:
    page = overloaded(tmp_path)
    for part in (
        "2 of 900 cycles (0.22 %) missed the deadline",
        "9 of 900 cycles (1.00 %) came too late and were discarded",
        "30 of 900 cycles (3.33 %) were written late",
        "8 releases were skipped",
        "Release latency",
        "Response time",
        "Inference",
        "Maximum lateness over time",
        "The 10 worst cycles by stage",
        "This kernel is not PREEMPT_RT",
        "raise RLIMIT_MEMLOCK",
        "1 of 2 granted",
        "2026-01-14 15:32:10 UTC",
        "/rtloop/balance/miss",
        "encoder e-sha…, policy balance-sha…",
        "Configuration",
        "N = 900",
    ):
        assert part in page.text, part
    assert page.tags.count("svg") >= 3 * (2 + 1 + 10)
    assert page.source.count('class="deadline"') > 3


def test_hard_comes_before_firm_before_soft(tmp_path: Path) -> None:
    page = overloaded(tmp_path)
    at = [page.text.index(name) for name in ("guard_joint", "balance", "watch")]
    assert at == sorted(at)


def test_strings_of_the_recording_are_only_text(tmp_path: Path) -> None:
    page = report_of(tmp_path, ("x<script>&\"'", "firm", cycles(20)))
    assert "<script>alert(1)</script>" in page.text
    assert "Linux 6.18 <custom>" in page.text
    assert "x<script>&\"'" in page.text
    assert "script" not in page.tags
    assert page.broken == []


def test_dark_light_and_paper_are_provided_for(tmp_path: Path) -> None:
    page = report_of(tmp_path, ("balance", "firm", cycles(20)))
    for query in ("prefers-color-scheme: dark", "@media print", 'name="viewport"'):
        assert query in page.source


@pytest.mark.parametrize("n", [0, 1, 2, 5])
@pytest.mark.parametrize("miss_every", [0, 1])
def test_a_run_of_hardly_any_cycle_has_a_page(n: int, miss_every: int, tmp_path: Path) -> None:
    page = report_of(tmp_path, ("balance", "firm", cycles(n, miss_every=miss_every)), run={})
    assert page.broken == []
    assert ("No cycle was executed" in page.text) == (n == 0)


def test_cycles_that_all_took_the_same_time_can_be_drawn(tmp_path: Path) -> None:
    records = np.repeat(cycles(1), 50)
    records["cycle"] = np.arange(50)
    assert report_of(tmp_path, ("balance", "hard", records)).broken == []


def test_a_cycle_that_never_returned_leads_the_worst(tmp_path: Path) -> None:
    records = cycles(100, miss_every=10)
    hung = records[-1:].copy()
    hung["cycle"] += 1
    hung["finish_ns"] = hung["deadline_ns"] + 1
    hung["events"] = core.EVENTS["miss"] | core.EVENTS["unfinished"]
    page = report_of(tmp_path, ("balance", "firm", np.concatenate([records, hung])))
    worst = page.text[page.text.index("worst cycles by stage") :]
    assert worst.index("never returned") < worst.index("infer10" if "infer10" in worst else "held")


def test_a_fault_and_a_loss_are_said_in_words(tmp_path: Path) -> None:
    page = report_of(
        tmp_path, ("balance", "firm", cycles(50)), fault_reason="port_error", records_lost=7
    )
    assert "FAULT, until an explicit reset: a port failed. Check the device" in page.text
    assert "7 records of it are missing" in page.text


def test_a_long_run_stays_a_small_page(tmp_path: Path) -> None:
    records = cycles(100_000, miss_every=1000)
    page = report_of(tmp_path, ("balance", "firm", records))
    assert len(page.source) < 400_000


def test_a_single_stall_does_not_squeeze_the_figures(tmp_path: Path) -> None:
    records = cycles(5000)
    records["finish_ns"][2500] += 900_000_000
    page = report_of(tmp_path, ("balance", "soft", records))
    assert "beyond the scale, up to 899 ms late" in page.text
    assert "above 1040 µs: 1 cycle" in page.text


def test_a_page_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    report_of(tmp_path, ("balance", "firm", cycles(5)))
    with pytest.raises(RecordingError, match="cannot write the report"):
        write_report(tmp_path / "run.mcap", tmp_path / "missing" / "report.html")


def test_what_is_no_file_is_written_to_and_never_replaced(tmp_path: Path) -> None:
    report_of(tmp_path, ("balance", "soft", cycles(20)))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text(encoding="utf-8")))
    reader.start()
    write_report(tmp_path / "run.mcap", pipe)
    reader.join(timeout=30)
    assert stat.S_ISFIFO(pipe.lstat().st_mode)
    assert read == [(tmp_path / "report.html").read_text(encoding="utf-8")]


def test_a_cut_recording_is_refused_with_what_to_do(tmp_path: Path) -> None:
    report_of(tmp_path, ("balance", "firm", cycles(500)))
    path = tmp_path / "run.mcap"
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(RecordingError, match="rtloop recover"):
        write_report(path, tmp_path / "report.html")
    (tmp_path / "text.mcap").write_text("hello")
    with pytest.raises(RecordingError, match="not an MCAP file"):
        write_report(tmp_path / "text.mcap", tmp_path / "report.html")
    with pytest.raises(RecordingError, match="cannot read"):
        write_report(tmp_path / "none.mcap", tmp_path / "report.html")


@pytest.mark.parametrize(
    ("value_us", "text"),
    [
        (0.5, "0.5 µs"),
        (42.0, "42 µs"),
        (999.4, "999 µs"),
        (1250.0, "1.25 ms"),
        (-80_073.7, "−80.1 ms"),
        (2.1e6, "2.1 s"),
    ],
)
def test_durations_come_in_the_unit_that_fits(value_us: float, text: str) -> None:
    assert duration_us(value_us).replace("\u00a0", " ") == text


def test_numbers_are_set_for_reading() -> None:
    assert count(-1234567) == "−1\u202f234\u202f567"
    assert share(0, 10) == "0\u202f%"
    assert share(1, 600_000) == "0.0002\u202f%"
    assert share(10, 10) == "100\u202f%"
    assert span_s(3725).replace("\u00a0", " ") == "1 h 2 min"
    assert span_s(599.6).replace("\u00a0", " ") == "10 min 0 s"


def test_ticks_are_round_and_inside() -> None:
    assert round_step(0.13) == 0.2
    axis = Axis(3.0, 104.0, 0.0, 100.0)
    ticks = axis.ticks(5)
    assert ticks == [25.0, 50.0, 75.0, 100.0]
    assert tick_label(2.5, 2.5) == "2.5"
    assert tick_label(-1000.0, 500.0) == "−1\u202f000"
    assert Axis(0.6, 2000.0, 0.0, 1.0, log=True).ticks() == [1.0, 10.0, 100.0, 1000.0]

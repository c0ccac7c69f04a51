"""One self-contained HTML page about a recording: nothing to install, nothing to load, no script."""

from collections.abc import Iterable, Iterator, Mapping
from importlib.resources import files
from pathlib import Path

from rtloop.errors import RecordingError
from rtloop.report import charts
from rtloop.report.devices import devices
from rtloop.report.host import configuration, file_facts, host, parts_in_words, rights_of
from rtloop.report.outline import LoopFigures, LoopOutline, Outline, outline
from rtloop.report.pictures import pictures
from rtloop.report.tables import Cell, Column, wide_table
from rtloop.report.typography import (
    NOTHING,
    count,
    duration_us,
    escape,
    microseconds,
    plural,
    share,
    span_s,
)
from rtloop.report.verdict import Level, Verdict, judge, judge_run
from rtloop.telemetry.mcap.part_names import first_path, first_there
from rtloop.telemetry.observe import records as rec
from rtloop.telemetry.observe.words import explain, find
from rtloop.telemetry.private import replace_file

CLASS_ORDER = ("hard", "firm", "soft")
#: Events that the verdict, the accounts or the list of the worst cycles tell in words of their own.
_TOLD_ELSEWHERE = {"miss", "guard", "limit_broken", "fault", "unfinished", "policy", "switched"}
SIGNS = {
    Level.MET: "✓",
    Level.TOLERATED: "▲",
    Level.FAILED: "✕",
    Level.OVERSHADOWED: "○",
    Level.NOTHING: "○",
}


def report_path(recording: Path) -> Path:
    """Where the report of a recording belongs: beside it. That of a single part has its name."""
    if recording.is_dir():
        return recording / "report.html"
    first = first_path(recording)
    whole = recording in (first, first_there(first))
    return recording.with_name("report.html") if whole else recording.with_suffix(".html")


def write_report(recording_path: Path, html_path: Path) -> Path:
    """Write the report of a recording to ``html_path``, replacing a file that is there; returns it.

    What is there and no file (a pipe, a device) is written to: root would replace /dev/null for all.

    Raises ``RecordingError`` when the recording is cut or not rtloop's, or the page cannot be written.
    """
    page = render(outline(recording_path))
    try:
        if html_path.exists() and not html_path.is_file():
            html_path.write_text(page, encoding="utf-8")
        else:
            replace_file(html_path, page)
    except OSError as error:
        raise RecordingError(f"cannot write the report {html_path}: {error.strerror}") from None
    return html_path


def render(recording: Outline) -> str:
    """The page as text."""
    run = judge_run(recording.problems)
    loops = sorted(
        (_Loop(name, loop, run) for name, loop in recording.loops.items()),
        key=lambda loop: (_class_rank(loop.loop_class), loop.name),
    )
    body = [
        *_header(recording, loops),
        *_verdicts(run, loops),
        *_cautions(recording, loops),
        *_overview(loops),
        *pictures(recording.path),
    ]
    for loop in loops:
        body += _loop(loop)
    body += [*host(recording), *configuration(recording), *file_facts(recording), _GLOSSARY]
    css = files("rtloop.report").joinpath("report.css").read_text(encoding="utf-8")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(recording.run_id or recording.path.name)} · rtloop</title>\n"
        f"<style>\n{css}</style>\n</head>\n<body>\n" + "\n".join(body) + "\n</body>\n</html>\n"
    )


class _Loop:
    """One loop with what the page says about it more than once."""

    def __init__(self, name: str, recording: LoopOutline, run: Verdict | None) -> None:
        self.name = name
        self.metadata = recording.metadata
        self.loop_class = recording.metadata.loop_class
        self.outline = recording
        self.summary = recording.summary
        is_paced = bool(self.metadata.run.get("paced_by"))
        self.verdict = judge(self.summary, run, is_paced=is_paced)
        self.deadline_us = self.metadata.deadline_ns / 1e3
        self.anchor = f"loop-{escape(name)}"

    @property
    def badge(self) -> str:
        return f'<span class="class {escape(self.loop_class)}">{escape(self.loop_class)}</span>'


def _class_rank(name: str) -> int:
    return CLASS_ORDER.index(name) if name in CLASS_ORDER else len(CLASS_ORDER)


def _header(recording: Outline, loops: list[_Loop]) -> Iterator[str]:
    run = recording.run
    cycles = sum(loop.outline.n for loop in loops)
    facts = [
        _moment(str(run.get("started", ""))),
        f"ran {span_s(max(loop.outline.span_s for loop in loops))}" if cycles else "",
        f"{plural(len(loops), 'loop')}, {plural(cycles, 'cycle')} recorded",
        escape(run.get("hostname", "")),
    ]
    yield '<header>\n<p class="eyebrow">rtloop · run report</p>'
    yield f"<h1>{escape(recording.run_id or recording.path.name)}</h1>"
    yield f'<p class="lead">{" · ".join(fact for fact in facts if fact)}</p>\n</header>'


def _moment(iso: str) -> str:
    """2026-01-01T12:00:00.123+00:00 → 2026-01-01 12:00:00 UTC"""
    date, _, time = iso.partition("T")
    if not time:
        return escape(iso)
    zone = " UTC" if time.endswith(("+00:00", "Z")) else ""
    return escape(f"{date} {time[:8]}{zone}")


def _verdicts(run: Verdict | None, loops: list[_Loop]) -> Iterator[str]:
    if run is not None:
        yield from ('<div class="verdicts">', *_verdict(run, ""), "</div>")
    yield '<div class="verdicts">'
    for loop in loops:
        yield from _verdict(
            loop.verdict,
            f'<div class="who">{loop.badge}<a href="#{loop.anchor}">{escape(loop.name)}</a>'
            f'<span class="quiet">{escape(_promise(loop.loop_class))}</span></div>',
        )
    yield "</div>"


def _verdict(verdict: Verdict, who: str) -> Iterator[str]:
    yield f'<section class="verdict {verdict.level.value}">{who}'
    yield f"<h3>{SIGNS[verdict.level]}&ensp;{escape(verdict.headline)}</h3>"
    yield from (f"<p>{escape(sentence)}</p>" for sentence in verdict.sentences)
    yield "</section>"


def _cautions(recording: Outline, loops: list[_Loop]) -> Iterator[str]:
    """What a reader must know before believing the numbers."""
    yield from (f'<p class="caution">{text}</p>' for text in parts_in_words(recording))
    if any(loop.loop_class == "hard" for loop in loops) and not recording.run.get("preempt_rt"):
        yield (
            '<p class="caution"><b>A hard loop on a kernel without PREEMPT_RT.</b> What was measured is '
            "what happened, not a bound on what can happen: on this kernel there is none.</p>"
        )
    rights = rights_of(recording.run)
    denied = [right for right in rights if not right.get("granted")]
    if denied:
        names = ", ".join(str(right.get("name", "")) for right in denied)
        verb = "was" if len(denied) == 1 else "were"
        yield (
            f'<p class="caution"><b>{len(denied)} of {len(rights)} rights {verb} not granted</b> '
            f'({escape(names)}): <a href="#host">what that costs and how to get them</a>.</p>'
        )


_OVERVIEW = (
    Column("Loop"),
    Column("Class", "words"),
    Column("Period", "minor"),
    Column("Deadline", "minor"),
    Column("Elapsed", "minor"),
    Column("Executed"),
    Column("Skipped"),
    Column("Misses"),
    Column("Rate, Hz"),
    Column("Response p50", label="Response p50, µs"),
    Column("p99", label="p99, µs"),
    Column("p99.9", label="p99.9, µs"),
    Column("max, µs"),
)


def _overview(loops: list[_Loop]) -> Iterator[str]:
    yield from wide_table(_OVERVIEW, (_overview_row(loop) for loop in loops))


def _overview_row(loop: _Loop) -> list[Cell]:
    s, r = loop.summary, loop.summary.response_us
    return [
        f'<a href="#{loop.anchor}">{escape(loop.name)}</a>',
        escape(loop.loop_class),
        duration_us(s.period_ms * 1e3),
        duration_us(s.deadline_ms * 1e3),
        count(s.elapsed_periods),
        count(s.executed),
        count(s.skipped),
        (count(s.misses), "late" if s.misses else ""),
        microseconds(s.rate_hz, 2),
        *(microseconds(us) for us in (r.p50, r.p99, r.p99_9, r.max)),
    ]


def _loop(loop: _Loop) -> Iterator[str]:
    yield f'<section>\n<h2 id="{loop.anchor}">{escape(loop.name)}{loop.badge}</h2>'
    yield '<div class="pair">\n<div>\n<h3>Accounts</h3>'
    yield _facts(_accounts(loop))
    yield "</div>\n<div>\n<h3>Times, µs</h3>"
    yield from _times(loop)
    yield "</div>\n</div>"
    if loop.outline.figures is not None:
        yield from _figures(loop, loop.outline.figures)
        yield from _worst(loop)
    else:
        yield '<p class="quiet">No cycle returned: there is nothing to draw.</p>'
    s = loop.summary
    yield from devices(
        loop.outline.devices,
        loop.metadata.ports,
        s.devices,
        s.port_events_lost,
        loop.outline.first_release_ns,
    )
    yield "</section>"


def _accounts(loop: _Loop) -> Iterator[tuple[str, str]]:
    s = loop.summary
    yield (
        "Period, deadline",
        (f"{duration_us(s.period_ms * 1e3)}, {duration_us(s.deadline_ms * 1e3)}"),
    )
    if paced := loop.metadata.run.get("paced_by"):
        yield "Released", escape(str(paced))
    yield (
        "Rate",
        (
            f"{microseconds(s.rate_hz, 3)} Hz measured, {1e3 / s.period_ms:g} Hz nominal"
            if s.rate_hz is not None
            else f"{1e3 / s.period_ms:g} Hz nominal"
        ),
    )
    yield (
        "Periods",
        (
            f"{count(s.elapsed_periods)} elapsed = {count(s.executed)} executed + "
            f"{count(s.skipped)} skipped"
            + (f"; {count(s.slipped_periods)} more slipped away" if s.slipped_periods else "")
        ),
    )
    part = f" ({share(s.misses, s.executed)})" if s.misses else ""
    yield "Deadline misses", f"{count(s.misses)}{part}"
    if s.misses:
        yield "Their longest stages", _words("stages", s.causes) or NOTHING
        yield "What helps", escape(_advice(s.causes)) or NOTHING
        yield "Most in a row", count(s.max_consecutive_misses)
    yield "Commands", _words("outcomes", s.outcomes) or "none"
    if s.events.get("policy"):
        yield "Cycles with the policy", f"{count(s.events['policy'])} of {count(s.executed)}"
    if n := s.events.get("switched"):
        told = ", ".join(escape(str(switch)) for switch in s.switches)
        more = f"the last {len(s.switches)} of {count(n)}: " if len(s.switches) < n else ""
        yield "Policies took over", f"{more}{told}" if told else count(n)
    others = {name: n for name, n in s.events.items() if name not in _TOLD_ELSEWHERE}
    yield "Other events", _words("events", others) or "none"
    yield "Came to nothing", "; ".join(str(share) for share in s.shares if share.value) or "nothing"
    yield "Records lost", count(s.records_lost)
    facts = loop.metadata.run
    acting = {"policy": facts["policy_sha256"]} if "policy_sha256" in facts else {}
    models = facts.get("models_sha256", acting)  # which recordings before it do not have
    if isinstance(models, dict) and (models or "models_sha256" in facts):
        told = ", ".join(_model(name, str(sha)) for name, sha in models.items())
        yield "Models", told or "none: terms and controllers alone"
    backends = loop.metadata.run.get("policy_backends")
    if isinstance(backends, dict) and "aot" in backends.values():
        told = ", ".join(f"{name}: {backend}" for name, backend in backends.items())
        yield "Its models run on", escape(told)


def _model(name: str, sha: str) -> str:
    return f'{escape(name)} <code title="sha256 {escape(sha)}">{escape(sha[:16])}…</code>'


def _words(table: str, counts: Mapping[str, int]) -> str:
    """What was counted, each word with its meaning behind it."""
    return ", ".join(_word(table, name, f" {count(n)}") for name, n in counts.items() if n)


def _word(table: str, name: str, text: str = "") -> str:
    word = find(table, name)
    title = "" if word is None else f' title="{escape(explain(word))}"'
    return f"<span{title}>{escape(name.replace('_', ' '))}{text}</span>"


def _advice(causes: Mapping[str, int]) -> str:
    """What to do about the stage that made most cycles late."""
    stage = max(causes, key=lambda name: causes[name], default="")
    word = find("stages", stage)
    return "" if word is None else f"{stage}: {word.remedy}"


def _promise(loop_class: str) -> str:
    word = find("classes", loop_class)
    return "" if word is None else word.sentence


def _facts(facts: Iterable[tuple[str, str]]) -> str:
    rows = "".join(f"<dt>{term}</dt><dd>{value}</dd>" for term, value in facts)
    return f'<dl class="facts">{rows}</dl>'


_TIMES = (
    Column("", "words", label="of each cycle"),
    Column("p50"),
    Column("p99"),
    Column("p99.9"),
    Column("max"),
    Column("N"),
)


def _times(loop: _Loop) -> Iterator[str]:
    s = loop.summary
    rows: list[list[Cell]] = []
    for p, name, meaning in (
        (s.release_latency_us, "Release latency", "start − release"),
        (s.infer_us, "Inference", "graph and limits"),
        (s.response_us, "Response time", "finish − release"),
        (s.lateness_us, "Lateness", "finish − deadline"),
    ):
        signed = p is s.lateness_us
        rows.append(
            [
                f'<span title="{meaning}">{name}</span>',
                *(
                    (microseconds(us), _late(us) if signed else "")
                    for us in (p.p50, p.p99, p.p99_9, p.max)
                ),
                count(p.n),
            ]
        )
    yield from wide_table(_TIMES, rows)
    yield (
        '<p class="quiet small">Lateness below zero is time to spare. The maxima are high-water marks: '
        "the largest values observed, no bounds.</p>"
    )


def _late(lateness_us: float | None) -> str:
    return "late" if lateness_us is not None and lateness_us > 0 else ""


def _figures(loop: _Loop, figures: LoopFigures) -> Iterator[str]:
    yield '<div class="figures">'
    s = loop.summary
    for p, title, values in (
        (s.response_us, "Response time", figures.response),
        (s.release_latency_us, "Release latency", figures.release_latency),
    ):
        marks = {"p50": p.p50, "p99": p.p99, "p99.9": p.p99_9}
        known = {name: value for name, value in marks.items() if value is not None}
        svg = charts.histogram(
            values,
            title.lower(),
            label=f"Histogram of the {title.lower()} of loop {loop.name}",
            percentiles=known,
        )
        numbers = " · ".join(f"{name} {microseconds(value)}" for name, value in known.items())
        yield (
            f"<figure>{svg}<figcaption><b>{title}</b>, N = {count(p.n)}. "
            f"▴ {numbers} · max {microseconds(p.max)}&nbsp;µs</figcaption></figure>"
        )
    yield "</div>"
    svg = charts.lateness_over_time(
        figures.lateness, loop.deadline_us, f"Maximum lateness over time of loop {loop.name}"
    )
    yield (
        f'<figure class="wide">{svg}<figcaption><b>Maximum lateness over time</b>: the upper edge is '
        "the latest cycle of each slice, the lower one its median; a dot marks slices with misses."
        "</figcaption></figure>"
    )


def _worst(loop: _Loop) -> Iterator[str]:
    records, start_ns = loop.outline.worst, loop.outline.first_release_ns
    never = rec.unfinished(records)
    lateness = rec.lateness_ns(records)
    response_us = rec.response_ns(records) / 1e3
    scale = charts.stage_scale_us(response_us, loop.deadline_us)
    yield (
        f"<h3>The {plural(len(records), 'worst cycle')} by stage</h3>"
        if len(records) > 1
        else ("<h3>The worst cycle by stage</h3>")
    )
    yield '<div class="legend">'
    for stage in charts.STAGES:
        yield f'<span style="--key: var(--{stage})">{charts.STAGE_NAMES[stage]}</span>'
    beyond = " (off this scale)" if loop.deadline_us > scale else ""
    yield f'<span class="line">deadline{beyond}</span></div>'
    rows = (
        _worst_row(
            records[i : i + 1],
            start_ns,
            scale,
            loop.deadline_us,
            bool(never[i]),
            float(response_us[i]),
            float(lateness[i]) / 1e3,
        )
        for i in range(len(records))
    )
    yield from wide_table(_WORST_COLUMNS, rows)


_WORST_COLUMNS = (
    Column("Cycle"),
    Column("at, s"),
    Column("from its release on", "bar-cell words"),
    Column("release latency", "narrow"),
    Column("read"),
    Column("infer"),
    Column("write"),
    Column("response"),
    Column("lateness, µs", "narrow"),
    Column("longest stage", "words"),
    Column("outcome", "words"),
)


def _worst_row(
    one: rec.Records,
    start_ns: int,
    scale_us: float,
    deadline_us: float,
    never: bool,
    response_us: float,
    lateness_us: float,
) -> list[Cell]:
    at_s = (int(one["release_ns"][0]) - start_ns) / 1e9
    return [
        count(int(one["cycle"][0])),
        f"{at_s:.3f}",
        charts.stage_bar(one, scale_us, deadline_us, never),
        *_stage_cells(one, never, response_us, lateness_us),
        _longest_stage(one, never),
        _outcome(one),
    ]


def _stage_cells(
    one: rec.Records, never: bool, response_us: float, lateness_us: float
) -> Iterator[Cell]:
    if never:
        yield from [NOTHING] * 6
        return
    stages = charts.stages_us(one)
    for us in stages:
        yield microseconds(us), "longest" if us == max(stages) else ""
    yield microseconds(response_us)
    yield microseconds(lateness_us), _late(lateness_us)


def _longest_stage(one: rec.Records, never: bool) -> str:
    if never:
        return "never returned"
    name = rec.name_of(rec.STAGE_NAMES, int(one["longest_stage"][0]))
    injected = " (injected)" if int(one["events"][0]) & rec.EVENT_BITS["injected"] else ""
    return NOTHING if name == "none" else _word("stages", name) + injected


def _outcome(one: rec.Records) -> str:
    name = rec.name_of(rec.OUTCOME_NAMES, int(one["outcome"][0]))
    return "nothing sent" if name == "none" else _word("outcomes", name)


_GLOSSARY = """<footer>
<p><b>Words.</b> A cycle is released at <i>r</i>, starts at <i>s</i>, finishes at <i>f</i>, and is due at
its deadline <i>d</i>. Release latency is <i>s − r</i>, response time <i>f − r</i>, lateness <i>f − d</i>.
A deadline miss is a lateness above zero. Hard: a miss is a failure, the guard sends the safe command at
<i>d</i>. Firm: a late result is discarded. Soft: it is written late. Percentiles are rounded up by at most
1/1024 of their value.</p>
</footer>"""

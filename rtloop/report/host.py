"""The parts of a report that are about the machine, the configuration and the file."""

from collections.abc import Iterator
from typing import Any

from rtloop.report.outline import Outline
from rtloop.report.tables import Cell, Column, wide_table
from rtloop.report.typography import count, escape, plural, size_bytes


def host(recording: Outline) -> Iterator[str]:
    """Where it ran, and what the host granted."""
    run = recording.run
    yield '<section>\n<h2 id="host">Host</h2>'
    yield _kernel_in_words(run)
    yield '<dl class="facts">'
    for key, name in (
        ("kernel", "Kernel"),
        ("cpu", "Processor"),
        ("hostname", "Name"),
        ("python", "Python"),
    ):
        if run.get(key):
            yield f"<dt>{name}</dt><dd>{escape(run[key])}</dd>"
    versions = run.get("versions") or {}
    if versions:
        text = ", ".join(f"{name} {version}" for name, version in versions.items())
        yield f"<dt>Versions</dt><dd>{escape(text)}</dd>"
    yield "</dl>"
    rights = rights_of(run)
    if rights:
        yield from _rights(rights)
    else:
        yield '<p class="quiet">No real-time rights were asked for.</p>'
    yield "</section>"


def rights_of(run: dict[str, Any]) -> list[dict[str, Any]]:
    """What the loops asked the host for. The kernel is no right: the page has its own words for it."""
    return [right for right in run.get("rights") or [] if right.get("name") != "kernel"]


def _kernel_in_words(run: dict[str, Any]) -> str:
    if "preempt_rt" not in run:
        return '<p class="quiet">The recording does not say what kernel it ran on.</p>'
    if run["preempt_rt"]:
        return (
            "<p><b>This kernel is PREEMPT_RT.</b> Scheduling latencies are kept short by design. The maxima in "
            "this report are still observations of one run, and prove no bound.</p>"
        )
    return (
        "<p><b>This kernel is not PREEMPT_RT.</b> Long kernel sections, interrupts among them, can delay any "
        "thread, whatever its priority, for a time nobody has bounded. Good numbers here say that it did not "
        f"happen in this run, not that it cannot.{_kernel_fix(run)}</p>"
    )


def _kernel_fix(run: dict[str, Any]) -> str:
    fixes = (str(r.get("fix", "")) for r in run.get("rights") or [] if r.get("name") == "kernel")
    fix = next(fixes, "")
    return f" {escape(fix)}." if fix else ""


def _rights(rights: list[dict[str, Any]]) -> Iterator[str]:
    granted = sum(bool(right.get("granted")) for right in rights)
    yield f"<h3>Rights: {granted} of {len(rights)} granted, each read back after it was set</h3>"
    yield from wide_table(
        _RIGHTS,
        # What was denied comes first: it is what a reader can do something about.
        map(_right, sorted(rights, key=lambda right: bool(right.get("granted")))),
    )


_RIGHTS = (
    Column("Right", "words"),
    Column("asked for", "words"),
    Column("got", "words"),
    Column("", "words", label="granted"),
    Column("what to do", "words"),
)


def _right(right: dict[str, Any]) -> list[Cell]:
    yes = bool(right.get("granted"))
    mark = "✓&nbsp;granted" if yes else "✕&nbsp;denied"
    return [
        escape(right.get("name", "")),
        escape(right.get("requested", "")),
        escape(right.get("actual", "")),
        f'<span class="right {"yes" if yes else "no"}">{mark}</span>',
        (escape("" if yes else right.get("fix", "")), "small"),
    ]


def configuration(recording: Outline) -> Iterator[str]:
    """The configuration as it was, word for word."""
    text = recording.run.get("config_text")
    if not text:
        return
    yield '<section>\n<h2 id="configuration">Configuration</h2>'
    path = recording.run.get("config_path")
    if path:
        yield f'<p class="quiet small"><code>{escape(path)}</code></p>'
    yield f"<pre>{escape(str(text).rstrip())}</pre>\n</section>"


def file_facts(recording: Outline) -> Iterator[str]:
    """The recording this page was made from."""
    yield '<section>\n<h2 id="file">File</h2>\n<dl class="facts">'
    messages = sum(recording.messages.values())
    yield f"<dt>Recording</dt><dd><code>{escape(recording.path.name)}</code></dd>"
    yield (
        f"<dt>Size</dt><dd>{size_bytes(recording.size_bytes)}, {plural(messages, 'message')} in "
        f"{plural(recording.chunks, 'chunk')}</dd>"
    )
    if len(recording.parts) > 1:
        yield f"<dt>Files</dt><dd>{count(len(recording.parts))}, this is the first of them</dd>"
    yield f"<dt>Format</dt><dd>MCAP, ros2 profile, written by {escape(recording.library)}</dd>"
    for topic, n in sorted(recording.messages.items()):
        yield f"<dt><code>{escape(topic)}</code></dt><dd>{count(n)}</dd>"
    yield f"<dt>Records lost</dt><dd>{count(recording.lost)}</dd>"
    yield "</dl>\n</section>"


def parts_in_words(recording: Outline) -> Iterator[str]:
    """What of the run is not in the files of this page; HTML."""
    before, parts = recording.before, recording.parts
    if recording.alone:
        yield (
            f"<b>One file of a run: part {parts[0]}.</b> {plural(before, 'cycle')} came before it. "
            "The report of the run is that of its folder."
        )
    elif before:
        yield (
            f"<b>The first {plural(before, 'cycle')} are in files that are gone</b> (recording.keep, "
            "perhaps). Counts and percentiles are those of the whole run; figures and worst cycles of "
            "what is left of it."
        )
    missing = sorted(set(range(parts[0], parts[-1])) - set(parts))
    if missing:
        names = ", ".join(map(str, missing))
        yield f"<b>Files are missing between those that are here</b>: part {names}."
    for other in recording.others:
        yield f"<b>A file was left out</b>: {escape(other)}."
    if recording.continued:
        yield "<b>The run went on</b> in a file that is not part of this page."

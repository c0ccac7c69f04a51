"""Pictures that whoever made a run has left beside its recording: ``run.NAME.svg`` beside ``run.mcap``.

Shown as images, in which a browser runs no script and loads nothing; the words below come from the
image's own ``title`` and ``desc``.
"""

import base64
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

from rtloop.errors import RecordingError
from rtloop.report.typography import escape
from rtloop.telemetry.mcap.part_names import first_path
from rtloop.telemetry.private import read_own_file

_MOST_BYTES: Final = 1_000_000
_SVG: Final = "{http://www.w3.org/2000/svg}"


def picture_path(recording: Path, name: str) -> Path:
    """Where a picture of a recording is looked for; they are shown in the order of their names."""
    first = first_path(recording)
    return first.with_name(f"{first.stem}.{name}.svg")


def pictures(recording: Path) -> Iterator[str]:
    """A figure for each, of the caller's own files alone; one that is no image is left out."""
    first = first_path(recording)
    for path in sorted(first.parent.glob(f"{first.stem}.*.svg")):
        with suppress(RecordingError, OSError, ElementTree.ParseError):
            yield _figure(read_own_file(path, _MOST_BYTES, shared=True))


def _figure(data: bytes) -> str:
    root = ElementTree.fromstring(data)
    if root.tag != f"{_SVG}svg":
        raise ElementTree.ParseError("no SVG")
    title, told = (" ".join((root.findtext(_SVG + n) or "").split()) for n in ("title", "desc"))
    image = base64.b64encode(data).decode("ascii")
    words = f"<b>{escape(title)}</b>: {escape(told)}" if told else f"<b>{escape(title)}</b>"
    return (
        f'<figure class="picture"><img alt="{escape(title)}" src="data:image/svg+xml;base64,{image}">'
        f"<figcaption>{words}</figcaption></figure>"
    )

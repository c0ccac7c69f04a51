"""The report fits what it is looked at with: a wide screen, a narrow window, a phone."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.telemetry.loops import cycles

from .test_report import overloaded, report_of

WIDTHS = (1400, 1099, 1000, 999, 900, 781, 780, 700, 390, 320)
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
MEASURE = """
window.onload = () => {
  const found = {};
  for (const frame of document.querySelectorAll("iframe")) {
    const page = frame.contentDocument, width = frame.clientWidth;
    const boxes = [page.documentElement, ...page.querySelectorAll(".scroll, table, dl, .verdict, .pair > div")];
    found[width] = boxes.filter(box => box.scrollWidth > box.clientWidth + 1
      || box.getBoundingClientRect().right > width + 1).map(box => box.outerHTML.slice(0, 80));
  }
  document.body.innerHTML = "<pre id=found>" + encodeURIComponent(JSON.stringify(found)) + "</pre>";
};
"""


class _Cells(HTMLParser):
    """Of the wide tables: heads, and the labels of each row's cells."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self._wide = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "table":
            self._wide = given.get("class") == "wide"
        if self._wide and tag == "tr":
            self.rows.append([])
        if self._wide and tag == "td":
            self.rows[-1].append(given.get("data-label") or "")


def test_a_row_that_becomes_a_card_keeps_the_meaning_of_its_values(tmp_path: Path) -> None:
    page = overloaded(tmp_path)
    rows = [row for row in _Cells(page.source).rows if row]  # the heads' have no cells
    assert {len(row) for row in rows} == {13, 6, 11, 7, 5}, (
        "overview, times, worst cycles, devices, rights"
    )
    for row in rows:
        assert all(row), row
        assert len(set(row)) == len(row), "and no two say the same"


@pytest.mark.skipif(not any(map(shutil.which, BROWSERS)), reason="needs a browser")
@pytest.mark.parametrize("loops", ["usual", "longest"])
def test_nothing_is_wider_than_the_window(loops: str, tmp_path: Path) -> None:
    if loops == "usual":
        page = overloaded(tmp_path)
    else:
        # A name as long as they may be, numbers of many digits.
        records = cycles(30_000, miss_every=3, deadline_ns=500_000_000)
        page = report_of(tmp_path, ("a" * 32, "hard", records))
    assert _too_wide(page.source, tmp_path) == {str(width): [] for width in WIDTHS}


def _too_wide(page: str, folder: Path) -> dict[str, list[str]]:
    """What does not fit, by the width of the window."""
    frames = "".join(
        f'<iframe srcdoc="{html.escape(page)}" style="border:0;width:{width}px;height:900px">'
        "</iframe>"
        for width in WIDTHS
    )
    path = folder / "frames.html"
    path.write_text(f'<meta charset="utf-8"><script>{MEASURE}</script>{frames}', encoding="utf-8")
    browser = next(filter(shutil.which, BROWSERS))
    done = subprocess.run(
        [
            *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1600,1200"),
            *(f"--user-data-dir={folder / 'profile'}", "--dump-dom", path.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    match = re.search(r'<pre id="found">(.*?)</pre>', done.stdout)
    assert match, done.stderr
    result: dict[str, list[str]] = json.loads(unquote(match[1]))
    return result

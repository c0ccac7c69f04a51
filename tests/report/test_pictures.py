"""Pictures beside a recording, in its report."""

from __future__ import annotations

import base64
import os
import re
from pathlib import Path

import pytest

from rtloop.report.pictures import picture_path, pictures

SVG = '<svg xmlns="http://www.w3.org/2000/svg"><title>{}</title><desc>{}</desc></svg>'


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    return tmp_path / "run.mcap"


def test_they_are_images_in_the_order_of_their_names(recording: Path) -> None:
    for name in ("2-b", "1-a"):
        picture_path(recording, name).write_text(SVG.format(name, "x &lt; y"))
    first, second = pictures(recording)
    assert "<b>1-a</b>: x &lt; y" in first
    assert "<b>2-b</b>: x &lt; y" in second
    (data,) = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', first)
    assert base64.b64decode(data).decode() == SVG.format("1-a", "x &lt; y")


def test_a_script_in_one_stays_inside_an_image(recording: Path) -> None:
    text = SVG.format("&lt;script>alert(1)&lt;/script>", "").replace(
        "</svg>", "<script>1</script></svg>"
    )
    picture_path(recording, "x").write_text(text)
    (figure,) = pictures(recording)
    assert "<script" not in figure
    assert "<b>&lt;script&gt;alert(1)&lt;/script&gt;</b></figcaption>" in figure


def test_any_part_has_those_of_its_run(recording: Path) -> None:
    picture_path(recording, "x").write_text(SVG.format("x", ""))
    assert len([*pictures(recording.with_name("run_003.mcap"))]) == 1
    assert not [*pictures(recording.with_name("other.mcap"))]


@pytest.mark.parametrize(
    "content", [b"", b"no xml", b"<html/>", b"<svg/>", SVG.encode() + b" " * 1_000_000]
)
def test_what_is_no_picture_is_left_out(content: bytes, recording: Path) -> None:
    picture_path(recording, "x").write_bytes(content)
    assert not [*pictures(recording)]


def test_a_link_or_another_users_file_is_left_out(recording: Path) -> None:
    secret = recording.with_name("secret")
    secret.write_text(SVG.format("x", ""))
    picture_path(recording, "link").symlink_to(secret)
    assert not [*pictures(recording)]
    if os.geteuid() == 0:
        foreign = picture_path(recording, "foreign")
        foreign.write_text(SVG.format("x", ""))
        os.chown(foreign, 4711, -1)
        assert not [*pictures(recording)]

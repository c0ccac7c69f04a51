"""The pictures of a walk: the robot that MuJoCo knows, the seconds that matter, and what a report shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from rtloop.demos.quadruped.course import course
from rtloop.demos.quadruped.demo import QuadrupedDemo, Robot
from rtloop.demos.quadruped.picture import main
from rtloop.demos.quadruped.skeleton import legs
from rtloop.demos.quadruped.strobe import strobe
from rtloop.demos.quadruped.track import RATE_HZ, ROW, Rows
from rtloop.errors import RtloopError
from tests.demos import needs_mujoco
from tests.running import ROOT, rtloop, summary_of

NONE = np.empty(0, np.int64)
STANDING = np.tile([0.0, 0.8, -1.6], 4)


def walk(seconds: float, speed_m_s: float = 0.5) -> Rows:
    """Straight on, level, with legs that stand."""
    rows = np.zeros(round(seconds * RATE_HZ), ROW)
    t = np.arange(len(rows)) / RATE_HZ
    rows["time_ns"] = 7_000_000_000 + np.round(t * 1e9)
    rows["driven_s"] = t
    rows["qpos"][:, 0] = speed_m_s * t
    rows["qpos"][:, 2] = 0.27
    rows["qpos"][:, 3] = 1.0
    rows["qpos"][:, 7:] = STANDING
    rows["is_driven"] = True
    return rows


def tilted(rows: Rows, at_s: float, angle: float) -> Rows:
    at = round(at_s * RATE_HZ)
    rows["qpos"][at, 3:5] = np.cos(angle / 2), np.sin(angle / 2)
    return rows


def words(svg: str) -> str:
    root = ElementTree.fromstring(svg)
    return f"{root.findtext('{*}title')}: {root.findtext('{*}desc')}"


def count(svg: str, css: str) -> int:
    return svg.count(f'class="{css}"')


@needs_mujoco
def test_its_joints_are_where_mujoco_has_them() -> None:
    import mujoco

    from rtloop.demos.quadruped.plant import LEGS, Plant

    plant = Plant()
    random = np.random.default_rng(3)
    for _ in range(20):
        plant.qpos[:3] = random.uniform(-2, 2, 3)
        quaternion = random.standard_normal(4)
        plant.qpos[3:7] = quaternion / np.linalg.norm(quaternion)
        plant.qpos[7:] = random.uniform(-1.5, 1.5, 12)
        mujoco.mj_kinematics(plant.model, plant.data)
        (found,) = legs(plant.qpos[None])
        for i, leg in enumerate(LEGS):
            parts = [plant.data.body(f"{leg}_{part}").xpos for part in ("hip", "thigh", "calf")]
            expected = [*parts, plant.data.geom(f"{leg}_foot").xpos]
            np.testing.assert_allclose(found[i], expected, atol=1e-12)


def test_it_is_drawn_where_it_was_tilted_most() -> None:
    svg = strobe("robot", tilted(walk(20.0), 12.0, 0.3))
    assert words(svg).startswith("robot from its side: 2.0 m from 10.0 to 14.0 s of its time")
    assert svg.count('<g class="frame" style="animation-delay:') == 100
    assert count(svg, "still") == 3
    assert count(svg, "still last") == 1
    assert "prefers-reduced-motion:no-preference" in svg
    assert len(svg) < 100_000


def test_a_fall_is_drawn_and_what_follows_it_for_a_moment() -> None:
    rows = tilted(walk(20.0), 12.0, 0.3)
    rows["has_fallen"][8 * RATE_HZ :] = True
    assert "from 5.5 to 9.5 s of its time, until after it fell" in words(strobe("robot", rows))


@pytest.mark.parametrize(
    "rows",
    [walk(0.04), walk(1.0), walk(5.0, speed_m_s=0.0), walk(30.0, speed_m_s=30.0)],
    ids=["two rows", "a second", "stands", "flies"],
)
def test_any_walk_is_drawn(rows: Rows) -> None:
    for svg in (strobe("robot", rows), course("robot", rows, NONE, NONE)):
        assert ElementTree.fromstring(svg).tag.endswith("svg")
        assert "nan" not in svg
        assert len(svg) < 150_000


def test_a_pose_is_on_the_floor_and_as_long_as_the_robot() -> None:
    """By pixels: the feet at the floor, the trunk above it in the scale of the axis."""
    svg = strobe("robot", walk(4.0))
    (floor,) = set(re.findall(r'<line class="floor" x1="0" y1="([\d.]+)" x2="1064"', svg))
    (feet, trunk) = (
        np.array(re.findall(r"(-?[\d.]+) (-?[\d.]+)", path), float)
        for path in (
            re.findall(r'class="feet" d="([^"]+)"', svg)[0],
            re.findall(r'class="trunk" d="([^"]+)"', svg)[0],
        )
    )
    marks = dict(re.findall(r'x="([\d.]+)" y="[\d.]+" text-anchor="middle">([\d.]+) m<', svg))
    (x0, m0), (x1, m1) = ((float(x), float(m)) for x, m in list(marks.items())[:2])
    scale = (x1 - x0) / (m1 - m0)
    standing_m = 0.27 - 2 * 0.18 * np.cos(0.8)
    np.testing.assert_allclose(float(floor) - feet[:, 1], standing_m * scale, atol=0.2)
    assert np.ptp(trunk[:, 0]) + 8 == pytest.approx(0.38 * scale, abs=0.3)


def test_misses_stand_below_at_their_time() -> None:
    rows = walk(20.0)
    rows["is_pushed"][100:105] = True
    begin = int(rows["time_ns"][0])
    missed = begin + np.array([-5, 5_000_000_000, 10_000_000_000, 10_000_000_100, 10**12])
    svg = course("robot", rows, missed, missed[1:2])
    # Two on one pixel are one mark; what is not on the axis is none.
    marks = [float(x) for x in re.findall(r'<rect class="missed" x="([\d.]+)"', svg)]
    left, right = 58.0, 1050.0
    np.testing.assert_allclose(marks, [left + s / 19.98 * (right - left) for s in (5, 10)], atol=1)
    assert count(svg, "skipped") == 1
    assert count(svg, "pushed") == 1
    assert "5 deadline misses of its loop" in words(svg).replace("\u00a0", " ")


def test_ten_minutes_are_a_picture_of_a_usual_size() -> None:
    svg = course("robot", walk(600.0), NONE, NONE)
    assert len(svg) < 150_000


@pytest.mark.parametrize("place", ["run.mcap", "gone/run.mcap"])
def test_what_keeps_it_from_being_drawn_is_told(place: str, tmp_path: Path) -> None:
    """No recording, and no folder of one."""
    with pytest.raises(RtloopError, match=r"run"):
        QuadrupedDemo().illustrate(tmp_path / place, [Robot(tmp_path / "tty")])


@pytest.mark.parametrize("place", ["run.mcap", "gone", "."])
def test_a_run_without_tracks_is_told_where_it_is_drawn_again(
    place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.mcap").touch()
    assert main([str(tmp_path / place)]) == 1
    told = capsys.readouterr()
    assert (
        "found no track of a driven robot (*.track.npz); expected those that `rtloop demo q"
        in told.err
    )
    assert told.out == ""


#: `rtloop demo` that has no pictures to show.
UNPAINTED = """
import sys
from rtloop.cli.main import main
from rtloop.demos.cartpole.demo import CartpoleDemo
from rtloop.errors import RtloopError
def fail(*_):
    raise RtloopError("the paint is dry")
CartpoleDemo.illustrate = fail
sys.exit(main(["demo", "--duration", "1", "--json"]))
"""


def test_a_report_without_its_pictures_is_one_all_the_same(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", UNPAINTED],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    summary = summary_of(done)
    assert "the paint is dry" in summary["problems"]
    assert (tmp_path / summary["report"]).exists()
    assert done.returncode == 1


@needs_mujoco
def test_the_report_of_a_walk_shows_it(tmp_path: Path) -> None:
    done = rtloop("demo", "quadruped", "--duration", "4", "--json", cwd=tmp_path)
    summary = summary_of(done)
    assert summary["problems"] == []
    report = tmp_path / summary["report"]
    page = report.read_text()
    assert page.count('<img alt="robot ') == 2
    assert page.count("data:image/svg+xml;base64,") == 2
    assert "robot from its side" in page
    kept = sorted(path.name for path in report.parent.iterdir())
    assert kept == [
        *("report.html", "run.mcap", "run.robot-1-walk.svg", "run.robot-2-course.svg"),
        "run.robot.track.npz",
    ]
    assert all(path.stat().st_mode & 0o077 == 0 for path in report.parent.iterdir())
    report.unlink()
    assert rtloop("report", report.parent).returncode == 0
    assert report.read_text() == page

"""The picture of the README is drawn from any recording, and needs nothing from anywhere."""

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

from tests.report.test_report import overloaded

ROOT = Path(__file__).parents[2]
KB = 1000


def _texts(svg: str) -> str:
    return " ".join(ElementTree.fromstring(svg).itertext())


def test_a_recording_becomes_a_picture(tmp_path: Path) -> None:
    overloaded(tmp_path)
    done = subprocess.run(
        [sys.executable, "docs/picture.py", str(tmp_path / "run.mcap")],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    svg = done.stdout.decode()
    texts = _texts(svg)
    for word in ("guard_joint", "balance", "watch", "HARD", "FIRM", "SOFT", "late, as its class"):
        assert word in texts
    assert texts.index("HARD") < texts.index("FIRM") < texts.index("SOFT")


def test_the_picture_of_the_readme_is_small_and_whole() -> None:
    path = ROOT / "docs" / "report.svg"
    svg = path.read_text(encoding="utf-8")
    assert path.stat().st_size < 300 * KB
    assert "Fault" in _texts(svg)
    names = {element.tag.rpartition("}")[2] for element in ElementTree.fromstring(svg).iter()}
    assert not {"script", "image", "foreignObject", "a", "use"} & names
    assert svg.count("http") == 1, "the name space; nothing is fetched"
    assert "docs/report.svg" in (ROOT / "README.md").read_text(encoding="utf-8")

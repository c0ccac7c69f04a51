"""A word is one line of words.def: tried on a copy of the tree, which is built and run from there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest

from tests.seams.conftest import ROOT, compile_echo
from tests.seams.seam import write_loop

LINE = """\
RTLOOP_FAULT_REASON(overheated, "overheated", 9, "the echo got too hot",
                    "let it cool down, then activate the loop anew")
"""
PROGRAM = """
import sys
import tests.seams.echo
from rtloop.cli.main import main
sys.exit(main(sys.argv[1:]))
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(shutil.which("cmake") is None, reason="no CMake: apt-get install cmake"),
]


def copied_tree(folder: Path) -> Path:
    """The sources, with one more line in words.def and the compiled core that follows from it."""
    pytest.importorskip("nanobind", reason="no nanobind: pip install 'rtloop[test]'")
    tree = folder / "tree"
    ignore = shutil.ignore_patterns("*.so", "__pycache__", "nodes")
    for name in ("rtloop", "firmware", "nodes"):
        shutil.copytree(ROOT / name, tree / name, ignore=ignore if name == "rtloop" else None)
    shutil.copytree(ROOT / "tests" / "seams", tree / "tests" / "seams")
    shutil.copy(ROOT / "tests" / "__init__.py", tree / "tests")
    shutil.copy(ROOT / "CMakeLists.txt", tree)
    words = tree / "rtloop" / "core" / "words.def"
    text = words.read_text()
    end = text.index("\n#undef RTLOOP_CLASS")
    words.write_text(text[:end] + LINE + text[end:])

    build = folder / "build"
    configure = ["cmake", "-S", str(tree), "-B", str(build)]
    configure += [f"-DPython_EXECUTABLE={sys.executable}"]
    subprocess.run([*configure, "-DCMAKE_BUILD_TYPE=Debug"], check=True, capture_output=True)
    make = ["cmake", "--build", str(build), "--target", "_core", "--parallel", "2"]
    subprocess.run(make, check=True, capture_output=True)
    (module,) = build.glob("_core*.so")
    shutil.copy(module, tree / "rtloop" / "core")
    return tree


def test_a_new_word_is_known_everywhere(tmp_path: Path) -> None:
    tree = copied_tree(tmp_path)
    library = tmp_path / "libecho.so"
    compile_echo(library, tree, "-DECHO_HAS_A_WORD_OF_ITS_OWN")
    path = write_loop(tmp_path, ("fails_after: 0", "fails_after: 20"))
    # An environment of its own, for an editable install would lead back to the tree it is of.
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    packages = sysconfig.get_paths()["purelib"]
    environment = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
    environment |= {
        "PYTHONPATH": os.pathsep.join([str(tree), packages]),
        "ECHO_LIBRARY": str(library),
    }

    def rtloop(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [tmp_path / "venv" / "bin" / "python", "-c", PROGRAM, *map(str, arguments)],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
        )

    checked = rtloop("check", path)
    assert checked.returncode == 0, checked.stderr
    done = rtloop("run", path, "--duration", "20", "--json")
    assert done.returncode == 1, done.stderr
    summary = json.loads(done.stdout)
    assert summary["loops"]["relay"]["fault_reason"] == "overheated"
    (problem,) = summary["problems"]
    assert "the echo got too hot" in problem
    assert "Let it cool down" in problem
    report = Path(summary["report"]).read_text()
    assert "the echo got too hot" in report
    assert "Let it cool down" in report

    # Whoever does not know the word keeps its number, and loses nothing.
    from rtloop.telemetry.mcap.reader import read_recording

    recording = read_recording(Path(summary["recording"])).loops["relay"]
    assert len(recording.records) == summary["loops"]["relay"]["executed"]
    assert np.all(recording.records["loop_class"] == 2)
    assert recording.summary.fault_reason == "overheated"

"""The toys, each there only while a test uses it: registries are the whole process's."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FLAGS = ["-std=c++20", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]


def compile_echo(library: Path, core: Path, *flags: str) -> None:
    """The C++ file of the toy transport as a library of its own; ``core`` has rtloop's headers."""
    source = Path(__file__).with_name("echo.cpp")
    subprocess.run(["g++", *FLAGS, *flags, f"-I{core}", source, "-o", library], check=True)


@pytest.fixture(scope="session")
def echo_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("g++") is None:
        pytest.skip("no C++ compiler: apt-get install g++")
    library = tmp_path_factory.mktemp("echo") / "libecho.so"
    compile_echo(library, ROOT)
    return library


@pytest.fixture
def echo(echo_library: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    from rtloop.ports.port import INPUTS, OUTPUTS

    monkeypatch.setenv("ECHO_LIBRARY", str(echo_library))
    import_module("tests.seams.echo")
    yield
    del sys.modules["tests.seams.echo"]
    INPUTS.unregister("echo")
    OUTPUTS.unregister("echo")


@pytest.fixture
def decay() -> Iterator[None]:
    from rtloop.policy.terms.term import TERMS

    import_module("tests.seams.decay")
    yield
    del sys.modules["tests.seams.decay"]
    TERMS.unregister("decay")

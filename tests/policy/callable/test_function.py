"""The function of a policy is found beside the file, and whatever is wrong with it has its place there."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
import numpy.typing as npt
import pytest

from rtloop.config import Config, load
from rtloop.errors import ConfigError
from rtloop.judge import judge
from rtloop.policy.callable.function import PolicyFunction
from tests.policy.callable.files import loop_file, module


def refused(path: Path) -> str:
    """What is said of its only problem, which stands at the key ``python``."""
    with pytest.raises(ConfigError) as caught:
        judge(load(path), record=False).refuse()
    (finding,) = caught.value.findings
    assert str(finding.place) == f"{path}:8:15: loops.pole.policy.python"
    return finding.message


def function_of(path: Path) -> PolicyFunction:
    config = load(path)
    where = partial(config.where, "loops", "pole", "policy")
    function = config.loops["pole"].policy.load(where).function
    assert function is not None
    return function


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("def act(seen): raise ValueError('no gains')", "raised ValueError: no gains (NAME.py:3)"),
        ("def act(seen): return seen", "answered float32[2], no vector of 1 values"),
        ("def act(seen): return np.zeros((2, 2))", "answered float64[2, 2], no vector of 1 values"),
        ("def act(seen): return None", "answered None, no real numbers"),
        ("def act(seen): return np.array(['1'])", "answered <U1[1], no real numbers"),
        ("def act(seen): return np.array([1j])", "answered complex128[1], no real numbers"),
        ("def act(seen): return [np.nan]", "which answered [nan]"),
        ("def act(seen): return [np.inf]", "which answered [inf]"),
        ("def act(): return [1]", "raised TypeError: act() takes 0 positional arguments"),
        ("def act(seen): raise SystemExit('bye')", "raised SystemExit: bye"),
    ],
)
def test_a_function_that_answers_no_action_is_refused(tmp_path: Path, code: str, told: str) -> None:
    name = module(tmp_path, code)
    message = refused(loop_file(tmp_path, f"python: {name}:act"))
    assert told.replace("NAME", name) in message
    assert "expected a function that answers 2 zeros with 1 finite numbers" in message


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import no_such_module_at_all", "no module 'no_such_module_at_all'"),
        ("raise RuntimeError('no weights')", "RuntimeError: no weights (NAME.py:3)"),
        ("def act(:", "SyntaxError"),
        ("raise SystemExit(3)", "SystemExit: 3"),
    ],
)
def test_a_module_that_cannot_be_imported_is_refused_with_its_line(
    tmp_path: Path, code: str, told: str
) -> None:
    name = module(tmp_path, code)
    message = refused(loop_file(tmp_path, f"python: {name}:act"))
    assert f"found '{name}', which cannot be imported: " in message
    assert told.replace("NAME", name).removeprefix("no module ") in message


def test_a_module_that_is_not_there_has_a_nearest(tmp_path: Path) -> None:
    name = module(tmp_path, "def act(seen): return seen[:1]")
    message = refused(loop_file(tmp_path, f"python: {name}s:act"))
    assert message == (
        f"found no module '{name}s'; expected a module in '{tmp_path}', beside this file, or in sys.path; "
        f"nearest '{name}'"
    )


@pytest.mark.parametrize(
    ("attribute", "told"),
    [
        ("acts", "has no 'acts'; expected a function, or a class whose instances can be called; nearest 'act'"),
        ("GAIN", "which is an int and cannot be called"),
        ("Needs", "a class that cannot be made an instance of: TypeError"),
        ("Still", "which is a Still and cannot be called"),
    ],
)  # fmt: skip
def test_what_is_no_function_is_refused(tmp_path: Path, attribute: str, told: str) -> None:
    name = module(
        tmp_path,
        """
        GAIN = 3
        def act(seen): return seen[:1]
        class Needs:
            def __init__(self, gain): pass
        class Still: pass
        """,
    )
    assert told in refused(loop_file(tmp_path, f"python: {name}:{attribute}"))


def test_it_is_found_beside_the_file_before_what_lies_in_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = module(tmp_path, "def act(seen): return [1]")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / f"{name}.py").write_text("def act(seen): return [2]")
    monkeypatch.setattr(sys, "path", [str(elsewhere), *sys.path])
    before = list(sys.path)
    function = function_of(loop_file(tmp_path, f"python: {name}:act"))
    assert function.answer(np.zeros(2, np.float32)).tolist() == [1]
    assert sys.path == before


def test_its_module_stays_beside_the_file_of_what_is_varied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = module(tmp_path, "def act(seen): return [1]")
    loop_file(tmp_path, f"python: {name}:act")
    monkeypatch.chdir(tmp_path)
    config = load("loop.yaml")
    made = Config(loops=config.loops)  # in Python: the working directory, then
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    slower = {"pole": {"rate_hz": 50}}
    for each in (config, made, config.replace(loops=slower), made.replace(loops=slower)):
        judge(each, record=False).refuse()
        del sys.modules[name]
    with pytest.raises(ConfigError, match=r"no module .* in '.*elsewhere', beside this file"):
        judge(Config(loops=config.loops), record=False).refuse()


def test_a_module_that_was_edited_since_is_not_run_as_it_was(tmp_path: Path) -> None:
    name = module(tmp_path, "def act(seen): return [1]")
    path = loop_file(tmp_path, f"python: {name}:act")
    sha256 = function_of(path).sha256
    (tmp_path / f"{name}.py").write_text("def act(seen): return [1 + 1]")
    assert f"'{name}', whose file ({tmp_path / name}.py) has changed since" in refused(path)
    assert f"expected a new process, or `del sys.modules['{name}']`" in refused(path)
    del sys.modules[name]
    function = function_of(path)
    assert function.answer(np.zeros(2, np.float32)).tolist() == [2]
    assert function.sha256 != sha256


def test_a_function_of_a_notebook_whose_module_has_no_file_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notebook = ModuleType("notebook_of_a_test")
    notebook.__dict__["act"] = of_the_path
    monkeypatch.setitem(sys.modules, notebook.__name__, notebook)
    function = function_of(loop_file(tmp_path, "python: notebook_of_a_test:act"))
    assert function.answer(np.ones(2, np.float32)).tolist() == [1]
    assert (function.path, function.sha256) == (None, "")
    message = refused(loop_file(tmp_path, "python: notebook_of_a_test:akt"))
    assert "'notebook_of_a_test' (of no file) has no 'akt'" in message
    assert "nearest 'act'" in message


def test_another_module_of_its_name_that_is_imported_already_is_no_mistake_that_goes_unseen(
    tmp_path: Path,
) -> None:
    (tmp_path / "json.py").write_text("def act(seen): return [1]")
    message = refused(loop_file(tmp_path, "python: json:act"))
    assert "'json', a module beside this file, though another of that name is imported" in message


def test_a_module_of_a_package_and_one_of_the_path_are_found(tmp_path: Path) -> None:
    package = tmp_path / "package_of_a_test"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "inner.py").write_text("def act(seen): return seen[:1]")
    for name in ("package_of_a_test.inner:act", "tests.policy.callable.test_function:of_the_path"):
        judge(load(loop_file(tmp_path, f"python: {name}")), record=False).refuse()


def of_the_path(seen: npt.NDArray[np.float32]) -> list[float]:
    return [float(seen[0])]


def test_an_instance_of_a_class_is_what_is_called_and_is_reset(tmp_path: Path) -> None:
    name = module(
        tmp_path,
        """
        class Count:
            def __init__(self): self.n = 0
            def reset(self): self.n = 100
            def __call__(self, seen):
                self.n += 1
                return [self.n]
        """,
    )
    path = loop_file(tmp_path, f"python: {name}:Count")
    function = function_of(path)
    zeros = np.zeros(2, np.float32)
    assert [function.answer(zeros).tolist() for _ in range(2)] == [[1], [2]]
    function.reset()
    assert function.answer(zeros).tolist() == [101]


def test_how_many_values_it_answers_is_what_the_file_says(tmp_path: Path) -> None:
    name = module(tmp_path, "def act(seen): return np.ones((1, 3), np.float64)")
    text = loop_file(tmp_path, f"python: {name}:act").read_text()
    path = tmp_path / "three.yaml"

    def size(policy: str, names: str = "force") -> int | None:
        path.write_text(text.replace("python:", f"{policy}python:").replace("force", names))
        return load(path).loops["pole"].policy.answered_size

    assert size("") == 1
    assert size("", "a, b, c") == 3
    assert size("joints: [hip, knee]\n      ", "a, b, c") == 2
    assert size("action_size: 3\n      ") == 3
    function = function_of(path)
    answer = function.answer(np.zeros(2, np.float32))
    assert answer.dtype.name == "float32"
    assert answer.tolist() == [1, 1, 1]

"""The Python function of a policy: found, imported, and what it answers judged."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from rtloop.config.problem import printable
from rtloop.errors import ConfigError, Finding, Place
from rtloop.stopping import go_on, in_code_of_others

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float32]

_TOLD_BYTES = 500
"""Of an exception's text: what the core keeps of an error is bounded, and ends between two letters."""

_read: dict[str, tuple[ModuleSpec | None, str]] = {}
"""Of each module: its import, and the SHA-256 of its file then."""


class FunctionError(Exception):
    """The function raised, or answered something else than its action: a sentence."""


@dataclass(frozen=True, eq=False)
class PolicyFunction:
    """``MODULE:NAME``: takes what is observed, float32 [n], and answers the raw action, ``size`` numbers."""

    name: str
    call: Callable[[Array], Any]
    begin: Callable[[], object] | None
    """``reset`` of an instance, called at each activation."""
    path: Path | None
    """The file of its module."""
    sha256: str
    """Of that file; empty where there is none."""
    size: int

    def reset(self) -> None:
        """Raises FunctionError."""
        if self.begin is not None:
            with self._told("reset() of the policy's Python function"):
                self.begin()

    def answer(self, observation: Array) -> Array:
        """What it answers, float32 [size]. NaN and infinity are let through. Raises FunctionError."""
        import numpy as np

        with self._told("the policy's Python function"):
            answer = np.asarray(self.call(observation))
        if answer.dtype.kind not in "fiub":
            raise self._wrong(f"answered {_type_of(answer)}, no real numbers")
        if answer.size != self.size or sum(length != 1 for length in answer.shape) > 1:
            raise self._wrong(
                f"answered {answer.dtype}{list(answer.shape)}, no vector of {self.size} values"
            )
        return np.ascontiguousarray(answer.reshape(-1), np.float32)

    def _wrong(self, what: str) -> FunctionError:
        return FunctionError(f"the policy's Python function '{self.name}' {what}")

    @contextmanager
    def _told(self, who: str) -> Iterator[None]:
        try:
            with in_code_of_others():
                yield
        except BaseException as error:
            _pass_on_stops(error)
            raise FunctionError(f"{who} '{self.name}' raised {raised(error)}") from error


def raised(error: BaseException) -> str:
    """An exception of the user's code, and the line that raised it."""
    try:
        text = printable(" ".join(str(error).split()))
    except Exception:  # of its own __str__
        text = ""
    if len(told := text.encode()) > _TOLD_BYTES:
        text = f"{told[:_TOLD_BYTES].decode(errors='ignore')}…"
    frames = traceback.extract_tb(error.__traceback__)
    is_theirs = bool(frames) and frames[-1].filename != __file__
    at = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if is_theirs else ""
    return f"{type(error).__name__}{f': {text}' if text else ''}{at}"


def _pass_on_stops(error: BaseException) -> None:
    """A stop, and Ctrl-C in a program, are not of the code that they struck."""
    go_on()
    if (
        isinstance(error, KeyboardInterrupt)
        and threading.current_thread() is threading.main_thread()
    ):
        raise error


def load_function(name: str, folder: Path, size: int, place: Place) -> PolicyFunction:
    """Imports ``MODULE:NAME``: the module is looked for in ``folder``, then in sys.path.

    A class is made an instance of, which is what is called. Raises ConfigError at ``place``.
    """
    module_name, _, attribute = name.partition(":")
    module = _imported(module_name, folder, place)
    file = getattr(module, "__file__", None)  # a notebook has none, nor has what is built in
    path = None if file is None else Path(file)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest() if path and path.is_file() else ""
    # Another spec is another import.
    spec, first = _read.setdefault(module_name, (module.__spec__, sha256))
    if spec is not module.__spec__:
        _read[module_name] = module.__spec__, sha256
    elif first != sha256:
        told = f"'{module_name}', whose file ({path}) has changed since it was imported"
        anew = f"`del sys.modules['{module_name}']`"
        expected = f"a new process, or {anew}, so that what runs is what the file says"
        raise ConfigError([Finding.of(place, told, expected)])
    found = getattr(module, attribute, None)
    if found is None:
        names = [key for key, value in vars(module).items() if callable(value)]
        near = get_close_matches(attribute, names, 1)
        told = f"'{name}', and '{module_name}' ({file or 'of no file'}) has no '{attribute}'"
        expected = "a function, or a class whose instances can be called"
        raise ConfigError([Finding.of(place, told, expected, f"'{near[0]}'" if near else None)])
    begin = None
    if inspect.isclass(found):
        try:
            with in_code_of_others():
                found = found()
        except BaseException as error:
            _pass_on_stops(error)
            told = f"'{name}', a class that cannot be made an instance of: {raised(error)}"
            raise ConfigError([Finding.of(place, told, "one that needs no argument")]) from error
        begin = getattr(found, "reset", None)
    if not callable(found):
        told = f"'{name}', which is {_a(type(found).__name__)} and cannot be called"
        expected = "a function, or a class whose instances can be called (`__call__`)"
        raise ConfigError([Finding.of(place, told, expected)])
    return PolicyFunction(name, found, begin, path, sha256, size)


def try_function(function: PolicyFunction, n_observed: int, place: Place) -> None:
    """Calls it once, with zeros. Raises ConfigError where it raises, or answers no action."""
    import numpy as np

    expected = f"a function that answers {n_observed} zeros with {function.size} finite numbers"
    try:
        function.reset()
        answer = function.answer(np.zeros(n_observed, np.float32))
    except FunctionError as error:
        raise ConfigError([Finding.of(place, str(error), expected)]) from error
    if not np.isfinite(answer).all():
        found = f"the policy's Python function '{function.name}', which answered {answer.tolist()}"
        raise ConfigError([Finding.of(place, found, expected)])


def _imported(name: str, folder: Path, place: Place) -> ModuleType:
    top = name.partition(".")[0]
    beside = PathFinder.find_spec(top, [str(folder)])
    loaded = getattr(sys.modules.get(top), "__file__", None)
    origin = None if beside is None else beside.origin
    if origin and loaded and Path(loaded).resolve() != Path(origin).resolve():
        found = f"'{name}', a module beside this file, though another of that name is imported"
        raise ConfigError([Finding.of(place, f"{found} ({loaded})", "another name for it")])
    importlib.invalidate_caches()
    sys.path.insert(0, str(folder))
    try:
        with in_code_of_others():
            return importlib.import_module(name)
    except BaseException as error:
        _pass_on_stops(error)
        if isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}."):
            there = [path.stem for path in folder.glob("*.py")] if folder.is_dir() else []
            near = get_close_matches(name, there, 1)
            nearest = f"'{near[0]}'" if near else None
            expected = f"a module in '{folder}', beside this file, or in sys.path"
            finding = Finding.of(place, f"no module '{error.name}'", expected, nearest)
        else:
            found = f"'{name}', which cannot be imported: {raised(error)}"
            finding = Finding.of(place, found, "a module that can")
        raise ConfigError([finding]) from error
    finally:
        sys.path.remove(str(folder))


def _type_of(answer: npt.NDArray[Any]) -> str:
    inner = answer.item() if answer.shape == () else None
    return "None" if answer.shape == () and inner is None else f"{answer.dtype}{list(answer.shape)}"


def _a(name: str) -> str:
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"

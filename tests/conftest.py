"""What every test starts from."""

import os
import shutil
import signal
import tempfile

import pytest

#: What is compiled here, and in programs that are started here, is kept for this session alone.
CACHE = tempfile.mkdtemp(prefix="rtloop-tests-")


def pytest_unconfigure() -> None:
    shutil.rmtree(CACHE, ignore_errors=True)


def pytest_configure() -> None:
    os.environ["XDG_CACHE_HOME"] = CACHE
    # A program inherits what its parent ignores, and rtloop respects it: under nohup, or as a job in the
    # background of a script, the signals that tests send would do nothing.
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def nothing_is_compiled_to_tell_its_gain(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`rtloop check` compiles each model to say what that would gain: seconds, and its own tests do it."""
    if "aot" not in request.path.parts:
        monkeypatch.setattr("rtloop.cli.check.gain", lambda graph: None)

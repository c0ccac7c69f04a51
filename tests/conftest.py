"""What every test starts from."""

import signal


def pytest_configure() -> None:
    # A program inherits what its parent ignores, and rtloop respects it: under nohup, or as a job in the
    # background of a script, the signals that tests send would do nothing.
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)

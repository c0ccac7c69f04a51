"""Where the recorder's process begins: ``python …/recorder/entry.py --out RUN.mcap RING [RING…]``.

A file that is run by its path, and not ``python -m``, which looks for every module in the working
directory first: there may be a clone of rtloop that was never built, or somebody's ``select.py``.
"""

import sys


def main() -> int:
    """Runs the recorder of the very package this file is part of; returns its exit code."""
    if not (sys.flags.isolated or getattr(sys.flags, "safe_path", False)):  # Python >= 3.11
        del sys.path[0]  # this file's folder: no module of ours is called without its package
    from importlib.util import module_from_spec, spec_from_file_location
    from pathlib import Path

    # By its place: no search, so neither another version nor a folder of that name is found.
    package = Path(__file__).parents[2]
    spec = spec_from_file_location(
        "rtloop", package / "__init__.py", submodule_search_locations=[str(package)]
    )
    assert spec is not None
    assert spec.loader is not None
    sys.modules["rtloop"] = module_from_spec(spec)
    spec.loader.exec_module(sys.modules["rtloop"])

    from rtloop.telemetry.recorder.process import main as record

    return record()


if __name__ == "__main__":
    sys.exit(main())

"""Where a process of our own begins: ``python …/child_entry.py recorder|report ARGUMENT…``.

A file that is run by its path, and not ``python -m``, which looks for every module in the working
directory first: there may be a clone of rtloop that was never built, or somebody's ``select.py``.
"""

import sys

PARTS = {
    "recorder": "rtloop.telemetry.recorder.process",
    "report": "rtloop.report.process",
}


def main() -> int:
    """Runs a part of the very package this file is in; returns its exit code."""
    if not (sys.flags.isolated or getattr(sys.flags, "safe_path", False)):  # Python >= 3.11
        del sys.path[0]  # this file's folder: no module of ours is called without its package
    from importlib import import_module
    from importlib.util import module_from_spec, spec_from_file_location
    from pathlib import Path

    # By its place: no search, so neither another version nor a folder of that name is found.
    package = Path(__file__).parent
    spec = spec_from_file_location(
        "rtloop", package / "__init__.py", submodule_search_locations=[str(package)]
    )
    assert spec is not None
    assert spec.loader is not None
    sys.modules["rtloop"] = module_from_spec(spec)
    spec.loader.exec_module(sys.modules["rtloop"])

    part, *arguments = sys.argv[1:]
    return int(import_module(PARTS[part]).main(arguments))


if __name__ == "__main__":
    sys.exit(main())

"""What the files of a split recording are called.

The first is ``run.mcap``, those after it ``run_001.mcap``, ``run_002.mcap``, …; the oldest may have
been deleted since.
"""

import re
from pathlib import Path
from typing import Final

RUN_FILE: Final = "run.mcap"
_LATER: Final = re.compile(r"(?P<run>.+)_(?P<number>\d{3,})")


def part_path(first: Path, number: int) -> Path:
    """The path of a part, by that of part 0."""
    return first if number == 0 else first.with_name(f"{first.stem}_{number:03d}{first.suffix}")


def first_path(part: Path) -> Path:
    """The path of part 0, by that of any part."""
    match = _LATER.fullmatch(part.stem)
    return part if match is None else part.with_name(match["run"] + part.suffix)


def part_number(part: Path) -> int:
    """The number that its name gives to a part."""
    match = _LATER.fullmatch(part.stem)
    return 0 if match is None else int(match["number"])


def parts_there(first: Path) -> list[Path]:
    """The files that are called like parts of a recording, in their order, by the path of part 0."""
    later = {}
    for path in first.parent.glob("*" + first.suffix):
        match = _LATER.fullmatch(path.stem)
        if match is not None and match["run"] == first.stem:
            number = int(match["number"])
            if path == part_path(first, number):
                later[number] = path
    parts = [later[number] for number in sorted(later)]
    return [first, *parts] if first.exists() or first.is_symlink() else parts


def first_there(first: Path) -> Path:
    """Where a recording begins: part 0, or, where it was deleted, the oldest that is left."""
    return next(iter(parts_there(first)), first)

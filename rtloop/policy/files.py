"""Whether a file that a configuration names is there, and what may have been meant."""

from __future__ import annotations

import os
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from shlex import quote

from rtloop.config.problem import Keys, Problem


def file_rules(keys: Keys, model: Path, ending: str = ".onnx") -> Iterator[Problem]:
    """Broken rules of the path ``model``, which stands at ``keys``: a file that this user may read."""
    article = "an" if ending == ".onnx" else "a"
    if os.path.isfile(model):
        if not os.access(model, os.R_OK):
            yield Problem(
                keys, f"read permission: chmod u+r {quote(str(model))}", f"'{model}', not readable"
            )
        return
    if os.path.isdir(model):
        yield Problem(keys, f"{article} {ending} file", f"the folder '{model}'")
        return
    if os.path.exists(model):
        yield Problem(
            keys,
            f"{article} {ending} file",
            f"'{model}', a pipe, socket or device and no regular file",
        )
        return
    try:
        names = sorted(n for n in os.listdir(model.parent)[:10_000] if n.endswith(ending))
    except OSError:
        expected = f"the path of a file, relative to this one; there is no folder '{model.parent}'"
        yield Problem(keys, expected)
        return
    expected = f"a file in '{model.parent}'"
    if not names:
        expected += f", which holds no {ending} file"
    elif len(names) <= 5:
        expected += f", which holds {', '.join(names)}"
    nearest = get_close_matches(model.name, names, 1)
    yield Problem(keys, expected, nearest=f"'{nearest[0]}'" if nearest else None)

"""A program for tests: loop_node, in whose loops the policy takes longer now and then.

late_node.py '{"LOOP": [FIRST, EVERY, NS]}' --ros-args …
"""

from __future__ import annotations

import functools
import json
import sys
from unittest.mock import patch

from rtloop import core
from rtloop.nodes import loop_node
from rtloop.run import Run


def main(stalls: str, *arguments: str) -> int:
    """Returns the exit code of the node."""
    given = {
        name: [core.Stall(core.Stage.infer, first, every, duration_ns)]
        for name, (first, every, duration_ns) in json.loads(stalls).items()
    }
    with patch("rtloop.nodes.loop_node.Run", functools.partial(Run, stalls=given)):
        return int(loop_node.main(list(arguments)))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

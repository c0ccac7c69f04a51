"""``rtloop policy compile``: the models of a configuration, compiled to be kept, or taken along."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from typing import Any

from rtloop.cli.outlet import say
from rtloop.cli.terminal import Terminal
from rtloop.config import load
from rtloop.config.config import label
from rtloop.policy.aot.choice import Backends, backends
from rtloop.policy.aot.store import own_folder
from rtloop.policy.opened import opened


def compile_policies(options: argparse.Namespace) -> int:
    """Compiles the policies of all loops; 0 when each model is, else 1."""
    config = load(options.file)
    found: dict[str, Backends] = {}
    folders = {}
    notes: list[str] = []
    for loop in config.loops:
        for policy, alone in config.each_policy(loop).items():
            name = label(loop, policy)
            folders[name] = options.into or alone.loops[loop].policy.aot_cache or own_folder()
            graph = opened(alone, loop, backend="ort").assembled.graph
            found[name] = backends(graph, folders[name])
            if graph.call is not None:
                function = graph.call.function.name
                told = f"the Python function '{function}' is not compiled: export a model"
                notes.append(f"{name}: {told}")
    code = int(any(made.reasons for made in found.values()))
    if options.json:
        loops = {name: _as_dict(made, str(folders[name])) for name, made in found.items()}
        text = json.dumps({"file": str(options.file), "loops": loops, "exit_code": code}, indent=2)
        return code if say(text) else 1
    terminal = Terminal(sys.stdout)
    lines = list(notes)
    for name, made in found.items():
        if not made.by_model and not any(note.startswith(f"{name}: ") for note in notes):
            lines.append(f"{name}: no model to compile")
        lines += [f"{name}: {note}" for note in made.notes]
        lines += [f"{name}: {folders[name]}/{entry.name}.so" for entry in made.entries.values()]
    return code if say("\n".join(map(terminal.wrapped, lines))) else 1


def _as_dict(made: Backends, folder: str) -> dict[str, Any]:
    return {
        "folder": folder,
        "backends": dict(made.by_model),
        "reasons": dict(made.reasons),
        "objects": [asdict(entry) for entry in made.entries.values()],
    }

"""Which back-end each model of a graph runs on: compiled where that works, onnxruntime where not."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from rtloop.policy.aot.agreement import difference
from rtloop.policy.aot.layout import along_rows
from rtloop.policy.aot.source import dropped, model_of, unchecked, wrapper_of
from rtloop.policy.aot.store import Entry, Store
from rtloop.policy.aot.tools import BEFORE, LINK, NotCompiledError, Tools, compile_model, find_tools
from rtloop.policy.composed import ComposedGraph, ModelStep, TensorSpec
from rtloop.policy.runner import model_steps, runner
from rtloop.progress import tell


@dataclass(frozen=True)
class Backends:
    """What runs the models of a graph."""

    objects: Mapping[int, bytes] = field(default_factory=dict, repr=False)
    """Shared objects, by the index of the step that they compute."""
    entries: Mapping[int, Entry] = field(default_factory=dict)
    """What is known of each."""
    by_model: Mapping[str, str] = field(default_factory=dict)
    """``aot`` or ``ort``, by the name of the model; a model of several runs that differ is ``ort``."""
    reasons: Mapping[str, str] = field(default_factory=dict)
    """Why a model runs in onnxruntime though it was to be compiled."""

    @property
    def notes(self) -> list[str]:
        """What became of each model that was to be compiled, a sentence each."""
        compiled = [
            f"{name} runs compiled ahead of time ({_made_by(self.entries, name)})"
            for name, backend in self.by_model.items()
            if backend == "aot"
        ]
        told = [
            f"{name} runs in onnxruntime, not compiled: {why}" for name, why in self.reasons.items()
        ]
        return [*compiled, *told]


def in_onnxruntime(graph: ComposedGraph) -> Backends:
    """All models where they run by default."""
    return Backends(by_model={step.label: "ort" for step in model_steps(graph).values()})


def backends(graph: ComposedGraph, folder: Path | None = None) -> Backends:
    """Compiles the models of a graph, or finds what was compiled before, and compares each with onnxruntime.

    ``folder`` is that of compiled models; None is the user's own cache. Raises StoppedError, and RuntimeError
    or ValueError where onnxruntime cannot run the graph at all.
    """
    store = Store(folder)
    objects: dict[int, bytes] = {}
    entries: dict[int, Entry] = {}
    reasons: dict[str, str] = {}
    reference = runner(graph)
    for index, step in model_steps(graph).items():
        try:
            entry, code = _object(step, graph.tensors, store)
            if told := difference(graph, reference, {**objects, index: code}, index, step):
                raise NotCompiledError(f"it does not compute the same: {told}")
        except NotCompiledError as error:
            reasons.setdefault(step.label, str(error))
        else:
            objects[index], entries[index] = code, entry
    labels = dict.fromkeys(step.label for step in model_steps(graph).values())
    by_model = {label: "ort" if label in reasons else "aot" for label in labels}
    return Backends(objects, entries, by_model, reasons)


def _object(
    step: ModelStep, tensors: Mapping[str, TensorSpec], store: Store
) -> tuple[Entry, bytes]:
    """What computes a step: made here, else brought here. Raises NotCompiledError, StoppedError."""
    try:
        model = model_of(step, tensors)
        generated = along_rows(model)
        told = unchecked(model) or dropped(generated)
    except Exception as error:  # of onnx: of many types
        raise NotCompiledError(f"it cannot be rewritten: {' '.join(str(error).split())}") from error
    if told:
        raise NotCompiledError(told)
    sha256 = hashlib.sha256(model).hexdigest()
    try:
        return _made_here(step, generated, wrapper_of(step, tensors), sha256, store)
    except NotCompiledError as error:
        if found := store.any_of(sha256):
            return found
        raise error


def _made_here(
    step: ModelStep, generated: bytes, wrapper: str, sha256: str, store: Store
) -> tuple[Entry, bytes]:
    """By the tools of this machine, now or before. Raises NotCompiledError, StoppedError."""
    tools = find_tools()
    key = _key(tools, generated, wrapper)
    found = store.of_key(sha256, key)
    if found is None:
        known = Entry(
            sha256, key, step.label, tools.generator, tools.version, list(tools.flags),
            features=list(tools.features),
        )  # fmt: skip
        found = _compiled(known, generated, wrapper, tools, store)
    entry, code = found
    if entry.failure:
        raise NotCompiledError(entry.failure)
    return entry, code


def _compiled(
    known: Entry, model: bytes, wrapper: str, tools: Tools, store: Store
) -> tuple[Entry, bytes]:
    """Raises NotCompiledError, StoppedError."""
    store.prepare()
    tell(f"compiling '{known.label}' for this CPU …")
    try:
        code = compile_model(tools, model, wrapper)
    except NotCompiledError as error:
        if not error.is_lasting:
            raise
        entry, code = replace(known, failure=str(error)), b""
    else:
        entry = replace(known, sha256=hashlib.sha256(code).hexdigest())
    store.keep(entry, code)
    return entry, code


def _key(tools: Tools, model: bytes, wrapper: str) -> str:
    parts = (
        hashlib.sha256(model).hexdigest(), BEFORE, wrapper, tools.generator, *tools.compiler,
        tools.version, *tools.flags, *LINK, tools.macros, *tools.features,
    )  # fmt: skip
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _made_by(entries: Mapping[int, Entry], label: str) -> str:
    return next(
        (f"{e.generator}, {e.compiler}" for e in entries.values() if e.label == label), "elsewhere"
    )

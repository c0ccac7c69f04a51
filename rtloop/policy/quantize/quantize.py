"""The models of a loop in int8 or float16, if that is as good and no slower: judged, then written."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtloop.config import Config
from rtloop.errors import ConfigError, Finding, RtloopError, StoppedError
from rtloop.policy.bench.bench import warm_in_turn
from rtloop.policy.bench.distribution import Distribution, noise_floor, ratio
from rtloop.policy.cases import CasesFile
from rtloop.policy.composed import ComposedGraph, ModelStep
from rtloop.policy.model_file import read_model
from rtloop.policy.opened import Opened, opened, refuse_function, standing
from rtloop.policy.quantize.convert import Kind, NotQuantizedError, converted, watched_for
from rtloop.policy.quantize.effect import (
    ClosedLoop,
    closed_loop,
    errors,
    known_plant,
)
from rtloop.policy.quantize.outcome import Limits, Quantized, Written, refusals
from rtloop.policy.quantize.samples import RecordingFile, Samples, samples_of_cases
from rtloop.policy.roles import Stage
from rtloop.policy.runner import runner
from rtloop.policy.trace import Trace, trace
from rtloop.ports.signal import Signal
from rtloop.progress import tell

if TYPE_CHECKING:
    import onnx

#: The key of the metadata that says what was done to a model.
METADATA = "rtloop.quantized"
#: Of the runs that ranges are taken from, and of those that are compared.
LEAST_RUNS = 20


@dataclass(frozen=True)
class Request:
    """What is asked for."""

    kind: Kind
    recording: Path | None = None
    cases: Path | None = None
    out: Path | None = None
    """A file; of several models a folder. None is beside the model."""
    plant: str | None = None
    limits: Limits = field(default_factory=Limits)
    seconds: float = 3.0


def quantize(config: Config, name: str, request: Request) -> Quantized:
    """Converts the models of the loop ``name``, judges what came of it, and writes what passed.

    Raises ConfigError, RtloopError, RecordingError, StoppedError; then nothing is written.
    """
    loop = config.loops[name]
    if loop.policy.leapp is not None:
        found = f"a LEAPP bundle ({loop.policy.leapp.name}), which names its own models"
        raise ConfigError(f"loop '{name}': found {found}; expected `model` or `models`")
    refuse_function(config, name)
    if not loop.policy.sections:
        found = "a policy without a model"
        raise ConfigError(f"loop '{name}': found {found}; expected `model` or `models`")
    told: dict[str, Any] = {}
    recording = cases = None
    if request.cases is not None:
        cases = CasesFile(request.cases)
        named = {key: cases.names_of(f"in_{key}") for key in loop.inputs}
        told |= {key: tuple(map(Signal, names)) for key, names in named.items() if names}
    if request.recording is not None:
        recording = RecordingFile(request.recording, config, name)
        told |= recording.told
    if recording is None and cases is None:
        found = "neither --calibration nor --cases"
        expected = (
            "one of them: what the policy is given tells the ranges of its values, and its error. "
            "`rtloop run` records"
        )
        raise ConfigError(f"found {found}; expected {expected}")
    policy = opened(config, name, told, backend="ort")
    stages = policy.policy.stages
    for stage in stages:
        if any(item.key == METADATA for item in stage.file.model.metadata_props):
            at, _, _ = loop.policy.sections[stage.name]
            place = config.where("loops", name, "policy", *at, "model")
            found = f"a model that was quantised already ('{METADATA}' in its metadata)"
            raise ConfigError(
                [Finding.of(place, found, "the one in float32 that it was made from")]
            )
    paths = _paths(stages, loop.policy.sections, request)
    graph = policy.assembled.graph
    samples = [
        *([recording.samples(policy)] if recording else []),
        *([samples_of_cases(cases, policy, loop.policy.every)] if cases else []),
    ]
    traced = [_traced(policy, graph, each, standing(loop, policy), watch=True) for each in samples]
    calibration, expected_raw = _parted(traced, samples)
    tell(f"converting to {request.kind} …")
    own = [stage.file.model for stage in stages]
    try:
        changed = converted(
            graph, request.kind, calibration, lambda step: any(step.model is m for m in own)
        )
    except NotQuantizedError as error:
        raise RtloopError(f"loop '{name}': no {request.kind}: {error}") from error
    tell("comparing …")
    again = _traced(policy, changed, samples[-1], standing(loop, policy))
    names = [f"raw[{n}]" if n.isdigit() else n for n in policy.table.raw]
    found_errors = errors(names, again.raw[-len(expected_raw) :], expected_raw)
    models = _models(graph, changed, stages)
    facts = {
        "to": request.kind,
        "onnxruntime": version("onnxruntime"),
        "calibrated_on": samples[0].path.name if request.kind == "int8" else "",
        "calibrated_runs": len(calibration.raw) if request.kind == "int8" else 0,
        "largest_error_of_range": max(error.relative for error in found_errors),
    }
    data = {stage.name: _bytes(models[stage.name], stage, facts) for stage in stages}
    tell("measuring …")
    try:
        for stage in stages:
            read_model(data[stage.name])  # as a loop would
        times, conditions = warm_in_turn(
            [policy.assembled.runner, runner(changed)], loop.realtime, request.seconds
        )
    except (ConfigError, RuntimeError, ValueError) as error:
        text = " ".join(str(error).split())
        raise RtloopError(f"loop '{name}': its {request.kind} cannot be run: {text}") from error
    import numpy as np

    before, after = (Distribution.of(np.concatenate(own)) for own in times)
    plant, no_plant = _on_plant(stages, data, request)
    refused = tuple(refusals(found_errors, ratio(after.p50, before.p50), plant, request.limits))
    written = {}
    if not refused:
        _write({paths[stage.name]: data[stage.name] for stage in stages})
    for stage in stages if not refused else ():
        at, section, _ = loop.policy.sections[stage.name]
        here = partial(config.where, "loops", name, "policy", *at)
        digest = hashlib.sha256(data[stage.name]).hexdigest()
        pinned_at = here("sha256") if section.sha256 else None
        written[stage.name] = Written(paths[stage.name], digest, here("model"), pinned_at)
    return Quantized(
        name,
        request.kind,
        found_errors,
        len(calibration.raw) if request.kind == "int8" else 0,
        len(expected_raw),
        before,
        after,
        noise_floor(times[0])[0],
        plant,
        no_plant,
        refused,
        written,
        conditions,
    )


def _paths(
    stages: tuple[Stage, ...], sections: Mapping[str, tuple[Any, Any, Path]], request: Request
) -> dict[str, Path]:
    """Where each model goes; nothing is overwritten. Raises ConfigError."""
    paths: dict[str, Path] = {}
    for stage in stages:
        source = sections[stage.name][2]
        called = f"{source.stem}.{request.kind}.onnx"
        out = request.out
        if out is not None and len(stages) > 1 and not out.is_dir():
            found = f"-o {out}, and {len(stages)} models"
            raise ConfigError(f"found {found}; expected a folder that is there")
        path = source.with_name(called) if out is None else out / called if out.is_dir() else out
        if path.exists():
            raise ConfigError(f"{path} is there already; -o names another file")
        if path in paths.values():
            raise ConfigError(f"found two models that would be {path}; expected different names")
        paths[stage.name] = path
    return paths


def _traced(
    policy: Opened,
    graph: ComposedGraph,
    samples: Samples,
    first_command: list[float],
    *,
    watch: bool = False,
) -> Trace:
    """Every run of the policy in these steps, its own state fed back; the last command is that of the file."""
    import numpy as np

    commands = samples.commands if graph.last_command else None
    try:
        return trace(
            graph,
            policy.assembled.runner if graph is policy.assembled.graph else runner(graph),
            samples.inputs,
            np.asarray(first_command, np.float32),
            steps=samples.steps,
            targets=commands,
            in_cycles=samples.in_cycles,
            watched=watched_for(graph) if watch else (),
        )
    except (RuntimeError, ValueError) as error:
        text = " ".join(str(error).split())
        raise RtloopError(
            f"{samples.path}: the policy cannot be stepped through it: {text}"
        ) from error


def _parted(traced: list[Trace], samples: list[Samples]) -> tuple[Trace, Any]:
    """Runs to take ranges from, and the answers of others to compare with: of two files one each, of one its
    halves. Raises ConfigError."""
    whole, last = traced[0], traced[-1].raw
    if len(traced) == 1:
        half = len(whole.raw) // 2
        watched = {name: rows[:half] for name, rows in whole.watched.items()}
        whole, last = replace(whole, raw=whole.raw[:half], watched=watched), whole.raw[half:]
    for runs, file in ((len(whole.raw), samples[0]), (len(last), samples[-1])):
        if runs < LEAST_RUNS:
            many = LEAST_RUNS if len(traced) == 2 else 2 * LEAST_RUNS
            found = f"{runs if len(traced) == 2 else len(traced[0].raw)} runs of the policy"
            raise ConfigError(f"{file.path}: found {found}; expected {many} or more")
    return whole, last


def _models(
    graph: ComposedGraph, changed: ComposedGraph, stages: tuple[Stage, ...]
) -> dict[str, onnx.ModelProto]:
    """By the name of a model of the policy, what became of it."""
    found = {}
    for stage in stages:
        for before, after in zip(graph.steps, changed.steps, strict=True):
            if isinstance(before, ModelStep) and before.model is stage.file.model:
                assert isinstance(after, ModelStep)
                found[stage.name] = after.model
    return found


def _bytes(model: onnx.ModelProto, stage: Stage, facts: Mapping[str, Any]) -> bytes:
    """The file: the metadata of the original, and what was done."""
    import onnx

    said = {item.key: item.value for item in stage.file.model.metadata_props}
    told = {**facts, "sha256_before": stage.file.sha256}
    onnx.helper.set_model_props(model, {**said, METADATA: json.dumps(told)})
    return bytes(model.SerializeToString())


def _on_plant(
    stages: tuple[Stage, ...], data: Mapping[str, bytes], request: Request
) -> tuple[ClosedLoop | None, str]:
    """Or why it is not known. One that was asked for must run: raises ConfigError, RtloopError."""
    if len(stages) != 1:
        if request.plant is not None:
            found = f"--plant, and a policy of {len(stages)} models"
            raise ConfigError(f"found {found}; expected one model: a plant is given its path")
        return None, f"a plant is given one model, and these are {len(stages)}"
    (stage,) = stages
    name = request.plant or known_plant(stage.file.file_sha256)
    if name is None:
        return None, "no plant is known of this policy (--plant)"
    tell(f"running {name} …")
    with tempfile.TemporaryDirectory(prefix="rtloop-quantize-") as folder:
        before, after = Path(folder, "float32.onnx"), Path(folder, f"{request.kind}.onnx")
        # As the loop runs it: dimensions fixed, weights inside.
        before.write_bytes(stage.file.model.SerializeToString())
        after.write_bytes(data[stage.name])
        try:
            return closed_loop(name, before, after), ""
        except StoppedError:
            raise
        except RtloopError as error:
            if request.plant is not None:
                raise
            return None, str(error)


def _write(files: Mapping[Path, bytes]) -> None:
    """All of them, or none: of a model that was cut off nobody would know."""
    begun: list[Path] = []
    path = Path()
    try:
        for path, data in files.items():
            with path.open("xb") as file:
                begun.append(path)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
    except BaseException as error:
        for other in begun:
            other.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise RtloopError(f"cannot write '{path}': {error.strerror}") from error
        raise

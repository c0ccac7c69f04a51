"""Observations of policies that teams deploy, from their descriptions: as a file says them, and in numpy.

One test a robot. What it observes is written out in numpy as the description has it, from all samples so far.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from onnx import TensorProto, helper

from rtloop.policy import Sink
from tests.policy.models import Runner, save
from tests.policy.terms.harness import composed
from tests.policy.terms.reference import Floats, matrix_of, rotation_of

FLOAT = TensorProto.FLOAT
N_STEPS = 30
Sizes = dict[str, int | Sequence[str]]


class Log:
    """Everything that was measured and answered so far; ``k`` is the step, from 0."""

    def __init__(self, sizes: Sizes, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._sizes = {n: s if isinstance(s, int) else len(s) for n, s in sizes.items()}
        self.samples: list[dict[str, Floats]] = []
        self.actions: list[Floats] = []
        self.targets: list[Floats] = []

    @property
    def k(self) -> int:
        return len(self.samples) - 1

    def measure(self) -> dict[str, Floats]:
        """The next samples; a command is small in some steps."""
        sample = {
            name: self._random.normal(size=size).astype(np.float32).astype(np.float64)
            for name, size in self._sizes.items()
        }
        if "command" in sample:
            sample["command"] *= self.k % 7 > 2
        self.samples.append(sample)
        return sample

    def at(self, name: str, k: int) -> Floats:
        return self.samples[k][name]

    def last(self, k: int) -> Floats:
        """The raw action that was applied before step ``k``."""
        return self.actions[k - 1] if k > 0 else np.zeros_like(self.actions[0])

    def gravity(self, k: int, name: str = "quat", order: str = "wxyz") -> Floats:
        return np.asarray(matrix_of(self.at(name, k), order).T @ [0, 0, -1.0])


def frames(of: Callable[[int], Floats], k: int, ago: Sequence[int], *, zeros: bool) -> Floats:
    """Frames of the steps before, whole; the first one, or zeros, in place of those before it."""
    return np.concatenate([of(max(k - n, 0)) * (k >= n or not zeros) for n in ago])


def check(
    folder: Path,
    text: str,
    sizes: Sizes,
    expected: Callable[[Log], Floats],
    *,
    n_actions: int = 12,
    files: dict[str, bytes] | None = None,
    period_s: Fraction = Fraction(1, 50),
    model: Callable[[int, int], bytes] | None = None,
) -> None:
    """The observation of the file is that of the description, in every step."""
    section = {"model": "p.onnx", **yaml.safe_load(text)}
    log = Log(sizes, 0)
    log.actions = [np.zeros(n_actions)]
    log.measure()
    size = len(expected(log))
    made = (model or _linear)(size, n_actions)
    graph = composed(
        folder, section, sizes, {"p.onnx": made, **(files or {})}, period_s, _sinks(n_actions)
    )
    runner = Runner(graph)
    numbers = {name: number for number, name in enumerate(graph.tensors)}
    log = Log(sizes, 1)
    log.actions = [np.zeros(n_actions)]
    for step in range(N_STEPS):
        samples = log.measure()
        target = np.full(n_actions, 0.1 * step)
        log.targets.append(target)
        want = expected(log)
        last = target if graph.last_command else None
        runner.step(*(samples[name] for name in sizes), last_command=last)
        observed = runner.core.tensor(numbers[graph.observations["policy.obs"]]).reshape(-1)
        np.testing.assert_allclose(observed, want, rtol=1e-4, atol=1e-4, err_msg=f"step {step}")
        raw = runner.core.tensor(numbers[graph.raw_action]).reshape(-1).astype(np.float64)
        log.actions = [*log.actions[:step], raw]


def _sinks(n_actions: int) -> dict[str, Sink]:
    return {"motors": Sink(n_actions)}


def _linear(size: int, n_actions: int) -> bytes:
    weight = np.random.default_rng(5).normal(0, 1 / size, (size, n_actions)).astype(np.float32)
    return save(
        [helper.make_node("MatMul", ["obs", "w"], ["action"])],
        [("obs", FLOAT, [1, size])],
        [("action", FLOAT, [1, n_actions])],
        {"w": weight},
    )


Q0 = [round(0.1 * i - 0.5, 2) for i in range(12)]
LEGS = [f"{leg}_{joint}" for leg in ("FR", "FL", "RR", "RL") for joint in ("hip", "thigh", "calf")]
ROBOT = [f"{leg}_{joint}" for joint in ("hip", "thigh", "calf") for leg in ("FL", "RL", "FR", "RR")]
OF_POLICY = [ROBOT.index(name) for name in LEGS]
NAMED: Sizes = {"quat": 4, "gyro": 3, "pos": ROBOT, "vel": ROBOT, "command": 3}
HEAD = f"joints: {LEGS}\ndefault_joint_pos: {Q0}\n"


def _q(log: Log, k: int) -> Floats:
    return log.at("pos", k)[OF_POLICY] - Q0


def _dq(log: Log, k: int) -> Floats:
    return log.at("vel", k)[OF_POLICY]


def test_go1_of_mujoco_playground(tmp_path: Path) -> None:
    text = (
        HEAD
        + """
observation:
  - {input: velocity}
  - {input: gyro}
  - {projected_gravity: quat}
  - {input: pos, joints: policy, minus: default_joint_pos}
  - {input: vel, joints: policy}
  - {last_action: true}
  - {input: command}
"""
    )

    def expected(log: Log) -> Floats:
        k = log.k
        parts = [log.at("velocity", k), log.at("gyro", k), log.gravity(k), _q(log, k), _dq(log, k)]
        return np.concatenate([*parts, log.last(k), log.at("command", k)])

    check(tmp_path, text, {"velocity": 3, **NAMED}, expected)


def test_t1_of_booster_stands_with_its_phases_at_half_and_no_head(tmp_path: Path) -> None:
    """2 is the same without the hold and the mask; both advance after the step."""
    text = (
        HEAD
        + """
observation:
  - {input: pos, joints: policy, minus: default_joint_pos, scale: [0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]}
  - {phase: {frequency_hz: 1.5, offsets: [0, 0.5], hold: {command: command, below: 0.01, at: 0.5}},
     show: [cos, sin]}
"""
    )

    def expected(log: Log) -> Floats:
        k = log.k
        phase = np.array([0, np.pi]) + 2 * np.pi * 1.5 * 0.02 * k
        if np.linalg.norm(log.at("command", k)) < 0.01:
            phase = np.array([np.pi, np.pi])
        mask = np.array([0, 0, *[1] * 10])
        return np.concatenate([_q(log, k) * mask, np.cos(phase), np.sin(phase)])

    check(tmp_path, text, NAMED, expected)


def _clock(frequency: Sequence[Any], weights: dict[str, Any]) -> bytes:
    """command -> cos(2), sin(2) of a phase of its own, whose frequency_hz the nodes make of the command."""
    nodes = [
        *frequency,
        helper.make_node("Mul", ["frequency_hz", "dt"], ["advance"]),
        helper.make_node("Add", ["turn_in", "advance"], ["ahead"]),
        helper.make_node("Floor", ["ahead"], ["whole"]),
        helper.make_node("Sub", ["ahead", "whole"], ["turn_out"]),
        helper.make_node("Add", ["turn_in", "offsets"], ["turns"]),
        helper.make_node("Mul", ["turns", "two_pi"], ["phase"]),
        helper.make_node("Cos", ["phase"], ["cos"]),
        helper.make_node("Sin", ["phase"], ["sin"]),
        helper.make_node("Concat", ["cos", "sin"], ["shown"], axis=1),
    ]
    constants = {
        "dt": np.array([[0.02]], np.float32),
        "offsets": np.array([[0, 0.5]], np.float32),
        "two_pi": np.array([2 * np.pi], np.float32),
        **weights,
    }
    tensors = [("command", FLOAT, [1, 3]), ("turn_in", FLOAT, [1, 1])]
    return save(nodes, tensors, [("shown", FLOAT, [1, 4]), ("turn_out", FLOAT, [1, 1])], constants)


def test_apollo_walks_faster_when_it_is_told_to(tmp_path: Path) -> None:
    """1.25 + 0.5 min(|command|, 1.5) / 1.5 Hz: a phase that no key says, as a model."""
    frequency = [
        helper.make_node("ReduceL2", ["command"], ["length"], axes=[1], keepdims=1),
        helper.make_node("Min", ["length", "most"], ["speed"]),
        helper.make_node("Mul", ["speed", "slope"], ["faster"]),
        helper.make_node("Add", ["faster", "least"], ["frequency_hz"]),
    ]
    weights = {
        "most": np.array([[1.5]], np.float32),
        "slope": np.array([[0.5 / 1.5]], np.float32),
        "least": np.array([[1.25]], np.float32),
    }
    text = """
observation:
  - {input: gyro}
  - {model: gait.onnx, inputs: {command: command}}
"""

    def expected(log: Log) -> Floats:
        speeds = [float(np.linalg.norm(sample["command"])) for sample in log.samples[:-1]]
        turn = sum(0.02 * (1.25 + 0.5 * min(speed, 1.5) / 1.5) for speed in speeds)
        phase = 2 * np.pi * (turn + np.array([0, 0.5]))
        return np.concatenate([log.at("gyro", log.k), np.cos(phase), np.sin(phase)])

    files = {"gait.onnx": _clock(frequency, weights)}
    check(tmp_path, text, {"gyro": 3, "command": 3}, expected, files=files)


def test_leap_turns_a_cube(tmp_path: Path) -> None:
    text = """
groups:
  target: [{last_target: true}]
observation:
  - {input: pos}
  - {input: pos, minus: target}
  - {input: palm, minus: cube}
  - {rotation: cube_quat, relative_to: goal_quat, expressed_in: world, select: [3, 4, 5, 6, 7, 8]}
  - {last_action: true}
"""
    sizes: Sizes = {"pos": 16, "palm": 3, "cube": 3, "cube_quat": 4, "goal_quat": 4}

    def expected(log: Log) -> Floats:
        now = log.samples[-1]
        turned = matrix_of(now["cube_quat"], "wxyz") @ matrix_of(now["goal_quat"], "wxyz").T
        error = now["pos"] - log.targets[-1] if log.targets else now["pos"]
        parts = [now["pos"], error, now["palm"] - now["cube"], turned[1:].reshape(-1)]
        return np.concatenate([*parts, log.last(log.k)])

    check(tmp_path, text, sizes, expected, n_actions=16)


def test_wheels_have_no_position(tmp_path: Path) -> None:
    """Wheel-foot variant of 6: a subset of the joints, by their names."""
    text = (
        HEAD
        + """
observation:
  - {input: pos, joints: [FR_hip, FL_hip, FR_calf], minus: default_joint_pos}
  - {input: vel, joints: policy, scale: 0.05}
"""
    )

    def expected(log: Log) -> Floats:
        return np.concatenate([_q(log, log.k)[[0, 3, 2]], 0.05 * _dq(log, log.k)])

    check(tmp_path, text, NAMED, expected)


def test_g1_of_unitree_remembers_five_steps_of_each_term(tmp_path: Path) -> None:
    text = (
        HEAD
        + """
observation:
  - {input: gyro, scale: 0.2, history: 5}
  - {projected_gravity: quat, history: 5}
  - {input: command, clip: [[-0.5, -0.3, -0.2], [1.0, 0.3, 0.2]], history: 5}
  - {input: pos, joints: policy, minus: default_joint_pos, history: 5}
  - {input: vel, joints: policy, scale: 0.05, history: 5}
  - {last_action: true, history: 5}
"""
    )

    def expected(log: Log) -> Floats:
        terms: list[Callable[[int], Floats]] = [
            lambda k: 0.2 * log.at("gyro", k),
            log.gravity,
            lambda k: np.clip(log.at("command", k), [-0.5, -0.3, -0.2], [1.0, 0.3, 0.2]),
            lambda k: _q(log, k),
            lambda k: 0.05 * _dq(log, k),
            log.last,
        ]
        return np.concatenate([frames(t, log.k, [4, 3, 2, 1, 0], zeros=False) for t in terms])

    check(tmp_path, text, NAMED, expected)


def _table(rows: Any) -> bytes:
    last = np.array([len(rows) - 1], np.int64)
    nodes = [
        helper.make_node("Min", ["step", "last"], ["index"]),
        helper.make_node("Gather", ["rows", "index"], ["row"], axis=0),
    ]
    tensor = [("step", TensorProto.INT64, [1])]
    return save(nodes, tensor, [("row", FLOAT, [1, rows.shape[1]])], {"rows": rows, "last": last})


def _waist() -> bytes:
    """pelvis wxyz, yaw -> the quaternion of what is above the waist: pelvis times a turn about z."""
    pick = {f"at{i}": np.array([i], np.int64) for i in range(4)}
    nodes = [
        helper.make_node("Gather", ["pelvis", f"at{i}"], [name], axis=1)
        for i, name in enumerate("wxyz")
    ]
    nodes += [
        helper.make_node("Mul", ["yaw", "half"], ["a"]),
        helper.make_node("Cos", ["a"], ["c"]),
        helper.make_node("Sin", ["a"], ["s"]),
    ]
    for out, (cosine, sine, operator) in {
        "w2": ("w", "z", "Sub"), "x2": ("x", "y", "Add"), "y2": ("y", "x", "Sub"), "z2": ("z", "w", "Add"),
    }.items():  # fmt: skip
        nodes += [
            helper.make_node("Mul", [cosine, "c"], [out + "c"]),
            helper.make_node("Mul", [sine, "s"], [out + "s"]),
            helper.make_node(operator, [out + "c", out + "s"], [out]),
        ]
    nodes.append(helper.make_node("Concat", ["w2", "x2", "y2", "z2"], ["torso"], axis=1))
    weights: dict[str, Any] = {**pick, "half": np.array([[0.5]], np.float32)}
    tensors = [("pelvis", FLOAT, [1, 4]), ("yaw", FLOAT, [1, 1])]
    return save(nodes, tensors, [("torso", FLOAT, [1, 4])], weights)


def test_g1_dances_to_a_table_seen_from_its_torso(tmp_path: Path) -> None:
    """8b: motion by time, its anchor relative to pelvis times waist, the yaws of the start taken out."""
    rows = np.random.default_rng(8).normal(size=(20, 10)).astype(np.float32)
    text = """
groups:
  motion: [{model: motion.onnx, counters: {step: 0}}]
  reference: [{group: motion, select: [6, 7, 8, 9]}]
  torso: [{model: waist.onnx, inputs: {pelvis: quat, yaw: waist_yaw}}]
observation:
  - {group: motion, select: [0, 1, 2, 3, 4, 5]}
  - {rotation: reference, relative_to: torso, align_yaw: true, show: 6d}
  - {input: gyro}
"""

    def yaw(matrix: Floats) -> Floats:
        return rotation_of(0, 0, float(np.arctan2(matrix[1, 0], matrix[0, 0])))

    def both(log: Log, k: int) -> tuple[Floats, Floats]:
        waist = rotation_of(0, 0, float(log.at("waist_yaw", k)[0]))
        anchor = matrix_of(log.at("quat", k), "wxyz") @ waist
        return np.asarray(anchor), matrix_of(rows[min(k, 19), 6:].astype(np.float64), "wxyz")

    def expected(log: Log) -> Floats:
        first, (anchor, reference) = both(log, 0), both(log, log.k)
        align = yaw(first[0]) @ yaw(first[1]).T
        seen = (anchor.T @ align @ reference)[:, :2].reshape(-1)
        return np.concatenate([rows[min(log.k, 19), :6], seen, log.at("gyro", log.k)])

    files = {"motion.onnx": _table(rows), "waist.onnx": _waist()}
    check(tmp_path, text, {"quat": 4, "waist_yaw": 1, "gyro": 3}, expected, files=files)


def test_go2_trots_on_ten_whole_frames_with_angles(tmp_path: Path) -> None:
    """9; and the constants of 9b."""
    text = (
        HEAD
        + """
groups:
  frame:
    - {phase: {period_s: 0.5}, clip: [-100, 100]}
    - {input: command, scale: [2.0, 2.0, 0.25], clip: [-100, 100]}
    - {input: gyro, scale: 0.25, clip: [-100, 100]}
    - {euler_xyz: quat, clip: [-100, 100]}
    - {input: pos, joints: policy, minus: default_joint_pos, clip: [-100, 100]}
    - {input: vel, joints: policy, scale: 0.05, clip: [-100, 100]}
    - {last_action: true, clip: [-100, 100]}
    - {constant: [0, 0, 0]}
observation: [{group: frame, history: 10}]
"""
    )

    def expected(log: Log) -> Floats:
        def frame(k: int) -> Floats:
            phase = 2 * np.pi * k * 0.02 / 0.5
            r = matrix_of(log.at("quat", k), "wxyz")
            rpy = [np.arctan2(r[2, 1], r[2, 2]), np.arcsin(-r[2, 0]), np.arctan2(r[1, 0], r[0, 0])]
            command = log.at("command", k) * [2, 2, 0.25]
            parts: list[Any] = [
                [np.sin(phase), np.cos(phase)],
                command,
                0.25 * log.at("gyro", k),
                rpy,
            ]
            parts += [_q(log, k), 0.05 * _dq(log, k), log.last(k)]
            return np.concatenate([np.clip(np.concatenate(parts), -100, 100), np.zeros(3)])

        return frames(frame, log.k, range(9, -1, -1), zeros=False)

    check(tmp_path, text, NAMED, expected)


def test_twist2_observes_the_frames_before_without_this_one(tmp_path: Path) -> None:
    text = (
        HEAD
        + """
groups:
  frame:
    - {input: mimic}
    - {input: gyro, scale: 0.25}
    - {euler_xyz: quat, select: [roll, pitch]}
    - {input: pos, joints: policy, minus: default_joint_pos}
    - {input: vel, joints: policy, scale: [0.05, 0.05, 0, 0.05, 0.05, 0, 0.05, 0.05, 0, 0.05, 0.05, 0]}
    - {last_action: true}
observation:
  - {group: frame}
  - {group: frame, history: {steps: [10, 9, 8, 7, 6, 5, 4, 3, 2, 1], start: zero}}
  - {input: mimic}
"""
    )

    def expected(log: Log) -> Floats:
        def frame(k: int) -> Floats:
            r = matrix_of(log.at("quat", k), "wxyz")
            angles = np.array([np.arctan2(r[2, 1], r[2, 2]), np.arcsin(-r[2, 0])])
            speed = _dq(log, k) * ([0.05, 0.05, 0] * 4)
            parts = [log.at("mimic", k), 0.25 * log.at("gyro", k), angles, _q(log, k), speed]
            return np.concatenate([*parts, log.last(k)])

        past = frames(frame, log.k, range(10, 0, -1), zeros=True)
        return np.concatenate([frame(log.k), past, log.at("mimic", log.k)])

    check(tmp_path, text, {**NAMED, "mimic": 35}, expected, period_s=Fraction(1, 100))


def _with_motion(size: int, n_actions: int) -> bytes:
    """BeyondMimic's: obs, time_step -> action, and the motion of that step: joints and an anchor."""
    weight = np.random.default_rng(5).normal(0, 1 / size, (size, n_actions)).astype(np.float32)
    weights = {
        "w": weight,
        "joints": MOTION[:, :6].copy(),
        "bodies": MOTION[:, 6:].reshape(-1, 1, 4).copy(),
        "flat": np.array([1], np.int64),
    }
    nodes = [
        helper.make_node("MatMul", ["obs", "w"], ["actions"]),
        helper.make_node("Cast", ["time_step"], ["index"], to=TensorProto.INT64),
        helper.make_node("Reshape", ["index", "flat"], ["row"]),
        helper.make_node("Gather", ["joints", "row"], ["joint_pos"], axis=0),
        helper.make_node("Gather", ["bodies", "row"], ["body_quat_w"], axis=0),
    ]
    return save(
        nodes,
        [("obs", FLOAT, [1, size]), ("time_step", FLOAT, [1, 1])],
        [("actions", FLOAT, [1, n_actions]), ("joint_pos", FLOAT, [1, 6]), ("body_quat_w", FLOAT, [1, 1, 4])],
        weights,
    )  # fmt: skip


MOTION = np.random.default_rng(17).normal(size=(N_STEPS + 2, 10)).astype(np.float32)


def test_a_spin_kick_follows_a_motion_that_its_own_model_answers(tmp_path: Path) -> None:
    """17, 12b: the motion of a step comes from the run before it; that of the first from a run on zeros."""
    text = (
        HEAD
        + """
counters: {time_step: 1}
groups:
  anchor: [{output: policy.body_quat_w, start: answer}]
observation:
  - {output: policy.joint_pos, start: answer}
  - {rotation: anchor, relative_to: quat, align_yaw: true, show: 6d}
  - {input: gyro}
  - {input: pos, joints: policy, minus: default_joint_pos}
  - {last_action: true}
"""
    )

    def yaw(matrix: Floats) -> Floats:
        return rotation_of(0, 0, float(np.arctan2(matrix[1, 0], matrix[0, 0])))

    def expected(log: Log) -> Floats:
        k = log.k
        robot = [matrix_of(log.at("quat", i), "wxyz") for i in (0, k)]
        motion = [matrix_of(MOTION[i, 6:].astype(np.float64), "wxyz") for i in (0, k)]
        seen = robot[1].T @ yaw(robot[0]) @ yaw(motion[0]).T @ motion[1]
        parts = [MOTION[k, :6], seen[:, :2].reshape(-1), log.at("gyro", k), _q(log, k)]
        return np.concatenate([*parts, log.last(k)])

    check(tmp_path, text, NAMED, expected, model=_with_motion)


def _product() -> bytes:
    """what [1, 4], gate [1, 1] -> their product."""
    node = helper.make_node("Mul", ["what", "gate"], ["gated"])
    tensors = [("what", FLOAT, [1, 4]), ("gate", FLOAT, [1, 1])]
    return save([node], tensors, [("gated", FLOAT, [1, 4])], {})


def test_a_gait_that_is_zero_while_the_robot_stands(tmp_path: Path) -> None:
    """13b, booster: sine and cosine times a flag, which no angle gives; a model multiplies."""
    text = """
groups:
  gait: [{phase: {frequency_hz: 1.25, offsets: [0, 0.5]}}]
observation: [{model: product.onnx, inputs: {what: gait, gate: moving}}]
"""

    def expected(log: Log) -> Floats:
        phase = 2 * np.pi * (1.25 * 0.02 * log.k + np.array([0, 0.5]))
        return np.concatenate([np.sin(phase), np.cos(phase)]) * log.at("moving", log.k)

    check(tmp_path, text, {"moving": 1}, expected, files={"product.onnx": _product()})


def test_track_of_egalahad_observes_sparse_steps_joint_by_joint(tmp_path: Path) -> None:
    """Newest first, from zeros; of the last actions all steps of a joint, then of the next."""
    text = (
        HEAD
        + """
groups:
  body: [{input: gyro}, {projected_gravity: quat}, {input: pos, joints: policy}]
observation:
  - {group: body, history: {steps: [0, 1, 2, 3, 4, 8, 16, 32], start: zero}}
  - {last_action: true, clip: [-0.1, 0.1], history: {steps: [0, 1, 2], start: zero, interleave: true}}
  - {phase: {period_s: 12}, show: [ramp]}
"""
    )

    def expected(log: Log) -> Floats:
        def body(k: int) -> Floats:
            return np.concatenate([log.at("gyro", k), log.gravity(k), log.at("pos", k)[OF_POLICY]])

        k = log.k
        actions = [np.clip(log.last(max(k - n, 0)) * (k >= n), -0.1, 0.1) for n in range(3)]
        seen = frames(body, k, [0, 1, 2, 3, 4, 8, 16, 32], zeros=True)
        return np.concatenate([seen, np.array(actions).T.reshape(-1), [k * 0.02 / 12 % 1]])

    check(tmp_path, text, NAMED, expected)


def test_asap_observes_this_step_and_of_each_term_the_four_before(tmp_path: Path) -> None:
    past = "history: {steps: [1, 2, 3, 4], start: zero}"
    gravity = "projected_gravity: quat, order: xyzw"
    text = (
        HEAD
        + f"""
observation:
  - {{last_action: true}}
  - {{input: gyro, scale: 0.25}}
  - {{input: pos, joints: policy, minus: default_joint_pos}}
  - {{input: vel, joints: policy, scale: 0.05}}
  - {{last_action: true, {past}}}
  - {{input: gyro, scale: 0.25, {past}}}
  - {{{gravity}, {past}}}
  - {{{gravity}}}
  - {{phase: {{period_s: 3.967}}, show: [ramp]}}
"""
    )

    def expected(log: Log) -> Floats:
        def gravity_at(k: int) -> Floats:
            return log.gravity(k, order="xyzw")

        k, ago = log.k, [1, 2, 3, 4]
        past = [
            frames(log.last, k, ago, zeros=True),
            frames(lambda i: 0.25 * log.at("gyro", i), k, ago, zeros=True),
            frames(gravity_at, k, ago, zeros=True),
        ]
        now = [log.last(k), 0.25 * log.at("gyro", k), _q(log, k), 0.05 * _dq(log, k)]
        return np.concatenate([*now, *past, gravity_at(k), [k * 0.02 / 3.967]])

    check(tmp_path, text, NAMED, expected)


def test_lite3_has_no_quaternion_and_odd_12_ms(tmp_path: Path) -> None:
    text = (
        HEAD
        + """
observation:
  - {input: gyro, scale: 0.25}
  - {projected_gravity: rpy, order: rpy}
  - {input: command, scale: 0.8}
  - {input: pos, joints: policy, minus: default_joint_pos}
  - {input: vel, joints: policy, scale: 0.05}
  - {last_action: true}
"""
    )

    def expected(log: Log) -> Floats:
        k = log.k
        parts = [0.25 * log.at("gyro", k), log.gravity(k, "rpy", "rpy"), 0.8 * log.at("command", k)]
        return np.concatenate([*parts, _q(log, k), 0.05 * _dq(log, k), log.last(k)])

    check(tmp_path, text, {**NAMED, "rpy": 3}, expected, period_s=Fraction(12, 1000))


def test_the_duck_remembers_three_actions_and_walks_at_a_speed_of_its_own(tmp_path: Path) -> None:
    text = (
        HEAD
        + """
observation:
  - {input: acceleration, offset: [1.3, 0, 0]}
  - {last_action: true, history: {steps: [0, 1, 2], start: zero}}
  - {last_target: true}
  - {input: contacts}
  - {model: imitation.onnx, inputs: {command: command}}
"""
    )
    frequency = [helper.make_node("Gather", ["command", "at"], ["frequency_hz"], axis=1)]
    files = {"imitation.onnx": _clock(frequency, {"at": np.array([0], np.int64)})}

    def expected(log: Log) -> Floats:
        k = log.k
        turn = sum(0.02 * sample["command"][0] for sample in log.samples[:-1])
        phase = 2 * np.pi * (turn + np.array([0, 0.5]))
        target = log.targets[-1] if log.targets else np.zeros(12)
        parts = [
            log.at("acceleration", k) + np.array([1.3, 0, 0]),
            frames(log.last, k, [0, 1, 2], zeros=True),
        ]
        parts += [target, log.at("contacts", k), np.cos(phase), np.sin(phase)]
        return np.concatenate(parts)

    sizes: Sizes = {"acceleration": 3, "contacts": 2, "command": 3}
    check(tmp_path, text, sizes, expected, files=files)


def test_pupper_remembers_four_frames_newest_first(tmp_path: Path) -> None:
    text = (
        HEAD
        + """
groups:
  frame:
    - {input: gyro}
    - {projected_gravity: quat, minus: wanted}
    - {input: pos, joints: policy, minus: default_joint_pos}
observation: [{group: frame, clip: [-1, 1], history: {steps: [0, 1, 2, 3], start: zero}}]
"""
    )

    def expected(log: Log) -> Floats:
        def frame(k: int) -> Floats:
            parts = [log.at("gyro", k), log.gravity(k) - log.at("wanted", k), _q(log, k)]
            return np.clip(np.concatenate(parts), -1, 1)

        return frames(frame, log.k, [0, 1, 2, 3], zeros=True)

    check(tmp_path, text, {**NAMED, "wanted": 3}, expected)


def test_gr00t_remembers_six_frames_from_zeros(tmp_path: Path) -> None:
    text = (
        HEAD
        + """
groups:
  frame: [{input: command}, {input: gyro, scale: 0.5}, {projected_gravity: quat}, {last_action: true}]
observation: [{group: frame, history: {steps: [5, 4, 3, 2, 1, 0], start: zero}}]
"""
    )

    def expected(log: Log) -> Floats:
        def frame(k: int) -> Floats:
            parts = [log.at("command", k), 0.5 * log.at("gyro", k), log.gravity(k), log.last(k)]
            return np.concatenate(parts)

        return frames(frame, log.k, range(5, -1, -1), zeros=True)

    check(tmp_path, text, NAMED, expected)

"""The robot from its side: some seconds of a walk as one picture that moves."""

from __future__ import annotations

import numpy as np

from rtloop.demos.quadruped.skeleton import (
    FOOT_RADIUS_M,
    HEAD_M,
    TRUNK_M,
    Floats,
    in_world,
    legs,
    rotations,
)
from rtloop.demos.quadruped.track import RATE_HZ, Rows
from rtloop.report.svg import Axis, Drawing

_WIDTH = 1064.0
_SHOWN_S = 4.0
_FRAME_ROWS = 2
_STROBE_M = 0.5
_MARGIN_M = 0.35
_LEAST_M = 2.0
_LEAST_TOP_M = 0.34
_MOST_STILLS = 6
#: After a fall there is nothing more to see.
_AFTER_FALL_S = 1.5
_FAR, _NEAR = (0, 2), (1, 3)  # seen from its right: fl and rl are behind

_CSS = """
.floor{stroke:#8a929c;stroke-width:1}
text{font:11px Inter,system-ui,"DejaVu Sans",sans-serif;fill:#5b636d}
path{fill:none;stroke-linecap:round;stroke-linejoin:round}
.trunk{fill:#2b3f5c;stroke:#2b3f5c;stroke-width:8}.head{fill:#f08c26;stroke:#f08c26;stroke-width:3}
.near{stroke:#5b7a9d;stroke-width:9}.far{stroke:#a9b5c3;stroke-width:7}
.feet{stroke:#f08c26;stroke-width:%(foot).1f}
.still{opacity:.3}.still.last{opacity:1}
.frame{visibility:hidden}
@media (prefers-color-scheme:dark){text{fill:#a5adb7}.trunk{fill:#9db4d3;stroke:#9db4d3}.far{stroke:#4b5868}}
@media (prefers-reduced-motion:no-preference){
.still,.still.last{opacity:.16}
.frame{animation:shown %(length).2fs step-end infinite}
@keyframes shown{0%%{visibility:visible}%(share).3f%%{visibility:hidden}}
}
@media print{.frame{animation:none}.still{opacity:.3}.still.last{opacity:1}}
"""


def strobe(robot: str, rows: Rows) -> str:
    """An SVG image of the ``_SHOWN_S`` in which it was tilted most; of one that fell, those until then."""
    begin, end = _excerpt(rows)
    shown = rows[begin:end]
    qpos = shown["qpos"].astype(np.float64)
    along = _along(qpos)
    travelled = float(along[-1])
    low, high = float(along.min()) - _MARGIN_M, float(along.max()) + _MARGIN_M
    high = max(high, low + _LEAST_M)
    scale = _WIDTH / (high - low)
    joints = legs(qpos)
    highest = max(float(qpos[:, 2].max()) + 0.1, float(joints[..., 2].max()))
    floor = scale * max(_LEAST_TOP_M, highest + 0.03)
    drawing = Drawing(_WIDTH, floor + 26, "")
    figures = _figures(qpos, joints, along - low, scale, floor)

    start_m = float(rows["qpos"][begin][0] - rows["qpos"][0][0])
    drawing.line(0, floor, _WIDTH, floor, "floor")
    axis = Axis(start_m + low, start_m + high, 0.0, _WIDTH)
    for tick in axis.ticks(8):
        x = axis(tick)
        if 24 < x < _WIDTH - 24:
            drawing.line(x, floor, x, floor + 5, "floor")
            drawing.text(x, floor + 19, f"{tick:.2f}".rstrip("0").rstrip(".") + " m", "", "middle")
    every_m = max(_STROBE_M, abs(travelled) / _MOST_STILLS)
    stills = _stills(along, every_m)
    for index in stills:
        last = " last" if index == stills[-1] else ""
        drawing.parts.append(f'<g class="still{last}">{figures[index]}</g>')
    frames = figures[::_FRAME_ROWS]
    length_s = len(frames) * _FRAME_ROWS / RATE_HZ
    for number, figure in enumerate(frames):
        delay_s = number * _FRAME_ROWS / RATE_HZ - length_s
        drawing.parts.append(
            f'<g class="frame" style="animation-delay:{delay_s:.2f}s">{figure}</g>'
        )
    css = _CSS % {
        "foot": 2 * FOOT_RADIUS_M * scale,
        "length": length_s,
        "share": 100 / len(frames),
    }
    from_s, to_s = (float(shown["driven_s"][i]) for i in (0, -1))
    what = "until after it fell" if shown["has_fallen"][-1] else "in which it was tilted most"
    told = (
        f"{travelled:.1f} m from {from_s:.1f} to {to_s:.1f} s of its time, {what}; a pose every "
        f"{every_m:.1f} m, as its board wrote them down"
    )
    return drawing.as_image(f"{robot} from its side", told, css)


def _excerpt(rows: Rows) -> tuple[int, int]:
    """The rows to show."""
    length = min(len(rows), round(_SHOWN_S * RATE_HZ))
    if rows["has_fallen"].any():
        end = int(rows["has_fallen"].argmax()) + round(_AFTER_FALL_S * RATE_HZ)
        end = min(len(rows), max(end, length))
        return end - length, end
    up = rotations(rows["qpos"][:, 3:7].astype(np.float64))[:, 2, 2]
    settled = min(RATE_HZ, len(rows) - length)  # what a start looks like is seldom the walk
    middle = settled + int(up[settled:].argmin())
    begin = min(max(settled, middle - length // 2), len(rows) - length)
    return begin, begin + length


def _along(qpos: Floats) -> Floats:
    """Metres along the line from its first to its last place, or to where it looks."""
    way = qpos[-1, :2] - qpos[0, :2]
    if np.hypot(*way) < 0.2:
        way = rotations(qpos[:1, 3:7])[0, :2, 0]
    metres: Floats = (qpos[:, :2] - qpos[0, :2]) @ (way / np.hypot(*way))
    return metres


def _stills(along: Floats, every_m: float) -> list[int]:
    stills = [0]
    for index in range(len(along)):
        if abs(along[index] - along[stills[-1]]) >= every_m:
            stills.append(index)
    return stills


def _figures(qpos: Floats, joints: Floats, along: Floats, scale: float, floor: float) -> list[str]:
    """Each pose as SVG elements: the plane is that of the robot's heading, so its legs keep their length."""
    forward = rotations(qpos[:, 3:7])[:, :2, 0]
    forward /= np.linalg.norm(forward, axis=1, keepdims=True)

    def flat(points: Floats) -> Floats:
        """Pixels [n, m, 2] of points in the world [n, m, 3]."""
        x = np.einsum("nmi,ni->nm", points[..., :2] - qpos[:, None, :2], forward)
        return np.stack([(along[:, None] + x) * scale, floor - points[..., 2] * scale], -1)

    (length, height), (head_from, head_to, low, high) = TRUNK_M, HEAD_M
    inset = 4 / scale  # half of its stroke
    length, height = length - inset, height - inset
    trunk = _rectangle(-length, length, -height, height)
    head = _rectangle(head_from, head_to, low, high)
    boxes = flat(in_world(qpos, np.tile(np.concatenate([trunk, head]), (len(qpos), 1, 1))))
    limbs = flat(joints.reshape(len(qpos), 16, 3)).reshape(len(qpos), 4, 4, 2)
    return [
        f'<path class="far" d="{_lines(limb[_FAR, 1:])}"/>'
        f'<path class="feet" d="{_dots(limb[_FAR, 3])}"/>'
        f'<path class="trunk" d="{_line(box[:4])}z"/><path class="head" d="{_line(box[4:])}z"/>'
        f'<path class="near" d="{_lines(limb[_NEAR, 1:])}"/>'
        f'<path class="feet" d="{_dots(limb[_NEAR, 3])}"/>'
        for box, limb in zip(boxes, limbs, strict=True)
    ]


def _rectangle(x0: float, x1: float, z0: float, z1: float) -> Floats:
    return np.array([[x0, 0, z0], [x1, 0, z0], [x1, 0, z1], [x0, 0, z1]])


def _line(points: Floats) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points.tolist())


def _lines(limbs: Floats) -> str:
    return "".join(map(_line, limbs))


def _dots(points: Floats) -> str:
    return "".join(f"M{x:.1f} {y:.1f}h0" for x, y in points.tolist())

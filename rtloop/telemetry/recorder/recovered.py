"""What recovery made of a run: for people, and for machines."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class LoopRecovery:
    """Where the cycles of a restored loop came from."""

    from_file: int = 0
    from_ring: int = 0
    lost: int = 0
    """In neither: overwritten in the ring before anybody could write them down, or damaged."""
    lost_is_known: bool = True
    """False: cycles may be missing after the last one, and nobody knows how many."""


@dataclass
class Recovered:
    """What became of one run. ``recording`` is None when there was nothing to keep."""

    run_id: str
    recording: Path | None
    loops: dict[str, LoopRecovery] = field(default_factory=dict)
    cut_copy: Path | None = None
    """The file as it was found, kept beside the restored one."""
    changed: bool = False
    notes: list[str] = field(default_factory=list)
    error: str | None = None
    """Why this run could not be restored; nothing of it was changed then."""
    left_to: str | None = None
    """The user whose run it is: only that user recovers it."""

    def as_dict(self) -> dict[str, Any]:
        """For machines."""
        return {
            "run_id": self.run_id,
            "recording": None if self.recording is None else str(self.recording),
            "loops": {name: asdict(loop) for name, loop in self.loops.items()},
            "cut_copy": None if self.cut_copy is None else str(self.cut_copy),
            "changed": self.changed,
            "notes": self.notes,
            "error": self.error,
            "left_to": self.left_to,
        }

    def __str__(self) -> str:
        """For people."""
        if self.error is not None:
            lines = [f"{self.run_id}: not recovered: {self.error}"]
        elif self.left_to is not None:
            user = self.left_to
            lines = [
                f"{self.run_id}: left to {user}, whose it is (`sudo -u {user} rtloop recover`)"
            ]
        elif self.recording is None:
            lines = [f"{self.run_id}: nothing to keep"]
        elif not self.changed:
            lines = [f"{self.recording}: whole already"]
        else:
            lines = [f"{self.recording}: restored"]
            for name, loop in self.loops.items():
                lost = f"{loop.lost} lost" if loop.lost else "none lost"
                if not loop.lost_is_known:
                    lost = f"{loop.lost or 'none'} lost among them; what came after is not known"
                lines.append(
                    f"  {name}: {loop.from_file} cycles from the file, "
                    f"{loop.from_ring} from the ring, {lost}"
                )
            if self.cut_copy is not None:
                lines.append(f"  the file as it was found: {self.cut_copy}")
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])

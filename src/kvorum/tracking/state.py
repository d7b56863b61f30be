"""What of a run has been reported to a tracker already, kept in the run directory."""

import dataclasses
import json
import re
import secrets
from pathlib import Path
from typing import Any

from kvorum.bounded import read_bounded
from kvorum.errors import KvorumError

LARGEST = 2**20
"""Bytes; a score takes some twenty."""
ID = re.compile("[0-9a-f]{16}")


@dataclasses.dataclass(kw_only=True)
class State:
    """How far the reporting of a run to one tracker has come."""

    id: str
    steps: int = -1
    """Optimizer steps of the whole fit; -1 where nothing is reported, not even scores before the first step."""
    scores: set[tuple[int, str]] = dataclasses.field(default_factory=set)
    """Epochs and tasks."""
    file: Path | None = None
    """None where nothing is kept."""

    @classmethod
    def at(cls, file: Path | None) -> "State":
        """What a file holds, or the state of a run that has not been reported.

        Raises `KvorumError`, naming the file, for one that is damaged.
        """
        if file is None or not file.exists():
            return cls(id=secrets.token_hex(8), file=file)
        try:
            found: Any = json.loads(read_bounded(file, LARGEST))
            identity, steps = found["id"], found["steps"]
            scores = {(epoch, task) for epoch, task in found["scores"]}
            typed = all(type(epoch) is int and type(task) is str for epoch, task in scores)
            if not (type(identity) is str and ID.fullmatch(identity) and type(steps) is int and typed):
                raise ValueError("not what was written")
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise KvorumError(
                f"{file}: cannot be read ({error}); remove it, and the run is reported to a new one of the tracker"
            ) from error
        return cls(id=identity, steps=steps, scores=scores, file=file)

    def save(self) -> None:
        """Keep it; without waiting for the disk, since losing it costs no more than a number that is reported twice."""
        if self.file is None:
            return
        self.file.parent.mkdir(parents=True, exist_ok=True)
        beside = self.file.with_name(f".{self.file.name}.tmp")
        content = {"id": self.id, "steps": self.steps, "scores": sorted(self.scores)}
        beside.write_text(json.dumps(content), encoding="utf-8")
        beside.replace(self.file)

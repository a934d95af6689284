"""Files of an `Optimizer`: problem, settings and state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gradopt.errors import FileFormatError
from gradopt.loop.files import classes
from gradopt.loop.packing import Classes, Packer, Unpacker
from gradopt.optimizer.flat_problem import Constraint, LinearConstraint, Objective
from gradopt.surrogates.fitted import container
from gradopt.truth.central_differences import CentralDifferencePlan
from gradopt.truth.finite_difference_plan import FiniteDifferencePlan
from gradopt.versions import versions

OPTIMIZER = container.Kind("gradopt.optimizer", 1, "optimizer.save(path)")


def _classes() -> Classes:
    own = (Objective, Constraint, LinearConstraint, FiniteDifferencePlan, CentralDifferencePlan)
    return {**classes(), **{kind.__name__: kind for kind in own}}


def write(path: str | Path, parts: dict[str, Any]) -> None:
    """Write the parts of an optimizer."""
    packer = Packer(_classes())
    header = {"parts": packer.pack(parts), "versions": versions()}
    container.write(path, header, packer.arrays, OPTIMIZER)


def read(path: str | Path) -> dict[str, Any]:
    """Read the parts of an optimizer."""
    header, arrays, _ = container.read(path, OPTIMIZER)
    found = Unpacker(_classes(), arrays).unpack(header.get("parts"))
    if not isinstance(found, dict):
        raise FileFormatError(f"{str(path)!r} holds no optimizer. Write it with `{OPTIMIZER.written_by}`.")
    return found

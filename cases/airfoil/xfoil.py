"""Section aerodynamics by XFOIL, the program: panels with an integral boundary layer, values without partials.

XFOIL draws each point, and Debian's build divides by the size of the window, so that without a display it dies of a
floating-point signal before it has written anything. It is therefore given a hidden one. Its polar has few digits
(0.1 drag counts); all of them are in its dump, which is read instead. What is left of noise is the transition point
passing from panel to panel, about 0.03 counts, in waves as long as a panel.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cases.airfoil.display import hidden_display
from cases.airfoil.geometry import WEIGHTS_PER_SIDE, KulfanShape, coordinates
from gradopt.data.variables import Variable
from gradopt.errors import EvaluationError, InputError, explain
from gradopt.truth.command import CommandTruth
from gradopt.truth.program import Finished, Program

OUTPUTS = ("CL", "CD", "CM")
"""Outputs in order, all without unit: lift, drag and moment about the quarter chord."""

INSTALL = "On Debian and Ubuntu: apt-get install xfoil xvfb xfonts-base."

# Numbers of panels, and angles (degrees) solved before the target angle, tried until a run converges. 160 panels,
# XFOIL's default, make twice the noise; 340 take twice the time for a third less.
# Where the transition point alternates between two panels, as at one point in fifty, a few panels more or less make it
# converge; values then change by 0.1 counts.
_ATTEMPTS: tuple[tuple[int, tuple[float, ...]], ...] = ((240, ()), (240, (-1.0, -0.5)), (236, ()), (244, (1.0, 0.5)))
_POINTS_PER_SIDE = 120  # points of the outline; XFOIL places its panels on a spline through them; by hand
_ITERATIONS = 40  # Newton iterations of XFOIL for each angle; by hand
_TIMEOUT = 10.0  # seconds for a run; by hand: a point takes 0.1 s
_SAME = 1e-9  # degrees within which an angle in the dump is the target; rounding

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Side:
    """Boundary layer on one side from the stagnation point on, (k,) each; the lower side includes the wake.

    Attributes:
        x: Fractions of chord.
        pressure: Pressure coefficient.
        momentum: Momentum thickness, fractions of chord.
        displacement: Displacement thickness, fractions of chord.
        friction: Friction coefficient.
    """

    x: Floats
    pressure: Floats
    momentum: Floats
    displacement: Floats
    friction: Floats


@dataclass(frozen=True, eq=False)
class Point:
    """One converged point.

    Attributes:
        alpha: Angle of attack, degrees.
        values: `OUTPUTS`, (3,).
        transition: Where the flow turns turbulent on the upper and lower side, fractions of chord, (2,).
        upper: Upper side.
        lower: Lower side and wake.
    """

    alpha: float
    values: Floats
    transition: Floats
    upper: Side
    lower: Side


class Xfoil:
    """XFOIL at one Reynolds number, for sections that share their fixed edges."""

    def __init__(self, shape: KulfanShape, reynolds: float = 5e6, *, n_crit: float = 9.0) -> None:
        """Prepare to run the program.

        Args:
            shape: Section with the fixed leading edge weight and trailing edge thickness; its weights are not used.
            reynolds: Reynolds number of the chord.
            n_crit: Amplification exponent at which the flow turns turbulent; 9 is an ordinary wind tunnel.

        Raises:
            InputError: If XFOIL is not installed, or a number is not what it should be.
        """
        if not (np.isfinite(reynolds) and reynolds > 0):
            raise InputError(explain("reynolds", "be a positive number", reynolds, "Try 5e6."))
        if not np.isfinite(n_crit):
            raise InputError(explain("n_crit", "be a finite number", n_crit, "Try 9."))
        self.shape, self.reynolds, self.n_crit = shape, float(reynolds), float(n_crit)
        self._hash = _hash_of_program()

    def truth(self, inputs: Sequence[Variable], outputs: Sequence[Variable]) -> CommandTruth:
        """Make the truth of a design problem; a point that does not converge is a failed evaluation.

        Args:
            inputs: Upper weights (8,), lower weights (8,) and angle of attack in degrees.
            outputs: `OUTPUTS`, with their transforms.

        Returns:
            The truth; its partials are not known.
        """
        shape, edges = self.shape, "leading edge {}, trailing edge {}"
        settings = f"Re {self.reynolds}, n_crit {self.n_crit}, {_ITERATIONS} iterations"
        words = edges.format(float(shape.leading_edge_weight), float(shape.trailing_edge_thickness))
        identity = f"XFOIL {self._hash}, {settings}, attempts {_ATTEMPTS}, {words}"
        return CommandTruth(self._program(), self._attempts, _values, tuple(inputs), tuple(outputs), identity)

    def point(self, x: ArrayLike) -> Point:
        """Evaluate one design, x (17,) as in `truth`, with its boundary layer.

        Raises:
            EvaluationError: If XFOIL does not converge there, from wherever it starts.
        """
        for files in self._attempts(np.asarray(x, dtype=np.float64)):
            try:
                return self._program().run(files, _read)
            except EvaluationError as failed:
                last = failed
        raise last

    def polar(self, shape: KulfanShape, alphas: ArrayLike) -> Floats:
        """`OUTPUTS` of a section over angles of attack in degrees (k,), (k, 3); NaN where it does not converge."""
        rows = []
        for alpha in np.asarray(alphas, dtype=np.float64):
            try:
                rows.append(self.point([*shape.upper_weights, *shape.lower_weights, alpha]).values)
            except EvaluationError:
                rows.append(np.full(len(OUTPUTS), np.nan))
        return np.array(rows).reshape(-1, len(OUTPUTS))

    def _program(self) -> Program:
        display = hidden_display()
        environment = {} if display is None else {"DISPLAY": display}
        return Program(["xfoil"], "commands", _TIMEOUT, environment=environment, install=INSTALL)

    def _attempts(self, x: np.ndarray) -> list[dict[str, str]]:
        """Files of the runs to be tried at x (17,)."""
        n, alpha = WEIGHTS_PER_SIDE, float(x[-1])
        section = replace(self.shape, upper_weights=x[:n], lower_weights=x[n:-1])
        outline = "".join(f"{a:.15f} {b:.15f}\n" for a, b in zip(*coordinates(section, _POINTS_PER_SIDE), strict=True))
        headless = [] if hidden_display() else ["PLOP", "G F", ""]  # some builds live without a display
        operate = ["OPER", f"ITER {_ITERATIONS}", "VPAR", f"N {self.n_crit!r}", "", f"VISC {self.reynolds!r}"]
        operate += ["PACC", "polar.txt", "polar.bin"]
        found = []
        for panels, approach in _ATTEMPTS:
            angles = [f"ALFA {alpha + before!r}" for before in (*approach, 0.0)]
            commands = [*headless, "LOAD section.dat", "PPAR", f"N {panels}", "", "", *operate, *angles]
            found.append(
                {
                    "section.dat": f"section\n{outline}",
                    "commands": "\n".join([*commands, "PACC", "", "QUIT", ""]),
                }
            )
        return found


def _values(run: Finished) -> Floats:
    return _read(run).values


def _read(run: Finished) -> Point:
    """Read the last point from the dump of the polar: Fortran records of 8-byte numbers."""
    target = float(re.findall(r"^ALFA (\S+)$", run.read("commands"), re.MULTILINE)[-1])
    records = list(_records((run.folder / "polar.bin").read_bytes()))
    for index, record in enumerate(records):
        if len(record) != 7 * 8 or index + 3 >= len(records):
            continue
        alpha, lift, drag, _, moment, *transition = np.frombuffer(record, "<f8")
        if abs(alpha - target) < _SAME:
            sides = [np.frombuffer(records[index + k], "<f8").reshape(-1, 6).T for k in (2, 3)]
            upper, lower = (Side(x, cp, theta, delta, cf) for x, cp, theta, delta, cf, _ in sides)
            return Point(alpha, np.array([lift, drag, moment]), np.array(transition), upper, lower)
    raise EvaluationError(f"XFOIL did not converge at alpha = {target:.6g} deg. {run.ending}")


def _records(data: bytes) -> Iterator[bytes]:
    """Split an unformatted Fortran file at the lengths before and behind each record; a torn one is left out."""
    at = 0
    while at + 8 <= len(data):
        (length,) = struct.unpack_from("<i", data, at)
        if length < 0 or at + 8 + length > len(data):
            return
        yield data[at + 4 : at + 4 + length]
        at += 8 + length


def is_installed() -> bool:
    """Whether XFOIL and its display are installed."""
    return shutil.which("xfoil") is not None and hidden_display() is not None


@cache
def _hash_of_program() -> str:
    """Hash of the installed program, which differs between versions and builds."""
    program = shutil.which("xfoil")
    if program is None:
        raise InputError(explain("truth", "be installed", "no program `xfoil`", INSTALL))
    return hashlib.sha256(Path(program).read_bytes()).hexdigest()[:12]

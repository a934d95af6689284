"""The drag of 42,039 airfoils by RANS with its 16 partials, and a sweep of the NACA 4412, from the wheel of `smt`.

The solver is ADflow, fully turbulent with the Spalart-Allmaras model; the partials are by its adjoint. The columns:

| column | name | meaning |
|---|---|---|
| 0 to 6 | `camber` | amplitudes of the modes of the mean line; 0 is the camber itself, negative = upward |
| 7 to 13 | `thickness` | amplitudes of the modes of the thickness; 7 is the thickness itself, negative |
| 14 | `mach` | Mach number, 0.3 to 0.6 |
| 15 | `alpha` | angle of attack, -1.2 to 5.2 degrees |
| 16 | `cd` | drag coefficient, of the chord; a drag count is 1e-4 |

The modes are singular vectors of the airfoils of the UIUC collection, in unit length on some hundred stations along the
chord. The vectors are not in the package, so that a shape cannot be drawn, nor its lift be known. Which column is which
was read off a file name (`ct`: camber, then thickness), the ranges, and the NACA 4412: the lengths of its mean line and
of its thickness on 100 even stations are the amplitudes 0 and 7 that the package has for it, to 5 and 1 %.

The sweep is 12 runs of the same solver on the NACA 4412 at Mach 0.3 and a Reynolds number of 3 million, at -1 to 10
degrees; beyond 5.2 it is outside the data. The package does not state the Reynolds number of the data.

References:
    Bouhlel, He & Martins (2020), Scalable gradient-enhanced artificial neural networks for airfoil shape design in the
    subsonic and transonic regimes, Struct. Multidisc. Optim. 61. Data: mSANN model benchmarks, Mendeley Data,
    10.17632/ngpd634smf.1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

import numpy as np
from rich.table import Table

from gradopt import Dataset, Variable
from gradopt.data.variables import column_names
from gradopt.errors import FileFormatError, explain, import_extra

COUNT = 1e-4  # drag coefficient of one drag count
MODES, FLOW, MACH, ANGLE = slice(0, 14), slice(14, 16), 14, 15  # columns of x
CAMBER, THICKNESS = 7, 7  # numbers of modes
REYNOLDS_OF_SWEEP, MACH_OF_SWEEP = 3e6, 0.3  # of the published sweep of the NACA 4412
MACH_RANGE, ANGLE_RANGE = (0.3, 0.6), (-1.2, 5.2)  # of the data, rounded

INPUTS = (
    Variable("camber", shape=(CAMBER,)),
    Variable("thickness", shape=(THICKNESS,)),
    Variable("mach"),
    Variable("alpha", units="deg"),
)
_FOLDER = Path("examples") / "airfoil_parameters"
_HELD_OUT = 5  # one of so many samples is held out; by hand


@dataclass(frozen=True, eq=False)
class Sweep:
    """Drag of the NACA 4412 by the solver.

    Attributes:
        modes: Modes of its shape (14,), camber then thickness.
        alpha: Angles of attack (k,), degrees.
        cd: Drag coefficients (k,).
    """

    modes: np.ndarray
    alpha: np.ndarray
    cd: np.ndarray

    @property
    def x(self) -> np.ndarray:
        """Inputs of the surrogate (k, 16)."""
        return np.array([[*self.modes, MACH_OF_SWEEP, angle] for angle in self.alpha])


def load_samples() -> Dataset:
    """Read all samples.

    Returns:
        The 42,039 samples, x (n, 16), y (n, 1), partials (n, 1, 16).

    Raises:
        MissingExtraError: If `smt` is not installed.
        FileFormatError: If the installed `smt` lacks a file, or it has other columns.
    """
    values, dydx = _read("cd_x_y.csv", ";", 17), _read("cd_dy.csv", ";", 16)
    if len(values) != len(dydx):
        raise FileFormatError(_explain("cd_dy.csv", f"have {len(values)} rows, as cd_x_y.csv", len(dydx)))
    return Dataset(values[:, :16], values[:, 16:], dydx[:, None, :], INPUTS, [Variable("cd")])


def in_logarithms(data: Dataset) -> Dataset:
    """Return the same samples for networks of the logarithm of the drag."""
    return replace(data, outputs=[Variable("cd", transform="log")])


def load_sweep() -> Sweep:
    """Read the shape and the drag of the NACA 4412; it raises the same as `load_samples`."""
    modes = _read("modes_NACA4412_ct.txt", None, 14)[0]
    alpha, cd = _read("NACA4412-ADflow-alpha-cd.csv", None, 2, header=1).T
    return Sweep(modes, alpha, cd)


def split(data: Dataset, seed: int) -> tuple[Dataset, Dataset]:
    """Hold out a fifth of some samples.

    Args:
        data: Samples.
        seed: Seed of the choice.

    Returns:
        Training and held-out samples.
    """
    order = np.random.default_rng(seed).permutation(data.n)
    held = data.n // _HELD_OUT
    return data.select(order[held:]), data.select(order[:held])


def ranges_table(data: Dataset) -> Table:
    """Return a table of the columns: range, and the change of drag over one standard deviation."""
    table = Table(title=f"{data.n} samples of ADflow, fully turbulent RANS with Spalart-Allmaras")
    table.add_column("column")
    for label in ("least", "mean", "largest", "std", "drag per std, counts (rms)"):
        table.add_column(label, justify="right")
    std = data.x.std(axis=0)
    worth = np.sqrt((data.partials[:, 0] ** 2).mean(axis=0)) * std / COUNT
    for k, name in enumerate(column_names(data.input_variables)):
        column = data.x[:, k]
        cells = (column.min(), column.mean(), column.max(), std[k])
        table.add_row(name.replace("[", r"\["), *(f"{cell:.4g}" for cell in cells), f"{worth[k]:.2f}")
    drag = data.y[:, 0]
    table.add_row("cd", *(f"{cell:.4g}" for cell in (drag.min(), drag.mean(), drag.max(), drag.std())), "")
    return table


def _read(name: str, delimiter: str | None, columns: int, header: int = 0) -> np.ndarray:
    """Read one file of the package (n, columns)."""
    import_extra("smt", "rans")
    file = files("smt").joinpath(*_FOLDER.parts, name)
    if not file.is_file():
        raise FileFormatError(_explain(name, "be in the installed package smt", "no such file"))
    with file.open() as lines:
        try:
            found = np.loadtxt(lines, delimiter=delimiter, skiprows=header, ndmin=2)
        except ValueError as garbled:
            raise FileFormatError(_explain(name, "hold numbers only", garbled)) from garbled
    if found.shape[1] != columns or not np.isfinite(found).all():
        got = f"shape {found.shape}, {np.count_nonzero(~np.isfinite(found))} of them not finite"
        raise FileFormatError(_explain(name, f"have {columns} columns of finite numbers", got))
    return found


def _explain(name: str, expected: str, got: object) -> str:
    remedy = "The wheel has the data, the sources have not: pip install --only-binary smt 'smt>=2.15,<3'."
    return explain(str(_FOLDER / name), expected, got, remedy)

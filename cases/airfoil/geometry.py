"""Airfoil sections in Kulfan's class-shape (CST) form: where a start shape comes from, its thickness, its outline.

With x the fraction of chord, C(x) = x^0.5 (1 - x) and B_i the eight Bernstein polynomials of degree 7,

    y_upper(x) = C(x) sum_i upper_i B_i(x) + le x (1 - x)^8.5 + te x / 2
    y_lower(x) = C(x) sum_i lower_i B_i(x) + le x (1 - x)^8.5 - te x / 2

The 16 weights are the design variables; `le`, the leading edge weight, and `te`, the trailing edge thickness, stay
what they were in the airfoil the design started from. Thickness is the difference of the two lines: linear in the
weights, free of `le`, and shifted by te x. All lengths are fractions of chord.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openmdao.api as om
from numpy.typing import ArrayLike, NDArray
from scipy.special import comb

from gradopt.errors import InputError, ShapeError, explain, import_extra

WEIGHTS_PER_SIDE = 8
"""Weights on the upper and on the lower side; NeuralFoil was trained on exactly this many."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class KulfanShape:
    """One airfoil section; `dataclasses.replace` makes the same section with other weights.

    Attributes:
        upper_weights: Upper side from leading to trailing edge, (8,), fractions of chord; kept read-only.
        lower_weights: Lower side, (8,), negative where the side lies below the chord; kept read-only.
        leading_edge_weight: Strength of the leading edge term, which moves both sides alike.
        trailing_edge_thickness: Gap between the sides at x = 1, fraction of chord.
        name: What to call it in plots and messages.
    """

    upper_weights: Floats
    lower_weights: Floats
    leading_edge_weight: float
    trailing_edge_thickness: float
    name: str

    def __post_init__(self) -> None:
        """Copy and check the weights."""
        for side in ("upper_weights", "lower_weights"):
            weights = np.array(getattr(self, side), dtype=np.float64)
            if weights.shape != (WEIGHTS_PER_SIDE,) or not np.isfinite(weights).all():
                raise ShapeError(
                    explain(side, "be 8 finite numbers", weights, "`load_shape` fits them to any airfoil.")
                )
            weights.setflags(write=False)
            object.__setattr__(self, side, weights)


def load_shape(name_or_path: str) -> KulfanShape:
    """Fit a section to an airfoil that AeroSandbox ships or to a coordinate file.

    Args:
        name_or_path: A NACA four-digit or UIUC name ("NACA 0012", "rae2822"; case, spaces, hyphens and underscores do
            not matter), or the path of a Selig `.dat` file. What ends in `.dat` or contains a slash is a path.

    Returns:
        The section, least-squares fitted by AeroSandbox after turning and scaling its chord onto 0..1.

    Raises:
        InputError: If the name is unknown, or the file is missing or holds no airfoil in Selig form.
    """
    airfoil = import_extra("aerosandbox", "airfoil").Airfoil
    if re.search(r"[/\\]|\.dat$", name_or_path, flags=re.IGNORECASE):
        section = airfoil(name=Path(name_or_path).stem, coordinates=_read_selig(Path(name_or_path)))
    else:
        section = airfoil(name=_shipped_name(name_or_path))
    fitted = section.to_kulfan_airfoil(n_weights_per_side=WEIGHTS_PER_SIDE)
    return KulfanShape(
        upper_weights=fitted.upper_weights,
        lower_weights=fitted.lower_weights,
        leading_edge_weight=float(fitted.leading_edge_weight),
        trailing_edge_thickness=float(fitted.TE_thickness),
        name=section.name,
    )


def _shipped_name(name: str) -> str:
    """Translate a name as people write it into the one AeroSandbox files the airfoil under."""
    plain = _plain(name)
    if re.fullmatch(r"naca\d{4}", plain):
        return plain
    package = Path(str(import_extra("aerosandbox", "airfoil").__file__)).parent
    shipped = sorted(file.stem for file in (package / "geometry" / "airfoil" / "airfoil_database").glob("*.dat"))
    if name in shipped:
        return name
    by_plain_name = {_plain(stem): stem for stem in shipped}
    if plain in by_plain_name:
        return by_plain_name[plain]
    close = [by_plain_name[match] for match in difflib.get_close_matches(plain, by_plain_name)]
    remedy = f"Close names are: {', '.join(close)}." if close else "Give a path ending in .dat to read a file instead."
    raise InputError(explain("name_or_path", "be an airfoil that AeroSandbox ships", repr(name), remedy))


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).lower()


def _read_selig(path: Path) -> Floats:
    """Read a Selig file, (n, 2): an optional title, x y from the trailing edge over the top and back, remarks."""

    def refuse(got: str, remedy: str = "Write it in Selig form, x and y as fractions of chord.") -> InputError:
        return InputError(explain("name_or_path", "be an airfoil in Selig form", f"`{path}`: {got}", remedy))

    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        raise refuse("no such file", "Check the path; an airfoil AeroSandbox ships is named without .dat.") from None
    except OSError as cause:
        raise refuse(f"not a readable file ({cause.strerror})") from cause
    rows = [(number, line, _pair(line)) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    while rows and rows[0][2] is None:  # a title
        del rows[0]
    while rows and not re.match(r"\s*[-+.]?\d", rows[-1][1]):  # remarks
        del rows[-1]
    for number, line, pair in rows:
        if pair is None:
            raise refuse(f"line {number} is not two numbers but {line.strip()[:40]!r}")
    points = np.array([pair for _, _, pair in rows], dtype=np.float64).reshape(-1, 2)
    if len(points) < 10:
        raise refuse(f"{len(points)} coordinate pairs, too few for an airfoil")
    x, y = points.T
    if (points[0] >= 2).all() and points[0].sum() == len(points) - 1:
        raise refuse("Lednicer form, point counts first", "Reverse the upper side and drop the counts and the x = 0.")
    if 50 < x.max() < 150:
        raise refuse(f"coordinates in percent of chord, x up to {x.max():g}", "Divide all coordinates by 100.")
    if abs(x.min()) > 0.05 or abs(x.max() - 1) > 0.05:
        raise refuse(f"a chord from {x.min():g} to {x.max():g}, not 0 to 1", "Shift and scale it onto 0..1.")
    nose = int(x.argmin())
    backwards = max(np.diff(x[: nose + 1]).max(initial=-1), -np.diff(x[nose:]).min(initial=1))
    if min(x[0], x[-1]) < 0.9 or backwards > 0.01:
        raise refuse("points that do not run from the trailing edge to the leading edge and back")
    if np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)) <= 0:
        raise refuse("the lower side first, or no thickness", "List the upper side first.")
    return points


def _pair(line: str) -> tuple[float, float] | None:
    """The two finite numbers that a line consists of, or None."""
    try:
        first, second = map(float, line.replace(",", " ").split())
    except ValueError:
        return None
    return (first, second) if np.isfinite([first, second]).all() else None


def _side_matrix(x: Floats) -> Floats:
    """Height of one side per unit of each of its weights: stations (k,) to (k, 8)."""
    i = np.arange(WEIGHTS_PER_SIDE)
    degree = WEIGHTS_PER_SIDE - 1
    x = x[:, np.newaxis]
    bernstein = comb(degree, i) * x**i * (1 - x) ** (degree - i)
    return np.asarray(np.sqrt(x) * (1 - x) * bernstein, dtype=np.float64)


def _checked(stations: ArrayLike) -> Floats:
    x = np.asarray(stations, dtype=np.float64)
    if x.ndim != 1 or not ((x >= 0) & (x <= 1)).all():
        raise InputError(explain("stations", "be a list of fractions of chord in 0..1", x, "Try [0.1, 0.3, 0.7]."))
    return x


def thickness_matrix(stations: ArrayLike) -> Floats:
    """Partials of thickness with respect to the weights, the same at every section.

    Args:
        stations: Fractions of chord, (k,).

    Returns:
        A, (k, 16), so that thickness = A @ [upper_weights, lower_weights] + `thickness_offset`.
    """
    side = _side_matrix(_checked(stations))
    return np.hstack([side, -side])


def thickness_offset(stations: ArrayLike, trailing_edge_thickness: float) -> Floats:
    """Thickness of a section with zero weights.

    Args:
        stations: Fractions of chord, (k,).
        trailing_edge_thickness: Gap between the sides at x = 1, fraction of chord.

    Returns:
        Fractions of chord, (k,).
    """
    return _checked(stations) * trailing_edge_thickness


def coordinates(shape: KulfanShape, n: int = 200) -> tuple[Floats, Floats]:
    """Outline of a section in Selig order: trailing edge, upper side, leading edge, lower side, trailing edge.

    Args:
        shape: The section.
        n: Points on each side, cosine spaced; the sides share the leading edge.

    Returns:
        x and y, (2 n - 1,) each, fractions of chord.
    """
    x = (1 - np.cos(np.linspace(0, np.pi, n))) / 2
    common = shape.leading_edge_weight * x * (1 - x) ** (WEIGHTS_PER_SIDE + 0.5)
    half_gap = shape.trailing_edge_thickness * x / 2
    upper = _side_matrix(x) @ shape.upper_weights + common + half_gap
    lower = _side_matrix(x) @ shape.lower_weights + common - half_gap
    return np.concatenate([x[::-1], x[1:]]), np.concatenate([upper[::-1], lower[1:]])


class ThicknessComp(om.ExplicitComponent):  # type: ignore[misc]
    """Thickness at given stations, an exact linear function of the weights.

    Inputs `upper_weights` (8,) and `lower_weights` (8,); output `thickness` (k,), fractions of chord. Options:
    `stations` (k,) and `trailing_edge_thickness`.
    """

    def initialize(self) -> None:
        """Declare the options."""
        self.options.declare("stations", desc="fractions of chord, (k,)")
        self.options.declare("trailing_edge_thickness", types=float, desc="gap at x = 1, fraction of chord")

    def setup(self) -> None:
        """Declare the variables and their constant partials."""
        stations = self.options["stations"]
        self._matrix = thickness_matrix(stations)
        self._offset = thickness_offset(stations, self.options["trailing_edge_thickness"])
        self.add_input("upper_weights", shape=WEIGHTS_PER_SIDE)
        self.add_input("lower_weights", shape=WEIGHTS_PER_SIDE)
        self.add_output("thickness", shape=len(self._offset))
        self.declare_partials("thickness", "upper_weights", val=self._matrix[:, :WEIGHTS_PER_SIDE])
        self.declare_partials("thickness", "lower_weights", val=self._matrix[:, WEIGHTS_PER_SIDE:])

    def compute(self, inputs: Any, outputs: Any) -> None:
        """Evaluate the thickness."""
        weights = np.concatenate([inputs["upper_weights"], inputs["lower_weights"]])
        outputs["thickness"] = self._matrix @ weights + self._offset

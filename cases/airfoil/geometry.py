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
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import beta, comb

from cases.airfoil.selig import read_selig, write_selig
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
        for edge in ("leading_edge_weight", "trailing_edge_thickness"):
            if not np.isfinite(getattr(self, edge)):
                raise InputError(explain(edge, "be a finite number", getattr(self, edge), "Try 0."))


def load_shape(name_or_path: str) -> KulfanShape:
    """Fit a section to an airfoil that AeroSandbox ships or to a coordinate file.

    Args:
        name_or_path: A NACA four-digit or UIUC name ("NACA 0012", "rae2822"; case, spaces, hyphens and underscores do
            not matter), or the path of a coordinate file, see `read_selig`. What ends in `.dat` or contains a slash is
            a path; the section then has the name of the file, not that of its first line.

    Returns:
        The section, least-squares fitted by AeroSandbox after turning and scaling its chord onto 0..1.

    Raises:
        InputError: If the name is unknown, or the file is missing or holds no airfoil in Selig form.
    """
    if not isinstance(name_or_path, str):
        raise InputError(explain("name_or_path", "be a text", repr(name_or_path), "Try str(path)."))
    airfoil = import_extra("aerosandbox", "airfoil").Airfoil
    if re.search(r"[/\\]|\.dat\Z", name_or_path, flags=re.IGNORECASE):
        stem = "".join(c if c.isprintable() else "?" for c in Path(name_or_path).stem)
        section = airfoil(name=stem, coordinates=read_selig(Path(name_or_path)))
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
    if re.fullmatch(r"naca[0-9]{4}", plain):
        return plain
    package = Path(str(import_extra("aerosandbox", "airfoil").__file__)).parent
    shipped = sorted(file.stem for file in (package / "geometry" / "airfoil" / "airfoil_database").glob("*.dat"))
    if name in shipped:
        return name
    by_plain_name = {_plain(stem): stem for stem in shipped}
    if plain in by_plain_name:
        return by_plain_name[plain]
    close = _close_names(plain, by_plain_name)
    remedy = f"Close names are: {', '.join(close)}." if close else "Give a path ending in .dat to read a file instead."
    raise InputError(explain("name_or_path", "be an airfoil that AeroSandbox ships", repr(name), remedy))


def _close_names(plain: str, by_plain_name: Mapping[str, str]) -> list[str]:
    """Return up to five names similar to a given one, the most similar first.

    A slip is rarely in the family's letters at the front: of names equally like it those that begin as it does come
    first. Any four digits make a NACA section, also those that the database does not list.
    """

    def likeness(other: str) -> tuple[float, int]:
        return difflib.SequenceMatcher(None, plain, other).ratio(), len(os.path.commonprefix([plain, other]))

    likes = difflib.get_close_matches(plain, by_plain_name, n=len(by_plain_name))
    names = [by_plain_name[other] for other in sorted(likes, key=likeness, reverse=True)]
    digits = re.match(r"naca\d{4}", plain)
    if digits:
        names = [digits.group(), *(name for name in names if name != digits.group())]
    return names[:5]


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).lower()


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


def thickness_slope(stations: ArrayLike) -> Floats:
    """Derivative of `thickness_matrix` with respect to the stations.

    Args:
        stations: Fractions of chord, (k,), neither 0 nor 1, where it need not be finite.

    Returns:
        (k, 16), so that d thickness / dx = A @ [upper_weights, lower_weights] + the trailing edge thickness.
    """
    x = _checked(stations)
    i = np.arange(WEIGHTS_PER_SIDE)
    side = _side_matrix(x) * ((i + 0.5) / x[:, np.newaxis] - (WEIGHTS_PER_SIDE - i) / (1 - x[:, np.newaxis]))
    return np.hstack([side, -side])


def area_row() -> Floats:
    """Partials of the area between the sides with respect to the weights, the same at every section.

    Returns:
        a, (16,), chord squared per weight, so that area = a @ [upper_weights, lower_weights] + te / 2: the integrals
        of C B_i over the chord, which are beta functions.
    """
    i = np.arange(WEIGHTS_PER_SIDE)
    degree = WEIGHTS_PER_SIDE - 1
    side = comb(degree, i) * beta(i + 1.5, degree - i + 2.0)
    return np.concatenate([side, -side])


def write_dat(shape: KulfanShape, path: Path, n: int = 100) -> None:
    """Write a section as a Selig file, which XFOIL loads and `load_shape` reads back.

    Args:
        shape: The section; its name is the title.
        path: File to write.
        n: Points on each side; 100 are within the limits of the programs that read such files.
    """
    write_selig(path, shape.name, np.stack(coordinates(shape, n), axis=1))


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

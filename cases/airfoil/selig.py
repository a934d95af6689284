"""Coordinate files in Selig form: x y from the trailing edge over the upper side to the leading edge and back below.

XFOIL loads such files, and the UIUC database holds them. An outline listed the other way round is
turned; an ambiguous file is refused, and the message names the file, the line and a remedy.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gradopt.errors import InputError, explain

Floats = NDArray[np.float64]

_FEWEST = 10  # points of an outline; by hand: fewer cannot determine a section of 18 unknowns
_BACK = 0.01  # chord fraction by which x may step back along a side, as at hooked noses; by hand
_NOSE = 0.005  # chord fraction from the foremost point within which a repeated point is the nose; by hand
_NO_AREA = 1e-6  # chord squared, below which an outline has no thickness; by hand


def read_selig(path: Path) -> Floats:
    """Read a file: an optional title, one x y pair a line, optional remarks below.

    Args:
        path: The file.

    Returns:
        Points in Selig order, (n, 2), fractions of chord. An outline listed lower side first is turned round; a nose
        that is listed twice, as two sides joined in one file have it, is there once.

    Raises:
        InputError: If the file is missing or holds no airfoil in Selig form.
    """
    numbers, points = _pairs(path)
    x, y = points.T
    if len(points) < _FEWEST:
        raise _refuse(path, f"{len(points)} coordinate pairs, too few for an airfoil")
    if (points[0] >= 2).all() and points[0].sum() == len(points) - 1:
        remedy = "Reverse the upper side and drop the counts and the x = 0."
        raise _refuse(path, f"Lednicer form, point counts first in line {numbers[0]}", remedy)
    if 50 < x.max() < 150:
        got = f"coordinates in percent of chord, x up to {x.max():g} in line {numbers[x.argmax()]}"
        raise _refuse(path, got, "Divide all coordinates by 100.")
    if abs(x.min()) > 0.05 or abs(x.max() - 1) > 0.05:
        raise _refuse(path, f"a chord from {x.min():g} to {x.max():g}, not 0 to 1", "Shift and scale it onto 0..1.")
    points = _without_repeats(path, numbers, points)
    area = np.sum(points[:, 0] * np.roll(points[:, 1], -1) - points[:, 1] * np.roll(points[:, 0], -1)) / 2
    if abs(area) < _NO_AREA:
        raise _refuse(path, "no thickness: the upper and the lower side are the same line", "List both sides.")
    return points if area > 0 else points[::-1].copy()


def write_selig(path: Path, title: str, points: Floats) -> None:
    """Write a file that XFOIL and `read_selig` read.

    Args:
        path: The file.
        title: Its first line.
        points: Points in Selig order, (n, 2), fractions of chord.
    """
    title = " ".join(title.split()) or "airfoil"
    if re.match(r"[-+.\d]", title):
        title = f"airfoil {title}"  # readers take a first line of numbers for a point
    # Ten digits: the weights of a section come back to 1e-7, with the usual six only to 1e-4.
    lines = [title, *(f"{x:13.10f} {y:13.10f}" for x, y in points)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _pairs(path: Path) -> tuple[list[int], Floats]:
    """Line numbers and points (n, 2) of a file, without title and remarks."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        remedy = "Check the path; an airfoil AeroSandbox ships is named without .dat."
        raise _refuse(path, "no such file", remedy) from None
    except OSError as cause:
        raise _refuse(path, f"not a readable file ({cause.strerror})") from cause
    rows = [(number, line, _pair(line)) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    while rows and rows[0][2] is None:  # a title
        del rows[0]
    while rows and not re.match(r"\s*[-+.]?\d", rows[-1][1]):  # remarks
        del rows[-1]
    for number, line, pair in rows:
        if pair is None:
            raise _refuse(path, f"line {number} is not two numbers but {line.strip()[:40]!r}")
    return [number for number, _, _ in rows], np.array([pair for _, _, pair in rows], dtype=np.float64).reshape(-1, 2)


def _pair(line: str) -> tuple[float, float] | None:
    """The two finite numbers that a line consists of, or None."""
    try:
        first, second = map(float, line.replace(",", " ").split())
    except ValueError:
        return None
    return (first, second) if np.isfinite([first, second]).all() else None


def _without_repeats(path: Path, numbers: list[int], points: Floats) -> Floats:
    """Drop a repeated nose and a closed base; refuse other repeated points, and what is not once round the section."""
    x = points[:, 0]
    for end in (0, -1):
        if x[end] < 0.9:
            side = "first" if end == 0 else "last"
            got = f"points that do not run from the trailing edge to the leading edge and back: the {side}, in line "
            raise _refuse(path, f"{got}{numbers[end]}, is at x = {x[end]:g}", "Begin and end at the trailing edge.")
    repeats = np.flatnonzero((np.diff(points, axis=0) == 0.0).all(axis=1))
    for i in repeats.tolist():
        if x[i] > x.min() + _NOSE:
            got = f"lines {numbers[i]} and {numbers[i + 1]} are the same point, ({x[i]:g}, {points[i, 1]:g})"
            raise _refuse(path, got, "Delete one of them, or correct it.")
    nose = int(x.argmin())
    steps = np.diff(x) * np.where(np.arange(len(x) - 1) < nose, -1.0, 1.0)
    if steps.min() < -_BACK:
        i = int(steps.argmin())
        got = (
            "points that do not run from the trailing edge to the leading edge and back: "
            f"from line {numbers[i]} to line {numbers[i + 1]} x goes from {x[i]:g} to {x[i + 1]:g}"
        )
        raise _refuse(path, got, "Look for points that are swapped or listed twice.")
    points = np.delete(points, repeats, axis=0)
    closed = (points[0] == points[-1]).all() and points[-2, 0] == points[-1, 0]  # along the base, to the first point
    return points[:-1] if closed else points


def _refuse(path: Path, got: str, remedy: str = "Write it in Selig form, x and y as fractions of chord.") -> InputError:
    return InputError(explain("name_or_path", "be an airfoil in Selig form", f"`{path}`: {got}", remedy))

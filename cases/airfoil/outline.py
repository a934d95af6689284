"""Outlines of airfoil sections: which order the points have, where the blunt base is, and what cannot be a section.

The limits below separate damaged points from the roughest of the 2169 sections that AeroSandbox 4.2.10 ships, among
them UIUC's; "the database has" is the largest value among these, and `test_airfoil_database.py` reads all of them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cases.airfoil.coordinate_lines import Rows, refuse

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]

_FEWEST = 10  # points of an outline; by hand: fewer cannot determine a section of 18 unknowns
_OFF = 0.05  # chord fraction by which x may leave 0 to 1; by hand
_HIGHEST = 0.5  # largest |y|, chord fractions; by hand: NACA 0080 has 0.40
_FEW = 3  # points that may be off the section before the whole file is taken to be of another scale; by hand
_END = 0.9  # least x of the first and of the last point, chord fraction; by hand
_GAP = 0.02  # chord fraction between the x of first and last point, if the base is upright; the database has 0.009
_BACK = 0.01  # chord fraction by which x may step back along a side, as at hooked noses; the database has 0
_NOSE = 0.005  # chord fraction from the foremost point within which a repeated point is the nose; by hand
_NO_AREA = 1e-6  # chord squared, below which an outline has no thickness; by hand
_CROSSED = 1e-4  # chord fraction by which rounding may cross the sides; the database has 0
_TILT = 0.6  # largest tangent of the angle between base and vertical; pointed ends in the database have 0.74
_BENT = 0.1  # distance of a point from a straight base over that from its corner; round bases of the database: 0.12
_CORNER = np.radians(50.0)  # least turn between a side and the base; pointed and round ends of the database: 43 degrees
_ZIGZAG = np.radians(35.0)  # largest turn there and back, by a thousandth of chord; the database has 25 degrees
_OUT = 1e-3  # chord fraction, below which a zigzag is rounding; the database has 7e-4 with 50 degrees
_OUTLIER = 0.008  # chord fraction of a point from the line of its neighbors, turn there and back; database 0.0059
_ROUND = np.radians(10.0)  # turn from the side that separates it from a round base; by hand
_OPEN = 0.2  # largest gap between the ends of an outline on a round base, over the base; a file of the database: 0.25
_BULGE = 0.6  # largest height of a round base over its width; half a circle has 0.5
_SIDE = (0.05, 0.02)  # chord fractions ahead of the last point between which a side has its direction; by hand
_DIGITS = range(2, 12)  # decimals that a file may have; by hand


def outline(path: Path, rows: Rows) -> Floats:
    """Check and order the points of one section.

    Args:
        path: The file, for messages.
        rows: Its coordinate lines.

    Returns:
        Points from the upper corner of the trailing edge over the leading edge to the lower corner, (n, 2), fractions
        of chord. An outline of the other direction is turned round, Lednicer's two sides are joined, a nose that is
        listed twice is there once, and points on a blunt base between its corners are left out.

    Raises:
        InputError: If the points are no outline of one section.
    """
    numbers, points = _in_one_line(path, rows.numbers, rows.points)
    _check_place(path, numbers, points)
    _check_ends(path, numbers, points)
    numbers, points = _without_repeats(path, numbers, points)
    _check_order(path, numbers, points)
    area = np.sum(points[:, 0] * np.roll(points[:, 1], -1) - points[:, 1] * np.roll(points[:, 0], -1)) / 2
    if abs(area) < _NO_AREA:
        raise refuse(path, "no thickness: the upper and the lower side are the same line", "List both sides.")
    if area < 0:
        numbers, points = numbers[::-1], points[::-1]
    unit = _unit(points)
    numbers, points = _without_base(numbers, points, unit)
    numbers, points = _without_round_base(numbers, points)
    _check_corners(path, numbers, points, unit)
    _check_spikes(path, numbers, points)
    _check_crossing(path, numbers, points)
    return points.copy()


def _in_one_line(path: Path, numbers: Numbers, points: Floats) -> tuple[Numbers, Floats]:
    """Join the sides of Lednicer's form, whose first line is the number of points of each."""
    if len(points) < _FEWEST:
        lines = f", in lines {numbers[0]} to {numbers[-1]}" if len(points) else ""
        raise refuse(path, f"{len(points)} coordinate pairs, too few for an airfoil{lines}")
    upper, lower = points[0]
    if not (min(upper, lower) >= 2 and upper == int(upper) and lower == int(lower)):
        return numbers, points
    if upper + lower != len(points) - 1:
        got = f"line {numbers[0]} is ({upper:g}, {lower:g}), neither a point nor the counts of the {len(points) - 1} "
        raise refuse(path, f"{got}points below", "Correct the counts; let a title begin with a letter.")
    sides = slice(int(upper), 0, -1), slice(int(upper) + 1, None)
    return np.concatenate([numbers[side] for side in sides]), np.concatenate([points[side] for side in sides])


def _check_place(path: Path, numbers: Numbers, points: Floats) -> None:
    """Refuse points beside the section, and sections of another scale."""
    x, y = points.T
    marks = np.flatnonzero((points == 999).all(axis=1))
    if len(marks):
        got = f"line {numbers[marks[0]]} is (999, 999), XFOIL's mark between sections"
        raise refuse(path, got, "Keep one section in a file.")
    off = np.flatnonzero((x < -_OFF) | (x > 1 + _OFF) | (np.abs(y) > _HIGHEST))
    if 0 < len(off) <= _FEW:
        i = off[0]
        got = f"line {numbers[i]} is the point ({x[i]:g}, {y[i]:g}), beside a section of chord 0 to 1"
        remedy = "Correct the line; let a title begin with a letter." if i == 0 else "Correct the line."
        raise refuse(path, got, remedy)
    if 50 < x.max() < 150:
        got = f"coordinates in percent of chord, x up to {x.max():g} in line {numbers[x.argmax()]}"
        raise refuse(path, got, "Divide all coordinates by 100.")
    if abs(x.min()) > _OFF or abs(x.max() - 1) > _OFF:
        lines = f"in lines {numbers[x.argmin()]} and {numbers[x.argmax()]}"
        remedy = "Shift and scale it onto 0..1."
        raise refuse(path, f"a chord from {x.min():g} to {x.max():g}, not 0 to 1, {lines}", remedy)
    if len(off):
        i = off[0]
        remedy = "Divide all y by the chord."
        raise refuse(path, f"{len(off)} points as far from the chord as line {numbers[i]}, y = {y[i]:g}", remedy)


def _check_ends(path: Path, numbers: Numbers, points: Floats) -> None:
    """Refuse outlines that do not begin and end at the trailing edge, and several sections."""
    x = points[:, 0]
    nose, tail = x.min() + 0.2, x.max() - 0.2  # fifths of the chord, by hand
    for end in (0, -1):
        if x[end] < _END:
            side = "first" if end == 0 else "last"
            got = f"points that do not run from the trailing edge to the leading edge and back: the {side}, in line "
            got = f"{got}{numbers[end]}, is at x = {x[end]:g}"
            remedy = "Begin and end at the trailing edge."
            if x[0] < nose and x[-1] < nose:
                got, remedy = f"{got}, a leading edge", "Begin and end at the trailing edge: move the first half down."
            elif x[0] < nose:
                got = f"{got}, as in Lednicer form without its counts"
                remedy = "Put the number of points of each side above them, or reverse the upper side."
            raise refuse(path, got, remedy)
    noses = np.flatnonzero(x < nose)
    between = np.flatnonzero(x[: noses[-1]] > tail)
    between = between[between > noses[0]]  # points at a trailing edge, with a leading edge before and behind
    if len(between):
        second, then = between[0], noses[noses > between[0]][0]
        got = f"several sections: after a leading edge in line {numbers[noses[0]]} and a trailing edge in line "
        got = f"{got}{numbers[second]} comes the leading edge of line {numbers[then]}"
        raise refuse(path, got, "Keep one section in a file.")
    gap = abs(points[0] - points[-1])
    if gap[0] > _GAP + _TILT * gap[1]:
        got = f"sides of different length: line {numbers[0]} is at x = {x[0]:g}, line {numbers[-1]} at x = {x[-1]:g}"
        raise refuse(path, got, "Complete the shorter side up to the trailing edge.")


def _without_repeats(path: Path, numbers: Numbers, points: Floats) -> tuple[Numbers, Floats]:
    """Drop a repeated nose; refuse other repeated points."""
    x = points[:, 0]
    repeats = np.flatnonzero((np.diff(points, axis=0) == 0.0).all(axis=1))
    for i in repeats.tolist():
        if x[i] > x.min() + _NOSE:
            got = f"lines {numbers[i]} and {numbers[i + 1]} are the same point, ({x[i]:g}, {points[i, 1]:g})"
            raise refuse(path, got, "Delete one of them, or correct it.")
    return np.delete(numbers, repeats), np.delete(points, repeats, axis=0)


def _check_order(path: Path, numbers: Numbers, points: Floats) -> None:
    """Refuse points that run back along a side."""
    x = points[:, 0]
    nose = int(x.argmin())
    for start, way in ((0, -x[: nose + 1]), (nose, x[nose:])):
        furthest = np.maximum.accumulate(way)
        back = np.flatnonzero(furthest - way > _BACK)
        if len(back):
            b = start + int(back[0])
            a = start + int(way[: back[0]].argmax())
            got = (
                "points that do not run from the trailing edge to the leading edge and back: "
                f"from line {numbers[a]} to line {numbers[b]} x goes from {x[a]:g} to {x[b]:g}"
            )
            raise refuse(path, got, "Look for points that are swapped or listed twice.")


def _unit(points: Floats) -> float:
    """Unit of the last decimal that the coordinates are written with, chord fraction."""
    for digits in _DIGITS:
        if np.abs(points - np.round(points, digits)).max() < 1e-3 * 10.0**-digits:
            break
    return float(10.0**-digits)


def _without_base(numbers: Numbers, points: Floats, unit: float) -> tuple[Numbers, Floats]:
    """Drop the points on a straight blunt base.

    An outline may begin and end at any point of its base, may be closed along the base, and may list points between the
    corners. The sides end at the corners; points on the base belong to neither and would halve its thickness.
    """
    step = np.diff(points, axis=0)
    upright = (step[:, 1] > 0) & (np.abs(step[:, 0]) <= _TILT * step[:, 1] + unit)
    first = int(np.argmin(upright))  # points before the first step that leaves the base
    last = int(np.argmin(upright[::-1]))
    while first or last:
        stop = len(points) - last
        sides = points[first:stop]
        upper, lower = sides[0], sides[-1]
        extra = np.concatenate([points[:first], points[stop:]])
        base = upper - lower
        along = np.clip((extra - lower) @ base / max(base @ base, np.finfo(float).tiny), 0.0, 1.0)
        beside = np.hypot(*(extra - lower - along[:, np.newaxis] * base).T)
        corner = np.minimum(np.hypot(*(extra - lower).T), np.hypot(*(extra - upper).T))
        bent = np.flatnonzero(beside > _BENT * corner + unit)
        reach = max(np.hypot(*base) / 2, 10 * unit)  # of the side next to a corner, past what rounding turns; by hand
        if first and ((len(bent) and bent[0] < first) or _turn(base, _ahead(sides, reach)) < _CORNER):
            first -= 1
        elif last and (len(bent) or _turn(base, -_ahead(sides[::-1], reach)) < _CORNER):
            last -= 1
        else:
            break
    stop = len(points) - last
    return numbers[first:stop], points[first:stop]


def _without_round_base(numbers: Numbers, points: Floats) -> tuple[Numbers, Floats]:
    """Drop the points on a round base that an outline begins and ends on, such as half a circle.

    The sides end where they turn into it. A tip of one point, as drawn behind many sections, is no base and stays.
    """
    found = []
    for side in (points, points[::-1]):
        x = side[: len(side) // 2, 0]
        near, far = (int(np.argmax(x < x.max() - ahead)) for ahead in _SIDE[::-1])
        if not 0 < near < far:
            return numbers, points
        way = side[far] - side[near]
        first = 0
        while first < near and _turn(side[first + 1] - side[first], way) > _ROUND:
            first += 1
        found.append((first, _turn(side[1] - side[0], way)))
    (first, begin), (last, end) = found
    stop = len(points) - last
    sides, extra = points[first:stop], np.concatenate([points[stop:], points[:first]])
    if min(first, last) < 1 or max(begin, end) < _CORNER or len(np.unique(extra, axis=0)) < 3:
        return numbers, points
    base, gap = np.hypot(*(sides[0] - sides[-1])), np.hypot(*(points[0] - points[-1]))
    bulge = _distances(extra, sides[-1], sides[0]).max()
    if gap > _OPEN * base or bulge > _BULGE * base:
        return numbers, points
    return numbers[first:stop], sides


def _ahead(side: Floats, reach: float) -> Floats:
    """Vector from the first point of a side to the first point at some distance from it, (2,)."""
    off = side[1:] - side[0]
    return np.asarray(off[int(np.argmax(np.hypot(*off.T) >= reach))], dtype=np.float64)


def _turn(first: Floats, second: Floats) -> float:
    """Angle between two vectors, 0 to pi."""
    return float(np.abs(np.arctan2(first[0] * second[1] - first[1] * second[0], first @ second)))


def _turns(points: Floats) -> Floats:
    """Angle by which the outline turns at each point but the first and the last, (n - 2,), counter-clockwise."""
    step = np.diff(points, axis=0)
    angle = np.diff(np.arctan2(step[:, 1], step[:, 0]))
    return np.asarray((angle + np.pi) % (2 * np.pi) - np.pi, dtype=np.float64)


def _distances(points: Floats, origin: Floats, ahead: Floats) -> Floats:
    """Distances of points from the lines through origins and points ahead."""
    line, off = ahead - origin, points - origin
    across = np.abs(line[..., 0] * off[..., 1] - line[..., 1] * off[..., 0])
    return np.asarray(across / np.maximum(np.hypot(line[..., 0], line[..., 1]), np.finfo(float).tiny))


def _check_corners(path: Path, numbers: Numbers, points: Floats, unit: float) -> None:
    """Refuse a first or last point that belongs neither to its side nor to a straight base."""
    turns = np.abs(_turns(points))
    for end, turn, near in ((0, turns[0], points[1:3]), (-1, turns[-1], points[-2:-4:-1])):
        if turn > _CORNER and _distances(points[end], *near) > 3 * unit:  # as far as rounding moves it
            x, y = points[end]
            got = f"line {numbers[end]}, ({x:g}, {y:g}), is neither on the side that ends there nor on a straight base"
            raise refuse(path, got, "Correct the line, or delete it.")


def _check_spikes(path: Path, numbers: Numbers, points: Floats) -> None:
    """Refuse points at which the outline turns there and back, farther than rough files do."""
    turns = _turns(points)
    before, behind = np.append(turns[1], turns[:-1]), np.append(turns[1:], turns[-2])
    back = np.maximum(-np.sign(turns) * before, 0) + np.maximum(-np.sign(turns) * behind, 0)
    zigzag = np.minimum(np.abs(turns), back)
    out = _distances(points[1:-1], points[:-2], points[2:])
    both = (turns * before < 0) & (turns * behind < 0)
    both[[0, -1]] = False  # a coarse side may end in a curl
    spikes = np.flatnonzero(((zigzag > _ZIGZAG) & (out > _OUT)) | (both & (out > _OUTLIER)))
    if len(spikes):
        i = int(spikes[out[spikes].argmax()])
        (x, y), line = points[i + 1], numbers[i + 1]
        got = f"line {line}, ({x:g}, {y:g}), is {out[i]:.2g} chords beside the line of the points before and after it"
        raise refuse(path, got, "Correct the line, or delete it.")


def _check_crossing(path: Path, numbers: Numbers, points: Floats) -> None:
    """Refuse an upper side below the lower side."""
    x, y = points.T
    nose = int(x.argmin())
    along = np.unique(x[(x > x.min() + _NOSE) & (x <= min(x[0], x[-1]))])
    upper = np.interp(along, np.maximum.accumulate(x[nose::-1]), y[nose::-1])
    lower = np.interp(along, np.maximum.accumulate(x[nose:]), y[nose:])
    if len(along) and (upper - lower).min() < -_CROSSED:
        i = int((upper - lower).argmin())
        above = nose - int(np.abs(x[nose::-1] - along[i]).argmin())
        below = nose + int(np.abs(x[nose:] - along[i]).argmin())
        got = f"sides that cross: at x = {along[i]:g} the upper side, line {numbers[above]}, has y = {upper[i]:g}, "
        got = f"{got}the lower side, line {numbers[below]}, has y = {lower[i]:g}"
        raise refuse(path, got, "Correct the wrong line.")

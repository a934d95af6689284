"""Coordinate files: what can mean one section only is read as it; all else is refused with line, cause and remedy."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cases.airfoil.selig import read_selig
from gradopt.errors import InputError


def section(n: int = 41, base: float = 0.004, camber: float = 0.03, tilt: float = 0.0) -> np.ndarray:
    """Outline of a 12 % section, (2 n - 1, 2), in Selig order; tilt is that of its base, dx over dy."""
    x = (1 - np.cos(np.linspace(0, np.pi, n))) / 2
    half = 0.6 * (0.2969 * np.sqrt(x) - 0.126 * x - 0.3516 * x**2 + 0.2843 * x**3 - 0.1036 * x**4) + base / 2 * x
    middle = 4 * camber * x * (1 - x)
    shift = tilt * base / 2 * x**8
    upper, lower = np.stack([x + shift, middle + half], 1), np.stack([x - shift, middle - half], 1)
    return np.concatenate([upper[::-1], lower[1:]])


def rows(points: np.ndarray, form: str = "{:.6f} {:.6f}") -> list[str]:
    return [form.format(x, y) for x, y in points]


def read(folder: Path, content: list[str] | str | bytes) -> np.ndarray:
    text = "\n".join(content) if isinstance(content, list) else content
    (folder / "s.dat").write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_selig(folder / "s.dat")


ROWS = rows(section())
TEXT = "\n".join(["title", *ROWS])
UPPER, LOWER = ROWS[40::-1], ROWS[40:]


def replaced(at: int, line: str) -> list[str]:
    found = ["title", *ROWS]
    found[at] = line
    return found


def added(at: int, *lines: str) -> list[str]:
    found = ["title", *ROWS]
    return [*found[:at], *lines, *found[at:]]


def each(old: str, new: str) -> list[str]:
    return ["title", *(row.replace(old, new) for row in ROWS)]


SAME: dict[str, list[str] | str | bytes] = {
    "lines end with CR LF": TEXT.replace("\n", "\r\n"),
    "lines end with CR": TEXT.replace("\n", "\r"),
    "UTF-8 with its mark": TEXT.encode("utf-8-sig"),
    "UTF-8 with its mark, no title": "\n".join(ROWS).encode("utf-8-sig"),
    "UTF-16 with its mark": TEXT.encode("utf-16"),
    "UTF-16, high bytes first": b"\xfe\xff" + TEXT.encode("utf-16-be"),
    "UTF-32 with its mark": TEXT.encode("utf-32"),
    "a title in Latin-1": "Flügel".encode("latin-1") + b"\n" + TEXT.encode(),
    "end of file of DOS": TEXT + "\n\x1a",
    "commas": each(" ", ", "),
    "commas, one behind each line": [f"{row}," for row in each(" ", ",")[1:]],
    "semicolons": each(" ", ";"),
    "decimal commas": each(".", ","),
    "decimal commas and semicolons": ["title", *(row.replace(".", ",").replace(" ", ";") for row in ROWS)],
    "the minus sign of typesetters": each("-", "\N{MINUS SIGN}"),
    "a comment between points": added(20, "# a comment", "! as in XFOIL"),
    "comments behind points": each("", "")[:1] + [f"{row}  # {k}" for k, row in enumerate(ROWS)],
    "remarks below": [*each("", ""), "", "smoothed in May", "95 nov 97", "cm 0.012"],
    "three titles": ["NACA 66,2-(1.8)15.5 A=.6", "BOEING 707 .08 SPAN", *each("", "")],
    "names of the columns": ["x/c, y/c", *ROWS],
    "the edges of MSES' grid": added(1, "-2.0 3.0 -2.5 3.5"),
    "Lednicer": ["title", f"{len(UPPER)}. {len(LOWER)}.", "", *UPPER, "", *LOWER],
    "Lednicer, lower side first": ["title", f"{len(LOWER)} {len(UPPER)}", *LOWER, *UPPER],
}


@pytest.mark.parametrize("kind", SAME)
def test_other_spellings_give_the_same_points(tmp_path: Path, kind: str) -> None:
    np.testing.assert_array_equal(read(tmp_path, SAME[kind]), read(tmp_path, TEXT))


@pytest.mark.parametrize("letter", "DdEe")
def test_fortran_exponents_are_read(tmp_path: Path, letter: str) -> None:
    lines = [row.replace("e", letter) for row in rows(section(), "{:.9e} {:.9e}")]
    np.testing.assert_allclose(read(tmp_path, lines), section(), rtol=1e-9, atol=1e-15)


REFUSED_LINES: dict[str, tuple[list[str] | str | bytes, str]] = {
    "nothing": ("", "0 coordinate pairs, too few"),
    "x y z": (
        [f"{row} 0.0" for row in each("", "")[1:]],
        r"line 1 .* '0*1\.0+ 0\.002000 0\.0': 3 numbers\. Keep the co",
    ),
    "running numbers": (added(1, "1 1.1 0.003"), "line 2 .* '1 1.1 0.003': 3 numbers"),
    "a title of one number": (["2412", *ROWS], "line 1 .* '2412': one number.*let a title begin with a letter"),
    "a title of two numbers": (["0012 64", *ROWS], r"line 1 is \(12, 64\), neither a point .*let a title begin"),
    "a title of three numbers": (["63 2 415", *ROWS], "line 1 .* '63 2 415': 3 numbers"),
    "a title without words": (["63-415", *ROWS], "line 1 .*'63-415': neither numbers nor words"),
    "text behind the first point": (replaced(1, ROWS[0] + " TE"), "line 2 .* TE': text behind two numbers"),
    "a label before the first point": (replaced(1, "TE " + ROWS[0]), "line 2 .*'TE 1.*it can be a damaged point"),
    "a label before the last point": (replaced(81, "x=1.0 y=-.002"), "line 82 .*'x=1.*it can be a damaged point"),
    "a letter for a digit": (replaced(1, "l.000000 0.002000"), "line 2 .*'l.0.*it can be a damaged point"),
    "no separator": (replaced(1, "1.000000x0.002000"), "line 2 .*it can be a damaged point"),
    "a letter that makes an exponent": (replaced(9, "0.d0125000 0.0155"), "line 10 .*it can be a damaged point"),
    "a point in a comment": (replaced(1, "# " + ROWS[0]), "line 2 .*'# 1.*a comment that can be a point"),
    "half a line": (replaced(81, "1.00"), "line 82 .* '1.00': one number"),
    "half a line with a decimal comma": (
        [*each(".", ",")[:9], "0,900", *each(".", ",")[10:]],
        r"line 10 is '0,900': no decimal commas, while line 2, '1,0+ 0,002000', has them",
    ),
    "all commas": (
        each(".", ",")[:1] + [row.replace(".", ",").replace(" ", ",") for row in ROWS],
        "line 2 .*, or four",
    ),
    "points and commas": (
        replaced(9, ROWS[8].replace(".", ",")),
        r"line 2 is '1.*no decimal commas, while line 10, '0,9",
    ),
    "not a number": (added(9, "nan 0.1"), "line 10 .*'nan 0.1': a number that is not finite"),
    "infinite, at the end": ([*ROWS, "inf inf"], "line 82 .*'inf inf': a number that is not finite"),
    "too large": (added(9, "0.9 1e400"), "line 10 is '0.9 1e400': a number beyond the largest of 64 bits"),
    "digits of other scripts": (added(9, "٠.٩ 0.1"), "line 10 .* neither numbers nor words"),
    "underscores": (added(9, "0_9 0.1"), "line 10 .*'0_9 0.1'"),
    "a word for a number": (replaced(9, "0.9 none"), "line 10 .*'0.9 none': a number and text"),
    "text among the points": (added(40, "lower side"), "line 41 .*'lower side': text among the points"),
    "four numbers": (added(1, "1.0 0.5 0.1 0.2"), "line 2 .* 4 numbers"),
    "one byte of another kind": (TEXT[:90] + "\0" + TEXT[90:], r"a binary file: byte 90, in line \d, is 0"),
    "UTF-16 without its mark": (TEXT.encode("utf-16-le"), "UTF-16 without a byte order mark"),
    "UTF-16 cut off": (TEXT.encode("utf-16")[:-1], r"UTF-16-LE by its byte order mark, but not from byte \d+ on"),
    "a long line": (added(3, "a" * 2001), "line 4 has 2001 characters, more than 2000"),
    "many lines": (["0.5 0.1"] * 10_001, "10001 lines, more than 10000"),
    "a large file": (b"\xff" * (2**20 + 1), "more than 1048576 bytes"),
}


@pytest.mark.parametrize("kind", REFUSED_LINES)
def test_line_that_is_no_pair_is_refused_with_number_and_cause(tmp_path: Path, kind: str) -> None:
    content, reason = REFUSED_LINES[kind]
    with pytest.raises(
        InputError, match=rf"`name_or_path` must be an airfoil in Selig form, got `.*s\.dat`: .*{reason}"
    ):
        read(tmp_path, content)


def moved(at: int, dx: float = 0.0, dy: float = 0.0, points: np.ndarray | None = None) -> list[str]:
    points = section() if points is None else points.copy()
    points[at] += dx, dy
    return ["title", *rows(points)]


def crossed() -> list[str]:
    """Sides that change places over the last tenth of the chord, smoothly."""
    points = section(base=0.0, camber=0.0)
    points[:, 1] *= np.tanh((0.9 - points[:, 0]) / 0.05)
    return rows(points)


REFUSED_POINTS: dict[str, tuple[list[str], str]] = {
    "few": (ROWS[::10], "9 coordinate pairs, too few for an airfoil, in lines 1 to 9"),
    "Lednicer, another count": (
        ["title", f"{len(UPPER)} 44", *UPPER, *LOWER],
        r"line 2 is \(41, 44\), neither a point nor the counts of the 82 points below",
    ),
    "Lednicer, no counts": ([*UPPER, *LOWER], "the first, in line 1, is at x = 0, as in Lednicer form without its"),
    "leading edge first": ([*UPPER, *LOWER[::-1]], "the first, in line 1, is at x = 0, a leading edge"),
    "one side": (ROWS[:41], "the last, in line 41, is at x = 0"),
    "a side cut off": (ROWS[:-6], "sides of different length: line 1 is at x = 1, line 75 at x = 0.9"),
    "two sections": (
        ["title", *ROWS, "", *ROWS],
        r"several sections: after a leading edge in line \d+ and a trailing ed",
    ),
    "XFOIL's mark between sections": ([*ROWS, "999. 999.", *ROWS], r"line 82 is \(999, 999\), XFOIL's mark between"),
    "a slat": ([*ROWS, *rows(section() * 0.3 - [0.02, 0.1])], "the last, in line 162, is at x = 0.28"),
    "a point far above": (
        moved(20, dy=0.6),
        r"line 22 is the point \(0\.5, 0\.\d+\), beside a section of chord 0 to 1",
    ),
    "a point far ahead": (moved(20, dx=99.0), r"line 22 is the point \(99\.5, 0\.\d+\), beside a section"),
    "percent": (rows(100 * section()), "percent of chord, x up to 100 in line 1.* Divide all coordinates by 100"),
    "millimetres": (rows(250 * section()), "a chord from 0 to 250, not 0 to 1, in lines 41 and 1"),
    "y in percent": (rows(section() * [1, 100]), r"\d+ points as far from the chord as line \d+, y = .*Divide all y"),
    "a typing error of y": (
        moved(20, dy=0.02),
        r"line 22, \(0\.5, 0\.10\d+\), is 0\.02 chords beside the line of the poi",
    ),
    "a lost sign": (moved(60, dy=0.06), r"line 62, \(0\.5, 0\.0\d+\), is 0\.06 chords beside the line of the points"),
    "a typing error of x": (
        moved(20, dx=0.1),
        r"from line 19 to line 20 x goes from|from line 21 to line 22 x goes from",
    ),
    "a first point beside its side": (
        moved(0, dy=0.01),
        r"line 2, \(1, 0\.012\), is neither on the side that ends there",
    ),
    "a point behind the base": (
        ["title", "1.0005 0", *ROWS, "1.0005 0"],
        r"line 2, \(1\.0005, 0\), is neither on the side that ends there nor on a straight base",
    ),
    "a point on the base twice": (["1 0", "1 0", *ROWS], r"lines 1 and 2 are the same point, \(1, 0\)"),
    "sides that cross": (
        crossed(),
        r"sides that cross: at x = 0\.9\d+ the upper side, line \d, has y = -0\.\d+, the low",
    ),
    "no thickness": (rows(section() * [1, 0]), "no thickness"),
}


@pytest.mark.parametrize("kind", REFUSED_POINTS)
def test_points_that_are_no_section_are_refused_with_line_and_cause(tmp_path: Path, kind: str) -> None:
    content, reason = REFUSED_POINTS[kind]
    with pytest.raises(InputError, match=rf"`.*s\.dat`: .*{reason}"):
        read(tmp_path, content)


def based(points: np.ndarray, k: int, way: str) -> np.ndarray:
    """List k points between the corners of the base as well, in one of the ways in which files do."""
    lower, upper = points[-1], points[0]
    base = lower + (upper - lower) * np.linspace(0, 1, k + 2)[1:-1, np.newaxis]
    middle = k // 2
    ways = {
        "from the middle to the middle": [base[middle:], points, base[: middle + 1]],
        "from the middle to the lower corner": [base[middle:], points],
        "from the upper corner to the middle": [points, base[: middle + 1]],
        "closed at the upper corner": [points, base, [upper]],
        "closed at the lower corner": [[lower], base, points],
    }
    return np.concatenate(ways[way])


@pytest.mark.parametrize(
    "way",
    [
        "from the middle to the middle",
        "from the middle to the lower corner",
        "from the upper corner to the middle",
        "closed at the upper corner",
        "closed at the lower corner",
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_points_on_a_straight_base_belong_to_neither_side(tmp_path: Path, way: str, turned: bool) -> None:
    for base, camber, tilt, k, digits in (
        (0.0052, 0.0, 0.0, 1, 7),
        (0.002, 0.04, 0.0, 3, 6),
        (0.02, 0.04, 0.3, 2, 6),
        (0.01, -0.02, -0.4, 9, 6),
        (0.004, 0.03, 0.2, 1, 4),
        (0.1, 0.0, 0.1, 30, 6),
    ):
        points = section(base=base, camber=camber, tilt=tilt)
        form = f"{{:.{digits}f}} {{:.{digits}f}}"
        listed = based(points, k, way)
        expected = read(tmp_path, rows(points, form))
        assert len(expected) == len(points)
        np.testing.assert_array_equal(read(tmp_path, rows(listed[::-1] if turned else listed, form)), expected)


@pytest.mark.parametrize("k", [2, 4, 8, 20])
def test_sides_end_where_a_round_base_begins(tmp_path: Path, k: int) -> None:
    points = section(base=0.006, camber=0.02)
    angle = np.linspace(0, np.pi / 2, k + 1)[:-1, np.newaxis]
    above = np.hstack([1 + 0.003 * np.cos(angle), 0.003 * np.sin(angle)])
    found = read(tmp_path, rows(np.concatenate([above, points, (above * [1, -1])[::-1]]), "{:.8f} {:.8f}"))
    inside = found[found[:, 0] <= 1.0]
    np.testing.assert_allclose(inside, points, atol=1e-8)
    assert len(found) - len(points) <= k / 2
    assert found[0, 1] - found[-1, 1] == pytest.approx(0.006, rel=0.08)


@pytest.mark.parametrize("tip", [0.003, 0.00107])
def test_pointed_tip_of_one_point_stays(tmp_path: Path, tip: float) -> None:
    """Many of UIUC's files end so; the tip is no base, and its slopes are those of the sides to within 45 degrees."""
    points = section(base=0.0, camber=0.0)
    points[:, 1] += 0.001 * np.sign(points[:, 1]) * (points[:, 0] < 1)
    points[[0, -1], 0] = points[1, 0] + tip
    np.testing.assert_allclose(read(tmp_path, rows(points)), points, atol=1e-6)


def test_path_that_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.dat")
    (tmp_path / "link.dat").symlink_to(tmp_path / "none")
    cases: list[tuple[Path, str]] = [
        (tmp_path, r"not a readable file \(a folder\)"),
        (tmp_path / "pipe.dat", r"not a readable file \(a pipe or a device\)"),
        (tmp_path / "link.dat", "no such file"),
        (Path("/dev/zero"), r"not a readable file \(a pipe or a device\)"),
        (Path("a" * 5000), r"not a readable file \(File name too long\)"),
        (Path("a\0.dat"), r"`a\\x00\.dat`: not the path of a file \(embedded null"),
        (Path("\x1b[31m.dat"), r"got `\\x1b\[31m\.dat`: no such file"),
    ]
    for path, reason in cases:
        with pytest.raises(InputError, match=reason):
            read_selig(path)


def test_hostile_lines_are_refused_in_no_time(tmp_path: Path) -> None:
    """Each would take minutes if an expression looked twice at the same characters."""
    makers: list[Callable[[], str]] = [
        lambda: "1" * 1999,
        lambda: " " * 1900 + "1",
        lambda: "1.1" + "x" * 1900,
        lambda: "1.111" * 390,
        lambda: "a " + ",1" * 990,
        lambda: "-" * 1999,
    ]
    for make in makers:
        with pytest.raises(InputError):
            read(tmp_path, ["title", *[make()] * 100])

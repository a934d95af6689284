"""Coordinate files: a section written is the section read, and what is no airfoil is refused, saying where and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cases.airfoil.geometry import KulfanShape, coordinates, load_shape, write_dat
from gradopt.errors import InputError

asb = pytest.importorskip("aerosandbox")


def selig_text(name: str = "naca4412") -> list[str]:
    return [f"{x:.6f} {y:.6f}" for x, y in asb.Airfoil(name).coordinates]


def write(folder: Path, *lines: str) -> str:
    file = folder / "foil.dat"
    file.write_text("\n".join(lines))
    return str(file)


def all_of(shape: KulfanShape) -> np.ndarray:
    ends = [shape.leading_edge_weight, shape.trailing_edge_thickness]
    return np.concatenate([shape.upper_weights, shape.lower_weights, ends])


@pytest.mark.parametrize("name", ["naca0012", "rae2822", "naca4412", "s1223", "sd7037", "clarky", "ag10", "naca23012"])
def test_section_written_is_the_section_read(tmp_path: Path, name: str) -> None:
    shape = load_shape(name)
    write_dat(shape, tmp_path / "foil.dat")
    np.testing.assert_allclose(all_of(load_shape(str(tmp_path / "foil.dat"))), all_of(shape), rtol=0, atol=2e-8)


def test_file_is_in_selig_form(tmp_path: Path) -> None:
    write_dat(load_shape("naca4412"), tmp_path / "foil.dat")
    title, *rows = (tmp_path / "foil.dat").read_text().splitlines()
    points = np.array([row.split() for row in rows], dtype=float)
    assert title == "naca4412"
    assert points.shape == (199, 2)
    np.testing.assert_allclose(points[[0, 99, 198], 0], [1.0, 0.0, 1.0], atol=1e-12)
    assert points[50, 1] > 0.05 > 0.0 > points[150, 1]


@pytest.mark.parametrize(
    ("name", "title"),
    [("0012 64", "airfoil 0012 64"), ("a\nb", "a b"), ("", "airfoil"), ("NACA 0012", "NACA 0012")],
)
def test_title_cannot_be_taken_for_a_point(tmp_path: Path, name: str, title: str) -> None:
    shape = replace(load_shape("naca4412"), name=name)
    write_dat(shape, tmp_path / "foil.dat")
    assert (tmp_path / "foil.dat").read_text().splitlines()[0] == title
    np.testing.assert_allclose(all_of(load_shape(str(tmp_path / "foil.dat"))), all_of(shape), rtol=0, atol=2e-8)


@pytest.mark.parametrize("title", [[], ["NACA 4412"], ["NACA 4412", "", "made by hand"]])
def test_file_gives_the_shape_it_was_written_from_with_or_without_title(tmp_path: Path, title: list[str]) -> None:
    shape = load_shape(write(tmp_path, *title, *selig_text(), "", "smoothed in May"))
    expected = load_shape("naca4412")
    assert shape.name == "foil"
    np.testing.assert_allclose(shape.upper_weights, expected.upper_weights, atol=1e-3)
    np.testing.assert_allclose(shape.lower_weights, expected.lower_weights, atol=1e-3)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"`name_or_path` must be .*none\.dat`: no such file\. Check the path"):
        load_shape(str(tmp_path / "none.dat"))


def test_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a readable file"):
        load_shape(f"{tmp_path}/")


def scaled(factor: float) -> list[str]:
    return [f"{factor * float(v):.6f} {factor * float(w):.6f}" for v, w in map(str.split, selig_text())]


def lednicer(counts: bool) -> list[str]:
    lines = selig_text()
    nose = len(lines) // 2
    upper, lower = lines[nose::-1], lines[nose:]
    return ([f"{len(upper)}. {len(lower)}."] if counts else []) + upper + lower


def swapped(lines: list[str], i: int, j: int) -> list[str]:
    lines[i], lines[j] = lines[j], lines[i]
    return lines


def repeated(lines: list[str], i: int) -> list[str]:
    return [*lines[: i + 1], *lines[i:]]


NO_AIRFOIL: dict[str, tuple[Callable[[], list[str]], str]] = {
    "prose": (lambda: ["Dear reader,", "this is a letter."] * 9, "0 coordinate pairs, too few"),
    "nothing": (lambda: [], "0 coordinate pairs, too few"),
    "few points": (lambda: selig_text()[::60], "[4-9] coordinate pairs, too few"),
    "a word among numbers": (
        lambda: ["title", *selig_text()[:9], "0.9 oops", "1 0"],
        "line 11 is not two .*oops",
    ),
    "a last line cut off": (lambda: [*selig_text(), "1.0"], r"is not two numbers but '1\.0'"),
    "three columns": (lambda: [*selig_text()[:9], "1 2 3", "1 0"], "line 10 is not two numbers but '1 2 3'"),
    "not a number": (lambda: [*selig_text()[:20], "0.5 nan", *selig_text()[20:]], "line 21 is not two numbers"),
    "Lednicer without counts": (lambda: lednicer(counts=False), "from the trailing edge .* the first, in line 1, is"),
    "percent": (lambda: scaled(100), r"percent of chord, x up to 100.*Divide all coordinates by 100"),
    "millimetres": (lambda: scaled(250), "a chord from .* to 250.*, not 0 to 1"),
    "half the chord": (lambda: scaled(0.5), r"a chord from .* to 0\.5\d*, not 0 to 1"),
    "two points swapped": (lambda: swapped(selig_text(), 50, 60), "from the trailing edge .* from line 51 to line 5"),
    "one side": (lambda: selig_text()[:200], r"the last, in line 200, is at x = .*0.* Begin and end at the"),
    "a repeated point": (
        lambda: repeated(["title", *selig_text()], 30),
        r"foil\.dat`: lines 31 and 32 are the same point, \(0\.\d+, 0\.\d+\)\. Delete one of them, or correct it",
    ),
    "a trailing edge listed twice at one end": (lambda: repeated(selig_text(), 0), "lines 1 and 2 are the same point"),
    "a block listed twice": (
        lambda: selig_text()[:60] + selig_text()[20:],
        r"from line 60 to line 61 x goes from 0\.\d+ to 0\.\d+\. Look for points that are swapped or listed twice",
    ),
    "a line there and back": (lambda: scaled(1)[:200] + scaled(1)[199::-1], "no thickness"),
}


@pytest.mark.parametrize("kind", NO_AIRFOIL)
def test_file_that_is_no_selig_airfoil_is_refused_saying_why(tmp_path: Path, kind: str) -> None:
    lines, reason = NO_AIRFOIL[kind]
    with pytest.raises(InputError, match=reason):
        load_shape(write(tmp_path, *lines()))


def closed(lines: list[str]) -> list[str]:
    return [*lines, lines[0]]


def upside_down(lines: list[str]) -> list[str]:
    return [f"{x} {-float(y):.10f}" for x, y in map(str.split, lines)]


SAME_AIRFOIL: dict[str, Callable[[list[str]], list[str]]] = {
    "lower side first": lambda lines: lines[::-1],
    "nose listed twice": lambda lines: repeated(lines, len(lines) // 2),
    "closed along the base": closed,
    "commas and tabs": lambda lines: [",\t".join(line.split()) for line in lines],
}


@pytest.mark.parametrize("kind", SAME_AIRFOIL)
def test_file_that_can_only_mean_one_airfoil_is_read_as_it(tmp_path: Path, kind: str) -> None:
    expected = load_shape("rae2822")
    expected = replace(expected, trailing_edge_thickness=0.004)
    write_dat(expected, tmp_path / "foil.dat")
    lines = (tmp_path / "foil.dat").read_text().splitlines()[1:]
    shape = load_shape(write(tmp_path, "title", *SAME_AIRFOIL[kind](lines)))
    np.testing.assert_allclose(all_of(shape), all_of(expected), rtol=0, atol=2e-8)


def test_lednicer_form_gives_the_shape_of_selig_form(tmp_path: Path) -> None:
    expected = load_shape(write(tmp_path, "title", *selig_text()))
    np.testing.assert_array_equal(
        all_of(load_shape(write(tmp_path, "title", *lednicer(counts=True)))), all_of(expected)
    )


def test_blunt_base_with_points_on_it_gives_the_shape_without_them(tmp_path: Path) -> None:
    points = np.stack(coordinates(replace(load_shape("naca2412"), trailing_edge_thickness=0.0052), 60), axis=1)
    sides = [f"{x:.7f} {y:.7f}" for x, y in points]
    expected = load_shape(write(tmp_path, *sides))
    middle = f"{points[[0, -1], 0].mean():.7f} {points[[0, -1], 1].mean():.7f}"
    shape = load_shape(write(tmp_path, middle, *sides, middle))
    assert shape.trailing_edge_thickness == pytest.approx(0.0052, abs=1e-6)
    np.testing.assert_array_equal(all_of(shape), all_of(expected))


@pytest.mark.parametrize(
    "name", ["$\\frac{$", "a\x1b[31m\x00b", "x" * 300, "1 0", "nan 0", "# a", "TE 1.0, 0.002", "\udcff", "é"]
)
def test_no_name_of_a_section_damages_its_file(tmp_path: Path, name: str) -> None:
    shape = replace(load_shape("naca4412"), name=name)
    write_dat(shape, tmp_path / "foil.dat")
    title = (tmp_path / "foil.dat").read_text(encoding="utf-8").splitlines()[0]
    assert title.isprintable() and title[0].isalpha() or title[0] == "$"
    assert len(title) <= 90
    np.testing.assert_allclose(all_of(load_shape(str(tmp_path / "foil.dat"))), all_of(shape), rtol=0, atol=2e-8)


def test_section_has_the_name_of_the_file_and_not_of_its_first_line(tmp_path: Path) -> None:
    lines = ["QUIT\x1b[31m $(touch x) `x` $\\frac{$", *selig_text()]
    assert load_shape(write(tmp_path, *lines)).name == "foil"
    (tmp_path / "a\x1bb.dat").write_text("\n".join(lines))
    assert load_shape(str(tmp_path / "a\x1bb.dat")).name == "a?b"


@pytest.mark.parametrize("path", [Path("foil.dat"), b"foil.dat", None, 12])
def test_path_that_is_no_text_is_refused(path: object) -> None:
    with pytest.raises(InputError, match=r"`name_or_path` must be a text, got .*\. Try str\(path\)"):
        load_shape(path)  # type: ignore[arg-type]


def test_airfoil_that_flies_upside_down_stays_so(tmp_path: Path) -> None:
    shape = load_shape(write(tmp_path, *upside_down(selig_text())))
    expected = load_shape(write(tmp_path, *selig_text()))
    np.testing.assert_allclose(shape.lower_weights, -expected.upper_weights, rtol=0, atol=1e-6)

"""Airfoil sections agree with AeroSandbox, thickness is exactly linear, and what is no airfoil is refused."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import openmdao.api as om
import pytest
from openmdao.utils.assert_utils import assert_check_partials

from cases.airfoil.geometry import (
    KulfanShape,
    ThicknessComp,
    coordinates,
    load_shape,
    thickness_matrix,
    thickness_offset,
)
from gradopt.errors import InputError, ShapeError

asb = pytest.importorskip("aerosandbox")

STATIONS = np.array([0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0])


@pytest.fixture
def shape() -> KulfanShape:
    """Make a section whose every term counts: cambered, with leading edge weight and trailing edge gap."""
    rng = np.random.default_rng(7)
    return KulfanShape(0.2 + 0.05 * rng.normal(size=8), -0.1 + 0.05 * rng.normal(size=8), 0.11, 0.004, "made up")


def in_aerosandbox(shape: KulfanShape) -> Any:
    return asb.KulfanAirfoil(
        name=shape.name,
        upper_weights=shape.upper_weights,
        lower_weights=shape.lower_weights,
        leading_edge_weight=shape.leading_edge_weight,
        TE_thickness=shape.trailing_edge_thickness,
    )


def selig_text(name: str = "naca4412") -> list[str]:
    return [f"{x:.6f} {y:.6f}" for x, y in asb.Airfoil(name).coordinates]


def write(folder: Path, *lines: str) -> str:
    file = folder / "foil.dat"
    file.write_text("\n".join(lines))
    return str(file)


def test_thickness_agrees_with_aerosandbox(shape: KulfanShape) -> None:
    weights = np.concatenate([shape.upper_weights, shape.lower_weights])
    thickness = thickness_matrix(STATIONS) @ weights + thickness_offset(STATIONS, shape.trailing_edge_thickness)
    np.testing.assert_allclose(thickness, in_aerosandbox(shape).local_thickness(STATIONS), rtol=0, atol=1e-12)


def test_outline_agrees_with_aerosandbox(shape: KulfanShape) -> None:
    x, y = coordinates(shape, n=61)
    np.testing.assert_allclose(np.stack([x, y], 1), in_aerosandbox(shape).to_airfoil(61).coordinates, atol=1e-12)


def test_thickness_component_gives_the_affine_map_and_its_exact_partials(shape: KulfanShape) -> None:
    problem = om.Problem(reports=None)
    comp = ThicknessComp(stations=STATIONS[1:-1], trailing_edge_thickness=shape.trailing_edge_thickness)
    problem.model.add_subsystem("thickness", comp, promotes=["*"])
    problem.setup(force_alloc_complex=True)
    problem.set_val("upper_weights", shape.upper_weights)
    problem.set_val("lower_weights", shape.lower_weights)
    problem.run_model()
    expected = in_aerosandbox(shape).local_thickness(STATIONS[1:-1])
    np.testing.assert_allclose(problem.get_val("thickness"), expected, rtol=0, atol=1e-12)
    assert_check_partials(problem.check_partials(method="cs", out_stream=None), atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("stations", [[0.5, 1.2], [np.nan], [[0.5]]])
def test_stations_off_the_chord_are_refused(stations: object) -> None:
    with pytest.raises(InputError, match=r"`stations` must be a list of fractions of chord in 0\.\.1"):
        thickness_matrix(stations)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("written", "meant"),
    [("RAE 2822", "rae2822"), ("naca0012", "naca0012"), ("NACA-4412", "naca4412"), ("av-1.7-8", "AV-1.7-8")],
)
def test_shipped_names_are_found_however_they_are_written(written: str, meant: str) -> None:
    shape = load_shape(written)
    fitted = asb.Airfoil(meant).to_kulfan_airfoil()
    assert shape.name == meant
    np.testing.assert_array_equal(shape.upper_weights, fitted.upper_weights)
    np.testing.assert_array_equal(shape.lower_weights, fitted.lower_weights)
    assert shape.leading_edge_weight == fitted.leading_edge_weight
    assert shape.trailing_edge_thickness == fitted.TE_thickness


def test_unknown_name_is_refused_with_close_names() -> None:
    with pytest.raises(InputError, match=r"that AeroSandbox ships, got 'RAE 2823'\. Close names are: .*rae2822"):
        load_shape("RAE 2823")


def test_name_unlike_any_other_is_refused_with_the_way_to_a_file() -> None:
    with pytest.raises(InputError, match=r"got '\?\?\?\?'\. Give a path ending in \.dat"):
        load_shape("????")


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
    "Lednicer": (lambda: lednicer(counts=True), r"Lednicer form, .*Reverse the upper side"),
    "Lednicer without counts": (lambda: lednicer(counts=False), "do not run from the trailing edge"),
    "percent": (lambda: scaled(100), r"percent of chord, x up to 100.*Divide all coordinates by 100"),
    "millimetres": (lambda: scaled(250), "a chord from .* to 250.*, not 0 to 1"),
    "half the chord": (lambda: scaled(0.5), r"a chord from .* to 0\.5\d*, not 0 to 1"),
    "two points swapped": (lambda: swapped(selig_text(), 50, 60), "do not run from the trailing edge"),
    "one side": (lambda: selig_text()[:200], "do not run from the trailing edge"),
    "lower side first": (lambda: selig_text()[::-1], r"lower side first.*List the upper side first"),
    "a line there and back": (lambda: scaled(1)[:200] + scaled(1)[199::-1], "no thickness"),
}


@pytest.mark.parametrize("kind", NO_AIRFOIL)
def test_file_that_is_no_selig_airfoil_is_refused_saying_why(tmp_path: Path, kind: str) -> None:
    lines, reason = NO_AIRFOIL[kind]
    with pytest.raises(InputError, match=reason):
        load_shape(write(tmp_path, *lines()))


def test_shape_keeps_its_own_read_only_weights_through_copies(shape: KulfanShape) -> None:
    weights = np.full(8, 0.3)
    thicker = replace(shape, upper_weights=weights)
    weights[:] = 0
    assert (thicker.upper_weights == 0.3).all()
    with pytest.raises(ValueError, match="read-only"):
        thicker.upper_weights[0] = 0
    for twin in (copy.deepcopy(shape), pickle.loads(pickle.dumps(shape))):
        np.testing.assert_array_equal(twin.lower_weights, shape.lower_weights)


@pytest.mark.parametrize("weights", [np.zeros(7), np.full(8, np.nan)])
def test_weights_that_are_not_eight_finite_numbers_are_refused(shape: KulfanShape, weights: np.ndarray) -> None:
    with pytest.raises(ShapeError, match="`lower_weights` must be 8 finite numbers"):
        replace(shape, lower_weights=weights)

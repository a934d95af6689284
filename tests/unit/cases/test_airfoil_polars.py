"""Polars are those of NeuralFoil, silent where it is not sure, and their picture shows every source."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from cases.airfoil.aerodynamics import NeuralFoilTruth
from cases.airfoil.geometry import KulfanShape, load_shape
from cases.airfoil.polars import ALPHAS, Polar, draw_polars, neuralfoil_polar
from gradopt.errors import InputError, ShapeError

pytest.importorskip("neuralfoil")
pytest.importorskip("aerosandbox")


@pytest.fixture(scope="module")
def shape() -> KulfanShape:
    return load_shape("naca4412")


def polar(label: str, shift: float = 0.0) -> Polar:
    alpha = np.linspace(-4.0, 10.0, 15)
    return Polar(alpha, 0.1 * alpha + shift, 0.005 + 1e-4 * alpha**2, -0.05 - 1e-3 * alpha, label)


def test_polar_is_that_of_the_truth(shape: KulfanShape) -> None:
    truth = NeuralFoilTruth(shape, 3e6)
    weights = np.concatenate([shape.upper_weights, shape.lower_weights])
    alphas = [-2.0, 1.0, 6.5]
    values = np.array([truth.evaluate(np.append(weights, alpha))[0] for alpha in alphas])
    found = neuralfoil_polar(shape, alphas, 3e6)
    np.testing.assert_array_equal(found.alpha, alphas)
    np.testing.assert_allclose(np.stack([found.CL, found.CD, found.CM], axis=1), values[:, :3], rtol=0, atol=1e-10)


def test_polar_is_silent_where_neuralfoil_is_not_sure(shape: KulfanShape) -> None:
    wide = np.linspace(-25.0, 25.0, 51)
    sure, all_of_it = (neuralfoil_polar(shape, wide, 5e6, least_confidence=least) for least in (0.9, 0.0))
    silent = np.isnan(sure.CL)
    assert 5 < silent.sum() < 30
    assert not silent[25]
    for name in ("CL", "CD", "CM"):
        np.testing.assert_array_equal(np.isnan(getattr(sure, name)), silent)
        assert np.isfinite(getattr(all_of_it, name)).all()


@pytest.mark.parametrize("reynolds", [0.0, -1e6, np.nan])
def test_reynolds_number_that_is_not_positive_is_refused(shape: KulfanShape, reynolds: float) -> None:
    with pytest.raises(InputError, match=r"`reynolds` must be a positive number, got .* Try 5e6"):
        neuralfoil_polar(shape, ALPHAS, reynolds)


def test_values_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(
        ShapeError, match=r"`CD` must have shape \(k,\) = \(15,\), got \(14,\)\. Give one value for each"
    ):
        replace(polar("a"), CD=np.zeros(14))


def test_picture_without_polars_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="`pairs` must hold a pair of polars at least, got none"):
        draw_polars(tmp_path, [])


def test_every_source_and_the_design_points_are_drawn(tmp_path: Path) -> None:
    first, second = (polar("first"), polar("first", 0.3)), (polar("second", -0.1), polar("second", 0.4))
    alpha, lift, drag, moment = (np.array([value]) for value in (4.0, 0.4, 0.007, -0.054))
    marks = (Polar(alpha, lift, drag, moment, "start"), Polar(alpha, lift + 0.3, drag, moment, "optimum"))
    pixels, blues = [], []
    for pairs, points in (([first], None), ([first, second], None), ([first], marks), ([first, second], marks)):
        assert draw_polars(tmp_path, pairs, points) == [tmp_path / "polars.png"]
        pixels.append(imread(tmp_path / "polars.png")[..., :3])
    for k, one in enumerate(pixels):
        blue = (one[..., 2] > 0.6) & (one[..., 0] < 0.2)
        blues.append(blue.sum())
        assert blues[-1] > 100, "the optimum is not drawn"
        assert (one.max(axis=2) < 0.2).sum() > 100, "the start is not drawn"
        for other in pixels[:k]:
            assert (one != other).any()
    assert min(blues[2] - blues[0], blues[3] - blues[1]) > 100, "the design points are not drawn"
    assert blues[1] - blues[0] > 100, "the second source is not drawn"


def test_source_that_failed_everywhere_leaves_the_others(tmp_path: Path) -> None:
    unknown = np.full(15, np.nan)
    nothing = replace(polar("failed"), CL=unknown, CD=unknown, CM=unknown)
    draw_polars(tmp_path, [(nothing, nothing)], name="nothing.png")
    draw_polars(tmp_path, [(polar("good"), polar("good", 0.2)), (nothing, nothing)])
    assert (imread(tmp_path / "polars.png")[..., :3] != 1.0).sum() > (
        imread(tmp_path / "nothing.png")[..., :3] != 1.0
    ).sum()

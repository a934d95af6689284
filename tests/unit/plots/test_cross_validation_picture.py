"""The picture of a cross-validation shows values and known partials."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from gradopt import Dataset, Variable
from gradopt.plots.cross_validation import cross_validation_picture
from gradopt.surrogates.diagnostics.cross_validation import CrossValidation


def perfect(m: int = 2) -> CrossValidation:
    """Predictions without an error; a fifth of the partials is not known."""
    rng = np.random.default_rng(0)
    dydx = rng.normal(size=(30, m, 3))
    known = np.where(rng.random(dydx.shape) < 0.2, np.nan, dydx)
    outputs = [Variable(f"f{k}", units="N") for k in range(m)]
    data = Dataset(rng.normal(size=(30, 3)), rng.normal(size=(30, m)), known, outputs=outputs)
    return CrossValidation(data, data.y, dydx, np.arange(30))


def picture(path: Path, result: CrossValidation) -> np.ndarray:
    cross_validation_picture(path, result, "a title")
    drawn = imread(path)
    assert drawn[..., :3].std() > 0.02
    return drawn


@pytest.mark.parametrize("m", [1, 3])
def test_wrong_values_and_wrong_partials_both_show(m: int, tmp_path: Path) -> None:
    good = perfect(m)
    drawn = picture(tmp_path / "good.png", good)
    for bad in (replace(good, y=-good.y), replace(good, dydx=-good.dydx)):
        assert not np.array_equal(picture(tmp_path / "bad.png", bad), drawn)
    np.testing.assert_array_equal(picture(tmp_path / "same.png", good), drawn)


def test_partials_that_are_not_known_do_not_show(tmp_path: Path) -> None:
    good = perfect()
    other = replace(good, dydx=np.where(good.data.known, good.dydx, 99.0))
    np.testing.assert_array_equal(picture(tmp_path / "good.png", good), picture(tmp_path / "other.png", other))


def test_without_partials_the_values_stand_alone(tmp_path: Path) -> None:
    good = perfect()
    alone = replace(good, data=replace(good.data, dydx=None))
    assert len(picture(tmp_path / "alone.png", alone)) < len(picture(tmp_path / "good.png", good))


@pytest.mark.parametrize("off", [0.0, 1.0])
def test_truth_that_does_not_vary_or_is_partly_not_known_is_drawn(off: float, tmp_path: Path) -> None:
    partials = np.full((4, 2, 1), 2.0)
    partials[:, 1] = np.nan
    data = Dataset(np.ones((4, 1)), np.full((4, 2), 3.0), partials)
    picture(tmp_path / "constant.png", CrossValidation(data, data.y + off, np.full((4, 2, 1), off), np.arange(4)))
    lost = CrossValidation(data, np.full((4, 2), np.nan), np.full((4, 2, 1), np.nan), np.arange(4))
    picture(tmp_path / "lost.png", lost)

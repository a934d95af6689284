"""Pictures of the loop: they show their data, and draw whatever a loop can leave."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from gradopt.plots.history import Trace, convergence, prediction, trust


def trace(objective: list[float], violation: list[float] | None = None) -> Trace:
    k = len(objective)
    accepted = np.arange(k) % 3 != 1
    return Trace(np.arange(1, k + 1), np.array(objective), np.array(violation or [0.0] * k), accepted)


def spread_of(picture: Path) -> float:
    return float(imread(picture)[..., :3].std())


@pytest.mark.parametrize("constrained", [True, False])
@pytest.mark.parametrize(
    "objective", [[1e3, 2.0, 1e-3], [5.0, 0.0, -1.0], [2.0], [3.0, np.nan, 1.0], [1e-9, 0.0, 0.0], [7.0, 7.0, 7.0]]
)
def test_any_convergence_is_drawn(objective: list[float], constrained: bool, tmp_path: Path) -> None:
    violation = [0.1, np.inf, 0.0][: len(objective)]
    convergence(tmp_path / "a.png", {"loop": trace(objective, violation)}, "f", constrained, "a title")
    assert spread_of(tmp_path / "a.png") > 0.01


def test_convergence_shows_what_it_is_given(tmp_path: Path) -> None:
    mine, other = trace([5.0, 3.0, 2.0], [1.0, 0.1, 0.0]), trace([5.0, 4.0, 2.5], [1.0, 0.2, 0.0])
    worse = trace([5.0, 3.0, 2.0], [1.0, 0.1, 0.5])
    variants = [
        ({"loop": mine}, None),
        ({"loop": mine, "SLSQP": other}, None),
        ({"loop": mine}, 2.2),
        ({"loop": worse}, None),
        ({"loop": Trace(mine.evaluations, mine.objective, mine.violation, np.ones(3, dtype=bool))}, None),
    ]
    pictures = []
    for index, (traces, best) in enumerate(variants):
        convergence(tmp_path / f"{index}.png", traces, "f", True, "a title", best)
        pictures.append((tmp_path / f"{index}.png").read_bytes())
    assert len(set(pictures)) == len(pictures)


def test_best_that_is_not_known_is_left_out(tmp_path: Path) -> None:
    for name, best in (("none.png", None), ("nan.png", np.nan)):
        convergence(tmp_path / name, {"loop": trace([2.0, 1.5, 1.0])}, "f", False, "a title", best)
    assert (tmp_path / "none.png").read_bytes() == (tmp_path / "nan.png").read_bytes()


def test_trust_shows_radius_ratio_and_acceptance(tmp_path: Path) -> None:
    radius, ratio = np.array([0.1, 0.1, 0.2, 0.05]), np.array([np.nan, 1.1, -50.0, 0.7])
    accepted = np.array([True, True, False, True])
    variants = [(radius, ratio, accepted), (2.0 * radius**2, ratio, accepted), (radius, ratio, ~accepted)]
    variants.append((radius, np.array([np.nan, 0.1, -50.0, 0.7]), accepted))
    pictures = []
    for index, variant in enumerate(variants):
        trust(tmp_path / f"{index}.png", *variant, "a title")
        pictures.append((tmp_path / f"{index}.png").read_bytes())
    assert len(set(pictures)) == len(pictures)


def test_trust_of_a_single_round_is_drawn(tmp_path: Path) -> None:
    trust(tmp_path / "a.png", np.array([0.1]), np.array([np.nan]), np.array([True]), "a title")
    assert spread_of(tmp_path / "a.png") > 0.01


@pytest.mark.parametrize(
    ("predicted", "true"),
    [
        ([np.nan, 3.0, 2.0], [4.0, 3.1, 2.0]),
        ([np.nan, 3e3, 2e-3], [4e4, 3.1, 2e-3]),
        ([np.nan], [4.0]),
        ([np.nan, -1.0, 2.0], [4.0, 3.0, np.nan]),
    ],
)
def test_any_prediction_is_drawn(predicted: list[float], true: list[float], tmp_path: Path) -> None:
    prediction(tmp_path / "a.png", np.array(predicted), np.array(true), "f", "a title")
    assert spread_of(tmp_path / "a.png") > 0.01


def test_wrong_prediction_shows(tmp_path: Path) -> None:
    true = np.array([4.0, 3.0, 2.0])
    for name, off in (("good.png", 0.0), ("bad.png", 1.0)):
        prediction(tmp_path / name, true + off, true, "f", "a title")
    assert (tmp_path / "good.png").read_bytes() != (tmp_path / "bad.png").read_bytes()

"""Pictures: files that show something, without a screen, global state or warnings."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib._pylab_helpers import Gcf
from matplotlib.image import imread

from gradopt.plots.surrogate import new_figure, optimizer_history, predicted_against_true

ROOT = Path(__file__).parents[3]
DRAWING = sorted([*(ROOT / "gradopt" / "report").rglob("*.py"), *(ROOT / "cases").rglob("*.py")])


def spread_of(picture: Path) -> float:
    return float(imread(picture)[..., :3].std())


def parity(path: Path, y: np.ndarray, y_predicted: np.ndarray) -> None:
    slopes = np.stack([y, 2.0 * y], axis=2)
    predicted = np.stack([y_predicted, 2.0 * y_predicted], axis=2)
    names = [f"output {k}" for k in range(y.shape[1])]
    predicted_against_true(path, names, y, y_predicted, slopes, predicted, "a title")


@pytest.mark.parametrize("m", [1, 2, 5])
def test_predicted_against_true_writes_a_picture(m: int, tmp_path: Path) -> None:
    y = np.random.default_rng(0).normal(size=(30, m))
    parity(tmp_path / "good.png", y, y + 0.01)
    assert spread_of(tmp_path / "good.png") > 0.02
    parity(tmp_path / "bad.png", y, -y)
    assert (tmp_path / "good.png").read_bytes() != (tmp_path / "bad.png").read_bytes()


@pytest.mark.parametrize("wrong", ["values", "partials"])
def test_wrong_values_and_wrong_partials_both_show(wrong: str, tmp_path: Path) -> None:
    y = np.random.default_rng(2).normal(size=(30, 1))
    slopes = np.stack([y, y], axis=2)
    bad = (-y, slopes) if wrong == "values" else (y, -slopes)
    for name, (y_predicted, slopes_predicted) in (("good.png", (y, slopes)), ("bad.png", bad)):
        predicted_against_true(tmp_path / name, ["f"], y, y_predicted, slopes, slopes_predicted, "a title")
    assert (imread(tmp_path / "good.png") != imread(tmp_path / "bad.png")).any()


@pytest.mark.parametrize("off", [0.0, 1.0])
@pytest.mark.parametrize("n", [1, 10])
def test_truth_that_does_not_vary_is_drawn(off: float, n: int, tmp_path: Path) -> None:
    y = np.full((n, 2), 3.0)
    parity(tmp_path / "constant.png", y, y + off)
    assert spread_of(tmp_path / "constant.png") > 0.02


def test_optimizer_history_writes_a_picture(tmp_path: Path) -> None:
    steps = np.linspace(0.0, 1.0, 7)[:, None]
    optimizer_history(
        tmp_path / "history.png",
        {"drag": 1.0 + steps, "lift": steps, "thickness": steps * np.arange(1, 12)},
        {"lift": ("equals", [0.5]), "thickness": ("lower", [0.1] * 11)},
        {"drag": np.array([2.1]), "lift": np.array([0.9]), "thickness": np.arange(11.0)},
        "a title",
    )
    assert spread_of(tmp_path / "history.png") > 0.02


@pytest.mark.parametrize("objective", [[1e3, 1.0, 1e-3], [5.0, 0.0, -1.0], [2.0, 2.0, 2.0], [3.0], [1e3, 1.0, np.nan]])
def test_any_objective_is_drawn(objective: list[float], tmp_path: Path) -> None:
    history = {"f": np.array(objective)[:, None]}
    optimizer_history(tmp_path / "history.png", history, {}, {"f": np.array([1.0])}, "a title")
    assert spread_of(tmp_path / "history.png") > 0.01


def test_truth_that_is_not_known_is_left_out(tmp_path: Path) -> None:
    history = {"f": np.ones((3, 1))}
    optimizer_history(tmp_path / "history.png", history, {}, {"f": np.array([np.nan])}, "a title")
    assert (tmp_path / "history.png").exists()


def test_same_data_give_the_same_picture(tmp_path: Path) -> None:
    y = np.random.default_rng(1).normal(size=(20, 1))
    for name in ("one.png", "two.png"):
        parity(tmp_path / name, y, y)
    np.testing.assert_array_equal(imread(tmp_path / "one.png"), imread(tmp_path / "two.png"))


def test_new_figure_has_the_size_asked_for() -> None:
    assert new_figure(3.0, 2.0).get_size_inches().tolist() == [3.0, 2.0]


def test_drawing_leaves_no_global_state(tmp_path: Path) -> None:
    settings = dict(matplotlib.rcParams)
    parity(tmp_path / "picture.png", np.ones((2, 1)), np.ones((2, 1)))
    assert Gcf.get_num_fig_managers() == 0
    assert dict(matplotlib.rcParams) == settings


@pytest.mark.parametrize("file", DRAWING, ids=lambda file: str(file.relative_to(ROOT)))
def test_pyplot_is_not_imported(file: Path) -> None:
    assert "pyplot" not in file.read_text()

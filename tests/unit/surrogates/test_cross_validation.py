"""Cross-validation predicts each sample by a fit without that sample; its numbers follow their definitions."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass, replace
from typing import Any

import numpy as np
import pytest

from gradopt import JENN, MLP, Dataset, Variable
from gradopt.errors import InputError
from gradopt.solvers import LevenbergMarquardt
from gradopt.surrogates.diagnostics.cross_validation import CrossValidation, cross_validate

QUICK = JENN((5,), starts=1, alpha=1e-4, solver=LevenbergMarquardt(max_iterations=20))
INPUTS = (Variable("speed", units="m/s"), Variable("angle", (2,), units="deg"))
OUTPUTS = (Variable("drag", units="N"), Variable("lift"))
ANYTHING: Any = None


@dataclass(frozen=True)
class Mean:
    """A surrogate that predicts the mean of the values and partials of its data."""

    data: Dataset | None = None

    def fit(self, data: Dataset) -> Mean:
        return Mean(data)

    def linearize(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        assert self.data is not None
        y, dydx = self.data.y.mean(axis=0), self.data.partials.mean(axis=0)
        return np.tile(y, (len(x), 1)), np.tile(dydx, (len(x), 1, 1))


def wing(n: int = 20, missing: float = 0.0, seed: int = 0) -> Dataset:
    """Two outputs of three inputs; lift does not depend on the last."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(0.5, 1.5, (n, 3)) * [20.0, 4.0, 1.0]
    v, a, b = x.T
    y = np.stack([v**2 * (1.0 + 0.1 * a**2 + b), v * a], axis=1)
    dydx = np.stack(
        [
            np.stack([2.0 * v * (1.0 + 0.1 * a**2 + b), 0.2 * v**2 * a, v**2], axis=1),
            np.stack([a, v, np.zeros(n)], axis=1),
        ],
        axis=1,
    )
    dydx[rng.random(dydx.shape) < missing] = np.nan
    return Dataset(x, y, dydx, INPUTS, OUTPUTS)


def guesses(data: Dataset, seed: int = 1) -> CrossValidation:
    """Make predictions with random errors."""
    rng = np.random.default_rng(seed)
    dydx = np.nan_to_num(data.partials) + rng.normal(size=data.partials.shape) * [[[1.0, 10.0, 3.0]]]
    return CrossValidation(data, data.y + 5.0 * rng.normal(size=data.y.shape), dydx, np.arange(data.n) % 4)


def test_leave_one_out_errors_of_the_mean_are_those_of_theory() -> None:
    data = wing(12)
    found = cross_validate(Mean(), data, "leave-one-out")
    np.testing.assert_allclose(found.y - data.y, (data.y.mean(axis=0) - data.y) * 12 / 11, rtol=1e-12)
    mean = data.partials.mean(axis=0)
    np.testing.assert_allclose(found.dydx - data.partials, (mean - data.partials) * 12 / 11, atol=1e-11)
    np.testing.assert_allclose(found.nrmse, [12 / 11] * 2, rtol=1e-12)
    np.testing.assert_allclose(found.r2, [1.0 - (12 / 11) ** 2] * 2, rtol=1e-12)
    np.testing.assert_allclose(found.pooled_partials_r2, [1.0 - (12 / 11) ** 2] * 2, rtol=1e-12)
    assert found.fold.tolist() == list(range(12))
    assert str(found).startswith("Leave-one-out cross-validation, 12 samples")


def test_each_fold_is_predicted_by_a_fit_to_the_other_rows() -> None:
    data = wing()
    found = cross_validate(QUICK, data, 4, seed=3)
    assert found.data is data
    for number in range(4):
        out = found.fold == number
        y, dydx = QUICK.fit(data.select(~out)).linearize(data.x[out])
        np.testing.assert_array_equal(found.y[out], y)
        np.testing.assert_array_equal(found.dydx[out], dydx)


@pytest.mark.parametrize(("folds", "sizes"), [(2, [10, 11]), (4, [5, 5, 5, 6]), (20, [1] * 19 + [2]), (21, [1] * 21)])
def test_folds_are_of_nearly_equal_size(folds: int, sizes: list[int]) -> None:
    found = cross_validate(Mean(), wing(21), folds)
    assert found.folds == folds
    assert sorted(np.bincount(found.fold)) == sizes


@pytest.mark.parametrize("folds", [9, 10, 11, np.int64(9), "leave-one-out"])
def test_as_many_folds_as_samples_are_leave_one_out(folds: int) -> None:
    assert cross_validate(Mean(), wing(9), folds, seed=5).fold.tolist() == list(range(9))


def test_the_seed_shuffles_and_nothing_else_does() -> None:
    one, same, other = (cross_validate(Mean(), wing(), 5, seed=seed).fold.tolist() for seed in (0, 0, 1))
    assert one == same
    assert one != other
    assert one != (np.arange(20) % 5).tolist()


@pytest.mark.parametrize("folds", [3, "leave-one-out"])
def test_samples_at_the_same_point_are_held_out_together(folds: int | str) -> None:
    data = wing(8)
    twice = data.concat(data.select([5, 1]))
    fold = cross_validate(Mean(), twice, folds).fold
    assert fold[8:].tolist() == fold[[5, 1]].tolist()
    assert len(set(fold)) == (8 if folds == "leave-one-out" else 3)


def test_errors_of_values_are_those_of_numpy() -> None:
    data = wing()
    found = guesses(data)
    error = found.y - data.y
    np.testing.assert_allclose(found.rmse, np.sqrt((error**2).mean(axis=0)))
    np.testing.assert_allclose(found.nrmse, found.rmse / data.y.std(axis=0))
    np.testing.assert_allclose(found.max_error, np.abs(error).max(axis=0))
    np.testing.assert_allclose(found.r2, 1.0 - (error**2).sum(axis=0) / (data.y.var(axis=0) * data.n))


@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_errors_of_partials_use_known_partials_alone(missing: float) -> None:
    data = wing(missing=missing)
    found = guesses(data)
    np.testing.assert_array_equal(found.n_known, (~np.isnan(data.partials)).sum(axis=0))
    for k in range(2):
        wrong, spread = 0.0, 0.0
        for j in range(3):
            known = data.known[:, k, j]
            true, error = data.partials[known, k, j], found.dydx[known, k, j] - data.partials[known, k, j]
            np.testing.assert_allclose(found.rmse_partials[k, j], np.sqrt(np.mean(error**2)))
            scale = data.x[:, j].std() / data.y[:, k].std()
            wrong += ((error * scale) ** 2).sum()
            spread += (((true - true.mean()) * scale) ** 2).sum()
            if true.std() > 0.0:
                np.testing.assert_allclose(found.r2_partials[k, j], 1.0 - np.mean(error**2) / true.var())
            else:
                assert np.isnan(found.r2_partials[k, j])
        np.testing.assert_allclose(found.pooled_partials_r2[k], 1.0 - wrong / spread)


def test_a_partial_of_almost_no_variance_hardly_changes_the_pooled_r2() -> None:
    data = wing()
    partials = data.partials.copy()
    partials[:, 1, 2] = 1e-9 * np.sin(np.arange(20))
    data = replace(data, dydx=partials)
    dydx = partials.copy()
    dydx[:, 1, 2] += 1e-3
    found = CrossValidation(data, data.y, dydx, np.arange(20))
    assert found.r2_partials[1, 2] < -1e9
    assert found.pooled_partials_r2[1] > 0.999999


def test_a_partial_that_is_known_nowhere_is_not_in_the_pooled_r2() -> None:
    data = wing()
    partials = data.partials.copy()
    partials[:, 0, 1] = np.nan
    found = guesses(replace(data, dydx=partials))
    np.testing.assert_array_equal(np.isnan(found.rmse_partials), [[False, True, False], [False, False, False]])
    without = replace(found, dydx=np.where(np.isnan(partials), 1e9, found.dydx))
    assert np.isfinite(found.pooled_partials_r2).all()
    np.testing.assert_array_equal(without.pooled_partials_r2, found.pooled_partials_r2)


def test_units_of_inputs_and_outputs_do_not_change_numbers_without_units() -> None:
    data = wing(missing=0.3)
    found = guesses(data)
    x, y = np.array([1e3, 1e-4, 7.0]), np.array([1e5, 1e-2])
    rates = y[:, None] / x
    other = CrossValidation(
        replace(data, x=data.x * x, y=data.y * y, dydx=data.partials * rates),
        found.y * y,
        found.dydx * rates,
        found.fold,
    )
    for name in ("nrmse", "r2", "r2_partials", "pooled_partials_r2"):
        np.testing.assert_allclose(getattr(other, name), getattr(found, name), rtol=1e-9)


def test_r2_of_a_constant_is_nan() -> None:
    x = np.stack([np.arange(6.0), np.full(6, 0.1)], axis=1)
    data = Dataset(x, np.stack([np.full(6, 0.1), 3.0 * x[:, 0]], axis=1), np.tile([[0.0, 0.0], [3.0, 0.1]], (6, 1, 1)))
    found = cross_validate(Mean(), data, "leave-one-out")
    np.testing.assert_array_equal(np.isnan(found.nrmse), [True, False])
    np.testing.assert_array_equal(np.isnan(found.r2), [True, False])
    assert np.isnan(found.r2_partials).all()
    assert np.isnan(found.pooled_partials_r2).all()
    assert "nan" in str(found)


def test_values_alone_can_be_validated() -> None:
    data = replace(wing(), dydx=None)
    found = cross_validate(MLP((3,), starts=1, alpha=1e-4, solver=QUICK.solver), data, 3)
    assert np.isfinite(found.r2).all()
    assert np.isfinite(found.dydx).all()
    assert not found.n_known.any()
    for figures in (found.rmse_partials, found.r2_partials, found.pooled_partials_r2):
        assert np.isnan(figures).all()
    assert str(found).endswith("No partials are known.")


def test_a_smooth_function_is_predicted_well() -> None:
    found = cross_validate(QUICK, wing(40), 5)
    assert (found.r2 > 0.99).all()
    assert (found.pooled_partials_r2 > 0.95).all()


def test_predictions_of_transformed_variables_are_physical() -> None:
    data = wing(40)
    logged = replace(data, outputs=[replace(variable, transform="log") for variable in OUTPUTS])
    found = cross_validate(QUICK, logged, 5)
    assert (found.r2 > 0.99).all()
    assert (found.y != cross_validate(QUICK, data, 5).y).any()


def test_worst_returns_the_rows_with_the_largest_errors() -> None:
    data = wing()
    y = data.y.copy()
    y[7, 1] += 3.0 * data.y[:, 1].std()
    y[4, 0] -= 2.0 * data.y[:, 0].std()
    y[9, 1] += 1.0 * data.y[:, 1].std()
    found = CrossValidation(data, y, data.partials, np.arange(20))
    assert found.worst(3).tolist() == [7, 4, 9]
    assert len(found.worst()) == 5
    assert len(found.worst(99)) == 20


def test_predictions_of_nan_are_the_worst() -> None:
    data = wing()
    y, dydx = data.y.copy(), data.partials.copy()
    y[3, 0], dydx[3, 1, 0] = np.nan, np.nan
    found = CrossValidation(data, y, dydx, np.arange(20))
    np.testing.assert_array_equal(np.isnan(found.rmse), [True, False])
    np.testing.assert_array_equal(np.isnan(found.pooled_partials_r2), [False, True])
    assert found.worst(1).tolist() == [3]


def test_report_names_variables_and_units() -> None:
    found = guesses(wing(missing=0.3))
    text = str(found)
    lines = text.splitlines()
    assert lines[0].split() == "4-fold cross-validation, 20 samples units RMSE RMSE/std max error R2".split()
    drag = [found.rmse[0], found.nrmse[0], found.max_error[0]]
    assert lines[1].split() == ["drag", "N", *(f"{figure:.3g}" for figure in drag), f"{found.r2[0]:.4f}"]
    assert lines[2].split()[:2] == ["lift", "-"]
    slope = [f"{found.rmse_partials[0, 2]:.3g}", str(found.n_known[0, 2]), f"{found.r2_partials[0, 2]:.4f}"]
    assert next(line for line in lines if "d drag / d angle[1]" in line).split()[5:] == ["N/(deg)", *slope]
    assert next(line for line in lines if "d lift / d speed" in line).split()[5] == "1/(m/s)"
    assert next(line for line in lines if "all of lift" in line).split()[-1] == f"{found.pooled_partials_r2[1]:.4f}"
    assert len(lines) == 3 + 1 + 8


def test_report_of_variables_without_units_has_none() -> None:
    data = replace(wing(), inputs=None, outputs=None)
    line = next(line for line in str(guesses(data)).splitlines() if "d y[1] / d x[2]" in line)
    assert line.split()[5] == "-"


def test_callback_is_called_after_each_fold() -> None:
    heard: list[tuple[int, int]] = []
    cross_validate(Mean(), wing(), 3, callback=lambda done, of: heard.append((done, of)))
    assert heard == [(1, 3), (2, 3), (3, 3)]


def test_predictions_cannot_be_changed() -> None:
    found = guesses(wing())
    with pytest.raises(ValueError, match="read-only"):
        found.y[0, 0] = 1.0
    with pytest.raises(FrozenInstanceError):
        found.y = found.y  # type: ignore[misc]


def test_a_fold_that_fails_is_named() -> None:
    data = wing(9)
    partials = np.full_like(data.partials, np.nan)
    partials[4] = data.partials[4]
    message = r"^Fold 4 of 0 to 8, which holds out row 4: `data` must have at least one known partial"
    with pytest.raises(InputError, match=message):
        cross_validate(QUICK, replace(data, dydx=partials), "leave-one-out")


def test_a_fold_that_cannot_be_predicted_is_named_with_its_first_rows() -> None:
    data = wing(20)
    x = data.x.copy()
    x[17] *= 1e3
    fold = cross_validate(Mean(), replace(data, x=x), 2).fold
    rows = ", ".join(map(str, np.flatnonzero(fold == fold[17])[:5]))
    message = rf"^Fold {fold[17]} of 0 to 1, which holds out row {rows}, \.\.\.: `x` must lie near the domain"
    with pytest.raises(InputError, match=message):
        cross_validate(QUICK, replace(data, x=x), 2)


@pytest.mark.parametrize("folds", [1, 0, -3, 2.5, True, None, "loo", "10"])
def test_wrong_folds_are_refused(folds: Any) -> None:
    message = r"`folds` must be a whole number of at least 2 or 'leave-one-out', got .*\. 10 is usual"
    with pytest.raises(InputError, match=message):
        cross_validate(Mean(), wing(), folds)


@pytest.mark.parametrize("configuration", [JENN, Mean, None, "jenn", QUICK.solver])
def test_an_object_without_fit_is_refused(configuration: Any) -> None:
    with pytest.raises(InputError, match=r"`configuration` must have a method `fit\(data\)`, got .*\. Try JENN\(\)"):
        cross_validate(configuration, wing())


def test_other_wrong_arguments_are_refused() -> None:
    with pytest.raises(InputError, match="`data` must be a Dataset, got NoneType"):
        cross_validate(Mean(), ANYTHING)
    with pytest.raises(InputError, match="`seed` must be a whole number of at least 0, got -1"):
        cross_validate(Mean(), wing(), seed=-1)
    with pytest.raises(InputError, match="`data` must have samples at two or more different points, got 1"):
        cross_validate(Mean(), wing(1).concat(wing(1)))
    with pytest.raises(InputError, match="`k` must be a whole number of at least 1, got 0"):
        guesses(wing()).worst(0)

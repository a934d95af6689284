"""The contract of a surrogate: the same checks for every kind of configuration.

The cases cover each configuration, solver and floating type once, and each number of inputs, outputs and networks and
each transform, combined with each other. Two dimensions of an earlier version are dropped. Activations: a surrogate
evaluates them by `gradopt.networks` alone, whose tests compare the derivatives of each activation with autograd. The
full product of configurations, shapes and transforms: after a fit all configurations run the same code on such arrays.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

import gradopt
from gradopt import JENN, MLP, Dataset, GradINN, Surrogate, Variable
from gradopt.priors import Monotone
from gradopt.solvers import LBFGS, Adam, LevenbergMarquardt

Configuration = JENN | MLP | GradINN
LM = LevenbergMarquardt(max_iterations=30)


@dataclass(frozen=True)
class Case:
    """A configuration, numbers of inputs d and outputs m, and the transforms of inputs and outputs."""

    configuration: Configuration
    d: int
    m: int
    transforms: tuple[str | None, str | None] = (None, None)
    missing: bool = False
    networks: int = 1

    def __str__(self) -> str:
        """Return the id of the case."""
        kind, solver = type(self.configuration).__name__, type(self.configuration.solver).__name__
        more = ("-missing" if self.missing else "") + (f"-{self.networks}" if self.networks > 1 else "")
        more += f"-{self.configuration.weights}" if self.configuration.weights != "auto" else ""
        return f"{kind}-{solver}-{self.configuration.activation}-{self.d}x{self.m}-{self.transforms}{more}"

    def data(self, n: int = 14) -> Dataset:
        """Make data in (0, 1): logistic waves with all partials, or with 40 % of them missing."""
        rng = np.random.default_rng(self.d * 10 + self.m)
        mix = rng.normal(size=(self.m, self.d))
        x = rng.uniform(0.1, 0.9, (n, self.d))
        y = 1.0 / (1.0 + np.exp(-np.sin(x @ mix.T)))
        dydx = (np.cos(x @ mix.T) * y * (1.0 - y))[:, :, None] * mix
        if self.missing:
            dydx[rng.random(dydx.shape) < 0.4] = np.nan
        into, out = self.transforms
        inputs, outputs = [Variable("a", (self.d,), transform=into)], [Variable("b", (self.m,), transform=out)]
        return Dataset(x, y, dydx, inputs, outputs)


CASES = [
    Case(JENN((4,), solver=LM, starts=1), 3, 2),
    Case(JENN((4, 3), solver=LM, starts=1), 2, 2, ("log", "logit"), networks=3),
    Case(JENN((4,), solver=Adam(20, 8), starts=1, dtype="float32"), 1, 1, (None, "log")),
    Case(JENN((4,), solver=LBFGS(30), starts=1), 2, 1, missing=True),
    Case(MLP((4,), solver=LM, starts=2), 1, 3, ("logit", "log")),
    Case(MLP((), weights="fixed", solver=LM, starts=1), 3, 1),
    Case(GradINN((4,), solver=LM, starts=1, collocation=9), 2, 2, ("log", None)),
    Case(GradINN((4,), solver=LM, starts=1, prior=Monotone(sign=1, inputs="a[0]"), weight=0.5), 2, 1, missing=True),
]


@pytest.fixture(scope="module", params=CASES, ids=str)
def case(request: pytest.FixtureRequest) -> Case:
    """Return each case in turn."""
    found: Case = request.param
    return found


@pytest.fixture(scope="module")
def surrogate(case: Case) -> Surrogate:
    """Fit the case once for each network, and average the networks."""
    first, *others = (replace(case.configuration, seed=seed).fit(case.data()) for seed in range(case.networks))
    if not others:
        return first
    networks = [replace(part.networks[0], share=1.0 / case.networks) for part in (first, *others)]
    posteriors = tuple(part.posteriors[0] for part in (first, *others))
    return replace(first, networks=tuple(networks), posteriors=posteriors)


@pytest.fixture
def x(case: Case) -> np.ndarray:
    """Return points (5, d) other than the training data."""
    return np.random.default_rng(99).uniform(0.15, 0.85, (5, case.d))


def test_shapes_are_samples_by_outputs_by_inputs(case: Case, surrogate: Surrogate, x: np.ndarray) -> None:
    y, dydx = surrogate.linearize(x)
    assert (surrogate.d, surrogate.m) == (case.d, case.m)
    assert y.shape == (5, case.m) and dydx.shape == (5, case.m, case.d)
    assert y.dtype == dydx.dtype == np.float64


def test_predict_equals_the_values_of_linearize(surrogate: Surrogate, x: np.ndarray) -> None:
    assert np.array_equal(surrogate.predict(x), surrogate.linearize(x)[0])


def test_evaluate_equals_linearize(surrogate: Surrogate, x: np.ndarray) -> None:
    evaluation = surrogate.evaluate(x)
    y, dydx = surrogate.linearize(x)
    assert np.array_equal(evaluation.y, y) and np.array_equal(evaluation.dydx(), dydx)


def test_partials_agree_with_finite_differences(surrogate: Surrogate, x: np.ndarray) -> None:
    h = 1e-5
    steps = h * np.eye(surrogate.d)
    found = np.stack([(surrogate.predict(x + s) - surrogate.predict(x - s)) / (2.0 * h) for s in steps], axis=2)
    np.testing.assert_allclose(surrogate.linearize(x)[1], found, rtol=1e-6, atol=1e-7)


def test_partials_agree_with_complex_step(surrogate: Surrogate, x: np.ndarray) -> None:
    steps = 1e-30j * np.eye(surrogate.d)
    found = np.stack([surrogate.predict(x + step).imag / 1e-30 for step in steps], axis=2)
    np.testing.assert_allclose(surrogate.linearize(x)[1], found, rtol=1e-11, atol=1e-13)


def test_complex_step_leaves_the_real_part(surrogate: Surrogate, x: np.ndarray) -> None:
    np.testing.assert_allclose(surrogate.predict(x + 1e-30j).real, surrogate.predict(x), rtol=1e-13, atol=1e-14)


def test_a_batch_equals_a_loop(surrogate: Surrogate, x: np.ndarray) -> None:
    y, dydx = surrogate.linearize(x)
    for row in range(len(x)):
        one_y, one_dydx = surrogate.linearize(x[row : row + 1])
        np.testing.assert_allclose(one_y[0], y[row], rtol=1e-13, atol=1e-14)
        np.testing.assert_allclose(one_dydx[0], dydx[row], rtol=1e-12, atol=1e-13)


def test_inputs_are_not_changed(surrogate: Surrogate, x: np.ndarray) -> None:
    before = x.copy()
    surrogate.predict(x), surrogate.linearize(x), surrogate.evaluate(x).dydx()
    assert np.array_equal(x, before)


def test_results_are_new_arrays(surrogate: Surrogate, x: np.ndarray) -> None:
    y, dydx = surrogate.linearize(x)
    expected = y.copy(), dydx.copy()
    y[...], dydx[...] = 7.0, 7.0
    assert all(np.array_equal(a, b) for a, b in zip(surrogate.linearize(x), expected, strict=True))


def test_lists_are_accepted(surrogate: Surrogate, x: np.ndarray) -> None:
    assert np.array_equal(surrogate.predict(x.tolist()), surrogate.predict(x))


def reloaded(surrogate: Surrogate, folder: Path) -> Surrogate:
    surrogate.save(folder / "surrogate")
    return gradopt.load(folder / "surrogate")


COPIES: dict[str, Callable[[Surrogate, Path], Surrogate]] = {
    "file": reloaded,
    "deepcopy": lambda surrogate, _: copy.deepcopy(surrogate),
    "pickle": lambda surrogate, _: pickle.loads(pickle.dumps(surrogate)),
}


@pytest.mark.parametrize("how", COPIES)
def test_a_copy_predicts_the_same(surrogate: Surrogate, x: np.ndarray, tmp_path: Path, how: str) -> None:
    twin = COPIES[how](surrogate, tmp_path)
    assert np.array_equal(twin.predict(x), surrogate.predict(x))
    assert np.array_equal(twin.linearize(x)[1], surrogate.linearize(x)[1])
    assert twin.fit_result == surrogate.fit_result
    assert twin.fit_result.total_loss == surrogate.fit_result.total_loss
    assert twin.configuration.to_dict() == surrogate.configuration.to_dict()
    assert type(twin.configuration) is type(surrogate.configuration)
    assert (twin.inputs, twin.outputs) == (surrogate.inputs, surrogate.outputs)
    assert np.array_equal(twin.lower, surrogate.lower) and np.array_equal(twin.upper, surrogate.upper)
    assert (twin.digest, twin.data_digest) == (surrogate.digest, surrogate.data_digest)


def test_training_continues_from_a_file_as_without_it(case: Case, surrogate: Surrogate, tmp_path: Path) -> None:
    twin, data = reloaded(surrogate, tmp_path), case.data()
    short = replace(case.configuration, solver=LevenbergMarquardt(max_iterations=2))
    for mine, theirs in zip(short.fit(data, twin).networks, short.fit(data, surrogate).networks, strict=True):
        assert np.array_equal(mine.theta, theirs.theta)
        assert (mine.share, mine.learned) == (theirs.share, theirs.learned)


def test_the_data_are_not_changed_by_a_fit(case: Case) -> None:
    data = case.data()
    before = data.digest
    replace(case.configuration, solver=LevenbergMarquardt(max_iterations=1)).fit(data)
    assert data.digest == before


def test_variables_are_those_of_the_data(case: Case, surrogate: Surrogate) -> None:
    data = case.data()
    assert (surrogate.inputs, surrogate.outputs) == (data.inputs, data.outputs)


@pytest.mark.parametrize("transforms", [(None, None), ("log", "logit"), ("logit", "log")], ids=str)
@pytest.mark.parametrize("shape", [(1, 1), (2, 2)], ids=str)
def test_jenn_reproduces_values_and_partials(transforms: tuple[str | None, str | None], shape: tuple[int, int]) -> None:
    solver = LevenbergMarquardt(max_iterations=150)
    case = Case(JENN((8,), activation="tanh", weights="fixed", solver=solver, starts=1), *shape, transforms)
    data = case.data()
    y, dydx = case.configuration.fit(data).linearize(data.x)
    np.testing.assert_allclose(y, data.y, atol=2e-4)
    np.testing.assert_allclose(dydx, data.partials, atol=5e-3)


def test_mlp_reproduces_values() -> None:
    case = Case(MLP((6,), solver=LevenbergMarquardt(max_iterations=150), starts=1), 2, 2)
    data = case.data()
    np.testing.assert_allclose(case.configuration.fit(data).predict(data.x), data.y, atol=2e-4)

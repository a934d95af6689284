"""GradINN: the prior lowers errors for few samples, is dropped if data contradict it, and is absent for weight 0."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import gradopt
from gradopt import JENN, MLP, Dataset, GradINN, Surrogate, Variable
from gradopt.data.scaling import Scaling
from gradopt.diagnostics import find_outliers
from gradopt.errors import InputError
from gradopt.priors import Bounded, Independent, Monotone, Oscillating, Smooth
from gradopt.solvers import LevenbergMarquardt, Status
from gradopt.surrogates import FitInterrupted, Polish
from gradopt.surrogates.fitting.incremental import incremental_fit
from gradopt.surrogates.fitting.networks import build_problem
from gradopt.surrogates.gradinn.collocation import collocation_points
from gradopt.surrogates.gradinn.loss import GradINNProblem
from gradopt.training.result import PriorResult, Progress

LM = LevenbergMarquardt(max_iterations=40)
QUICK = GradINN((4,), activation="tanh", solver=LM, starts=1, collocation=12)
# Large enough for errors of priors to differ by factors; by hand.
ACCURATE: dict[str, Any] = {
    "hidden_sizes": (16,),
    "activation": "tanh",
    "starts": 1,
    "solver": LevenbergMarquardt(max_iterations=150),
}


@pytest.fixture
def keep_every_prior(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep every prior."""
    monkeypatch.setattr(PriorResult, "with_comparison", lambda self, *_: replace(self, gain=1.0, standard_error=0.0))


def friedman(n: int, seed: int = 0) -> Dataset:
    """Friedman's first function with its partials."""
    x = np.random.default_rng(seed).random((n, 5))
    phase = np.pi * x[:, 0] * x[:, 1]
    y = 10.0 * np.sin(phase) + 20.0 * (x[:, 2] - 0.5) ** 2 + 10.0 * x[:, 3] + 5.0 * x[:, 4]
    wave = 10.0 * np.pi * np.cos(phase)
    slopes = [wave * x[:, 1], wave * x[:, 0], 40.0 * (x[:, 2] - 0.5), np.full(n, 10.0), np.full(n, 5.0)]
    return Dataset(x, y[:, None], np.stack(slopes, axis=1)[:, None, :])


def curve(n: int = 12) -> Dataset:
    x = np.linspace(-1.0, 2.0, n)[:, None]
    return Dataset(x, np.sin(2.0 * x), inputs=[Variable("a")])


def values_of(data: Dataset) -> Dataset:
    return replace(data, dydx=None)


def error(surrogate: Surrogate, test: Dataset) -> float:
    return float(np.sqrt(((surrogate.predict(test.x) - test.y) ** 2).mean()))


@pytest.fixture(scope="module")
def with_prior() -> Surrogate:
    """A fit with a prior to 30 values."""
    return GradINN(**ACCURATE).fit(values_of(friedman(30)))


def problem_of(surrogate: Surrogate, data: Dataset) -> GradINNProblem:
    configuration = surrogate.configuration
    weights = configuration.data_weights(data)
    found = build_problem(configuration, surrogate.networks[0], data, surrogate.scaling, weights)
    assert isinstance(found, GradINNProblem)
    return found


def test_weight_0_gives_the_plain_network_exactly() -> None:
    data = values_of(friedman(20))
    plain = MLP((5,), activation="tanh", alpha=1e-3, solver=LM, starts=2).fit(data)
    off = GradINN((5,), activation="tanh", alpha=1e-3, solver=LM, starts=2, weight=0.0).fit(data)
    assert np.array_equal(off.theta, plain.theta) and off.networks[0].auxiliary is None
    on = GradINN((5,), activation="tanh", alpha=1e-3, solver=LM, starts=2, weight=1.0).fit(data)
    assert not np.allclose(on.theta, plain.theta)


def test_field_and_surrogate_agree_on_a_known_gradient() -> None:
    data = curve()
    fitted = GradINN((10,), activation="tanh", starts=2).fit(data)
    at = np.linspace(-0.9, 1.9, 50)[:, None]
    slopes = fitted.linearize(at)[1][:, 0, 0]
    np.testing.assert_allclose(slopes, 2.0 * np.cos(2.0 * at[:, 0]), atol=0.1)
    problem = problem_of(fitted, data)
    assert fitted.networks[0].auxiliary is not None
    phi = torch.tensor(fitted.networks[0].auxiliary)
    expected = problem.field.partials(phi, torch.tensor(fitted.scaling.scale_inputs(at))).numpy()
    np.testing.assert_allclose(fitted.scaling.unscale_partials(at, data.y[:1], expected)[:, 0, 0], slopes, atol=0.1)


def test_a_prior_lowers_the_error_for_few_samples(with_prior: Surrogate) -> None:
    test = friedman(500, seed=99)
    assert error(with_prior, test) < 0.7 * error(MLP(**ACCURATE).fit(values_of(friedman(30))), test)


def test_a_prior_that_the_data_contradict_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    """The result is the plain network exactly, also after further training."""
    data, settings = values_of(friedman(40)), ACCURATE | {"starts": 2}
    with caplog.at_level(logging.WARNING, "gradopt"):
        wrong = GradINN(prior=Monotone(sign=-1, inputs=("x[3]", "x[4]")), **settings).fit(data)
    plain = MLP(**settings).fit(data)
    assert np.array_equal(wrong.theta, plain.theta) and len(wrong.networks) == len(plain.networks)
    assert all(trained.auxiliary is None for trained in wrong.networks)
    result = wrong.fit_result
    assert result.prior is not None and not result.prior.kept and (result.prior.gain or 0.0) < -10.0
    assert result.learned is not None and result.learned.omega is None
    assert result.log_evidence == plain.fit_result.log_evidence and result.seconds > plain.fit_result.seconds
    assert len(caplog.messages) == 1 and caplog.messages[0] == result.notes[0]
    assert "The prior was dropped" in result.notes[0] and f"{result.prior.gain:.1f} ±" in result.notes[0]
    one, other = (each.polish(data, Polish(about="candidate"), candidate=data.x[0]) for each in (wrong, plain))
    assert np.array_equal(one.theta, other.theta)
    np.testing.assert_array_equal(wrong.std(data.x), plain.std(data.x))


def test_a_prior_that_lowers_the_error_is_kept(with_prior: Surrogate) -> None:
    found = with_prior.fit_result.prior
    assert (
        found is not None
        and found.kept
        and found.gain is not None
        and found.standard_error is not None
        and found.gain > 2.0 * found.standard_error > 0.0
    )
    assert not with_prior.fit_result.notes and with_prior.networks[0].auxiliary is not None
    assert found.difference < 0.1 * found.expected and found.expected == pytest.approx(found.learned, rel=0.1)
    assert sum(found.shares.values()) == pytest.approx(1.0) and found.shares["partials"] == 0.0


def test_no_comparison_without_learned_weights_or_in_a_warm_start() -> None:
    data = values_of(friedman(12))
    fixed = replace(QUICK, weight=1.0).fit(data)
    first = QUICK.fit(data)
    for fitted in (fixed, QUICK.fit(data, warm_start=fixed), QUICK.fit(data, warm_start=first)):
        found = fitted.fit_result.prior
        if fitted.networks[0].auxiliary is not None:
            assert found is not None and found.gain is None and found.kept
    assert fixed.networks[0].auxiliary is not None


@pytest.mark.parametrize("when", [0, 1])
def test_an_interrupt_keeps_the_fit_with_the_prior(when: int) -> None:
    """The interrupt comes in the first start, with the prior, or in the second, without."""

    def press(progress: Progress) -> bool:
        if progress.start == when and progress.iteration == 3:
            raise KeyboardInterrupt
        return False

    with pytest.raises(FitInterrupted) as stopped:
        QUICK.fit(values_of(friedman(12)), callback=press)
    fitted = stopped.value.surrogate
    assert fitted.fit_result.status is Status.INTERRUPTED and fitted.networks[0].auxiliary is not None
    assert np.isfinite(fitted.predict(friedman(5).x)).all()


def test_starts_without_the_prior_are_numbered_after_those_with_it() -> None:
    told: list[Progress] = []
    replace(QUICK, starts=2).fit(values_of(friedman(12)), callback=told.append)
    assert {progress.start for progress in told} == {0, 1, 2, 3}


def test_a_collapsed_prior_is_noted() -> None:
    nothing = Independent(inputs=tuple(f"x[{index}]" for index in range(5)))
    result = replace(QUICK, prior=nothing, weight=1.0).fit(values_of(friedman(20))).fit_result
    assert result.prior is not None and result.prior.collapsed and result.prior.expected == 0.0
    assert any("collapsed" in note and "`prior`" in note for note in result.notes)


@pytest.mark.parametrize(("weight", "dominant"), [(1e-7, "values"), (1.0, None), (1e7, "prior")])
def test_a_dominating_term_is_noted(weight: float, dominant: str | None) -> None:
    result = replace(QUICK, weight=weight).fit(values_of(friedman(20))).fit_result
    assert result.prior is not None and result.prior.dominant == dominant
    assert any(f"the share of the {dominant} is" in note for note in result.notes) == bool(dominant)


def test_known_partials_and_a_prior_together_are_better_than_each_alone() -> None:
    """Partials of two inputs of five are known."""
    test, data = friedman(500, seed=99), friedman(20)
    some = replace(data, dydx=np.where([True, True, False, False, False], data.partials, np.nan))
    both = error(GradINN(**ACCURATE).fit(some), test)
    assert both < 0.7 * error(JENN(**ACCURATE).fit(some), test)
    assert both < 0.7 * error(GradINN(**ACCURATE).fit(values_of(data)), test)


def test_collocation_points_cover_the_data_and_contain_the_samples() -> None:
    data = friedman(9)
    held = replace(data, x=np.where([True, True, False, True, True], data.x, 0.5))
    scaling = Scaling.of(held)
    points = collocation_points(None, 0, held, scaling)
    assert points.shape == (20 * 4 + 9, 5)
    z = scaling.scale_inputs(held.x)
    assert np.array_equal(points[80:], z)
    assert (points.min(axis=0) >= z.min(axis=0)).all() and (points.max(axis=0) <= z.max(axis=0)).all()
    assert not points[:, 2].any()
    assert np.array_equal(collocation_points(3, 0, held, scaling), collocation_points(3, 0, held, scaling))
    assert not np.array_equal(collocation_points(3, 0, held, scaling), collocation_points(3, 1, held, scaling))
    assert collocation_points(3, 0, held, scaling).shape == (12, 5)


def test_the_weight_is_that_of_a_mean_over_the_points() -> None:
    data = values_of(friedman(10))
    losses = []
    for count in (10, 30):
        fitted = replace(QUICK, weight=2.0, collocation=count, solver=LevenbergMarquardt(max_iterations=0)).fit(data)
        problem = problem_of(fitted, data)
        assert problem.omega.tolist() == pytest.approx([2.0 * 10 / (count + 10)])
        losses.append(fitted.fit_result.loss["prior"])
    assert losses[1] == pytest.approx(losses[0], rel=0.5)


@pytest.mark.usefixtures("keep_every_prior")
def test_fit_result_has_the_terms_and_groups_of_the_prior() -> None:
    result = QUICK.fit(friedman(12)).fit_result
    assert set(result.loss) == {"values", "partials", "regularization", "prior"}
    assert result.learned is not None and result.learned.omega is not None and len(result.learned.omega) == 1
    assert result.learned.gamma is not None and len(result.learned.gamma) == 5
    names = result.learned.groups
    assert len(names) == len(result.learned.alpha) == len(result.learned.determined) == 2 * 7
    assert names[7] == "prior, input 0" and names[0] == "input 0"


def test_fits_are_reproducible_by_seed() -> None:
    data = values_of(friedman(12))
    first, second = QUICK.fit(data), QUICK.fit(data)
    assert first.digest == second.digest != replace(QUICK, seed=1).fit(data).digest


@pytest.mark.usefixtures("keep_every_prior")
@pytest.mark.parametrize("before", [MLP((4,), activation="tanh", solver=LM, starts=1), QUICK], ids=["MLP", "GradINN"])
@pytest.mark.parametrize("after", [JENN((4,), activation="tanh", solver=LM, starts=1), QUICK], ids=["JENN", "GradINN"])
def test_a_fit_continues_from_one_with_or_without_a_prior(before: MLP | GradINN, after: JENN | GradINN) -> None:
    data = friedman(12)
    first = before.fit(data)
    second = after.fit(data, warm_start=first)
    assert (second.networks[0].auxiliary is not None) == isinstance(after, GradINN)
    still = replace(after, solver=LevenbergMarquardt(max_iterations=0)).fit(data, warm_start=first)
    assert np.array_equal(still.theta, first.theta)
    if before is after:
        assert np.array_equal(still.networks[0].parameters, first.networks[0].parameters)
        assert second.fit_result.history[0] == pytest.approx(first.fit_result.history[-1], rel=1e-6)


@pytest.mark.usefixtures("keep_every_prior")
def test_polish_and_incremental_fit_keep_the_prior() -> None:
    data = friedman(14)
    first = incremental_fit(QUICK, data.select(np.arange(12)))
    second = incremental_fit(QUICK, data, first, candidate=data.x[0])
    before, after = (each.surrogate.networks[0].auxiliary for each in (first, second))
    assert before is not None and after is not None and not np.array_equal(before, after)
    polished = first.surrogate.polish(data, Polish())
    learned = first.surrogate.networks[0].learned
    assert learned is not None and polished.networks[0].learned == learned
    assert polished.fit_result.loss["prior"] > 0.0


@pytest.mark.usefixtures("keep_every_prior")
def test_predictive_standard_deviations_include_the_prior(
    with_prior: Surrogate, monkeypatch: pytest.MonkeyPatch
) -> None:
    test = friedman(200, seed=99)
    assert (np.abs(with_prior.predict(test.x) - test.y) < 1.645 * with_prior.std(test.x)).mean() > 0.8

    def of_alpha(problem: GradINNProblem, parameters: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        theta, alpha = problem.split(parameters)[0], problem.alpha[: problem.data.n_parameters]
        return torch.diag(alpha), alpha * theta

    monkeypatch.setattr(GradINNProblem, "marginal_prior", of_alpha)
    without = GradINN(**ACCURATE).fit(values_of(friedman(30)))
    assert np.array_equal(without.theta, with_prior.theta)
    assert (with_prior.std(test.x) < without.std(test.x)).mean() > 0.9


@pytest.mark.usefixtures("keep_every_prior")
def test_a_file_keeps_the_prior(tmp_path: Path) -> None:
    prior = Bounded(hidden_sizes=(3,), low=-1.0, high=30.0, inputs=("x[3]",))
    fitted = replace(QUICK, prior=prior).fit(friedman(12))
    fitted.save(tmp_path / "surrogate")
    twin = gradopt.load(tmp_path / "surrogate")
    assert isinstance(twin.configuration, GradINN) and twin.configuration.prior == prior
    assert twin.fit_result.prior == fitted.fit_result.prior is not None
    for trained, other in zip(twin.networks, fitted.networks, strict=True):
        assert trained.auxiliary is not None and np.array_equal(trained.parameters, other.parameters)


@pytest.mark.usefixtures("keep_every_prior")
def test_find_outliers_refuses_a_surrogate_with_a_prior() -> None:
    data = friedman(12)
    with pytest.raises(
        InputError, match=r"`surrogate` must be fitted without a prior on the gradient, got GradINN.*`JENN\(\)"
    ):
        find_outliers(QUICK.fit(data), data)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: GradINN(prior="smooth"),  # type: ignore[arg-type]
            r"`prior` must be a prior or a torch module, got 'smooth'. Pass an object, such as Smooth",
        ),
        (lambda: GradINN(weight=-1.0), "`weight` must be"),
        (lambda: GradINN(weight=1.0, weights="evidence"), "`weight` must be None with weights='evidence'"),
        (lambda: GradINN(collocation=0), "`collocation` must be a whole number of at least 1"),
        (lambda: GradINN(gamma=-1.0), "`gamma` must be finite and not negative"),
        (lambda: Smooth((0,)), "`hidden_sizes` must hold whole numbers"),
        (lambda: Oscillating(frequency=0.0), "`frequency` must be"),
        (lambda: Monotone(sign=2, inputs="x0"), "`sign` must be 1 or -1, got 2"),
        (lambda: Monotone(sign=1, inputs=()), "`inputs` must hold names of input columns"),
        (
            lambda: Independent(inputs=(1,)),  # type: ignore[arg-type]
            "`inputs` must hold names of input columns",
        ),
        (lambda: Bounded(low=2.0, high=1.0), "`low` must be less than high = 1.0, got 2.0"),
    ],
)
def test_bad_settings_are_refused(make: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()


def test_unknown_input_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"`inputs` must hold names among the input columns .*x.0.*, got 'x9'. See `data.inputs`"
    ):
        replace(QUICK, prior=Monotone(sign=1, inputs="x9")).fit(friedman(10))


def test_bounds_of_transformed_variables_are_refused() -> None:
    data = replace(friedman(10), inputs=[Variable("a", (5,), transform="log")])
    with pytest.raises(
        InputError, match=r"`prior` must bound partials of variables without a transform, got \['a\[2\]'\]. .*Monotone"
    ):
        replace(QUICK, prior=Bounded(low=0.0, inputs="a[2]")).fit(data)
    replace(QUICK, prior=Monotone(sign=1, inputs="a[2]")).fit(data)


def test_with_fixed_weights_the_prior_is_compared_unless_its_weight_is_given() -> None:
    data = values_of(friedman(80))
    falling = Monotone(sign=-1, inputs=("x[3]", "x[4]"))
    settings: dict[str, Any] = {"activation": "tanh", "starts": 1, "alpha": 1e-4, "solver": LM}
    wrong = GradINN((6,), prior=falling, **settings).fit(data)
    assert wrong.fit_result.prior is not None and not wrong.fit_result.prior.kept
    assert np.array_equal(wrong.theta, MLP((6,), **settings).fit(data).theta)
    insisted = GradINN((6,), prior=falling, weight=1.0, **settings).fit(data)
    assert insisted.fit_result.prior is not None and insisted.fit_result.prior.gain is None


def test_a_prior_is_kept_only_if_the_gain_is_certain() -> None:
    nothing = PriorResult(1.0, 1.0, 0.0, {"values": 1.0})
    rng = np.random.default_rng(0)
    without, noise = rng.normal(size=50), rng.normal(size=50)
    for mean, kept in ((1.0, True), (0.1, False), (-1.0, False)):
        found = nothing.with_comparison(without + mean + noise - noise.mean(), without)
        assert found.gain == pytest.approx(50.0 * mean) and found.kept == kept
        assert found.standard_error == pytest.approx(noise.std(ddof=1) * np.sqrt(50.0))
    nowhere = np.full(50, -np.inf)
    assert nothing.with_comparison(without, nowhere).kept and not nothing.with_comparison(nowhere, without).kept
    assert not nothing.with_comparison(nowhere, nowhere).kept

"""JENN and MLP check their arguments, every setting has an effect, and a fit has a status."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import gradopt
from gradopt import JENN, MLP, Dataset
from gradopt.errors import InputError, ShapeError
from gradopt.solvers import LBFGS, Adam, LevenbergMarquardt, Progress, Status
from gradopt.training.result import Callback

N = 12
BASE = JENN((4,), solver=LevenbergMarquardt(max_iterations=10), starts=1)
BASES = pytest.mark.parametrize("base", [BASE, MLP((4,), solver=BASE.solver, starts=1)], ids=["JENN", "MLP"])
SOLVERS = pytest.mark.parametrize(
    "solver", [LevenbergMarquardt(20), LBFGS(20), Adam(20, 8)], ids=["lm", "lbfgs", "adam"]
)


def waves(n: int = N, seed: int = 0) -> Dataset:
    x = np.random.default_rng(seed).uniform(-2.0, 2.0, (n, 2))
    phase = x @ [1.0, 0.5]
    y = np.stack([np.sin(phase), x[:, 0] * x[:, 1]], axis=1)
    slopes = np.cos(phase)[:, None] * [1.0, 0.5]
    return Dataset(x, y, np.stack([slopes, x[:, ::-1]], axis=1))


def stop_at(iteration: int, starts: int = 1) -> Callback:
    """Make a callback that stops the fit at that iteration of that start."""
    left = iter(range(starts - 1, -1, -1))

    def callback(progress: Progress) -> bool:
        return progress.iteration == iteration and next(left) == 0

    return callback


def interrupt_at(iteration: int, starts: int = 1) -> Callback:
    """Make a callback that acts as Ctrl-C at that iteration of that start."""
    stop = stop_at(iteration, starts)

    def callback(progress: Progress) -> None:
        if stop(progress):
            raise KeyboardInterrupt

    return callback


@pytest.mark.parametrize("kind", [JENN, MLP])
@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"activation": "relu"}, "`activation` must be .* got 'relu'. This activation has a kink.* Use 'silu'"),
        ({"activation": "gelu"}, "`activation` must be one of 'tanh', .* got 'gelu'"),
        ({"hidden_sizes": (0,)}, r"`hidden_sizes` must hold whole numbers of at least 1, got \(0,\)"),
        ({"hidden_sizes": (4, -1)}, r"`hidden_sizes` .* got \(4, -1\)"),
        ({"hidden_sizes": (2.5,)}, r"`hidden_sizes` .* got \(2.5,\)"),
        ({"hidden_sizes": 2.5}, r"`hidden_sizes` must hold whole numbers of at least 1, got \(2.5,\)"),
        ({"hidden_sizes": None}, r"`hidden_sizes` .* got \(None,\)"),
        ({"hidden_sizes": "ab"}, r"`hidden_sizes` .* got \('ab',\)"),
        ({"activation": ["tanh"]}, r"`activation` must be one of .* got \['tanh'\]"),
        ({"beta": -1.0}, r"`beta` must be finite and not negative, got -1\.0\. A weight of 0 removes"),
        ({"beta": [[1.0], [-2.0]]}, r"`beta` must be finite and not negative, got -2\.0 at \[1, 0\]"),
        ({"beta": np.nan}, "`beta` must be finite and not negative, got nan"),
        ({"beta": np.inf}, "`beta` must be finite and not negative, got inf"),
        ({"activation": "cubic"}, "`activation` must be one of .* got 'cubic'"),
        ({"trend": "cubic"}, "`trend` must be None, 'linear' or 'quadratic', got 'cubic'"),
        (
            {"weights": "learned"},
            "`weights` must be 'auto', 'evidence' or 'fixed', got 'learned'. 'auto' learns the weights",
        ),
        ({"weights": None}, "`weights` must be 'auto', 'evidence' or 'fixed', got None"),
        ({"weights": "evidence", "alpha": 0.1}, "`alpha` must be None with .* got 0.1. .* use weights='fixed'"),
        ({"alpha": -1e-9}, "`alpha` must be finite and not negative, got -1e-09"),
        ({"alpha": np.nan}, "`alpha` must be finite and not negative, got nan"),
        ({"alpha": np.inf}, "`alpha` must be finite and not negative, got inf"),
        ({"alpha": "small"}, "`alpha` must be finite and not negative, got small"),
        ({"solver": "bfgs"}, "`solver` must be one of 'auto', .*'adam' or a solver object, got 'bfgs'"),
        ({"solver": LevenbergMarquardt}, "`solver` must be .* pass an object such as LevenbergMarquardt"),
        ({"starts": 0}, "`starts` must be a whole number of at least 1, got 0"),
        ({"starts": 1.5}, "`starts` must be a whole number of at least 1, got 1.5"),
        ({"seed": -1}, "`seed` must .* got -1"),
        ({"dtype": "float16"}, "`dtype` must be 'float64' or 'float32', got 'float16'"),
        ({"device": "gpu"}, "`device` must .* got 'gpu'"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_configuration_rejects_a_bad_setting(kind: type[JENN | MLP], setting: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        kind(**setting)


@pytest.mark.parametrize("gamma", [-0.5, [[[1.0, -0.5]]], np.nan, [[[np.nan, 1.0]]], np.inf])
def test_configuration_rejects_a_bad_gamma(gamma: Any) -> None:
    with pytest.raises(InputError, match=r"`gamma` must be finite and not negative, got (-0\.5|nan|inf)"):
        JENN(gamma=gamma)


def test_configuration_rejects_cuda_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(
        InputError, match="`device` must be a torch device of this machine, got 'cuda:0'. 'cpu' always works"
    ):
        JENN(device="cuda:0")


@pytest.mark.parametrize("sizes", [5, [5], (5,)])
def test_hidden_sizes_come_as_number_or_sequence(sizes: Any) -> None:
    assert JENN(sizes).hidden_sizes == (5,)


def test_beta_that_does_not_broadcast_is_named_with_the_shape() -> None:
    with pytest.raises(ShapeError, match=r"`beta` must broadcast to \(n, m\) = \(12, 2\), got shape \(3, 1\)"):
        replace(BASE, beta=np.ones((3, 1))).fit(waves())


def test_gamma_that_does_not_broadcast_is_named_with_the_shape() -> None:
    with pytest.raises(ShapeError, match=r"`gamma` must broadcast to \(n, m, d\) = \(12, 2, 2\), got shape \(12, 2\)"):
        replace(BASE, gamma=np.ones((N, 2))).fit(waves())


@BASES
def test_fit_rejects_one_sample(base: JENN | MLP) -> None:
    with pytest.raises(InputError, match="`data` must hold at least 2 samples, got 1. One sample gives no scale"):
        base.fit(waves(1))


@BASES
def test_fit_rejects_duplicates_that_differ_and_names_them(base: JENN | MLP) -> None:
    data = waves()
    noisy = data.concat(replace(data.select([3]), y=data.y[3:4] + [[0.0, 0.1]]))
    with pytest.raises(InputError, match=r"rows \[3, 12\] with different 'y\[1\]'.*`data.merge_duplicates\(\)`"):
        base.fit(noisy)
    assert base.fit(noisy.merge_duplicates()).fit_result.iterations


@BASES
def test_fit_accepts_equal_duplicates(base: JENN | MLP) -> None:
    assert base.fit(waves().concat(waves().select([3]))).fit_result.iterations


@pytest.mark.parametrize("data", [replace(waves(), dydx=None), replace(waves(), dydx=np.full((N, 2, 2), np.nan))])
def test_jenn_refuses_data_without_partials(data: Dataset) -> None:
    with pytest.raises(InputError, match=r"`data` must have at least one known partial, .*use `MLP\(\.\.\.\)`"):
        BASE.fit(data)


@pytest.mark.parametrize("settings", [{"beta": 0.0}, {"beta": 0.0, "starts": 2}])
def test_fit_rejects_weights_of_zero_alone(settings: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="`beta` must have at least one positive entry, got 0 for all values"):
        MLP((4,), **settings).fit(waves())


@pytest.mark.parametrize("gamma", [0.0, [[[1.0, 0.0]]]])
def test_fit_rejects_weights_on_unknown_partials_alone(gamma: Any) -> None:
    data = waves()
    unknown = np.where([True, False], np.nan, data.partials)
    with pytest.raises(InputError, match="`beta` must have at least one positive entry, got 0 for all values"):
        replace(BASE, beta=0.0, gamma=gamma).fit(replace(data, dydx=unknown))


def test_partials_alone_can_be_fitted() -> None:
    assert replace(BASE, beta=0.0).fit(waves()).fit_result.n_residuals == N * 2 * 2


@BASES
def test_constant_input_is_held_fixed_and_noted(base: JENN | MLP, caplog: pytest.LogCaptureFixture) -> None:
    data = waves()
    inputs = [gradopt.Variable("speed"), gradopt.Variable("height")]
    with caplog.at_level(logging.WARNING, "gradopt"):
        surrogate = base.fit(replace(data, x=np.where([True, False], data.x, 0.3), inputs=inputs))
    assert not surrogate.linearize(data.x)[1][:, :, 1].any()
    assert [record.name for record in caplog.records] == ["gradopt"]
    assert surrogate.fit_result.notes == (caplog.messages[0],)
    assert "held fixed with partials of 0: height." in caplog.messages[0]


def test_partials_of_a_constant_input_are_not_fitted() -> None:
    data = waves()
    result = BASE.fit(replace(data, x=np.where([True, False], data.x, 0.3))).fit_result
    assert result.n_residuals == N * 2 * 2


@BASES
@pytest.mark.parametrize(
    "change",
    [
        {"hidden_sizes": (5,)},
        {"activation": "silu"},
        {"beta": 3.0},
        {"beta": np.linspace(0.0, 1.0, N)[:, None]},
        {"alpha": 1e-2},
        {"solver": "lbfgs"},
        {"solver": LevenbergMarquardt(11)},
        {"seed": 1},
        {"dtype": "float32"},
        {"starts": 7},
        {"trend": "linear"},
        {"weights": "fixed"},
    ],
    ids=str,
)
def test_every_setting_changes_the_predictions(base: JENN | MLP, change: dict[str, Any]) -> None:
    data = waves()
    changed = replace(base, **change).fit(data)
    if "starts" in change:
        assert changed.fit_result.start > 0, "a later start has to be the better one for this test to tell"
    assert abs(changed.predict(data.x) - base.fit(data).predict(data.x)).max() > 1e-9


@pytest.mark.parametrize("gamma", [0.0, 3.0, [[[1.0, 0.0]]], [[[1.0], [2.0]]]], ids=str)
def test_gamma_changes_the_predictions(gamma: Any) -> None:
    data = waves()
    assert abs(replace(BASE, gamma=gamma).fit(data).predict(data.x) - BASE.fit(data).predict(data.x)).max() > 1e-6


@pytest.mark.parametrize("weight", ["beta", "gamma"])
def test_weights_are_copied_when_configured(weight: str) -> None:
    values = np.ones((N, 2) if weight == "beta" else (N, 2, 2))
    settings: dict[str, Any] = {weight: values}
    configuration = replace(BASE, **settings)
    values[:] = 7.0
    assert np.all(getattr(configuration, weight) == 1.0)


@pytest.mark.parametrize("weight", ["beta", "gamma"])
def test_weights_are_read_only_and_those_of_the_caller_are_not(weight: str) -> None:
    values = np.ones((N, 2) if weight == "beta" else (N, 2, 2))
    settings: dict[str, Any] = {weight: values}
    with pytest.raises(ValueError, match="read-only"):
        getattr(replace(BASE, **settings), weight)[0] = 7.0
    assert values.flags.writeable


@pytest.mark.parametrize("kind", [int, np.int64, np.int32, np.uint8])
def test_integers_of_any_kind_are_kept_as_plain_ones(kind: type) -> None:
    configuration = JENN((kind(4), kind(3)), starts=kind(2), seed=kind(5))
    assert (configuration.hidden_sizes, configuration.starts, configuration.seed) == ((4, 3), 2, 5)
    assert {type(v) for v in (*configuration.hidden_sizes, configuration.starts, configuration.seed)} == {int}


@pytest.mark.parametrize(
    ("name", "ran"),
    [
        ("auto", "LevenbergMarquardt"),
        ("levenberg_marquardt", "LevenbergMarquardt"),
        ("lbfgs", "LBFGS"),
        ("adam", "Adam"),
    ],
)
def test_fit_result_names_the_solver_that_ran(name: str, ran: str) -> None:
    assert replace(BASE, solver=name).fit(waves(), callback=stop_at(1)).fit_result.solver == ran


def test_the_start_with_the_highest_evidence_is_kept() -> None:
    result = replace(BASE, starts=4, weights="fixed").fit(waves()).fit_result
    assert result.log_evidence is not None and len(result.log_evidence) == len(result.start_losses) == 4
    assert result.start == int(np.argmax(result.log_evidence))
    assert result.total_loss == pytest.approx(result.start_losses[result.start], rel=1e-9)


@pytest.mark.parametrize("change", [{"solver": LBFGS(10)}, {"alpha": 0.0}], ids=str)
def test_without_evidence_the_start_with_the_lowest_loss_is_kept(change: dict[str, Any]) -> None:
    result = replace(BASE, starts=4, **change).fit(waves()).fit_result
    assert result.log_evidence is None
    assert result.start == int(np.argmin(result.start_losses))


@SOLVERS
def test_a_callback_that_returns_true_stops_the_fit(solver: Any) -> None:
    result = replace(BASE, solver=solver).fit(waves(), callback=stop_at(2)).fit_result
    assert result.status is Status.STOPPED
    assert len(result.history) == 3


def test_a_stop_ends_all_starts() -> None:
    result = replace(BASE, starts=4).fit(waves(), callback=stop_at(3, starts=2)).fit_result
    assert len(result.start_losses) == 2


@SOLVERS
def test_an_interrupted_fit_keeps_its_state_and_continues(solver: Any) -> None:
    data, configuration = waves(), replace(BASE, solver=solver, weights="fixed")
    with pytest.raises(
        gradopt.surrogates.FitInterrupted, match=r"interrupted after 2 iterations, .*warm_start=surrogate"
    ) as stop:
        configuration.fit(data, callback=interrupt_at(2))
    kept = stop.value.surrogate
    assert kept.fit_result.status is Status.INTERRUPTED
    assert np.isfinite(kept.predict(data.x)).all()
    continued = configuration.fit(data, warm_start=kept).fit_result
    assert continued.history[0] == pytest.approx(kept.fit_result.total_loss, rel=1e-9)
    assert continued.total_loss < kept.fit_result.total_loss


def test_an_interrupt_in_a_later_start_keeps_the_best_start() -> None:
    with pytest.raises(gradopt.surrogates.FitInterrupted) as stop:
        replace(BASE, starts=3, alpha=0.0).fit(waves(), callback=interrupt_at(1, starts=2))
    result = stop.value.surrogate.fit_result
    assert result.status is Status.INTERRUPTED
    assert result.start == 0 and result.total_loss == pytest.approx(min(result.start_losses), rel=1e-9)


def test_an_interrupt_between_starts_keeps_the_best_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> float:
        raise KeyboardInterrupt

    monkeypatch.setattr("gradopt.surrogates.fitting.starts.log_evidence", interrupt)
    with pytest.raises(KeyboardInterrupt) as stop:
        replace(BASE, starts=2, weights="fixed").fit(waves())
    assert isinstance(stop.value, gradopt.surrogates.FitInterrupted)


def test_other_errors_of_a_callback_pass_through() -> None:
    def fail(progress: Progress) -> None:
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        BASE.fit(waves(), callback=fail)


@pytest.mark.parametrize("change", [{"hidden_sizes": (5,)}, {"activation": "sin"}, {"trend": "linear"}], ids=str)
def test_warm_start_rejects_another_network(change: dict[str, Any]) -> None:
    with pytest.raises(
        InputError, match=r"`warm_start` must have hidden sizes .*Use its `hidden_sizes`, `activation` and"
    ):
        replace(BASE, **change).fit(waves(), warm_start=BASE.fit(waves()))


@pytest.mark.parametrize("argument", ["inputs", "outputs"])
@pytest.mark.parametrize("change", [{"name": "z"}, {"units": "m"}], ids=str)
def test_warm_start_rejects_other_variables(argument: str, change: dict[str, Any]) -> None:
    changes: dict[str, Any] = {argument: [replace(getattr(waves(), argument)[0], **change)]}
    with pytest.raises(InputError, match=rf"`data\.{argument}` must equal "):
        BASE.fit(replace(waves(), **changes), warm_start=BASE.fit(waves()))


def test_warm_start_takes_settings_other_than_the_network_from_the_new_configuration() -> None:
    first = BASE.fit(waves())
    second = replace(BASE, gamma=0.0, solver=LBFGS(5)).fit(waves(), warm_start=first)
    assert second.fit_result.solver == "LBFGS" and second.fit_result.loss["partials"] == 0.0
    assert second.fit_result.start_losses[0] == pytest.approx(second.fit_result.total_loss, rel=1e-9)

"""A surrogate of several networks predicts their average; polish and warm start treat all of them alike."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import gradopt
from gradopt import JENN, Dataset, Surrogate, Variable
from gradopt.solvers import LevenbergMarquardt, Progress, Status
from gradopt.surrogates import FitInterrupted
from gradopt.surrogates.fitting.incremental import incremental_fit
from gradopt.surrogates.fitting.trained_network import averaging_shares
from gradopt.training.levenberg_marquardt import LevenbergMarquardt as Solver

QUICK = JENN((3,), solver=LevenbergMarquardt(max_iterations=6), starts=1)
SHARES = (0.5, 0.3, 0.2)
AT = np.random.default_rng(3).uniform(0.2, 0.8, (5, 2))


def hills(n: int = 10, transform: str | None = None) -> Dataset:
    x = np.random.default_rng(1).uniform(0.1, 0.9, (n, 2))
    y = np.exp(np.sin(2.0 * x[:, 0]) * x[:, 1])
    slopes = np.stack([2.0 * np.cos(2.0 * x[:, 0]) * x[:, 1], np.sin(2.0 * x[:, 0])], axis=1) * y[:, None]
    return Dataset(x, y[:, None], slopes[:, None, :], None, [Variable("y", transform=transform)])


def fit_three(data: Dataset) -> list[Surrogate]:
    """Fit three networks of different shape in one scaling."""
    shapes: tuple[dict[str, Any], ...] = ({}, {"activation": "sin", "trend": "quadratic"}, {"activation": "tanh"})
    return [replace(QUICK, seed=seed, **shape).fit(data) for seed, shape in enumerate(shapes)]


def averaged(parts: list[Surrogate]) -> Surrogate:
    networks = [replace(part.networks[0], share=share) for part, share in zip(parts, SHARES, strict=True)]
    return replace(parts[0], networks=tuple(networks), posteriors=tuple(part.posteriors[0] for part in parts))


@pytest.fixture(scope="module")
def parts() -> list[Surrogate]:
    return fit_three(hills())


@pytest.fixture(scope="module")
def average(parts: list[Surrogate]) -> Surrogate:
    return averaged(parts)


def interrupt_in(network: int, iteration: int) -> Any:
    def callback(progress: Progress) -> None:
        if (progress.start, progress.iteration) == (network, iteration):
            raise KeyboardInterrupt

    return callback


def thetas(surrogate: Surrogate) -> list[list[float]]:
    return [trained.theta.tolist() for trained in surrogate.networks]


def test_predictions_are_the_mean_of_the_networks_by_share(parts: list[Surrogate], average: Surrogate) -> None:
    for index in (0, 1):
        expected = sum(share * part.linearize(AT)[index] for part, share in zip(parts, SHARES, strict=True))
        np.testing.assert_allclose(average.linearize(AT)[index], expected, rtol=1e-12)


@pytest.mark.parametrize("transform", [None, "log"])
def test_partials_are_those_of_the_average(transform: str | None) -> None:
    average = averaged(fit_three(hills(transform=transform)))
    found = np.stack([average.predict(AT + step).imag / 1e-30 for step in 1e-30j * np.eye(2)], axis=2)
    np.testing.assert_allclose(average.linearize(AT)[1], found, rtol=1e-11)


def test_networks_are_averaged_before_the_transform_of_the_output_is_undone() -> None:
    parts = fit_three(hills(transform="log"))
    expected = sum(share * np.log(part.predict(AT)) for part, share in zip(parts, SHARES, strict=True))
    np.testing.assert_allclose(np.log(averaged(parts).predict(AT)), expected, rtol=1e-12)


def test_shares_fall_to_1_over_e_at_10_nats_and_to_0_below_1_percent() -> None:
    shares = averaging_shares([-3.0, -3.0, 7.0, 43.0, 43.1, np.nan, np.inf])
    np.testing.assert_allclose(shares / shares[0], [1.0, 1.0, np.exp(-1.0), np.exp(-4.6), 0.0, 0.0, 0.0], rtol=1e-12)
    assert shares.sum() == pytest.approx(1.0)


def test_the_best_network_is_the_first(average: Surrogate) -> None:
    assert average.network == average.networks[0].network
    assert average.theta is average.networks[0].theta


def test_digest_depends_on_every_network_and_share(average: Surrogate) -> None:
    first, second, last = average.networks
    others = [
        (first, second),
        (first, last, second),
        (first, second, replace(last, share=0.25)),
        (first, second, replace(last, theta=np.nextafter(last.theta, 1.0))),
        (first, second, replace(last, network=replace(last.network, activation="silu"))),
    ]
    digests = {replace(average, networks=networks).digest for networks in others}
    assert len({average.digest, *digests}) == 6
    assert replace(average, networks=(first, second, last)).digest == average.digest


@pytest.mark.parametrize("how", ["warm_start", "polish"])
def test_training_continues_for_every_network_with_its_share(average: Surrogate, how: str) -> None:
    told: set[int] = set()

    def callback(progress: Progress) -> None:
        told.add(progress.start)

    data = hills()
    if how == "polish":
        found = average.polish(data, callback=callback)
    else:
        anything = replace(QUICK, activation="auto", trend="auto")
        found = anything.fit(data, average, callback)
    assert told == {0, 1, 2}
    assert tuple(trained.share for trained in found.networks) == SHARES
    assert all(mine != theirs for mine, theirs in zip(thetas(found), thetas(average), strict=True))
    assert len(found.posteriors) == 3


@pytest.mark.parametrize("how", ["warm_start", "polish"])
@pytest.mark.parametrize("network", [0, 1])
def test_ctrl_c_leaves_later_networks_unchanged(average: Surrogate, how: str, network: int) -> None:
    data, callback = hills(), interrupt_in(network, 2)
    with pytest.raises(FitInterrupted) as stop:
        average.polish(data, callback=callback) if how == "polish" else QUICK.fit(data, average, callback)
    found = stop.value.surrogate
    assert found.fit_result.status is Status.INTERRUPTED
    moved = [mine != theirs for mine, theirs in zip(thetas(found), thetas(average), strict=True)]
    assert moved == [index <= network for index in range(3)]


def test_ctrl_c_between_networks_keeps_what_was_trained(average: Surrogate, monkeypatch: pytest.MonkeyPatch) -> None:
    solve, calls = Solver.solve, list[int]()

    def interrupted(self: Solver, *arguments: Any) -> Any:
        calls.append(len(calls))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return solve(self, *arguments)

    monkeypatch.setattr(Solver, "solve", interrupted)
    with pytest.raises(FitInterrupted) as stop:
        average.polish(hills())
    found = thetas(stop.value.surrogate)
    assert found[0] != thetas(average)[0] and found[1:] == thetas(average)[1:]


def test_ctrl_c_before_anything_was_trained_is_passed_on(average: Surrogate, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: Solver, *_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(Solver, "solve", interrupted)
    with pytest.raises(KeyboardInterrupt) as stop:
        average.polish(hills())
    assert not isinstance(stop.value, FitInterrupted)


def test_a_stop_ends_the_training_of_all(average: Surrogate) -> None:
    found = average.polish(hills(), callback=lambda progress: progress.start == 1)
    assert found.fit_result.status is Status.STOPPED
    assert thetas(found)[2] == thetas(average)[2]


def test_a_note_on_the_data_is_written_once(average: Surrogate, caplog: pytest.LogCaptureFixture) -> None:
    wide = [Variable("a", lower=0.0, upper=9.0), Variable("b", lower=0.0, upper=9.0)]
    data = replace(hills(), inputs=wide)
    with caplog.at_level(logging.WARNING, "gradopt"):
        replace(average, inputs=tuple(wide)).polish(data)
    assert len(caplog.messages) == 1 and "less than half" in caplog.messages[0]


@pytest.mark.parametrize("shape", [{"activation": "softplus"}, {"activation": "sin", "trend": "quadratic"}], ids=str)
def test_a_configuration_that_does_not_allow_all_networks_cannot_continue_them(
    average: Surrogate, shape: dict[str, Any]
) -> None:
    configuration, data = replace(QUICK, **shape), hills()
    with pytest.raises(gradopt.errors.InputError, match="`warm_start` must have hidden sizes"):
        configuration.fit(data, average)
    first = replace(incremental_fit(configuration, data), surrogate=average)
    assert incremental_fit(configuration, data, first).reason.endswith("the configuration has another network.")

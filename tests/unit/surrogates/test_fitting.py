"""Messages and notes of a fit on its data, its starts and its end."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import openmdao.api as om
import pytest

import gradopt
from gradopt import JENN, Dataset, Surrogate, SurrogateComp, Variable
from gradopt.errors import InputError
from gradopt.solvers import LevenbergMarquardt, Progress, Status
from gradopt.surrogates import Polish
from gradopt.training.evidence import Evidence

QUICK = JENN((3,), solver=LevenbergMarquardt(max_iterations=5), starts=1)
ANYTHING: Any = "a"
RNG_POINTS: Any = np.random.default_rng(0).uniform(0.0, 1.0, (12, 2))


def bowl(x: np.ndarray = RNG_POINTS, **bounds: float) -> Dataset:
    """y = x0^2 + 2 x1^2."""
    partials = (x * [2.0, 4.0])[:, None, :]
    return Dataset(x, (x**2 @ [1.0, 2.0])[:, None], partials, [Variable("x", (2,), **bounds)])  # type: ignore[arg-type]


def averaged(surrogate: Surrogate) -> Surrogate:
    """Average the network with two of its neighbors."""
    (trained,) = surrogate.networks
    networks = [replace(trained, theta=trained.theta + 0.01 * step, share=0.5 - 0.1 * step) for step in range(3)]
    return replace(surrogate, networks=tuple(networks), posteriors=3 * surrogate.posteriors)


def test_data_outside_the_bounds_of_their_variable_are_refused() -> None:
    message = r"`data.x` must lie within the bounds \[50, 60\] .* 'x\[0\]', got \[0\.\d+, 0\.\d+\]\. Check the units"
    with pytest.raises(InputError, match=message):
        QUICK.fit(bowl(lower=50.0, upper=60.0))


def test_data_that_cover_little_of_the_declared_range_are_noted() -> None:
    notes = QUICK.fit(bowl(lower=0.0, upper=10.0)).fit_result.notes
    assert len(notes) == 1 and notes[0].startswith("The data cover less than half of the declared range of x[0], x[1].")
    assert not QUICK.fit(bowl(lower=0.0, upper=1.0)).fit_result.notes


def test_same_point_with_different_partials_is_refused() -> None:
    data = bowl()
    twin = replace(data.select([3]), dydx=data.partials[[3]] + 1.0)
    with pytest.raises(InputError, match=r"different values or partials at the same point, got rows \[3, 12\]"):
        QUICK.fit(data.concat(twin))


def test_domain_of_a_column_held_fixed_is_its_value() -> None:
    x = RNG_POINTS.copy()
    x[:, 1] = 0.25
    surrogate = QUICK.fit(bowl(x, lower=0.0, upper=1.0))
    assert (surrogate.lower[1], surrogate.upper[1]) == (0.25, 0.25)
    problem = om.Problem(reports=None)
    problem.model.add_subsystem("bowl", SurrogateComp(surrogate), promotes=["*"])
    problem.setup()
    problem.set_val("x", [0.5, 0.75])
    with pytest.raises(om.AnalysisError, match=r"Input 'x\[1\]' is 0.75, outside the domain \[0.25, 0.25\]"):
        problem.run_model()


@pytest.mark.parametrize("how", ["warm_start", "polish"])
@pytest.mark.parametrize("later", [RNG_POINTS, RNG_POINTS * [1.0, 0.0] + [0.0, 0.5]], ids=["varying", "elsewhere"])
def test_data_that_change_a_column_held_fixed_are_refused(how: str, later: Any) -> None:
    x = RNG_POINTS.copy()
    x[:, 1] = 0.25
    surrogate, moved = QUICK.fit(bowl(x)), bowl(later)
    with pytest.raises(
        InputError, match=r"`data` must have the value of the earlier fit in column 'x\[1\]', got .* in row 0\. Fit"
    ):
        QUICK.fit(moved, warm_start=surrogate) if how == "warm_start" else surrogate.polish(moved)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: QUICK.fit(RNG_POINTS), r"`data` must be a Dataset, got ndarray\. Build one: Dataset\(x, y, dydx\)"),
        (lambda s: s.polish(RNG_POINTS), r"`data` must be a Dataset, got ndarray"),
        (lambda s: bowl().concat(RNG_POINTS), r"`other` must be a Dataset, got ndarray"),
        (lambda s: QUICK.fit(bowl(), warm_start=ANYTHING), r"`warm_start` must be a Surrogate or None, got 'a'"),
        (lambda s: s.polish(bowl(), Polish), r"`polish` must be a Polish or None, got <class.*Polish\(magnitude=100\)"),
        (lambda s: s.save("no/such/folder/file"), r"`path` must lie in an existing folder.*Make it first: .*mkdir"),
        (lambda s: gradopt.load("."), r"`path` must be a file, got the folder '\.'"),
        (lambda s: bowl().select([99]), r"`rows` must be row numbers.*Row numbers run from 0 to 11"),
        (lambda s: bowl().select([]), r"`rows` must be row numbers"),
        (lambda s: bowl().select([True]), r"`rows` must be row numbers, or a bool mask of shape \(12,\), got bool"),
        (
            lambda s: Dataset(np.ma.array([[1.0]], mask=[[True]]), np.ones((1, 1))),
            r"`x` must not be masked, got a masked array",
        ),
        (lambda s: JENN(device="no such device"), r"`device` must be a torch device of this machine"),
        (
            lambda s: JENN(device="meta"),
            r"`device` must be a torch device of this machine, got 'meta'\. 'cpu' always works",
        ),
    ],
)
def test_an_argument_of_the_wrong_kind_is_refused(call: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call(QUICK.fit(bowl()))


def test_polish_is_noted_and_saved(tmp_path: object) -> None:
    polished = QUICK.fit(bowl()).polish(bowl(), Polish(magnitude=7.0))
    polished.save(f"{tmp_path}/bowl")
    assert gradopt.load(f"{tmp_path}/bowl").fit_result.notes == polished.fit_result.notes
    assert "magnitude=7.0" in polished.fit_result.notes[0]


def test_callback_gets_the_start_and_can_end_all_starts() -> None:
    told: list[Progress] = []

    def stop_in_the_second(progress: Progress) -> bool:
        told.append(progress)
        return progress.start == 1

    result = replace(QUICK, starts=4).fit(bowl(), callback=stop_in_the_second).fit_result
    assert result.status is Status.STOPPED
    assert {progress.start for progress in told} == {0, 1}
    assert len(result.start_losses) == 2


def limits_of(monkeypatch: pytest.MonkeyPatch, kind: type[Evidence | LevenbergMarquardt]) -> list[float]:
    """Slow a solver down, and keep the time limits of its runs."""
    limits: list[float] = []
    solve = kind.solve

    def slow(self: Any, *arguments: Any) -> Any:
        limits.append(self.time_limit)
        time.sleep(0.02)
        return solve(self, *arguments)

    monkeypatch.setattr(kind, "solve", slow)
    return limits


@pytest.mark.parametrize(
    ("weights", "kind", "runs"), [("fixed", LevenbergMarquardt, 4), ("evidence", Evidence, 4 + 3 + 1 + 4 + 3)]
)
def test_time_limit_holds_for_all_runs_together(
    monkeypatch: pytest.MonkeyPatch, weights: str, kind: type[Evidence | LevenbergMarquardt], runs: int
) -> None:
    left = limits_of(monkeypatch, kind)
    solver = LevenbergMarquardt(max_iterations=60, time_limit=100.0)
    monkeypatch.setattr("gradopt.surrogates.fitting.starts._STAGES", ((2, 4), (3, 3)))
    monkeypatch.setattr("gradopt.surrogates.fitting.starts._VALUES_FIRST", 3)
    replace(QUICK, solver=solver, starts=4, weights=weights).fit(bowl())
    assert len(left) == runs
    assert 99.9 < left[0] <= 100.0
    assert all(90.0 < later < earlier - 0.015 for earlier, later in pairwise(left))


@pytest.mark.parametrize("how", ["warm_start", "polish"])
def test_time_limit_holds_for_all_networks_of_an_average_together(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    configuration = replace(QUICK, solver=LevenbergMarquardt(max_iterations=2, time_limit=100.0))
    surrogate = averaged(configuration.fit(bowl()))
    left = limits_of(monkeypatch, Evidence if how == "warm_start" else LevenbergMarquardt)
    configuration.fit(bowl(), warm_start=surrogate) if how == "warm_start" else surrogate.polish(bowl())
    assert len(left) == 3
    assert 99.0 < left[0] <= 100.0
    assert all(90.0 < later < earlier - 0.015 for earlier, later in pairwise(left))


def test_start_that_runs_out_of_time_is_the_last() -> None:
    solver = LevenbergMarquardt(max_iterations=10**6, tolerance=0.0, time_limit=0.1)
    result = JENN((40,), solver=solver, starts=50).fit(bowl()).fit_result
    assert result.status is Status.TIME_LIMIT
    assert len(result.start_losses) < 50


def test_above_the_memory_limit_the_start_of_the_lowest_loss_is_kept() -> None:
    solver = LevenbergMarquardt(max_iterations=5, memory_limit=100)
    result = replace(QUICK, solver=solver, starts=3, weights="fixed").fit(bowl()).fit_result
    assert result.log_evidence is None
    assert result.start == int(np.argmin(result.start_losses))

"""The loop on flat problems: certified where it should be, an honest exit everywhere else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from gradopt.corrected.correction import CorrectedSurrogate, CorrectionTerms, correct
from gradopt.data.dataset import Dataset
from gradopt.data.variables import Variable
from gradopt.errors import EvaluationError
from gradopt.loop.running import advance, begin
from gradopt.loop.state import Exit, Settings, State
from gradopt.loop.trust_region import TrustRegion
from gradopt.optimality.problem import Limits, Responses

Function = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
FROM = np.array([1.25, -1.75])


class Flat:
    """A `Model` whose truth is a function u -> (objective and constraints (1 + p,), their partials (1 + p, k))."""

    def __init__(
        self,
        function: Function,
        limits: Limits,
        fails: Callable[[np.ndarray], bool] = lambda u: False,
        parts: CorrectionTerms = CorrectionTerms(),  # noqa: B008 (frozen)
    ) -> None:
        self.function, self.limits, self.fails, self.parts = function, limits, fails, parts
        self.evaluations = 0
        self.asked: list[np.ndarray] = []
        self._rows: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._row_of: dict[bytes, int] = {}
        self._surrogate: CorrectedSurrogate | None = None

    def truth(self, u: np.ndarray) -> Responses:
        self.evaluations += 1
        self.asked.append(u.copy())
        if self.fails(u):
            raise EvaluationError("no mesh")
        y, dydu = self.function(u)
        self._row_of.setdefault(u.tobytes(), len(self._rows))
        self._rows.append((u, y, dydu))
        return Responses(u.copy(), float(y[0]), dydu[0], y[1:], dydu[1:])

    differenced = believes = False

    def believed(self, u: np.ndarray) -> Responses:
        raise AssertionError("nothing was given")

    def can_differentiate(self, u: np.ndarray) -> bool:
        return False

    def differentiate(self, u: np.ndarray) -> Responses:
        raise AssertionError("all derivatives are known")

    def corrected(self, u: np.ndarray) -> Responses:
        assert self._surrogate is not None
        found = self._surrogate.evaluate(u[None])
        y, dydu = found.y[0], found.dydx()[0]
        return Responses(u.copy(), float(y[0]), dydu[0], y[1:], dydu[1:])

    def learn(self, center: Responses, steps: list[tuple[Responses, Responses]], radius: float) -> str:
        x, y, dydx = (np.array(column) for column in zip(*self._rows, strict=True))
        low, high = self.limits.lower, self.limits.upper
        variables = Variable("u", shape=low.shape, lower=low, upper=high), Variable("y", shape=y.shape[1:])
        data = Dataset(x, y, dydx, [variables[0]], [variables[1]])
        pairs = [(self._row_of[a.u.tobytes()], self._row_of[b.u.tobytes()]) for a, b in steps]
        signs = np.array([1.0] + [0.0] * (data.m - 1))
        row = self._row_of[center.u.tobytes()]
        self._surrogate = correct(None, data, row, pairs, signs, self.parts, 50.0 * radius, self._surrogate)
        return ""


def box(k: int, c_lower: list[float], c_upper: list[float], half: float = 2.0) -> Limits:
    edge = np.full(k, half)
    return Limits(-edge, edge, np.array(c_lower), np.array(c_upper), 2.0 * edge)


def valley(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rosenbrock's function alone."""
    bend = u[1] - u[0] ** 2
    f = 100.0 * bend**2 + (1.0 - u[0]) ** 2
    return np.array([f]), np.array([[-400.0 * u[0] * bend - 2.0 * (1.0 - u[0]), 200.0 * bend]])


def valley_in_disk(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rosenbrock's function and the squared distance from the origin."""
    f, gradient = valley(u)
    return np.append(f, u @ u), np.vstack([gradient, 2.0 * u])


def free(**changes: object) -> Flat:
    return Flat(valley, box(2, [], []), **changes)  # type: ignore[arg-type]


def disk(c_lower: float = -np.inf, c_upper: float = 1.0) -> Flat:
    """The minimum in the unit disk is at (0.7864, 0.6177)."""
    return Flat(valley_in_disk, box(2, [c_lower], [c_upper]))


def run(model: Flat, start: np.ndarray = FROM, **settings: object) -> State:
    chosen = Settings(**settings)  # type: ignore[arg-type]
    state = begin(model, start, chosen)
    while state.exit is None:
        state = advance(state, model, chosen)
    return state


def test_the_valley_is_certified_in_few_evaluations() -> None:
    model = free()
    state = run(model)
    assert state.exit is Exit.CERTIFIED
    np.testing.assert_allclose(state.center.u, [1.0, 1.0], atol=1e-3)
    assert model.evaluations <= 25


@pytest.mark.parametrize("part", ["kriging", "secant"])
def test_each_part_of_the_correction_pays(part: str) -> None:
    spent = []
    for parts in (CorrectionTerms(), CorrectionTerms(**{part: False})):
        models = [free(parts=parts) for _ in range(3)]
        for model, start in zip(models, ([1.25, -1.75], [-1.2, 1.0], [2.0, -2.0]), strict=True):
            run(model, np.array(start))
        spent.append(sum(model.evaluations for model in models))
    assert spent[0] < spent[1]


@pytest.mark.parametrize("start", [[1.25, -1.75], [0.0, 0.0], [0.1, -0.2], [-1.0, 1.0]])
def test_an_active_constraint_is_met_from_inside_and_outside(start: list[float]) -> None:
    state = run(disk(), np.array(start))
    assert state.exit is Exit.CERTIFIED
    np.testing.assert_allclose(state.center.u, [0.78642, 0.61770], atol=1e-3)
    assert state.kkt.multipliers[0] > 0.0


def test_an_equality_is_met() -> None:
    state = run(disk(1.0, 1.0), np.array([0.5, 0.2]))
    assert state.exit is Exit.CERTIFIED
    assert state.center.c[0] == pytest.approx(1.0, abs=1e-6)


def test_an_inactive_constraint_costs_nothing() -> None:
    wide = disk(-np.inf, 50.0)
    state = run(wide)
    assert state.exit is Exit.CERTIFIED
    np.testing.assert_allclose(state.center.u, [1.0, 1.0], atol=1e-3)
    assert wide.evaluations <= 30


def test_the_same_constraint_twice_does_no_harm() -> None:
    def twice(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        y, dydu = valley_in_disk(u)
        return y[[0, 1, 1]], dydu[[0, 1, 1]]

    for low in (-np.inf, 1.0):
        state = run(Flat(twice, box(2, [low, low], [1.0, 1.0])), np.array([0.5, 0.2]))
        assert state.exit is Exit.CERTIFIED, low


def test_constraints_without_a_common_point_end_infeasible() -> None:
    def apart(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.array([u @ u, u[0] + u[1], u[0] + u[1]]), np.vstack([2.0 * u, np.ones(2), np.ones(2)])

    state = run(Flat(apart, box(2, [1.0, -np.inf], [np.inf, -1.0])), np.zeros(2))
    assert state.exit is Exit.INFEASIBLE
    assert not state.kkt.certified


def test_the_budget_is_kept() -> None:
    model = free()
    state = run(model, max_evaluations=7)
    assert state.exit is Exit.BUDGET
    assert model.evaluations == 7
    assert [record.evaluations for record in state.rounds] == list(range(1, 8))


def test_a_region_that_is_exhausted_is_no_optimum() -> None:
    state = run(free(), region=TrustRegion(radius=1e-7, smallest=1e-6))
    assert state.exit is Exit.EXHAUSTED
    assert len(state.rounds) == 1


def test_the_start_may_be_the_optimum() -> None:
    model = free()
    state = run(model, np.ones(2))
    assert state.exit is Exit.CERTIFIED
    assert len(state.rounds) == 1
    assert model.evaluations == 2  # the start, and the probe of its partials


def test_failures_on_the_way_are_stepped_over_or_beside() -> None:
    model = free(fails=lambda u: 0.55 < u[0] < 0.65)
    state = run(model, np.array([-1.2, 1.0]), max_evaluations=80)
    assert state.exit is Exit.CERTIFIED
    failed = [record for record in state.rounds if record.failure]
    assert failed
    assert all(np.isnan(record.objective) and not record.accepted for record in failed)


def test_detours_go_along_the_step_and_then_to_other_regions() -> None:
    """Whatever is tried fails: no point is asked twice."""
    model = free(fails=lambda u: bool(np.abs(u - FROM).max() > 1e-12))
    run(model, max_failures=12)
    assert len({u.tobytes() for u in model.asked}) == len(model.asked) == 13
    step, *detours = (u - FROM for u in model.asked[1:])
    parts = [float(detour @ step / (step @ step)) for detour in detours]
    # On the tangent plane all candidates are on one line: first parts of the step, then the edge of a region twice as
    # large with its parts.
    np.testing.assert_allclose(parts[:4], [0.6, 1.5, 0.3, 2.2], rtol=1e-6)
    np.testing.assert_allclose(parts[4:6], [2.0, 1.2], rtol=1e-6)


def test_a_failure_is_forgotten_when_the_truth_answers() -> None:
    model: Flat = free(fails=lambda u: len(model.asked) == 3)
    chosen = Settings()
    state = advance(advance(begin(model, FROM, chosen), model, chosen), model, chosen)
    assert len(state.failed) == 1
    assert not advance(state, model, chosen).failed


def test_a_truth_that_fails_all_around_ends_the_loop() -> None:
    model = free(fails=lambda u: bool(np.abs(u - FROM).max() > 1e-12))
    state = run(model, max_failures=6)
    assert state.exit is Exit.TRUTH_FAILED
    assert model.evaluations == 7


def test_a_failure_at_the_start_is_told() -> None:
    with pytest.raises(EvaluationError, match="no mesh"):
        run(free(fails=lambda u: True))


@pytest.mark.parametrize("entry", [0, 1])
def test_a_missing_partial_is_never_certified(entry: int) -> None:
    def wrong(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        y, dydu = valley(u)
        dydu[0, entry] = 0.0
        return y, dydu

    state = run(Flat(wrong, box(2, [], [])), max_evaluations=60)
    assert state.exit is not Exit.CERTIFIED


def test_a_probe_that_contradicts_is_named() -> None:
    def flat(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.array([u.sum()]), np.zeros((1, 2))

    model = Flat(flat, box(2, [], []))
    assert run(model, np.zeros(2)).exit is Exit.CONTRADICTED
    assert model.evaluations == 5
    assert run(Flat(flat, box(2, [], [])), np.zeros(2), verify=False).exit is Exit.CERTIFIED


def test_records_tell_what_was_predicted_and_what_came() -> None:
    state = run(free())
    first, second = state.rounds[0], state.rounds[1]
    assert np.isnan(first.predicted_objective)
    assert np.isnan(first.ratio)
    assert first.accepted
    expected = (first.objective - second.objective) / (first.objective - second.predicted_objective)
    assert second.ratio == pytest.approx(expected)
    accepted = [record.objective for record in state.rounds if record.accepted]
    assert accepted == sorted(accepted, reverse=True)
    assert state.rounds[-1].evaluations == len(state.rounds) + 1  # with the probe


def test_the_same_run_takes_the_same_steps() -> None:
    first, second = (run(disk()) for _ in range(2))
    assert [record.u.tobytes() for record in first.rounds] == [record.u.tobytes() for record in second.rounds]


def test_every_exit_says_what_to_try() -> None:
    assert all(len(exit_.advice) > 30 for exit_ in Exit)


def test_scaling_of_the_objective_does_not_change_the_way() -> None:
    def scaled(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        y, dydu = valley(u)
        return 1024.0 * y, 1024.0 * dydu

    plain = run(free(), tolerance=1e-3, verify=False)
    loud = run(Flat(scaled, box(2, [], [])), tolerance=1e-3, verify=False)
    for one, other in zip(plain.rounds[:8], loud.rounds[:8], strict=True):
        np.testing.assert_allclose(one.u, other.u, rtol=1e-5)


def test_states_are_not_changed_by_a_round() -> None:
    model = free()
    state = begin(model, FROM, Settings())
    before = replace(state)
    advance(state, model, Settings())
    assert state.rounds == before.rounds
    assert state.region == before.region
    assert state.points == before.points

"""The study of fifty conditions: conditions, surrogate, engine, baselines, command line."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from cases.airfoil_study.conditions import RANGES, Condition, coordinates_of, neighbor_order, sample_conditions
from cases.airfoil_study.engine import Engine, Rules
from cases.airfoil_study.kriging import fit
from cases.cli import main
from gradopt import Dataset, EvaluationStore, FunctionTruth, Variable
from gradopt.errors import EvaluationError, InputError
from gradopt.optimality.kkt import KKT, kkt
from gradopt.optimality.problem import Limits, Responses

X = (Variable("x", (2,), lower=-2.0, upper=2.0), Variable("p", lower=0.0, upper=1.0))
Y = (Variable("f", transform="log"), Variable("g"))


def truth(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute a curved valley exp(...) whose bottom moves with p, and a curved constraint."""
    a, b, p = x
    bend = b - a**2
    height = 4.0 * bend**2 + (a - p) ** 2
    slope = np.array([-16.0 * a * bend + 2.0 * (a - p), 8.0 * bend, -2.0 * (a - p)])
    y = np.array([np.exp(0.3 * height), a + b + 0.1 * a * b])
    return y, np.array([0.3 * y[0] * slope, [1.0 + 0.1 * b, 1.0 + 0.1 * a, 0.0]])


@dataclass
class Valleys:
    """The problems differ in p, which each fixes, and in the lower bound of g."""

    p: tuple[float, ...]
    lowest: tuple[float, ...]
    evaluated: list[np.ndarray] = field(default_factory=list)

    @property
    def size(self) -> int:
        return len(self.p)

    def limits(self, index: int) -> Limits:
        edge = np.full(2, 2.0)
        return Limits(-edge, edge, np.array([self.lowest[index]]), np.array([np.inf]), 2.0 * edge)

    def start(self, index: int) -> np.ndarray:
        return np.array([-0.5, 0.5])

    def inputs_at(self, index: int, u: np.ndarray) -> np.ndarray:
        return np.append(u, self.p[index])

    def responses(self, u: np.ndarray, y: np.ndarray, dydx: np.ndarray) -> Responses:
        return Responses(u, float(y[0]), dydx[0, :2], y[1:], dydx[1:, :2])

    def kkt(self, index: int, responses: Responses) -> KKT:
        r, limits = responses, self.limits(index)
        bounds = (limits.c_lower, limits.c_upper)
        return kkt(r.u, limits.lower, limits.upper, r.gradient, r.c, *bounds, r.jacobian, 1e-3, 1e-3)

    def evaluate(self, x: np.ndarray) -> Dataset:
        self.evaluated += [point for point in x if not any(np.array_equal(point, known) for known in self.evaluated)]
        found = [truth(point) for point in self.evaluated]
        return Dataset(np.array(self.evaluated), np.array([y for y, _ in found]), np.array([d for _, d in found]), X, Y)


def points(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform([-1.0, -1.0, 0.0], [1.0, 1.0, 1.0], (n, 3))


def solve(problems: Valleys) -> Engine:
    place = np.column_stack([problems.p, problems.lowest])
    engine = Engine(
        problems, Rules(waves=(1, 3), iterations=(12, 6), budget=12.0, batch=2, least_reduction=1e-5), place
    )
    engine.solve(range(problems.size), points(4))
    return engine


def test_designs_end_at_optima_of_the_truth_after_few_evaluations() -> None:
    problems = Valleys((0.2, 0.4, 0.6, 0.8), (0.5, 0.5, 1.2, -1.0))
    engine = solve(problems)
    for index, design in engine.designs.items():
        assert design.best is not None
        assert design.kkt is not None
        assert design.kkt.feasibility <= 1e-3
        assert design.kkt.stationarity < 0.05, index
    assert len(problems.evaluated) <= 4 * 12


def test_later_conditions_need_fewer_evaluations() -> None:
    engine = solve(Valleys((0.2, 0.3, 0.25, 0.22), (0.5, 0.5, 0.5, 0.5)))
    first, *others = [engine.designs[index].evaluations for index in range(4)]
    assert max(others) < first


def test_study_is_reproducible() -> None:
    one, two = (Valleys((0.2, 0.6), (0.5, 0.8)) for _ in range(2))
    solve(one)
    solve(two)
    np.testing.assert_array_equal(one.evaluated, two.evaluated)


def test_failed_evaluation_shrinks_the_trust_region_and_keeps_the_design() -> None:
    class Failing(Valleys):
        def evaluate(self, x: np.ndarray) -> Dataset:
            return super().evaluate(x[x[:, 0] < 0.0])

    problems = Failing((0.9,), (-4.0,))
    engine = Engine(problems, Rules(iterations=(6, 1), budget=0.0, final_iterations=0), np.zeros((1, 1)))
    (design,) = engine.solve([0], points(8))
    assert design.best is not None
    assert design.best.u[0] < 0.0
    assert design.trust_region.radius < 0.5


def test_surrogate_has_values_and_partials_of_the_truth() -> None:
    problems = Valleys((0.5,), (0.0,))
    data = problems.evaluate(points(12))
    surrogate = fit(data, 0)
    found = surrogate.evaluate(data.x)
    np.testing.assert_allclose(found.y, data.y, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(found.dydx(), data.partials, rtol=2e-2, atol=2e-2)


def test_partials_of_the_surrogate_are_those_of_its_values() -> None:
    surrogate = fit(Valleys((0.5,), (0.0,)).evaluate(points(12)), 0)
    x, step = np.array([0.3, -0.2, 0.4]), 1e-6
    ends = [surrogate.evaluate(np.array([x + step * e, x - step * e])).y for e in np.eye(3)]
    numeric = np.array([(end[0] - end[1]) / (2.0 * step) for end in ends]).T
    np.testing.assert_allclose(surrogate.evaluate(x[None]).dydx()[0], numeric, rtol=1e-4, atol=1e-5)


def test_surrogate_predicts_between_its_points() -> None:
    surrogate = fit(Valleys((0.5,), (0.0,)).evaluate(points(40)), 0)
    x = 0.6 * points(20, 1)
    true = np.array([truth(one)[0] for one in x])
    assert np.abs(surrogate.evaluate(x).y - true).max() < 0.06 * np.ptp(true[:, 0])  # no smoother than once


def test_metric_is_short_where_the_truth_bends() -> None:
    x = points(40)
    waves, slopes = np.sin(5.0 * x[:, 0]), np.zeros((40, 2, 3))
    slopes[:, 0, 0], slopes[:, 0, 1] = 5.0 * np.cos(5.0 * x[:, 0]), 3.0
    slopes[:, 0, 2], slopes[:, 1, 0] = 0.5, slopes[:, 0, 0]
    y = np.column_stack([waves + 3.0 * x[:, 1] + 0.5 * x[:, 2], waves])
    outputs = (Variable("f"), Variable("g"))
    surrogate = fit(Dataset(x, y, slopes, X, outputs), 0)
    distances = np.linalg.norm(surrogate.distances(0) * surrogate.scaling.input_scale[:, None], axis=1)
    assert distances[0] > 2.0 * distances[1:].max()


def test_trend_bends_with_the_truth_beyond_the_points() -> None:
    x = points(60)
    bend = np.array([[2.0, 0.5, 0.0], [0.5, 1.0, -1.0], [0.0, -1.0, 3.0]])
    y = np.repeat(0.5 * np.einsum("nd,de,ne->n", x, bend, x)[:, None], 2, axis=1)
    slopes = np.repeat((x @ bend)[:, None], 2, axis=1)
    surrogate = fit(Dataset(x, y, slopes, X, (Variable("f"), Variable("g"))), 0)
    far = 1.8 * points(20, 1)
    true = 0.5 * np.einsum("nd,de,ne->n", far, bend, far)
    assert np.abs(surrogate.evaluate(far).y[:, 0] - true).max() < 0.2 * np.ptp(true)


@pytest.mark.parametrize("name", RANGES)
def test_condition_beyond_its_range_is_refused(name: str) -> None:
    low, high = RANGES[name]
    fields = {key: 0.5 * sum(ends) for key, ends in RANGES.items()}
    fields[name] = high + 0.1
    with pytest.raises(InputError, match=rf"`{name}` must be .* from {low:g} to {high:g}, got .*\. Choose one inside"):
        Condition(**fields)


def test_conditions_fill_their_ranges_and_depend_on_the_seed() -> None:
    place = coordinates_of(sample_conditions(50, 0))
    assert place.shape == (50, 4)
    assert (place.min(axis=0) < 0.1).all()
    assert (place.max(axis=0) > 0.9).all()
    assert sample_conditions(50, 0) == sample_conditions(50, 0) != sample_conditions(50, 1)


def test_each_condition_follows_its_nearest_predecessor() -> None:
    conditions = sample_conditions(20, 3)
    order, parents = neighbor_order(conditions)
    assert sorted(order) == list(range(20))
    place = coordinates_of(conditions)
    for position in range(1, 20):
        before = np.linalg.norm(place[order[:position]] - place[order[position]], axis=1)
        assert np.linalg.norm(place[parents[position]] - place[order[position]]) == pytest.approx(before.min())


def test_baseline_counts_each_design_once_and_ends_feasible() -> None:
    pytest.importorskip("neuralfoil")
    from cases.airfoil_study.baselines import Scaling, run_direct, run_warm
    from cases.airfoil_study.problem import COUNT, drag_of, make_problem

    problem = make_problem()
    conditions = [Condition(0.6, 6.8, -0.1, 1.0), Condition(0.62, 6.8, -0.1, 1.0)]
    scaling = Scaling(0.5, 10.0, 1.0, 1e-4)
    cold, warm = run_direct(problem, conditions, scaling), run_warm(problem, conditions, scaling)
    for run in (*cold, *warm):
        assert run.violation <= 1e-3
        assert run.arrived is not None
        assert 1 <= run.arrived <= run.evaluations
    assert sum(run.evaluations for run in warm) < sum(run.evaluations for run in cold)
    assert 20 * COUNT < drag_of(cold[0].responses) < 70 * COUNT


def test_responses_are_scaled_and_their_gradients_are_exact() -> None:
    pytest.importorskip("neuralfoil")
    from cases.airfoil_study.problem import make_problem

    problem, condition = make_problem(), Condition(0.6, 6.5, -0.1, 1.0)
    u = np.append(problem.weights, 2.5)

    def at(design: np.ndarray) -> Responses:
        return problem.responses(design, *problem.truth.f(problem.inputs_at(condition, design)))

    found, step = at(u), 1e-5
    for j in (0, 9, 16):
        e = step * np.eye(17)[j]
        ends = [np.append(at(u + side * e).f, at(u + side * e).c) for side in (1.0, -1.0)]
        expected = np.append(found.gradient[j], found.jacobian[:, j])
        np.testing.assert_allclose((ends[0] - ends[1]) / (2.0 * step), expected, rtol=1e-4, atol=1e-4)


def test_quick_study_writes_its_files_and_evaluates_nothing_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("neuralfoil")
    folder = tmp_path / "out"
    argv = ["run", "airfoil_study", "--quick", "--conditions", "2", "--out", str(folder)]
    assert main([*argv, "--reference"]) == 0
    first = json.loads((folder / "result.json").read_text())
    assert len(first["designs"]) == 2
    assert first["baselines"]["direct"]["ratio"] == first["evaluations"] / first["baselines"]["direct"]["evaluations"]
    pictures = {path.stem for path in folder.glob("*.png")}
    assert pictures == {"fronts", "evaluations", "differences", "shapes"}
    assert "truth evaluations" in capsys.readouterr().out
    assert main(argv) == 0
    again = json.loads((folder / "result.json").read_text())
    assert again["evaluations_from_store"] == again["evaluations"] == first["evaluations"]
    assert again["designs"] == first["designs"]


def test_condition_at_which_every_evaluation_failed_is_named() -> None:
    pytest.importorskip("neuralfoil")
    from cases.airfoil_study.problem import make_problem
    from cases.airfoil_study.study import run_study

    problem, count = make_problem(), 0

    def evaluate(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        nonlocal count
        count += 1
        if count > 4:
            raise EvaluationError("no mesh")
        y, dydx = problem.truth.f(x)
        return y, dydx

    failing = replace(problem, truth=FunctionTruth(evaluate, problem.truth.inputs, problem.truth.outputs))
    rules = Rules(iterations=(1, 1), budget=0.0, final_iterations=0)
    condition = Condition(0.6, 6.5, -0.1, 1.0)
    with pytest.raises(EvaluationError, match=r"The truth failed at every design for Condition\(lift=0\.6.*\)\. Leave"):
        run_study(failing, [condition], EvaluationStore(), rules, 3, 0, lambda line: None)


def test_no_conditions_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "airfoil_study", "--conditions", "0", "--out", str(tmp_path)]) == 1
    assert "`--conditions` must be at least 1, got 0." in capsys.readouterr().err


@pytest.mark.parametrize("reach", ["0", "0.3", "nan"])
def test_reach_out_of_range_is_refused(reach: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "airfoil_study", "--reach", reach, "--out", str(tmp_path)]) == 1
    assert "`reach` must be above 0 and at most 0.25 (chord fractions), got " in capsys.readouterr().err

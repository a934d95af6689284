"""The loop against direct solvers: counting, targets, profiles and ratios, and runs that end badly."""

from __future__ import annotations

import multiprocessing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from scripts.loop import evaluations_vs_solvers
from scripts.loop.cutest_problems import DirectProblem, split_of
from scripts.loop.data_profiles import (
    Outcomes,
    Solved,
    differing,
    lowest,
    outcome,
    outcomes,
    profile,
    ratio,
    reached,
    summary,
    worst,
)
from scripts.loop.direct_runs import Worker, built_in, front, measure
from scripts.loop.rival_solvers import SOLVERS, Budgeted, Ended, Spent
from scripts.shared.rows import Row

AGREES = {"agrees": True, "feasibility": 0.0, "stationarity": 0.0, "error": 0.0}


def row(solver: str, points: list[tuple[int, float, float]], problem: str = "P", verdict: object = None) -> Row:
    return {"problem": problem, "solver": solver, "front": points, "verdict": verdict, "certified": False}


def counts(**found: int | None) -> dict[str, Solved]:
    return {name: Solved(count, False) for name, count in found.items()}


def hs71() -> DirectProblem:
    return built_in("HS71")


def test_a_repeated_point_is_counted_once_and_a_new_one_beyond_the_budget_ends_the_run() -> None:
    truth = Budgeted(built_in("ROSENBROCK"), budget=2, seconds=60.0)
    for x in ([0.0, 0.0], [1.0, 0.0], [0.0, 0.0]):
        truth(np.array(x))
    assert len(truth) == 2
    with pytest.raises(Spent):
        truth(np.array([0.5, 0.5]))


def test_a_run_ends_at_its_processor_time() -> None:
    truth = Budgeted(built_in("ROSENBROCK"), budget=100, seconds=-1.0)
    with pytest.raises(Spent):
        truth(np.zeros(2))


def test_violations_are_of_bounds_and_constraints_on_both_sides_relative_to_large_bounds() -> None:
    problem = hs71()  # 1 <= x <= 5, c0 >= 25, c1 = 40
    fine = np.array([0.0, 30.0, 40.0])
    assert problem.violation(np.full(4, 2.0), fine) == 0.0
    assert problem.violation(np.array([0.5, 2.0, 2.0, 2.0]), fine) == pytest.approx(0.5)
    assert problem.violation(np.array([6.0, 2.0, 2.0, 2.0]), fine) == pytest.approx(1.0 / 5.0)
    assert problem.violation(np.full(4, 2.0), np.array([0.0, 20.0, 40.0])) == pytest.approx(5.0 / 25.0)
    for c in (36.0, 44.0):
        assert problem.violation(np.full(4, 2.0), np.array([0.0, 30.0, c])) == pytest.approx(4.0 / 40.0)


def test_the_front_has_the_first_evaluation_below_any_pair_of_limits() -> None:
    rng = np.random.default_rng(3)
    points = [
        (float(f), float(v)) for f, v in zip(rng.integers(0, 9, 200), 10.0 ** rng.uniform(-9, -3, 200), strict=True)
    ]
    kept = front(points)
    assert len(kept) < 60
    for f_limit in range(9):
        for v_limit in (1e-8, 1e-6, 1e-4):
            first = next((n for n, (f, v) in enumerate(points, 1) if f <= f_limit and v <= v_limit), None)
            assert first == next((n for n, f, v in kept if f <= f_limit and v <= v_limit), None)


def test_the_front_leaves_out_what_is_not_finite_or_far_from_feasible() -> None:
    assert front([(np.nan, 0.0), (-5.0, 1.0), (2.0, 1e-12)]) == [(3, 2.0, 0.0)]


def test_the_lowest_value_is_of_a_strictly_feasible_point_where_there_is_one() -> None:
    loose, strict = row("a", [(1, 0.5, 1e-7)]), row("b", [(1, 0.6, 0.0), (2, 0.1, 1e-4)])
    assert lowest([loose, strict]) == 0.6
    assert lowest([loose]) == 0.5
    assert lowest([row("a", [(1, 0.0, 1e-4)])]) is None


def test_a_point_reaches_the_target_only_if_it_is_feasible() -> None:
    of = row("a", [(2, 0.0, 1e-5), (5, 1.0, 1e-7), (9, 0.5, 0.0)])
    assert [reached(of, target) for target in (1.0, 0.9, 0.4)] == [5, 9, None]


def test_the_target_is_relative_to_the_lowest_value_above_one() -> None:
    for value, near, far in ((0.0, 9e-7, 1.1e-6), (-1000.0, 9e-4, 1.1e-3)):
        assert outcome(row("a", [(3, value + near, 0.0)]), value).evaluations == 3
        assert outcome(row("a", [(3, value + far, 0.0)]), value).evaluations is None


def test_an_end_at_a_higher_kkt_point_is_not_solved_but_visible() -> None:
    rows = [row("a", [(4, 0.0, 0.0)], verdict=AGREES), row("b", [(2, 1.0, 0.0)], verdict=AGREES)]
    slope = {**AGREES, "stationarity": 1e-3}
    found = outcomes([*rows, row("c", [(2, 1.0, 0.0)], verdict=slope), row("d", [])])
    assert found == {
        "P": {"a": Solved(4, False), "b": Solved(None, True), "c": Solved(None, False), "d": Solved(None, False)}
    }


def test_an_unbounded_problem_is_solved_by_nobody() -> None:
    assert outcomes([row("a", [(4, -1e11, 0.0)])])["P"]["a"] == Solved(None, False)


def test_lowest_values_that_differ_from_those_of_the_collection_are_named() -> None:
    rows = [row("a", [(4, -200.0, 0.0)]), row("b", [(4, -200.1, 0.0)])]
    assert differing(rows, {"P": -200.2, "not run": 1.0}) == {}
    assert differing(rows, {"P": -201.0}) == {"P": (-200.1, -201.0)}


def test_a_profile_steps_at_each_solved_problem() -> None:
    at, part = profile([3.0, np.inf, 1.0, 80.0], 60.0)
    assert at.tolist() == [1.0, 3.0, 60.0] and part.tolist() == [0.25, 0.5, 0.5]
    assert profile([np.inf], 60.0)[1].tolist() == [0.0]


FOUND: Outcomes = {
    "A": counts(loop=10, slsqp=20, bfgs=12),
    "B": counts(loop=40, slsqp=20),
    "C": counts(loop=None, slsqp=7, bfgs=None),
    "D": counts(loop=None, slsqp=None),
    "E": counts(loop=5, slsqp=None),
}


def test_ratios_are_of_the_problems_that_both_solved() -> None:
    found = ratio(FOUND, "loop", "slsqp")
    assert found == {"geometric_mean": pytest.approx(1.0), "both": 2, "run": 5, "only_one": 1, "only_other": 1}
    assert ratio(FOUND, "loop", "bfgs")["geometric_mean"] == pytest.approx(10 / 12)


def test_fractions_are_of_the_problems_that_any_solver_solved() -> None:
    assert summary(FOUND, "loop") == {"problems": 5, "solved": 3, "other_kkt": 0, "fewest": 0.5, "near": 0.5}
    assert summary(FOUND, "bfgs") == {"problems": 2, "solved": 1, "other_kkt": 0, "fewest": 0.0, "near": 0.5}


def test_the_worst_problems_are_the_unsolved_then_those_of_the_largest_ratio() -> None:
    expected = [("C", None, 7, "slsqp"), ("B", 40, 20, "slsqp"), ("A", 10, 12, "bfgs")]
    assert worst(FOUND, "loop", 9) == expected and worst(FOUND, "loop", 1) == expected[:1]


def test_the_split_is_fixed_and_a_third_of_the_problems_is_for_development() -> None:
    assert [split_of(name) for name in ("HS71", "ROSENBR", "BRANIN")] == ["report", "report", "develop"]
    share = np.mean([split_of(f"HS{number}") == "develop" for number in range(3000)])
    assert share == pytest.approx(1 / 3, abs=0.03)


@pytest.mark.parametrize("solver", ["loop", "SciPy SLSQP", "SciPy trust-constr"])
def test_a_run_is_counted_and_its_end_judged(solver: str) -> None:
    found = measure(hs71(), solver)
    assert found["verdict"]["agrees"] and found["f"] == pytest.approx(17.0140173, abs=1e-6)
    assert found["certified"] == (solver == "loop")
    assert reached(found, 17.0140173 + 1e-5) <= found["evaluations"]


def test_a_run_beyond_its_budget_keeps_its_evaluations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SOLVERS, "SciPy BFGS", replace(SOLVERS["SciPy BFGS"], evaluations=5))
    found = measure(replace(built_in("ROSENBROCK"), lower=np.full(2, -np.inf), upper=np.full(2, np.inf)), "SciPy BFGS")
    assert found["evaluations"] == 5 and found["message"] == "budget spent" and found["front"]
    assert not found["verdict"]["agrees"]


def test_an_exception_of_a_solver_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(problem: DirectProblem, truth: Budgeted) -> Ended:
        raise ValueError("no such thing")

    monkeypatch.setitem(SOLVERS, "SciPy BFGS", replace(SOLVERS["SciPy BFGS"], solve=broken))
    found = measure(built_in("ROSENBROCK"), "SciPy BFGS")
    assert found["message"] == "ValueError: no such thing" and found["verdict"] is None and found["front"] == []


def test_a_process_that_dies_is_a_row_and_the_next_run_has_a_new_one(tmp_path: Path) -> None:
    worker = Worker(tmp_path)  # has no problems: loading one fails
    for _ in range(2):
        found = worker.run("HS71", "SciPy SLSQP")
        assert found is not None and found["message"] == "the process died" and found["front"] == []
    assert not multiprocessing.active_children()


def test_the_missing_packages_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(evaluations_vs_solvers, "find_spec", lambda name: None if name in ("jax", "sif2jax") else name)
    with pytest.raises(SystemExit, match="2"):
        evaluations_vs_solvers.main(["--out", str(tmp_path / "result.json")])
    assert "install jax, sif2jax in a throwaway environment" in " ".join(capsys.readouterr().err.split())

"""The loop and SLSQP on the truth of a case: what they report, count and compare."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import openmdao.api as om
import pytest

from cases.adaptive import run_adaptive
from cases.adaptive_case import AdaptiveCase, Visit, evaluations_to, objective, shown, violation
from cases.adaptive_outcome import adaptive_table, closing_lines
from cases.baseline import run_baseline
from cases.case import Case, Response
from cases.model import adaptive_case
from gradopt import JENN, EvaluationStore, Exit
from gradopt.errors import GradoptError
from gradopt.om.component import SurrogateComp
from gradopt.truth.protocol import Truth

MakeCase = Callable[..., Case]
# Minimum of |x - (0.5, -0.3, 0)|^2 with x.sum() >= 0.5, the other constraint being met: the center plus 0.1 each.
OPTIMUM = [0.6, -0.2, 0.1]


def quiet(line: str) -> None:
    """Report nothing."""


@pytest.fixture
def bowl(make_case: MakeCase) -> AdaptiveCase:
    responses = (
        Response("f", "minimize", ref=5.0, shown_unit="drops", shown_per_unit=100.0),
        Response("g", "lower", 0.5, ref=2.0),
        Response("h", "upper", (3.0, 3.5), ref=10.0),
    )
    return adaptive_case(make_case(responses=responses, identity="bowl"), configuration=None)


def test_case_of_the_loop_has_the_bounds_of_the_true_problem(bowl: AdaptiveCase) -> None:
    assert [variable.lower for variable in bowl.inputs] == [(-4.0, -4.0), (-4.0,)]
    assert [variable.upper for variable in bowl.inputs] == [(4.0, 4.0), (4.0,)]
    assert bowl.truths[0].identity == "bowl"


def test_loop_ends_at_the_optimum_with_values_in_the_units_of_the_model(bowl: AdaptiveCase) -> None:
    lines: list[str] = []
    result = run_adaptive(bowl, 0, EvaluationStore(), lines.append)
    assert result.exit is Exit.CERTIFIED
    np.testing.assert_allclose(result.final.x, OPTIMUM, atol=1e-4)
    np.testing.assert_allclose(result.final.true["f"], [0.03], atol=1e-4)
    gap = bowl.start - [0.5, -0.3, 0.0]
    np.testing.assert_allclose(result.start["f"], [gap @ gap])
    np.testing.assert_allclose(result.start["g"], [3.0])
    np.testing.assert_allclose(result.start["h"], [1.0, 2.0])
    last = result.visits[-1]
    np.testing.assert_allclose(last.predicted["h"], last.true["h"])
    assert lines[1] == f"iteration 0: f {100.0 * gap @ gap:.4g} drops, 1 evaluations"
    assert result.stored == 0


def test_maximized_objective_is_reported_unscaled(make_case: MakeCase) -> None:
    def hill(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        gap = x - [0.5, -0.3, 0.0]
        return np.array([10.0 - gap @ gap, x.sum()]), np.array([-2.0 * gap, np.ones(3)])

    best = Response("f", "maximize", ref=5.0)
    case = adaptive_case(
        make_case(truth=hill, identity="hill", responses=(best, Response("g", "lower", 0.5))), configuration=None
    )
    lines: list[str] = []
    result, baseline = run_adaptive(case, 0, EvaluationStore(), lines.append), run_baseline(case, quiet)
    start = hill(case.start)[0][0]
    assert lines[1] == f"iteration 0: f {start:.4g}, 1 evaluations"
    for values in (result.final.true, baseline.final.true):
        np.testing.assert_allclose(values["f"], [9.97], atol=1e-4)
    np.testing.assert_allclose(baseline.best, 9.97, atol=1e-4)
    np.testing.assert_allclose([result.start["f"], baseline.visits[0].true["f"]], start)
    assert 1 < (evaluations_to(case, result.visits, baseline.best) or 0) <= result.evaluations
    assert evaluations_to(case, result.visits, 10.2) is None
    rows = list(adaptive_table(result, baseline).columns[1].cells)
    assert rows[:2] == ["maximize", ">= 0.5"]


def test_evaluations_of_a_shared_truth_are_counted_once(bowl: AdaptiveCase) -> None:
    def twice(truths: Sequence[Truth]) -> om.Group:
        group = om.Group()
        for name, gain in (("one", 1.0), ("two", -1.0)):
            group.add_subsystem(name, SurrogateComp(truth=truths[0]), promotes_inputs=["b"])
            group.add_subsystem(f"{name}_a", om.ExecComp("y = gain * x", gain=gain, x=np.zeros(2), y=np.zeros(2)))
            group.promotes(f"{name}_a", inputs=[("x", "a")])
            group.connect(f"{name}_a.y", f"{name}.a")
        group.add_subsystem("sum", om.ExecComp("f = p + q", units="N"), promotes_outputs=["f"])
        group.connect("one.f", "sum.p")
        group.connect("two.f", "sum.q")
        return group

    case = replace(bowl, model=twice, responses=bowl.responses[:1])
    store = EvaluationStore()
    result = run_adaptive(case, 0, store, quiet)
    assert set(result.data) == {"one", "two"}
    assert result.evaluations == store.evaluated == result.evaluated
    assert result.stored == 0


def test_loop_goes_on_from_a_store(bowl: AdaptiveCase, calls: list[np.ndarray]) -> None:
    store = EvaluationStore()
    first = run_adaptive(bowl, 0, store, quiet)
    asked = len(calls)
    again = run_adaptive(bowl, 0, store, quiet)
    assert len(calls) == asked == first.evaluations
    assert (again.stored, again.evaluations) == (first.evaluations, first.evaluations)
    np.testing.assert_array_equal(again.final.x, first.final.x)


def test_surrogate_of_the_loop_is_kept(bowl: AdaptiveCase) -> None:
    case = replace(bowl, configuration=JENN((4,), starts=1), max_evaluations=4)
    result = run_adaptive(case, 3, EvaluationStore(), quiet)
    assert list(result.surrogates) == ["bowl"]
    assert run_adaptive(bowl, 3, EvaluationStore(), quiet).surrogates == {}


def test_surrogate_can_be_fitted_at_the_end_to_all_that_was_learned(bowl: AdaptiveCase) -> None:
    result = run_adaptive(replace(bowl, closing=JENN((4,), starts=1)), 3, EvaluationStore(), quiet)
    data = result.data["bowl"]
    assert data is not None and data.n == result.evaluations
    assert list(result.surrogates) == ["bowl"]
    np.testing.assert_allclose(result.surrogates["bowl"].predict(data.x), data.y, atol=0.2)


@pytest.mark.parametrize("run", [lambda case: run_adaptive(case, 0, EvaluationStore(), quiet), run_baseline])
def test_truth_that_fails_at_the_start_is_explained(run: Callable[..., object], make_case: MakeCase) -> None:
    case = adaptive_case(make_case(fails=lambda x: True), configuration=None)
    with pytest.raises(GradoptError, match="The truth of the case bowl failed at its start. The truth failed at the"):
        run(case, quiet) if run is run_baseline else run(case)


def test_baseline_counts_its_evaluations(bowl: AdaptiveCase, calls: list[np.ndarray]) -> None:
    baseline = run_baseline(bowl, quiet)
    assert baseline.success
    assert baseline.evaluations == len(calls) == baseline.visits[-1].evaluations
    np.testing.assert_allclose(baseline.final.x, OPTIMUM, atol=1e-4)
    np.testing.assert_array_equal(baseline.visits[0].x, bowl.start)
    assert abs(baseline.best - 0.03) < 1e-4
    kept = [objective(bowl, visit.true) for visit in baseline.visits if visit.accepted]
    assert kept == sorted(kept, reverse=True)


def test_baseline_has_its_own_scaling_and_returns_units(bowl: AdaptiveCase) -> None:
    plain = run_baseline(bowl, quiet)
    scaled = run_baseline(replace(bowl, baseline_ref=np.array([1.0, 20.0, 0.1])), quiet)
    np.testing.assert_array_equal(scaled.visits[0].x, bowl.start)
    np.testing.assert_allclose(scaled.final.x, OPTIMUM, atol=1e-3)
    assert not np.allclose(scaled.visits[1].x, plain.visits[1].x)


def test_evaluations_to_an_objective_count_feasible_visits_only(bowl: AdaptiveCase) -> None:
    def visit(evaluations: int, f: float, g: float) -> Visit:
        true = {"f": np.array([f]), "g": np.array([g]), "h": np.zeros(2)}
        return Visit(evaluations, bowl.start, true, true, True)

    visits = [visit(1, 9.0, 1.0), visit(3, 0.5, 0.4), visit(4, 1.02, 0.5), visit(6, 1.009, 0.5), visit(7, 1.0, 0.5)]
    assert violation(bowl, visits[1].true) == pytest.approx(0.05)
    assert evaluations_to(bowl, visits, 1.0) == 6
    assert evaluations_to(bowl, visits, 0.9) is None
    assert evaluations_to(bowl, visits, 1.0, close=0.001) == 7
    near_zero = [visit(1, 1e-5, 1.0), visit(2, 4e-6, 1.0)]
    assert evaluations_to(bowl, near_zero, 0.0) == 2  # 1e-6 times a ref of 5


def test_objective_is_shown_as_people_call_it() -> None:
    assert shown(Response("CD", "minimize", shown_unit="counts", shown_per_unit=1e4), 0.00331) == "CD 33.1 counts"
    assert shown(Response("f", "minimize"), 2.5) == "f 2.5"


def test_table_and_lines_compare_with_slsqp(bowl: AdaptiveCase) -> None:
    result, baseline = run_adaptive(bowl, 0, EvaluationStore(), quiet), run_baseline(bowl, quiet)
    columns = {str(column.header): list(column.cells) for column in adaptive_table(result, baseline).columns}
    assert columns["true response"][:2] == ["f (drops)", "g"]
    assert columns["target"] == ["minimize", ">= 0.5", "<= 3", "<= 3.5", "scaled", ""]
    assert float(str(columns["final design"][0])) == pytest.approx(3.0, abs=0.01)
    assert columns["SLSQP on truth"][-1] == str(baseline.evaluations)
    lines = closing_lines(result, baseline)
    for text in (
        "Termination: certified.",
        "SLSQP on the truth converged",
        "of its best objective: the loop",
        "Certified: feasible",
    ):
        assert text in lines
    assert "SLSQP" not in closing_lines(result, None)


def test_table_shows_the_worst_of_many_entries(make_case: MakeCase) -> None:
    k = np.array([1.0, 2.0, -3.0, 1.0, 1.0, 1.0, 1.0])
    responses = (Response("f", "minimize"), Response("h", "upper", (8.0,) * 7, shown_unit="cm", shown_per_unit=100.0))
    comp = om.ExecComp("h = k * b", h=np.zeros(7), b={"units": "m"}, k=k)
    case = adaptive_case(make_case(responses=responses, exact=lambda: {"exact": comp}), configuration=None)
    table = adaptive_table(run_adaptive(replace(case, max_evaluations=1), 0, EvaluationStore(), quiet), None)
    assert list(table.columns[0].cells)[:2] == ["f", "h, worst (cm)"]
    assert list(table.columns[1].cells)[1] == "<= 800"
    assert list(table.columns[2].cells)[1] == "200"


def test_violated_bound_is_marked(bowl: AdaptiveCase) -> None:
    case = replace(bowl, start=np.array([-1.0, 0.0, 0.0]), max_evaluations=1)
    result = run_adaptive(case, 0, EvaluationStore(), quiet)
    table = adaptive_table(result, None)
    assert "!!" in str(list(table.columns[2].cells)[1])
    assert "!!" not in str(list(table.columns[2].cells)[2])

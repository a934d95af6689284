"""`optimize` on a store: what belongs to a model, and what a second call finds there."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import openmdao.api as om
import pytest

import gradopt as go
from gradopt import EvaluationStore, Exit, OptimizeResult
from gradopt.errors import InputError, ShapeError
from gradopt.om.whole_model import ChosenEntries

runs: list[float] = []


class Counted(om.ExplicitComponent):  # type: ignore[misc]
    """f = (x0 - 0.3)^2 + 0.5 (x1 - x0^2)^2 + x2, which notes each run."""

    def setup(self) -> None:
        self.add_input("x", [-0.5, 0.7, 0.1], units="m")
        self.add_output("f")
        self.declare_partials("f", "x")

    def compute(self, inputs: Any, outputs: Any) -> None:
        x = inputs["x"]
        runs.append(float(x[0]))
        outputs["f"] = (x[0] - 0.3) ** 2 + 0.5 * (x[1] - x[0] ** 2) ** 2 + x[2]

    def compute_partials(self, inputs: Any, partials: Any) -> None:
        x = inputs["x"]
        bend = x[1] - x[0] ** 2
        partials["f", "x"] = [2.0 * (x[0] - 0.3) - 2.0 * x[0] * bend, bend, 1.0]


def problem(indices: list[int], last: float = 0.1) -> om.Problem:
    made = om.Problem(reports=None)
    made.model.add_subsystem("comp", Counted(), promotes=["*"])
    made.model.add_design_var("x", lower=-2.0, upper=2.0, indices=indices)
    made.model.add_objective("f")
    made.setup()
    made.set_val("x", last, indices=2)
    return made


def plain() -> om.Problem:
    return om.Problem(model=om.Group(), reports=None)


def first_two() -> om.Problem:
    return problem([0, 1])


def run(factory: Any = first_two, **options: Any) -> OptimizeResult:
    """Optimize without a network, and close the store."""
    result = go.optimize(factory, **{"configuration": None, "identity": "counted", **options})
    if not isinstance(options.get("store"), EvaluationStore):
        result.store.close()
    return result


def steps(result: OptimizeResult) -> list[Any]:
    return [
        (r.u.tolist(), r.objective, r.predicted_objective, r.ratio, r.accepted, r.radius) for r in result.history[1:]
    ]


def test_a_second_call_evaluates_one_point_to_verify_and_takes_the_same_steps(tmp_path: Path) -> None:
    first = run(store=tmp_path / "store")
    del runs[:]
    second = run(store=tmp_path / "store")
    assert (
        len(runs) == second.new_evaluations == second.verified == 1 and first.new_evaluations == first.evaluations > 3
    )
    assert second.evaluations == first.evaluations and second.success
    assert steps(second) == steps(first) and second.objective == first.objective
    np.testing.assert_array_equal(second.x["x"], first.x["x"])
    counted = f"{second.evaluations} evaluations, {second.evaluations} of them from the store"
    assert f"{counted}, one of these made again to verify it" in str(second)
    assert "from the store" not in str(first)


def test_a_larger_budget_continues(tmp_path: Path) -> None:
    whole = run()
    assert run(store=tmp_path / "store", max_evaluations=3).exit is Exit.BUDGET
    rest = run(store=tmp_path / "store")
    assert steps(rest) == steps(whole) and rest.new_evaluations == whole.evaluations - 3 + 1


def test_totals_are_checked_once_in_a_store(tmp_path: Path) -> None:
    del runs[:]
    run(store=tmp_path / "store", max_evaluations=2)
    assert len(runs) == 2 + 2  # one evaluation is a run; the check takes two
    run(store=tmp_path / "store", max_evaluations=4)
    assert len(runs) == 4 + 2 + 1  # one stored point is evaluated again


def test_an_open_store_is_used_and_stays_open(tmp_path: Path) -> None:
    with EvaluationStore(tmp_path / "store") as store:
        result = run(store=store)
        assert result.store is store and store.count(result.truth) == result.evaluations


def test_a_store_that_was_opened_here_is_closed_after_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = []
    monkeypatch.setattr(EvaluationStore, "close", lambda self: closed.append(self.path))
    with pytest.raises(InputError, match="must have one objective"):
        go.optimize(plain, store=tmp_path / "store")
    assert closed == [tmp_path / "store"]
    with EvaluationStore() as store:
        with pytest.raises(InputError, match="must have one objective"):
            go.optimize(plain, store=store)
        assert len(closed) == 1


@pytest.mark.parametrize(
    "other",
    [{"indices": [1, 0]}, {"indices": [0, 2]}, {"indices": [0, 1], "last": 0.2}],
    ids=["order", "indices", "fixed values"],
)
def test_rows_of_other_entries_or_of_other_fixed_values_are_not_handed_out(
    other: dict[str, Any], tmp_path: Path
) -> None:
    first = run(store=tmp_path / "store")
    changed = run(lambda: problem(**other), store=tmp_path / "store", max_evaluations=3)
    assert changed.new_evaluations == changed.evaluations
    assert changed.truth.identity != first.truth.identity


def test_rows_of_another_rule_for_convergence_or_identity_are_not_handed_out(tmp_path: Path) -> None:
    run(store=tmp_path / "store")
    for options in ({"require_convergence": False}, {"identity": "another"}):
        changed = run(store=tmp_path / "store", max_evaluations=2, **options)
        assert changed.new_evaluations == changed.evaluations


def test_another_start_or_transform_shares_the_rows(tmp_path: Path) -> None:
    def elsewhere() -> om.Problem:
        made = problem([0, 1])
        made.set_val("x", [0.5, 0.5], indices=[0, 1])
        return made

    with EvaluationStore(tmp_path / "store") as store:
        first = run(store=store)
        second = run(elsewhere, store=store)
        assert store.count(second.truth) == first.evaluations + second.new_evaluations - second.verified
        third = run(store=store, transforms={"f": "log"})
        assert third.data is not None and third.new_evaluations - third.verified < third.data.n


def test_a_store_on_disk_needs_an_identity_unless_the_factory_has_one(tmp_path: Path) -> None:
    models = (made for made in [problem([0, 1])])
    message = r"`truth.identity` must be given for a store on disk, got None: .*'models'.* cannot be identified"
    with pytest.raises(InputError, match=message):
        run(lambda: (models, problem([0, 1]))[1], store=tmp_path / "store", identity=None)
    assert run(lambda: (models, problem([0, 1]))[1], identity=None).truth.identity is None
    result = run(open_model, store=tmp_path / "store", identity=None)
    assert result.truth.identity is not None and ".open_model " in result.truth.identity


def open_model() -> om.Problem:
    made = om.Problem(reports=None)
    made.model.add_subsystem("comp", om.ExecComp("f = (x - 0.2)**2", do_coloring=False), promotes=["*"])
    made.model.add_design_var("x", lower=-1.0, upper=1.0)
    made.model.add_objective("f")
    return made


def test_the_truth_goes_to_another_process() -> None:
    truth = run().truth
    assert isinstance(truth, ChosenEntries)
    copied = pickle.loads(pickle.dumps(truth))
    x = [[0.25, 0.5], [0.75, -0.5]]
    np.testing.assert_array_equal(copied.evaluate(x).dydx, truth.evaluate(x).dydx)
    assert copied.identity == truth.identity


def test_points_of_another_width_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"`x` must have shape \(n, d\) = \(n, 2\), got \(1, 3\)"):
        run().truth.evaluate([[0.25, 0.5, 0.5]])

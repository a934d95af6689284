"""`optimize` mirrors units, scaling, indices, aliases and names of the model's declarations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import openmdao.api as om
import pytest

import gradopt as go
from gradopt import Exit, OptimizeResult
from gradopt.errors import InputError

Factory = Callable[[], om.Problem]


def direct(factory: Factory) -> om.Problem:
    """The model, optimized by SLSQP itself."""
    problem = factory()
    problem.driver = om.ScipyOptimizeDriver(optimizer="SLSQP", tol=1e-12, maxiter=500, disp=False)
    problem.setup()
    problem.run_driver()
    return problem


@contextmanager
def optimized(factory: Factory, **options: Any) -> Iterator[OptimizeResult]:
    """Optimize, without a network unless a configuration is given, and close the store."""
    result = go.optimize(factory, **{"configuration": None, **options})
    with result.store:
        yield result


def declared_in_units() -> om.Problem:
    """A maximum over two of four entries, with units, scaling, indices, aliases and dots in names."""
    problem = om.Problem(reports=None)
    equations = ["f = -sum((x - a)**2) - 0.1 * sum(x)**2", "g = x * x + 0.1 * x"]
    square = {"shape": (2, 2), "units": "m"}
    comp = om.ExecComp(
        equations,
        do_coloring=False,
        x={**square, "val": np.array([[0.2, 0.9], [0.9, 1.1]])},
        a={"shape": (2, 2), "val": np.arange(4.0).reshape(2, 2)},
        g={"shape": (2, 2), "units": "m**2"},
        f={"units": "N"},
    )
    problem.model.add_subsystem("aero", om.Group()).add_subsystem("comp", comp, promotes=["*"])
    add = problem.model.add_constraint
    problem.model.add_design_var(
        "aero.x", lower=[10.0, 0.0], upper=250.0, units="cm", indices=[3, 1], flat_indices=True, ref=200.0, ref0=-10.0
    )
    problem.model.add_objective("aero.f", units="kN", scaler=-1e3, adder=0.002)
    add("aero.g", indices=[3], flat_indices=True, upper=4e4, units="cm**2", ref=1e4)
    add("aero.g", indices=om.slicer[0, 1], lower=0.3, upper=0.9, alias="low g")
    add("aero.x", indices=[1], flat_indices=True, upper=80.0, units="cm", alias="x above")
    return problem


def test_units_scaling_indices_aliases_and_a_maximum_are_those_of_the_model() -> None:
    reference = direct(declared_in_units)
    with optimized(declared_in_units, tolerance=1e-6) as found:
        x, g = reference.get_val("aero.x"), reference.get_val("aero.g")
        assert found.success
        assert list(found.x) == ["aero.x"] and list(found.constraints) == ["aero.g", "low g", "x above"]
        np.testing.assert_allclose(found.x["aero.x"], 100.0 * x[[1, 0], [1, 1]], rtol=1e-4)
        assert found.objective == pytest.approx(1e-3 * reference.get_val("aero.f").item(), rel=1e-4)
        np.testing.assert_allclose(found.constraints["aero.g"], 1e4 * g[1, 1], rtol=1e-4)
        np.testing.assert_allclose(found.constraints["low g"], g[0, 1], rtol=1e-4)
        np.testing.assert_allclose(found.constraints["x above"], 100.0 * x[0, 1], rtol=1e-4)


def test_the_driver_of_the_surrogate_problem_sees_what_the_model_s_sees() -> None:
    theirs = declared_in_units()
    theirs.driver = om.ScipyOptimizeDriver(optimizer="SLSQP", disp=False)
    theirs.setup()
    theirs.set_val("aero.x", [[0.2, 0.7], [0.9, 1.5]])
    theirs.run_model()
    with optimized(declared_in_units) as found:
        ours = found.problem
        ours.set_val("aero:x", [1.5, 0.7])
        ours.model.whole_model.evaluate_with(go.SurrogateComp(truth=found.truth).evaluator)
        ours.run_model()
        for values in ("get_design_var_values", "get_objective_values", "get_constraint_values"):
            expected, got = (getattr(problem.driver, values)().values() for problem in (theirs, ours))
            for one, other in zip(expected, got, strict=True):
                np.testing.assert_allclose(other, one, rtol=1e-13)
        first, second = (
            p.driver._compute_totals(
                [*p.driver._objs, *p.driver._cons], list(p.driver._designvars), return_format="array"
            )
            for p in (theirs, ours)
        )
        np.testing.assert_allclose(second, first, rtol=1e-12)


def test_one_sided_bounds_keep_their_side_under_a_negative_scaler() -> None:
    def factory() -> om.Problem:
        problem = om.Problem(reports=None)
        comp = om.ExecComp(["f = x**2 + y**2", "g = x + 0.1 * x**3"], do_coloring=False)
        problem.model.add_subsystem("comp", comp, promotes=["*"])
        problem.model.add_design_var("x", lower=-2.0, upper=2.0)
        problem.model.add_design_var("y", lower=0.25, upper=2.0, ref=-2.0)
        problem.model.add_objective("f")
        problem.model.add_constraint("g", lower=0.6, ref=-3.0, ref0=1.0)
        return problem

    with optimized(factory) as found:
        assert found.success
        np.testing.assert_allclose([found.constraints["g"][0], found.x["y"][0]], [0.6, 0.25], atol=2e-4)


def test_names_with_dots_are_the_user_s_in_the_certificate_and_the_summary() -> None:
    with optimized(declared_in_units, max_evaluations=2) as found:
        assert found.exit is Exit.BUDGET and not found.success and found.certificate is not None
        assert list(found.certificate.active_bounds) == ["aero.x"] == list(found.certificate.bound_multipliers)
        assert list(found.certificate.active) == ["aero.g", "low g", "x above"]
        assert found.certificate.worst["stationarity"][0] == "aero.x"
        text = str(found) + found.certificate.reason
        assert "aero.x" in text and "low g" in text and "aero:" not in text
        assert text.startswith("budget: 2 evaluations\nobjective = ") and found.exit.advice in text


def test_only_what_is_chosen_is_learned() -> None:
    with optimized(declared_in_units) as found:
        x, f, g = (*found.truth.inputs, *found.truth.outputs)
        assert (x.name, x.shape, x.units) == ("aero:x", (2,), "m")
        np.testing.assert_allclose(x.bounds, [[0.1, 0.0], [2.5, 2.5]])
        assert (f.name, f.units) == ("aero:f", "N") and (g.name, g.shape) == ("aero:g", (2,))
        rows = found.truth.evaluate([[1.5, 0.7]])
        np.testing.assert_allclose(rows.y[0, 1:], [0.7 * 0.8, 1.5 * 1.6])
        np.testing.assert_allclose(rows.dydx[0, 1:], [[0.0, 1.5], [3.1, 0.0]])


class Series(om.ExplicitComponent):  # type: ignore[misc]
    """y = (round-off, x.x, x0 x1) and f = |x - 2|^2; the partials of a row of y are off by a factor."""

    def __init__(self, wrong: int | None = None, factor: float = 1.0) -> None:
        super().__init__()
        self._wrong, self._factor = wrong, factor

    def setup(self) -> None:
        self.add_input("x", [1.1, 0.7, 0.9])
        self.add_output("y", np.zeros(3), units="m")
        self.add_output("f")
        self.declare_partials("*", "x")

    def compute(self, inputs: Any, outputs: Any) -> None:
        x = inputs["x"]
        outputs["y"], outputs["f"] = [1e-17 * x[1], x @ x, x[0] * x[1]], ((x - 2.0) ** 2).sum()

    def compute_partials(self, inputs: Any, partials: Any) -> None:
        x = inputs["x"]
        rows = np.array([[0.0, 1.6e-17, 0.0], 2.0 * x, [x[1], x[0], 0.0]])
        if self._wrong is not None:
            rows[self._wrong] *= self._factor
        partials["y", "x"], partials["f", "x"] = rows, 2.0 * (x - 2.0)


def series(wrong: int | None, factor: float, indices: list[int], **options: Any) -> Callable[[], om.Problem]:
    def factory() -> om.Problem:
        problem = om.Problem(reports=None)
        problem.model.add_subsystem("series", Series(wrong, factor), promotes=["*"])
        problem.model.add_design_var("x", indices=[0, 1], lower=-3.0, upper=5.0)
        problem.model.add_constraint("y", indices=indices, **options)
        problem.model.add_objective("f")
        return problem

    return factory


@pytest.mark.parametrize(
    ("wrong", "indices"), [(None, [0, 1, 2]), (None, [2]), (0, [2]), (1, [0, 2])], ids=["all", "one", "0", "1"]
)
def test_totals_of_round_off_and_of_rows_without_use_are_not_refused(wrong: int | None, indices: list[int]) -> None:
    found = go.optimize(series(wrong, -5.0, indices, upper=9.0), configuration=None, max_evaluations=20)
    assert found.success
    np.testing.assert_allclose(found.x["x"], [2.0, 2.0], atol=1e-3)
    found.store.close()


@pytest.mark.parametrize("factor", [-1.0, 0.0, 2.0])
@pytest.mark.parametrize("row", [1, 2])
def test_wrong_totals_of_a_row_in_use_are_refused(row: int, factor: float) -> None:
    with pytest.raises(InputError, match=rf"The partials of 'y\[{row}\]' do not fit"):
        go.optimize(series(row, factor, [0, row], upper=9.0), configuration=None)


class Tiny(om.ExplicitComponent):  # type: ignore[misc]
    """g = 1e-15 x in m, with a partial three times too large, and f = x^2."""

    def setup(self) -> None:
        self.add_input("x", 1.0)
        self.add_output("g", units="m")
        self.add_output("f")
        self.declare_partials("g", "x", val=3e-15)
        self.declare_partials("f", "x")

    def compute(self, inputs: Any, outputs: Any) -> None:
        outputs["g"], outputs["f"] = 1e-15 * inputs["x"], inputs["x"] ** 2

    def compute_partials(self, inputs: Any, partials: Any) -> None:
        partials["f", "x"] = 2.0 * inputs["x"]


@pytest.mark.parametrize(
    ("options", "refused"),
    [
        ({"upper": 2.0}, False),
        ({"upper": 2e-15}, True),
        ({"upper": 2.0, "ref": 1e-15}, True),
        ({"upper": 2.0, "ref": 1e-12, "units": "mm"}, True),
        ({"upper": 2.0, "ref": 100.0, "units": "mm"}, False),
    ],
    ids=["no scale", "bound", "ref", "ref in mm", "mm"],
)
def test_scaling_and_bounds_tell_round_off_from_small_values(options: dict[str, Any], refused: bool) -> None:
    def factory() -> om.Problem:
        problem = om.Problem(reports=None)
        problem.model.add_subsystem("tiny", Tiny(), promotes=["*"])
        problem.model.add_design_var("x", lower=-1.0, upper=3.0)
        problem.model.add_constraint("g", **options)
        problem.model.add_objective("f")
        return problem

    with pytest.raises(InputError, match="The partials of 'g' do not fit") if refused else nullcontext():
        go.optimize(factory, configuration=None, max_evaluations=1).store.close()


def test_the_check_moves_design_variables_alone_and_stays_within_bounds() -> None:
    seen = []

    class Noted(Series):
        def compute(self, inputs: Any, outputs: Any) -> None:
            seen.append(np.array(inputs["x"]))
            super().compute(inputs, outputs)

    def factory() -> om.Problem:
        problem = om.Problem(reports=None)
        problem.model.add_subsystem("series", Noted(), promotes=["*"])
        problem.model.add_design_var("x", indices=[0, 1], lower=[0.0, 0.7], upper=[1.1, 5.0])
        problem.model.add_objective("f")
        return problem

    go.optimize(factory, configuration=None, max_evaluations=5).store.close()
    points = np.array(seen)
    assert (points[:, 0] <= 1.1).all() and (points[:, 1] >= 0.7).all() and (points[:, 2] == 0.9).all()
    assert len(np.unique(points, axis=0)) > 3

"""The public submodules gather the names that users need."""

from __future__ import annotations

from types import ModuleType

import pytest

import gradopt.diagnostics
import gradopt.priors
import gradopt.solvers

PRIORS = "Bounded Constant Custom Independent Monotone Oscillating Prior Smooth"


@pytest.mark.parametrize(
    ("module", "names"),
    [
        (gradopt.priors, PRIORS),
        (gradopt.solvers, "Adam FitResult LBFGS LevenbergMarquardt Progress Status"),
        (gradopt.diagnostics, "CrossValidation Outlier cross_validate drop_outliers find_outliers"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_public_module_has_these_names_and_no_others(module: ModuleType, names: str) -> None:
    assert {name for name in vars(module) if not name.startswith("_")} == set(names.split())

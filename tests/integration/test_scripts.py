"""Every script runs from the repository's root and writes the figures it promises."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Results = Callable[..., tuple[dict[str, Any], str]]

ERRORS = ("nrmse_values", "nrmse_partials_worse", "nrmse_partials_pooled", "seconds")
ACCURACY = [
    *(
        f"small_design.{kind}.{figure}.{of}"
        for kind in ("JENN", "MLP")
        for figure in ERRORS
        for of in ("median", "worst")
    ),
    *(f"small_design.activations.{name}.{ERRORS[0]}" for name in ("sigmoid", "silu", "softplus", "sin")),
    *(
        f"demonstration.models.{name}.{figure}"
        for name in ("MLP", "JENN", "JENN polished", "jenn", "jenn polished")
        for figure in (*ERRORS, "true_f", "distance")
    ),
    "demonstration.seconds_ratio",
]
COST = [
    *(f"gradient.{threads}_{of}" for threads in ("one_thread.ratio", "default_threads.ratio") for of in ("128_to_16",)),
    *(f"gradient.{threads}.ms.{d}.median" for threads in ("one_thread", "default_threads") for d in (16, 128)),
    *(f"against_jenn.{figure}.{of}" for figure in ("gradopt_ms", "ratio") for of in ("median", "min", "max")),
    *(f"component.{figure}.median" for figure in ("surrogate_ms", "numpy_ms", "ratio")),
    *(f"time_to_loss.ratio.gradopt.{count}.{of}" for count in (50, 100) for of in ("cpu.median", "wall.worst", "runs")),
    *(f"growth.varied.{size}.{kind}.slope" for size in ("n", "m", "width") for kind in ("values and partials",)),
    *(f"memory.limits.{2**power}.{of}" for power in (34, 26) for of in ("peak", "cpu_seconds")),
]
REPOLISH = [
    *(
        f"functions.{name}.{against}{figure}.{of}"
        for name in ("rosenbrock_2", "rosenbrock_5", "rosenbrock_10", "smooth_8")
        for against in ("", "against_one_start.")
        for figure in ("seconds", "values", "partials", "near_values", "near_partials")
        for of in ("median", "worst", "mean" if figure == "seconds" else "of_medians")
    ),
    "functions.rosenbrock_2.made.warm",
]

EVALUATIONS = [
    *(
        f"rosenbrock.{start}.methods.{method}.{figure}"
        for start in ("named", "2-D")
        for method in ("SLSQP", "L-BFGS-B", "BFGS", "trust-constr", "loop")
        for figure in ("f.median", "f.worst", "restarts", "seconds_per_evaluation")
    ),
    *(f"rosenbrock.2-D.methods.loop{part}.ratio.f" for part in ("", ", no kriging", ", no secants")),
    *(f"airfoil.naca0012.methods.{m}.evaluations" for m in ("loop", "SLSQP, as the case", "SLSQP, by bounds")),
]
CERTIFICATES = [
    f"arms.{arm}.{of}" for arm in ("corrected", "uncorrected") for of in ("counts.all.runs", "largest_error", "seconds")
]
FAILURES = [
    *(f"problems.rosenbrock_2.{shape}.part" for shape in ("ball", "stripes", "walls", "slab", "cells")),
    *("ratio.median", "ratio.worst", "within"),
]
WING = [
    *(f"starts.crm.methods.{m}.evaluations" for m in ("loop", "loop, whole", "SLSQP, bounds, fuel 10000")),
    *(f"summary.{arm}.{of}" for arm in ("loop", "loop, whole") for of in ("end.mean", "certified")),
    "starts.crm.best_direct_fuel",
]
KILLS = ["kills", "evaluations", "rows", "begun"]


def figure(result: dict[str, Any], path: str) -> float:
    found: Any = result
    for key in path.split("."):
        found = found[key]
    return float(found)


@pytest.mark.parametrize(
    ("script", "figures", "files"),
    [
        ("training_accuracy", ACCURACY, []),
        ("training_cost", COST, ["gradient.png", "growth.png"]),
        ("repolish_cost", REPOLISH, []),
        ("evaluations_vs_scipy", EVALUATIONS, ["evaluations.png"]),
        ("false_certificates", CERTIFICATES, []),
        ("failing_truths", FAILURES, []),
        ("kill_and_resume", KILLS, []),
        ("wing_study", WING, []),
    ],
)
def test_script_writes_its_figures(
    script: str, figures: list[str], files: list[str], results_of: Results, tmp_path: Path
) -> None:
    result, printed = results_of(script, "--quick")
    numbers = {name: figure(result, name) for name in figures}
    assert all(math.isfinite(number) and number > 0.0 for number in numbers.values()), numbers
    assert {entry.name for entry in tmp_path.iterdir()} == {"result.json", *files}
    assert "ratio" in printed or "seconds" in printed, "no table printed"

"""Every script runs from the repository's root, says what it measures, and writes its files and its figures."""

import math
import shutil
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest

from scripts.__main__ import registry

Smoke = Callable[[str], Any]
SCRIPTS = registry()

WRITTEN = {  # beside the result file
    "airfoil.drag_data": {"drag.png"},
    "airfoil.evaluations_vs_slsqp": set(),
    "airfoil.xfoil_calls": set(),
    "gradinn.experiments": {"rows.jsonl", "noise.png", "priors.png", "hybrid.png", "cost.png"},
    "jenn.experiments": {f"{name}.png" for name in "sine rastrigin noise adflow polishing optimizations".split()},
    "loop.certificates_by_kind": set(),
    "loop.digests": set(),
    "loop.evaluations_vs_scipy": {"evaluations.png"},
    "loop.evaluations_vs_solvers": {"loop.jsonl", "rivals.jsonl", "profiles.png"},
    "loop.failing_truths": set(),
    "loop.false_certificates": set(),
    "loop.kill_and_resume": set(),
    "loop.loop_time": {"seconds.png"},
    "loop.noisy_gradients": {"noisy_gradients.png"},
    "loop.rounds": {"rounds.png"},
    "surrogates.accuracy_vs_peers": {"rows.jsonl", "errors_5d.png", "seconds_5d.png", "samples.png"},
    "surrogates.friedman_few_samples": {"errors.png"},
    "surrogates.incremental_fit_cost": set(),
    "surrogates.noisy_partials": {"noise.png"},
    "surrogates.training_accuracy": set(),
    "surrogates.training_cost": {"gradient.png"},
    "surrogates.uncertainty_coverage": {"uncertainty.png"},
    "wing.evaluations_vs_slsqp": set(),
    "workers.engines": set(),
    "workers.finite_differences": set(),
    "workers.kills": set(),
    "workers.many_evaluations": set(),
    "workers.store_speed": {"seconds.png"},
}
NO_XFOIL = not (shutil.which("xfoil") and shutil.which("Xvfb"))
NEEDS_XFOIL = pytest.mark.skipif(NO_XFOIL, reason="XFOIL needs the Debian packages xfoil and xvfb")


def test_every_script_has_a_smoke_test() -> None:
    assert set(SCRIPTS) == set(WRITTEN), "add a new script to WRITTEN, with the files that it writes"


@pytest.mark.parametrize("name", [pytest.param(n, marks=[NEEDS_XFOIL] * ("xfoil" in n)) for n in SCRIPTS])
def test_script_runs_with_a_tiny_budget_and_writes_its_files(name: str, smoke: Smoke) -> None:
    done = smoke(name)
    assert {entry.name for entry in done.folder.iterdir()} == {"found.json", *WRITTEN[name]}
    assert "┃" in done.printed, "no table printed"


@pytest.mark.parametrize("name", SCRIPTS)
def test_script_says_what_it_measures_and_where_its_result_is(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        import_module(f"scripts.{name}").main(["--help"])
    shown = capsys.readouterr().out
    assert f"python -m scripts.{name}" in shown and SCRIPTS[name] in shown
    assert f"results/{name.replace('.', '/')}/result.json" in "".join(shown.split())


ERRORS = ("nrmse_values", "nrmse_partials_worse", "nrmse_partials_pooled", "seconds")
ACCURACY = [
    *(
        f"small_design.{kind}.{figure}.{of}"
        for kind in ("JENN", "MLP")
        for figure in ERRORS
        for of in ("median", "largest")
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
    "gradient.ratio_128_to_16",
    *(f"gradient.ms.{d}.median" for d in (16, 128)),
    *(f"against_jenn.{figure}.{of}" for figure in ("gradopt_ms", "ratio") for of in ("median", "least", "largest")),
    *(f"component.{figure}.median" for figure in ("surrogate_ms", "numpy_ms", "ratio")),
    *(
        f"time_to_loss.ratio.gradopt.{count}.{of}"
        for count in (50, 100)
        for of in ("cpu.median", "wall.largest", "runs")
    ),
]
INCREMENTAL = [
    *(
        f"functions.{name}.{against}{figure}.{of}"
        for name in ("rosenbrock_2", "smooth_8")
        for against in ("", "against_one_start.")
        for figure in ("seconds", "values", "partials", "near_values", "near_partials")
        for of in ("median", "largest", "ratio_of_sums" if figure == "seconds" else "of_medians")
    ),
    "functions.rosenbrock_2.made.warm",
]

EVALUATIONS = [
    *(
        f"rosenbrock.{start}.methods.{method}.{figure}"
        for start, methods in (("named", ("loop",)), ("2-D", ()))
        for method in ("SLSQP", "L-BFGS-B", "BFGS", "trust-constr", *methods)
        for figure in ("f.median", "f.largest", "restarts", "seconds_per_evaluation")
    ),
    *(f"rosenbrock.named.methods.loop.ratio.{of}" for of in ("f", "restarts")),
    *(f"rosenbrock.2-D.methods.loop{part}.starts" for part in ("", ", no kriging", ", no secants", ", JENN")),
    *(f"airfoil.naca0012.methods.{m}.evaluations" for m in ("loop", "SLSQP, as the case", "SLSQP, by bounds")),
]
DIRECT = [
    *("problems", "solved_by_any", "certificates.certified"),
    *(f"solvers.{solver}.solved" for solver in ("loop", "SciPy SLSQP", "SciPy L-BFGS-B", "SciPy trust-constr")),
    *(f"ratios.{rival}.geometric_mean" for rival in ("SciPy SLSQP", "SciPy L-BFGS-B", "SciPy trust-constr")),
]
CERTIFICATES = [
    f"arms.{arm}.{of}" for arm in ("corrected", "uncorrected") for of in ("counts.all.runs", "largest_error", "seconds")
]
KINDS = [f"counts.{kind}.runs" for kind in ("few digits", "scales together", "two truths", "mixed", "all")]
FAILURES = [
    *(f"problems.rosenbrock_2.{shape}.share" for shape in ("ball", "stripes")),
    *("ratio.median", "ratio.largest", "within"),
]
WING = [
    *(f"starts.crm.methods.{m}.evaluations" for m in ("loop", "loop, whole", "SLSQP, bounds, fuel 10000")),
    *(f"summary.{arm}.starts" for arm in ("loop", "loop, whole")),
]
TIMES = [
    *(f"inputs.runs.{d}.seconds_of_iteration" for d in (2, 5, 10)),
    *(f"samples.{d}.runs.{n}.seconds_of_iteration" for d in (5, 20) for n in (10, 30, 100)),
    *(f"single.{name}.{figure}" for name in ("airfoil", "HS39") for figure in ("seconds", "iterations", "evaluations")),
]
ENGINES = [f"engines.{name}.same" for name in ("in process", "2 processes", "Dask", "MPI", "executorlib", "generator")]
DIFFERENCES = ["evaluation.median", *(f"workers.2.{name}" for name in ("one.median", "together", "processor"))]
MANY = [f"engines.processes.50.{name}" for name in ("rows_per_second", "processor", "bytes")]
MANY += [f"engines.processes.at_100000.{name}" for name in ("hours", "store")]
STORE = [
    *(f"sizes.1000.{name}" for name in ("open", "first", "all", "bytes")),
    *(
        f"sizes.{rows}.{name}.wall.median"
        for rows in (100, 1000)
        for name in ("append", "append_call", "look_up", "sqlite")
    ),
    *("rows_per_second.median", "rows_per_second.least"),
]
KILLS = ["kills", "evaluations", "rows", "begun"]


def figure(result: dict[str, Any], path: str) -> float:
    found: Any = result
    for key in path.split("."):
        found = found[key]
    return float(found)


@pytest.mark.parametrize(
    ("name", "figures"),
    [
        ("surrogates.training_accuracy", ACCURACY),
        ("surrogates.training_cost", COST),
        ("surrogates.incremental_fit_cost", INCREMENTAL),
        ("loop.evaluations_vs_scipy", EVALUATIONS),
        ("loop.evaluations_vs_solvers", DIRECT),
        ("loop.false_certificates", CERTIFICATES),
        ("loop.certificates_by_kind", KINDS),
        ("loop.failing_truths", FAILURES),
        ("loop.kill_and_resume", KILLS),
        ("loop.loop_time", TIMES),
        ("wing.evaluations_vs_slsqp", WING),
        ("workers.engines", ENGINES),
        ("workers.finite_differences", DIFFERENCES),
        ("workers.kills", KILLS[:1] + KILLS[2:]),
        ("workers.many_evaluations", MANY),
        ("workers.store_speed", STORE),
    ],
)
def test_script_writes_its_figures(name: str, figures: list[str], smoke: Smoke) -> None:
    result = smoke(name).result
    numbers = {name: figure(result, name) for name in figures}
    assert all(math.isfinite(number) and number > 0.0 for number in numbers.values()), numbers

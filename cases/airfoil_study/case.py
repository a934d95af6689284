"""The study on the command line."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

from cases.airfoil_study.conditions import sample_conditions
from cases.airfoil_study.engine import Rules
from cases.airfoil_study.pictures import draw_study, trace_fronts
from cases.airfoil_study.problem import REACH, make_problem
from cases.airfoil_study.study import run_baselines, run_study
from cases.airfoil_study.tables import closing_lines, study_table, write_study
from cases.study import Outcome
from gradopt.errors import InputError, explain
from gradopt.truth.store import EvaluationStore

TITLE = "fifty airfoils for fifty conditions on one surrogate, NeuralFoil as the truth"

_SAMPLES = 8  # truth evaluations about the shape at the start, before the first design; by hand


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that only this study has."""
    parser.add_argument("--conditions", type=int, help="number of design conditions (default 50, with --quick 4)")
    text = f"largest distance of weights from the start's, chord fractions (default {REACH:g})"
    parser.add_argument("--reach", type=float, default=REACH, help=text)
    text = "also run SLSQP on the truth, from one start and from the nearest design so far"
    parser.add_argument("--reference", action="store_true", help=text)


def run(arguments: argparse.Namespace, folder: Path, scratch: Path, report: Callable[[str], None]) -> Outcome:
    """Run the study, see `cases.study.Study`."""
    number = (4 if arguments.quick else 50) if arguments.conditions is None else arguments.conditions
    if number < 1:
        raise InputError(explain("--conditions", "be at least 1", number, "The study has 50."))
    rules = Rules()
    if arguments.quick:
        rules = replace(rules, waves=(1, 3), iterations=(4, 1), budget=6.0, final_iterations=1)
    problem = make_problem(reach=arguments.reach)
    conditions = sample_conditions(number, arguments.seed)
    with EvaluationStore(folder / "evaluations.sqlite") as store:
        study = run_study(problem, conditions, store, rules, _SAMPLES, arguments.seed, report)
    baselines = run_baselines(problem, conditions, report) if arguments.reference else None
    report("tracing fronts on the surrogate")
    fronts = trace_fronts(study)
    report("writing results")
    write_study(study, baselines, arguments.seed, [asdict(front) for front in fronts], scratch / "result.json")
    pictures = draw_study(study, baselines, fronts, scratch)
    return [study_table(study, baselines), closing_lines(study, baselines)], pictures

"""Drag of airfoils by RANS: train on 33,632 samples, validate on a sweep, minimize near the data."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cases.airfoil_rans.accuracy import AVERAGED, accuracy, fit_average, network, values_alone
from cases.airfoil_rans.calibration import Calibration
from cases.airfoil_rans.data import (
    ANGLE_RANGE,
    MACH_OF_SWEEP,
    MACH_RANGE,
    in_logarithms,
    load_samples,
    load_sweep,
    split,
)
from cases.airfoil_rans.neighbors import neighbors_of
from cases.airfoil_rans.optimization import HELD, STARTS, design_at, minimize
from cases.airfoil_rans.pictures import draw
from cases.airfoil_rans.results import Study, record, tables
from cases.study import Outcome
from gradopt import Dataset
from gradopt.errors import InputError, explain
from gradopt.om.data_distance import DataDistance
from gradopt.report.records import write_result
from gradopt.solvers import Adam
from gradopt.surrogates.fitted.surrogate import Surrogate

TITLE = "learn the drag of 42,039 airfoils by RANS, and minimize it where the data are"

_NETWORKS = 5  # networks of the average; by hand: the training time grows with them
_QUANTILE = 0.99  # of the distances of held-out shapes: the limit of an optimum; by hand
_NEIGHBORS = 4  # held-out samples that are printed for each design
_QUICK_SAMPLES, _QUICK_EPOCHS = 2000, 20  # samples and epochs with --quick; by hand


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that only this case has."""
    parser.add_argument("--mach", type=float, default=MACH_OF_SWEEP, help="Mach number, 0.3 to 0.6 (default 0.3)")
    parser.add_argument("--alpha", type=float, default=3.0, help="angle of attack, -1.2 to 5.2 degrees (default 3)")
    parser.add_argument(
        "--held", type=int, choices=range(1, 8), default=HELD, help=f"leading camber modes that stay (default {HELD})"
    )


def run(arguments: argparse.Namespace, folder: Path, scratch: Path, report: Callable[[str], None]) -> Outcome:
    """Run the case.

    Args:
        arguments: From the command line.
        folder: Not used: nothing needs to survive a stop.
        scratch: Folder for `result.json`, `surrogate_cd.gradopt` and the pictures.
        report: Function that receives a line on each step.

    Returns:
        Texts and tables to print, and paths of the pictures.

    Raises:
        InputError: If the flow is outside the data.
        MissingExtraError: If `smt` is not installed.
        FileFormatError: If the installed `smt` lacks a file, or it has other columns.
    """
    study = study_of(arguments, report)
    report("writing")
    write_result(scratch / "result.json", record(study))
    study.surrogate.save(scratch / "surrogate_cd.gradopt")
    return tables(study), draw(study, scratch)


def study_of(arguments: argparse.Namespace, report: Callable[[str], None]) -> Study:
    """Train, validate and optimize; see `run`."""
    seed, quick = arguments.seed, arguments.quick
    for name, value, (low, high) in (("--mach", arguments.mach, MACH_RANGE), ("--alpha", arguments.alpha, ANGLE_RANGE)):
        if not low <= value <= high:
            raise InputError(
                explain(name, f"lie in the data, {low:g} to {high:g}", value, "The rest is extrapolation.")
            )
    report("reading the samples")
    data, sweep = load_samples(), load_sweep()
    if quick:
        data = data.select(np.random.default_rng(seed).permutation(data.n)[:_QUICK_SAMPLES])
    training, held_out = split(data, seed)
    solver = Adam(epochs=_QUICK_EPOCHS) if quick else Adam()
    single = replace(network(solver), seed=seed)
    found: dict[str, dict[str, Any]] = {}

    def fitted(name: str, fit: Callable[[], Surrogate]) -> Surrogate:
        started = time.perf_counter()
        surrogate = fit()
        seconds = time.perf_counter() - started
        found[name] = {**accuracy(*surrogate.linearize(held_out.x), held_out), "seconds": seconds}
        return surrogate

    report("fitting a network to values and partials")
    fitted("with partials", lambda: single.fit(training))
    report("fitting a network to values alone")
    fitted("values alone", lambda: values_alone(single).fit(training))
    average = _average(training, seed, quick, report, fitted)
    report("measuring distances to the data")
    data_distance = DataDistance.of(training, ("camber", "thickness"))
    calibration = Calibration.of(average, data_distance, held_out)
    limit = calibration.limit(_QUANTILE)
    flow = (arguments.mach, arguments.alpha)
    starts = 2 if quick else STARTS
    designs = {"NACA 4412": design_at(average, data_distance, sweep.modes, flow)}
    for name, distance in (("optimum, limited", limit), ("optimum, free", None)):
        designs[name] = minimize(average, data_distance, sweep.modes, flow, arguments.held, distance, report, starts)
    return Study(
        data=data,
        held_out=held_out,
        training=found,
        surrogate=average,
        calibration=calibration,
        sweep=sweep,
        swept=average.predict(sweep.x)[:, 0],
        designs=designs,
        neighbors={
            name: neighbors_of(design, held_out, average, data_distance, _NEIGHBORS) for name, design in designs.items()
        },
        limit=limit,
        settings={
            "seed": seed,
            "quick": quick,
            "mach": flow[0],
            "alpha": flow[1],
            "held_camber_modes": arguments.held,
            "limit_quantile": _QUANTILE,
            "bandwidth": data_distance.bandwidth,
            "networks": len(average.networks),
            "network": average.configuration.to_dict(),
            "single_network": single.to_dict(),
        },
    )


def _average(
    training: Dataset,
    seed: int,
    quick: bool,
    report: Callable[[str], None],
    fitted: Callable[[str, Callable[[], Surrogate]], Surrogate],
) -> Surrogate:
    """Fit the average, which learns the logarithm of the drag."""
    configuration = replace(AVERAGED, solver=Adam(epochs=_QUICK_EPOCHS)) if quick else AVERAGED
    networks = 2 if quick else _NETWORKS
    return fitted("average", lambda: fit_average(configuration, in_logarithms(training), networks, seed, report))

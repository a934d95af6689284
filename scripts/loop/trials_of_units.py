"""Trials in other units, with other bounds and special starts, and mixed ones; for `loop.certificates_by_kind`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np

from scripts.loop.base_problems import (
    bounded_bowl,
    bowl,
    constrained,
    coupled,
    exponential_2,
    optimum,
    saddles,
    section,
    sellar_of_one_truth,
    unconstrained,
)
from scripts.loop.misleading_trials import hs71, starts
from scripts.loop.spoiled_truths import (
    QUANTIZERS,
    CertificateTrial,
    Spoil,
    Units,
    after,
    column_missing,
    few_digits,
    no_partials,
    off,
    relative,
    same,
    wide,
)
from scripts.shared.loop_problems import LoopProblem, disk_problem, rosenbrock_problem

OBJECTIVES = (1e-8, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e2, 1e4, 1e6, 1e8)
VARIABLES = (1e-6, 1e-4, 1e-3, 1e-2, 1e2, 1e3, 1e4, 1e6)
CONSTRAINTS = (1e-8, 1e-6, 1e-4, 1e-2, 1e2, 1e4, 1e6, 1e8)
WIDTHS = (10.0, 100.0, 300.0, 1e3, 1e4, 1e6, 1e8, 1e12, 1e20, np.inf)


def trials_of_units() -> Iterator[CertificateTrial]:
    """Make all trials of this file."""
    yield from _objectives()
    yield from _variables()
    yield from _constraints()
    yield from _together()
    yield from _driver_ref()
    yield from _wide()
    yield from _at_optima()
    yield from _at_saddles()
    yield from _mixed()


def _objectives() -> Iterator[CertificateTrial]:
    problems = [rosenbrock_problem(2), bowl(2), exponential_2(), coupled(), bounded_bowl(), disk_problem(), hs71()]
    for of, factor, seed in product(problems, OBJECTIVES, range(2)):
        for ref in (False, True) if seed == 0 else (False,):
            units = Units(objective=factor, ref=ref)
            yield CertificateTrial("scale of objective", _label(of, units, seed), of, _start(of, seed), units=units)


def _variables() -> Iterator[CertificateTrial]:
    problems = [rosenbrock_problem(2), bowl(2), exponential_2(), coupled(), disk_problem(), section()]
    for of, factor, seed in product(problems, VARIABLES, range(2)):
        for size in (0.0, 30.0) if seed == 0 else (0.0,):
            units = Units(variables=factor)
            label = f"{_label(of, units, seed)}, bounds +-{size:g}"
            yield CertificateTrial(
                "scale of variables", label, of, _start(of, seed), bounds=wide(of, size), units=units
            )
    rng = np.random.default_rng(2)
    for of, seed in product(problems, range(6)):
        units = Units(variables=tuple((10.0 ** rng.integers(-6, 7, of.start.size)).tolist()))
        label = _label(of, units, seed)
        yield CertificateTrial("scale of variables", label, of, starts(of, 6)[seed], units=units)


def _constraints() -> Iterator[CertificateTrial]:
    problems = [disk_problem(), disk_problem(equality=True), sellar_of_one_truth(), section(), hs71()]
    for of, factor, seed in product(problems, CONSTRAINTS, range(2)):
        for ref in (False, True) if seed == 0 else (False,):
            units = Units(constraints=factor, ref=ref)
            yield CertificateTrial("scale of constraints", _label(of, units, seed), of, _start(of, seed), units=units)


def _together() -> Iterator[CertificateTrial]:
    rng = np.random.default_rng(3)
    problems = [
        rosenbrock_problem(2),
        exponential_2(),
        coupled(),
        disk_problem(),
        section(),
        sellar_of_one_truth(),
        hs71(),
    ]
    for of, seed in product(problems, range(24)):
        units = _drawn_units(rng, of)
        given, size = bool(rng.random() < 0.75), float(rng.choice([0.0, 0.0, 30.0, 1000.0]))
        label = f"{_label(of, units, seed)}, bounds +-{size:g}, partials {'given' if given else 'missing'}"
        spoil = same if given else no_partials
        yield CertificateTrial("scales together", label, of, starts(of, 24)[seed], spoil, wide(of, size), units)


def _driver_ref() -> Iterator[CertificateTrial]:
    rng = np.random.default_rng(4)
    for of, seed in product([rosenbrock_problem(2), coupled(), disk_problem(), section()], range(8)):
        drawn = _drawn_units(rng, of)
        units = Units(drawn.objective, drawn.variables, drawn.constraints, ref=seed % 4 != 0)
        yield CertificateTrial(
            "scales with ref", _label(of, units, seed), of, starts(of, 8)[seed], units=units, driver=True
        )


def _drawn_units(rng: np.random.Generator, of: LoopProblem) -> Units:
    variables = 10.0 ** rng.integers(-6, 7, of.start.size)
    constraints = 10.0 ** rng.integers(-8, 9, of.c_lower.size)
    objective = float(10.0 ** rng.integers(-8, 9))
    return Units(objective, tuple(variables.tolist()), tuple(constraints.tolist()), ref=bool(rng.random() < 0.3))


def _wide() -> Iterator[CertificateTrial]:
    problems = [bowl(1), bowl(2), rosenbrock_problem(2), exponential_2(), coupled(), disk_problem(), hs71(), section()]
    for of, size, given in product(problems, WIDTHS, (True, False)):
        for seed, start in enumerate(starts(of, 2 if given else 1)):
            label = f"{of.name}, bounds +-{size:g}, partials {'given' if given else 'missing'}, start {seed}"
            spoil = same if given else no_partials
            yield CertificateTrial("wide bounds", label, of, start, spoil, wide(of, size))


def _at_optima() -> Iterator[CertificateTrial]:
    written = {
        "": Units(),
        "small objective": Units(objective=1e-5),
        "large objective": Units(objective=1e4),
        "small variables": Units(variables=1e-5),
        "large variables": Units(variables=1e4),
        "small constraints": Units(constraints=1e-6),
        "large constraints": Units(constraints=1e4),
    }
    found = [(of, optimum(of)) for of in (*unconstrained(), *constrained())]
    for (of, start), (name, units) in product(found, written.items()):
        if "constraints" in name and not of.c_lower.size:
            continue
        for size, given in ((0.0, True), (1000.0, True), (1e20, True), (0.0, False)):
            label = f"{of.name}, {name or 'as it is'}, bounds +-{size:g}, partials {'given' if given else 'missing'}"
            spoil, bounds = same if given else no_partials, wide(of, size)
            yield CertificateTrial("start at the optimum", label, of, start, spoil, bounds, units)


def _at_saddles() -> Iterator[CertificateTrial]:
    places = {"at it": 0.0, "1e-9 beside it": 1e-9, "1e-5 beside it": 1e-5, "on the way to it": None}
    for (of, at), (where, beside), factor, given in product(saddles(), places.items(), (1.0, 1e-3, 1e3), (True, False)):
        start = at + 0.7 * of.start if beside is None else at + beside
        label = f"{of.name}, start {where}, f times {factor:g}, partials {'given' if given else 'missing'}"
        yield CertificateTrial(
            "saddle", label, of, start, same if given else no_partials, units=Units(objective=factor)
        )


def _mixed() -> Iterator[CertificateTrial]:
    """Draw problem, start, units, bounds, step and what spoils the truth, each by itself."""
    problems = [of for of in (*unconstrained(), *constrained()) if of.start.size <= 4]
    for seed in range(240):
        rng = np.random.default_rng([seed, 5])
        of = problems[int(rng.integers(len(problems)))]
        error, quantizer = float(10.0 ** rng.uniform(-3.0, 0.0)), str(rng.choice(list(QUANTIZERS)))
        spoils: dict[str, tuple[Spoil, bool]] = {
            "right partials": (same, True),
            "no partials": (no_partials, True),
            f"{quantizer} of all": (few_digits(quantizer, "all"), True),
            "last column missing": (column_missing(-1), True),
            f"first partial off by {error:.3g}": (off(0, 0, error), False),
            f"last column missing, first partial off by {error:.3g}": (
                after(off(0, 0, error), column_missing(-1)),
                False,
            ),
            f"relative errors of {1e-3 * error:.3g}": (relative(1e-3 * error, seed), True),
        }
        name = list(spoils)[int(rng.integers(len(spoils)))]
        spoil, right = spoils[name]
        units = _drawn_units(rng, of) if rng.random() < 0.5 else Units()
        size, step = float(rng.choice([0.0, 30.0, 1e3, 1e20])), (None, 1e-6, 1e-3)[int(rng.integers(3))]
        start = optimum(of) if rng.random() < 0.2 else starts(of, 1 + seed)[-1]
        label = f"seed {seed}: {of.name}, {name}, {units}, bounds +-{size:g}, step {step}, start {np.round(start, 3)}"
        yield CertificateTrial("mixed", label, of, start, spoil, wide(of, size), units, step, right)


def _start(of: LoopProblem, seed: int) -> np.ndarray:
    """Return the start of a problem for seed 0, else a drawn one."""
    return starts(of, seed)[-1] if seed else of.start


def _label(of: LoopProblem, units: Units, seed: int) -> str:
    return f"{of.name}, {units}, start {seed}"

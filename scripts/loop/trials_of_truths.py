"""Trials whose truth is spoiled: few digits, partials that are missing or wrong.

For `loop.certificates_by_kind`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np

from scripts.loop.base_problems import (
    bowl,
    branin,
    coupled,
    exponential_1,
    exponential_2,
    section,
    sellar_of_one_truth,
    steep_at_bound,
    steep_at_constraint,
)
from scripts.loop.misleading_trials import Evaluation, hs71, starts
from scripts.loop.spoiled_truths import (
    QUANTIZERS,
    CertificateTrial,
    Spoil,
    Units,
    after,
    column_missing,
    entries_missing,
    few_digits,
    no_partials,
    off,
    relative,
    row_missing,
    wide,
)
from scripts.shared.loop_problems import Function, LoopProblem, disk_problem, loop_problem, rosenbrock_problem

SHIFTS = (0.0, 0.0, 5.0, 100.0)  # added to an objective of few digits, drawn
UNIT_FACTORS = (1.0, 1.0, 1e-2, 1e2, 1e4)  # of an objective of few digits, drawn


def trials_of_truths() -> Iterator[CertificateTrial]:
    """Make all trials of this file."""
    yield from _few_digits()
    yield from _few_digits_constrained()
    yield from _one_sided()
    yield from _partly_given()
    yield from _two_truths()
    yield from _steep()
    yield from _relative_errors()


def _few_digits() -> Iterator[CertificateTrial]:
    rng = np.random.default_rng(1)
    problems = [bowl(1), bowl(2), bowl(3), rosenbrock_problem(2), branin(), exponential_2()]
    runs = [*product(problems, QUANTIZERS, range(3)), *product([rosenbrock_problem(4)], QUANTIZERS, range(2))]
    for of, quantizer, seed in runs:
        shift, factor = float(rng.choice(SHIFTS)), float(rng.choice(UNIT_FACTORS))
        label = f"{of.name} + {shift:g}, {quantizer}, times {factor:g}, start {seed}"
        spoil, units = few_digits(quantizer, "objective", shift), Units(objective=factor)
        yield CertificateTrial("few digits", label, of, starts(of, 3)[seed], spoil, units=units)


def _few_digits_constrained() -> Iterator[CertificateTrial]:
    problems = [disk_problem(), disk_problem(equality=True), sellar_of_one_truth(), section()]
    for of, quantizer, (seed, rows) in product(problems, QUANTIZERS, enumerate(("objective", "constraints", "all"))):
        label = f"{of.name}, {quantizer} of {rows}, start {seed}"
        yield CertificateTrial(
            "few digits, constrained", label, of, starts(of, 3)[seed], few_digits(quantizer, rows), max_evaluations=60
        )


def _one_sided() -> Iterator[CertificateTrial]:
    problems = [bowl(2), rosenbrock_problem(2), branin(), exponential_1(), exponential_2(), coupled(), disk_problem()]
    for of, step, size in product(problems, (None, 1e-6, 1e-5, 1e-3, 1e-2), (0.0, 100.0, 1000.0)):
        bounds = wide(of, size)
        for seed, start in enumerate(starts(of, 2)):
            label = f"{of.name}, step {step}, bounds +-{size:g}, start {seed}"
            yield CertificateTrial("one-sided differences", label, of, start, no_partials, bounds, step=step)
    for of in (rosenbrock_problem(4), rosenbrock_problem(6), hs71(), sellar_of_one_truth(), section(), bowl(3)):
        for step, (seed, start) in product((None, 1e-3), enumerate(starts(of, 2))):
            label = f"{of.name}, step {step}, start {seed}"
            yield CertificateTrial("one-sided differences", label, of, start, no_partials, step=step)


def _partly_given() -> Iterator[CertificateTrial]:
    problems = [bowl(2), rosenbrock_problem(2), exponential_2(), disk_problem(), sellar_of_one_truth(), hs71()]
    errors = {"right": 0.0, "off by 0.01": 0.01, "off by 0.1": 0.1, "off by -0.5": -0.5}
    for of in problems:
        missings: dict[str, Spoil] = {"last column": column_missing(-1), "half": entries_missing(of.start.size)}
        if of.c_lower.size:
            missings["last constraint"] = row_missing(-1)
        for (what, gone), (name, error), (seed, start) in product(
            missings.items(), errors.items(), enumerate(starts(of, 3))
        ):
            label = f"{of.name}, {what} missing, first partial {name}, start {seed}"
            spoil = after(off(0, 0, error), gone)
            yield CertificateTrial("partials partly given", label, of, start, spoil, right=error == 0.0)
    for error, (seed, start) in product((0.1, 0.5), enumerate(starts(disk_problem(), 4))):
        spoil = after(off(1, 0, error), row_missing(0))
        label = f"disk, objective missing, partial of the constraint off by {error:g}, start {seed}"
        yield CertificateTrial("partials partly given", label, disk_problem(), start, spoil, right=False)


def _two_truths() -> Iterator[CertificateTrial]:
    of = loop_problem("two bowls", _two_bowls, [0.9, 0.9], (0.0, 1.0))
    valley_and_bowl = loop_problem("valley and bowl", _valley_and_bowl, [0.9, 0.9, 0.9])
    for problem, first in ((of, 1), (valley_and_bowl, 2)):
        for error, (seed, start) in product((0.0, 0.05, 0.5), enumerate(starts(problem, 4))):
            parts = ((first, no_partials(_part(problem, 0, first))), (1, off(0, 0, error)(_part(problem, first, 1))))
            label = f"{problem.name}, first truth without partials, second off by {error:g}, start {seed}"
            yield CertificateTrial("two truths", label, problem, start, right=not error, driver=True, parts=parts)


def _two_bowls(x: np.ndarray) -> Evaluation:
    return np.array([(x[0] - 0.5) ** 2 + (x[1] - 0.3) ** 2]), 2.0 * (x - [0.5, 0.3])[None]


def _valley_and_bowl(x: np.ndarray) -> Evaluation:
    valley, slope = rosenbrock_problem(2).truth(x[:2])
    return valley + (x[2] - 0.3) ** 2, np.append(slope, 2.0 * (x[2] - 0.3))[None]


def _part(of: LoopProblem, first: int, count: int) -> Function:
    """Return the part of a sum that depends on some entries of x, up to a constant: the others are 0.3."""
    entries = slice(first, first + count)

    def function(x: np.ndarray) -> Evaluation:
        whole = np.full(of.start.size, 0.3)
        whole[entries] = x
        y, dydx = of.truth(whole)
        return y, dydx[:, entries]

    return function


def _steep() -> Iterator[CertificateTrial]:
    slopes, errors = (10.0, 100.0, 1e3, 1e4), (0.0, 3e-3, 0.04, 0.4)
    for slope in slopes:
        problems = [steep_at_bound(slope), steep_at_constraint(slope, 0.0), steep_at_constraint(slope, 0.3)]
        for of, error, (seed, start) in product(problems, errors, enumerate(starts(of=problems[0], count=3))):
            label = f"{of.name}, partial of x2 off by {error:g}, start {seed}"
            yield CertificateTrial("steep direction", label, of, start, off(0, 1, error), right=not error)


def _relative_errors() -> Iterator[CertificateTrial]:
    steep = [steep_at_bound(slope) for slope in (10.0, 1e3)] + [steep_at_constraint(100.0, 0.3)]
    general = [
        rosenbrock_problem(2),
        bowl(2),
        exponential_2(),
        disk_problem(),
        hs71(),
        sellar_of_one_truth(),
        section(),
    ]
    for of, error in product([*steep, *general], (1e-5, 1e-4, 1e-3)):
        for seed, start in enumerate(starts(of, 3)):
            label = f"{of.name}, partials with relative errors of {error:g}, start {seed}"
            yield CertificateTrial("relative errors", label, of, start, relative(error, seed))

"""Time of gradients by finite differences on several workers, for a program of 17 variables without partials.

The *truth model*, short truth, is a program (`CommandTruth`) that takes 0.2 s, nearly all of it without the processor,
and prints a sum of powers of its inputs. `FiniteDifferenceTruth` makes its gradients, on 1, 2 and 4 workers. A gradient
is 18 evaluations: the point itself, and then one beside it for each variable. Ideal is the time of ceil(18 / workers)
evaluations, of the median that one takes in this process. Printed and written to the result file, for each number of
workers:

- `one`: time over ideal of gradients one after the other, as a loop needs them: median, least and largest of 10. The
  point is evaluated before those beside it, so that 2 workers cannot be below 10/9, and 4 not below 6/5;
- `together`: time over ideal of 6 gradients in one call, as a design of experiments needs them;
- `processor`: processor time of this process and of the workers' programs in an evaluation, s.

The processes have been started before the clock begins. The exit code is 1 where a gradient is wrong.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.table import Table

from gradopt import CommandTruth, Variable
from gradopt.truth import Finished, FiniteDifferences, FiniteDifferenceTruth, ParallelTruth, Program
from scripts.shared.script import begin, parser_of, run
from scripts.shared.statistics import over_seeds

D, QUICK_D, TAKES = 17, 3, 0.2  # variables; time of the program, s
WORKERS, GRADIENTS, TOGETHER = (1, 2, 4), 10, 6
PROGRAM = f"sleep {TAKES}; awk '{{for (i = 1; i <= NF; i++) s += $i * $i * i; printf \"%.17g\", s}}' x.in > f.out"
STEP, WITHIN = 1e-6, 1e-3  # step of the finite differences; error of a gradient that is no mistake


def read(finished: Finished) -> float:
    """Read the value that the program has written."""
    return float(finished.read("f.out"))


def program_of(d: int) -> CommandTruth:
    """Make the truth."""
    inputs = (Variable("x", (d,), lower=np.full(d, 0.0), upper=np.full(d, 1.0)),)
    template = {"x.in": " ".join(f"{{x[{i}]}}" for i in range(d))}
    program = Program(["/bin/sh", "-c", PROGRAM], timeout=60.0)
    return CommandTruth(program, template, read, inputs, (Variable("f"),), identity="sum of squares")


def processor() -> float:
    """Return processor time of this process and of its children that have ended, s."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, write and print."""
    call = begin(parser_of(__file__, __doc__), argv)
    d, workers = (QUICK_D, WORKERS[1:2]) if call.quick else (D, WORKERS)
    gradients, together = (2, 2) if call.quick else (GRADIENTS, TOGETHER)
    truth, rng = program_of(d), np.random.default_rng(0)
    alone = over_seeds(truth.evaluate(rng.uniform(0.1, 0.9, (gradients, d))).seconds)
    found: dict[str, Any] = {}
    wrong = 0.0
    for number in workers:
        begun = processor()
        with ParallelTruth(truth, number) as parallel:
            parallel.evaluate(rng.uniform(0.1, 0.9, (number, d)))  # starts the processes
            slopes = FiniteDifferenceTruth(parallel, FiniteDifferences(STEP))
            ideal, ratios = math.ceil((d + 1) / number) * alone["median"], []
            blocks = [rng.uniform(0.1, 0.9, (1, d)) for _ in range(gradients)]
            for x in [*blocks, rng.uniform(0.1, 0.9, (together, d))]:
                clock = time.perf_counter()
                got = slopes.evaluate(x).dydx[:, 0]
                ratios.append((time.perf_counter() - clock) / len(x) / ideal)
                wrong = max(wrong, float(np.abs(got - 2.0 * np.arange(1.0, d + 1.0) * x).max()))
        evaluations = number + (d + 1) * (gradients + together)
        one = {"one": over_seeds(ratios[:-1]), "together": ratios[-1]}
        found[str(number)] = {**one, "processor": (processor() - begun) / evaluations}
        call.write({"evaluation": alone, "workers": found, "error": wrong})
    table = Table("workers", "one gradient: time / ideal", f"{together} together: time / ideal", "processor, s")
    for name, figures in found.items():
        each = figures["one"]
        cell = f"{each['median']:.2f} ({each['least']:.2f} to {each['largest']:.2f})"
        table.add_row(name, cell, f"{figures['together']:.2f}", f"{figures['processor']:.3f}")
    call.console.print(table)
    call.console.print(f"An evaluation in this process takes {alone['median']:.3f} s; largest error {wrong:.1e}.")
    return int(wrong > WITHIN)


if __name__ == "__main__":
    run(main)

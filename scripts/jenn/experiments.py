"""The experiments of the JENN paper (Berguin 2024, arXiv 2406.09132), with controls.

JENN learns values and partials, MLP, of the same network, the values alone. Parts, each with a picture and with its
numbers, of all seeds, in the result file:

- `sine`: one period from 3 and 4 samples, equally spaced and drawn.
- `rastrigin`: Rastrigin's function from 50 and 100 samples. The default activation "auto" tries sines beside a
  quadratic, the very form of the function; "tanh" is the network of the paper.
- `noise`: normal noise in the partials, relative to the rms of each; the noise at which they are worth nothing, with
  weights that are fixed, as in the paper, and learned; tanh.
- `adflow`: samples for R2 = 0.99 and 0.999 on the drag of airfoils by RANS, with partials and without.
- `polishing`: `Polish` with a grid of magnitudes and widths (eta and 1/epsilon of the paper) between fit and SLSQP on
  the surrogate: error of the true objective at the optimum found, over that without polishing. Magnitude 1 is little
  but further training, width 3 little but more weight on all partials. The best settings are tried again on fresh
  seeds.
- `optimizations`: one-shot optimizations by SLSQP on JENN, on MLP, and on MLP of twice the samples, the cost of the
  adjoints of the partials (of one output: the airfoil has four, the disk two).

A part that is run again replaces its earlier numbers in the result file; the others stay. All settings are the defaults
where nothing else is said.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from gradopt.report.records import provenance
from scripts.jenn import accuracy, noise_break_even, one_shot_optimizations, polishing_sweep, samples_to_accuracy
from scripts.shared.script import begin, parser_of, run

Measure = Callable[[Path, bool], dict[str, Any]]
Show = Callable[[Console, dict[str, Any]], None]
PARTS: dict[str, tuple[Measure, Show]] = {
    "sine": (accuracy.sine, accuracy.show_sine),
    "rastrigin": (accuracy.rastrigin, accuracy.show_rastrigin),
    "noise": (noise_break_even.noise, noise_break_even.show),
    "adflow": (samples_to_accuracy.adflow, samples_to_accuracy.show),
    "polishing": (polishing_sweep.polishing, polishing_sweep.show),
    "optimizations": (one_shot_optimizations.optimizations, one_shot_optimizations.show),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the parts; after each write and print."""
    parser = parser_of(__file__, __doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="parts to measure")
    call = begin(parser, argv)
    before = json.loads(call.out.read_text()) if call.out.exists() else {}
    found = before["parts"] if before.get("quick") == call.quick else {}
    origin = provenance()  # of the code that was loaded, not of the files hours later
    for name in call.options.parts:
        measure, show = PARTS[name]
        start, cpu = time.perf_counter(), time.process_time()
        figures = measure(call.folder, call.quick)
        seconds = {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu}
        found[name] = {**figures, "made": {**seconds, "machine": call.machine, **origin}}
        call.write({"parts": found})
        show(call.console, figures)
        call.console.print(f"{name}: {seconds['seconds']:.0f} s, CPU {seconds['cpu_seconds']:.0f} s")
    return 0


if __name__ == "__main__":
    run(main)

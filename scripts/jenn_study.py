"""The experiments of the JENN paper (Berguin 2024, arXiv 2406.09132), with controls.

JENN learns values and partials, MLP, of the same network, the values alone. Parts, each with its pictures in OUT and
its numbers, of all seeds, in OUT/result.json with the set-up, versions and commit:

- `sine`: one period from 3 and 4 samples, equally spaced and drawn.
- `rastrigin`: Rastrigin's function from 50 and 100 samples. The default activation "auto" tries sines beside a
  quadratic, which is the very form of the function; "tanh" is the network of the paper.
- `noise`: normal noise in the partials, in parts of the rms of each; at which level they are worth nothing, with
  weights that are fixed, as in the paper, and learned; tanh.
- `adflow`: samples for R2 = 0.99 and 0.999 on the drag of airfoils by RANS, with partials and without.
- `polishing`: `Polish` with a grid of magnitudes and widths (eta and 1/epsilon of the paper) between fit and SLSQP on
  the surrogate: error of the true objective at the optimum found, over that without polish. Magnitude 1 is little but
  further training, width 3 little but more weight on all partials. The best settings are tried again on fresh seeds.
- `optimizations`: one-shot optimizations by SLSQP on JENN, on MLP, and on MLP of twice the samples, as many as the
  adjoints of the partials would buy (of one output: the airfoil has four, the disk two).

A part that is run again replaces its earlier numbers in OUT/result.json; the others stay. All settings are the defaults
where nothing else is said. Everything is on one thread:

    PYTHONPATH=. python scripts/jenn_study.py
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from gradopt.report.records import provenance, write_result
from scripts import (
    jenn_accuracy,
    noise_break_even,
    one_shot_optimizations,
    polishing_sweep,
    samples_to_accuracy,
)

Run = Callable[[Path, bool], dict[str, Any]]
Show = Callable[[Console, dict[str, Any]], None]
PARTS: dict[str, tuple[Run, Show]] = {
    "sine": (jenn_accuracy.sine, jenn_accuracy.show_sine),
    "rastrigin": (jenn_accuracy.rastrigin, jenn_accuracy.show_rastrigin),
    "noise": (noise_break_even.noise, noise_break_even.show),
    "adflow": (samples_to_accuracy.adflow, samples_to_accuracy.show),
    "polishing": (polishing_sweep.polishing, polishing_sweep.show),
    "optimizations": (one_shot_optimizations.optimizations, one_shot_optimizations.show),
}


def main() -> None:
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results/jenn_study"), help="folder of the result")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--quick", action="store_true", help="few seeds and iterations, to see that it runs")
    options = parser.parse_args()

    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    path, console = options.out / "result.json", Console(width=150)
    before = json.loads(path.read_text()) if path.exists() else {}
    found = before["parts"] if before.get("quick") == options.quick else {}
    machine = {"platform": platform.platform(), "cpus": os.cpu_count(), "threads": 1, "load_before": os.getloadavg()}
    origin = provenance()  # of the code that was loaded, not of what lies there hours later
    for name in options.parts:
        run, show = PARTS[name]
        start, cpu = time.perf_counter(), time.process_time()
        figures = run(options.out, options.quick)
        seconds = {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu}
        found[name] = {**figures, "made": {**seconds, "machine": machine, **origin}}
        write_result(path, {"quick": options.quick, "parts": found})
        show(console, figures)
        console.print(f"{name}: {seconds['seconds']:.0f} s, of the processor {seconds['cpu_seconds']:.0f} s")


if __name__ == "__main__":
    main()

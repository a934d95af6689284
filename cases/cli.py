"""Command line of the cases: `python -m cases list`, `python -m cases run NAME`."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import openmdao.api as om
from rich.console import Console, RenderableType
from rich.markup import escape

from cases.adaptive import run_adaptive
from cases.adaptive_outcome import adaptive_table, closing_lines, write_adaptive
from cases.airfoil import case as airfoil
from cases.airfoil_rans import case as airfoil_rans
from cases.airfoil_study import case as airfoil_study
from cases.baseline import run_baseline
from cases.one_shot import run_one_shot, run_reference
from cases.outcome import stages_table, summary_table, write_outcome
from cases.rosenbrock import case as rosenbrock
from cases.rosenbrock import disk as rosenbrock_disk
from cases.sellar import case as sellar
from cases.study import Outcome, Study
from cases.wing import case as wing
from gradopt.errors import GradoptError, explain
from gradopt.truth.store import EvaluationStore

CASES = {
    "airfoil": airfoil,
    "rosenbrock": rosenbrock,
    "rosenbrock_disk": rosenbrock_disk,
    "sellar": sellar,
    "wing": wing,
}
ONE_SHOT = {"airfoil": airfoil, "rosenbrock": rosenbrock}
STUDIES: dict[str, Study] = {"airfoil_rans": airfoil_rans, "airfoil_study": airfoil_study}
STORE = "evaluations.sqlite"


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog="python -m cases", description="Optimizations that show gradopt at work.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="list the cases")
    run = commands.add_parser("run", help="run one case")
    names = run.add_subparsers(dest="name", required=True, metavar="NAME")
    for name, module in (CASES | STUDIES).items():
        case = names.add_parser(name, help=module.TITLE, description=module.TITLE)
        case.add_argument("--out", type=Path, help="folder for results (default results/NAME)")
        case.add_argument("--seed", type=whole_number, default=0, help="seed of networks and designs (default 0)")
        case.add_argument("--quick", action="store_true", help="tiny budget: a test that the case runs")
        case.add_argument("--fresh", action="store_true", help=f"delete the folder's {STORE} first")
        if name in CASES:
            case.add_argument("--reference", action="store_true", help="also run SLSQP on the truth, and compare")
            text = "limit of truth evaluations of the loop"
            case.add_argument("--max-evaluations", type=positive_number, help=text)
            text = "processes that evaluate the truth, as many candidates at the same time (default 1: this process)"
            case.add_argument("--workers", type=positive_number, default=1, help=text)
        if name in ONE_SHOT:
            text = "fit surrogates once, to a design of experiments, in place of the adaptive loop"
            case.add_argument("--one-shot", action="store_true", help=text)
        module.add_arguments(case)
    return parser


def whole_number(text: str) -> int:
    """Read a number that is not negative from the command line."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"must not be negative, got {number}")
    return number


def positive_number(text: str) -> int:
    """Read a whole number of at least 1 from the command line."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number


def main(argv: list[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: Arguments, or None for those of the process.

    Returns:
        Exit code: 0, 1 after an error that was explained, or 130 after Ctrl-C.
    """
    parser = build_parser()
    arguments = parser.parse_args(argv)
    console = Console()
    if arguments.command == "list":
        for name, module in (CASES | STUDIES).items():
            console.print(f"[bold]{name:15}[/] {module.TITLE}", soft_wrap=True)
        return 0
    one_shot = getattr(arguments, "one_shot", False)
    if one_shot and (arguments.fresh or arguments.max_evaluations is not None or arguments.workers > 1):
        options = "--fresh, --max-evaluations and --workers"
        parser.error(f"{options} are options of the loop: leave them out, or leave out --one-shot")
    folder = arguments.out or Path("results") / arguments.name
    run = _run_one_shot if one_shot else _run_adaptive
    if arguments.name in STUDIES:
        run = STUDIES[arguments.name].run
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if arguments.fresh:
            for ending in ("", "-wal", "-shm"):
                (folder / f"{STORE}{ending}").unlink(missing_ok=True)
        # Files are written to a scratch folder, so that a run that is stopped leaves earlier results whole.
        with console.status("starting") as status, TemporaryDirectory(dir=folder, prefix=".run") as scratch:
            parts, pictures = run(arguments, folder, Path(scratch), status.update)
            made = sorted(Path(scratch).iterdir())
            for path in made:
                path.replace(folder / path.name)
    except FileExistsError:
        message = explain("--out", "be a folder", f"the file {str(folder)!r}", "Name another one.")
        Console(stderr=True).print(f"[bold red]error:[/] {escape(message)}", highlight=False, soft_wrap=True)
        return 1
    except (GradoptError, OSError, om.AnalysisError) as error:
        Console(stderr=True).print(f"[bold red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        on = "" if one_shot else "; run again without --fresh to continue from the stored evaluations"
        message = f"stopped; the results of an earlier run, if any, are as they were{on}"
        Console(stderr=True).print(message, soft_wrap=True)
        return 130
    for part in parts:
        if isinstance(part, str):
            part = escape(part)
        console.print(part, highlight=False, soft_wrap=isinstance(part, str))
    names = ", ".join(picture.name for picture in pictures)
    surrogates = ", surrogates" if any(path.suffix == ".gradopt" for path in made) else ""
    console.print(f"Written to {escape(str(folder))}: result.json{surrogates}, {names}", soft_wrap=True)
    return 0


def _run_adaptive(arguments: argparse.Namespace, folder: Path, scratch: Path, report: Callable[[str], None]) -> Outcome:
    """Run the loop; each evaluation is stored in the folder itself at once."""
    case = replace(CASES[arguments.name].adaptive(arguments), workers=arguments.workers)
    if arguments.max_evaluations is not None:
        case = replace(case, max_evaluations=arguments.max_evaluations)
    # The lines printed below contain what the driver logs at its end.
    logger, quiet = logging.getLogger("gradopt"), logging.NullHandler()
    logger.addHandler(quiet)
    try:
        with EvaluationStore(folder / STORE) as store:
            result = run_adaptive(case, arguments.seed, store, report)
    finally:
        logger.removeHandler(quiet)
    direct = run_baseline(case, report) if arguments.reference else None
    report("writing")
    pictures = write_adaptive(result, direct, scratch)
    return [adaptive_table(result, direct), closing_lines(result, direct)], pictures


def _run_one_shot(arguments: argparse.Namespace, folder: Path, scratch: Path, report: Callable[[str], None]) -> Outcome:
    """Fit surrogates once and optimize on them."""
    case = ONE_SHOT[arguments.name].build(arguments)
    result = run_one_shot(case, arguments.seed, scratch, report)
    reference = None
    if arguments.reference:
        report("SLSQP on the truth")
        reference = run_reference(case)
    report("writing")
    pictures = write_outcome(result, reference, scratch)
    tables: list[RenderableType] = [summary_table(result, reference)]
    if len(result.stages) > 1:
        tables.append(stages_table(result))
    return tables, pictures

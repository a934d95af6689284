"""Command line of the cases: `python -m cases list`, `python -m cases run NAME`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import openmdao.api as om
from rich.console import Console
from rich.markup import escape

from cases.airfoil import case as airfoil
from cases.one_shot import run_one_shot, run_reference
from cases.outcome import stages_table, summary_table, write_outcome
from cases.rosenbrock import case as rosenbrock
from gradopt.errors import GradoptError, explain

CASES = {"airfoil": airfoil, "rosenbrock": rosenbrock}


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog="python -m cases", description="Optimizations that show gradopt at work.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="list the cases")
    run = commands.add_parser("run", help="run one case")
    names = run.add_subparsers(dest="name", required=True, metavar="NAME")
    for name, module in CASES.items():
        case = names.add_parser(name, help=module.TITLE, description=module.TITLE)
        case.add_argument("--out", type=Path, help="folder for results (default results/NAME)")
        case.add_argument("--seed", type=whole_number, default=0, help="seed of the design of experiments (default 0)")
        case.add_argument("--quick", action="store_true", help="tiny budget: shows that it runs, not what it can")
        case.add_argument("--reference", action="store_true", help="also run SLSQP on the truth itself and compare")
        module.add_arguments(case)
    return parser


def whole_number(text: str) -> int:
    """Read a number that is not negative from the command line."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"must not be negative, got {number}")
    return number


def main(argv: list[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: Arguments, or None for those of the process.

    Returns:
        Exit code: 0, 1 after an error that was explained, or 130 after Ctrl-C.
    """
    arguments = build_parser().parse_args(argv)
    console = Console()
    if arguments.command == "list":
        for name, module in CASES.items():
            console.print(f"[bold]{name:12}[/] {module.TITLE}")
        return 0
    folder = arguments.out or Path("results") / arguments.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Everything is made in a folder of its own, so that a run that is stopped leaves an earlier one whole.
        with console.status("starting") as status, TemporaryDirectory(dir=folder, prefix=".run") as scratch:
            case = CASES[arguments.name].build(arguments)
            result = run_one_shot(case, arguments.seed, Path(scratch), status.update)
            reference = None
            if arguments.reference:
                status.update("SLSQP on the truth")
                reference = run_reference(case)
            status.update("writing")
            pictures = write_outcome(result, reference, Path(scratch))
            for path in Path(scratch).iterdir():
                path.replace(folder / path.name)
    except FileExistsError:
        message = explain("--out", "be a folder", f"the file {str(folder)!r}", "Name another one.")
        Console(stderr=True).print(f"[bold red]error:[/] {escape(message)}", highlight=False, soft_wrap=True)
        return 1
    except (GradoptError, OSError, om.AnalysisError) as error:
        Console(stderr=True).print(f"[bold red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        Console(stderr=True).print("stopped; the results of an earlier run, if any, are as they were")
        return 130
    console.print(summary_table(result, reference))
    if len(result.stages) > 1:
        console.print(stages_table(result))
    names = ", ".join(picture.name for picture in pictures)
    console.print(f"Written to {escape(str(folder))}: result.json, surrogates, {names}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

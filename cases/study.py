"""A study on the command line: a case of more than one optimization."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from rich.console import RenderableType

Outcome = tuple[list[RenderableType], list[Path]]
"""Texts and tables to print, and paths of the pictures."""


class Study(Protocol):
    """A module that the command line can run."""

    TITLE: str
    """One line on what the study does."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the options that only this study has; `out`, `seed`, `quick` and `fresh` are there."""
        ...

    def run(self, arguments: argparse.Namespace, folder: Path, scratch: Path, report: Callable[[str], None]) -> Outcome:
        """Run the study.

        Args:
            arguments: From the command line.
            folder: Folder of the results, and of files that must survive a stop, such as `evaluations.sqlite`.
            scratch: Folder of all other files, which are moved into `folder` at the end.
            report: Function that receives one line on each step.

        Returns:
            Texts and tables to print, and paths of the pictures.
        """
        ...

"""What a study on the command line is: a case that is more than one optimization, and runs itself."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from rich.console import RenderableType

Outcome = tuple[list[RenderableType], list[Path]]
"""What to print, and the pictures that were drawn."""


class Study(Protocol):
    """A module that the command line can run."""

    TITLE: str
    """One line that says what it does."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the options that only this study has; `out`, `seed`, `quick` and `fresh` are there."""
        ...

    def run(self, arguments: argparse.Namespace, folder: Path, scratch: Path, report: Callable[[str], None]) -> Outcome:
        """Run it.

        Args:
            arguments: From the command line.
            folder: Where results stay; what must survive a stop, such as `evaluations.sqlite`, is kept here.
            scratch: Where to write all else; it is moved into `folder` at the end.
            report: Told what is being done, one line at a time.

        Returns:
            What to print, and the pictures.
        """
        ...

"""A program run in a folder of its own, without a shell, within limits of time and of what it prints."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import TypeVar

from gradopt.errors import EvaluationError, InputError, explain

Answer = TypeVar("Answer")

_GARBAGE = (LookupError, ValueError, ArithmeticError, OSError, EOFError)  # what reading a broken file ends in
_STDOUT, _STDERR = ".stdout", ".stderr"  # of the program, kept beside its files
_LOOK = 0.2  # seconds between looks at how much a program has written
_TAIL = 400  # characters of what the program said last, for messages


@dataclass(frozen=True)
class Finished:
    """A run of a program that has ended, by itself or by a signal.

    Attributes:
        folder: Where it ran, with the files that it left.
        returncode: 0 where it says that all went well, negative where a signal ended it. Some programs die after
            their work is done, so it is for `parse` to judge.
    """

    folder: Path
    returncode: int

    def read(self, name: str) -> str:
        """Text of a file that the program left; raises `EvaluationError` if there is none."""
        path = self.folder / name
        if not path.is_file():
            raise EvaluationError(f"It left no file {name!r}. {self.ending}")
        return path.read_text(encoding="utf-8", errors="replace")

    @property
    def stdout(self) -> str:
        """What it printed."""
        return self.read(_STDOUT)

    @property
    def ending(self) -> str:
        """How it ended and the last it said, for messages."""
        code = self.returncode
        how = f"It ended with exit code {code}"
        if code < 0:
            known = {int(one): one.name for one in signal.Signals}
            how = f"It was ended by {known.get(-code, f'signal {-code}')}"
        said = " ".join((self.read(_STDERR) + " " + self.read(_STDOUT)[-_TAIL:]).split())
        return f"{how}; its last words: {said[-_TAIL:]!r}." if said else f"{how}."


@dataclass(frozen=True)
class Program:
    """An executable and how to run it.

    Attributes:
        command: The program and its arguments. A relative path of the program counts from where Python runs, those of
            files among the arguments from the folder of the run.
        stdin: Name of the file that it is given as standard input; None = nothing.
        timeout: Seconds after which it is killed, with all that it has started.
        most_bytes: Size of what it prints, after which it is killed too: some programs ask without end.
        environment: Environment variables besides those of this process.
        install: What to do where it is not installed, one sentence.
        keep_failed: Folder in which the folders of failed runs are kept, to look into; None keeps none.

    Raises:
        InputError: If an argument is of another kind.
    """

    command: Sequence[str]
    stdin: str | None = None
    timeout: float = 3600.0
    most_bytes: int = 2**26
    environment: Mapping[str, str] = field(default_factory=dict)
    install: str = "Install it, or give its path."
    keep_failed: Path | str | None = None

    def __post_init__(self) -> None:
        """Check every field."""
        words = self.command
        if isinstance(words, str) or not words or not all(isinstance(word, str | os.PathLike) for word in words):
            remedy = "Each argument is a string of its own: ['beam', 'beam.in']; no shell reads it."
            raise InputError(explain("command", "be a list of strings", repr(words), remedy))
        object.__setattr__(self, "command", tuple(os.fspath(word) for word in words))
        for name in ("timeout", "most_bytes"):
            if not getattr(self, name) > 0:
                raise InputError(explain(name, "be positive", getattr(self, name), "Leave it out for the default."))

    def run(self, files: Mapping[str, str], read: Callable[[Finished], Answer]) -> Answer:
        """Run it once, in a new folder.

        Args:
            files: Texts of the files that it finds there, by name.
            read: Makes the answer of what it left.

        Returns:
            What `read` returns.

        Raises:
            EvaluationError: If it had to be killed, or `read` raises that or an error that broken files lead to.
            InputError: If it is not installed, or `stdin` is none of the files.
        """
        path = self._path()
        if self.stdin is not None and self.stdin not in files:
            remedy = "Add it to the files, or leave `stdin` out."
            raise InputError(explain("stdin", f"be one of the files {sorted(files)}", repr(self.stdin), remedy))
        with TemporaryDirectory(prefix="gradopt-", ignore_cleanup_errors=True) as name:
            folder = Path(name)
            for file, text in files.items():
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                (folder / file).write_text(text, encoding="utf-8")
            try:
                finished = Finished(folder, self._wait(path, folder))
                try:
                    return read(finished)
                except _GARBAGE as broken:
                    what = f"What it left cannot be read ({type(broken).__name__}: {broken}). {finished.ending}"
                    raise EvaluationError(what) from broken
            except EvaluationError:
                if self.keep_failed is not None:
                    Path(self.keep_failed).mkdir(parents=True, exist_ok=True)
                    shutil.copytree(folder, mkdtemp(prefix="failed-", dir=self.keep_failed), dirs_exist_ok=True)
                raise

    def _path(self) -> str:
        found = shutil.which(self.command[0])
        if found is None:
            raise InputError(explain("command", "name an installed program", repr(self.command[0]), self.install))
        return str(Path(found).absolute())

    def _wait(self, path: str, folder: Path) -> int:
        """Run the program to its end; returns its code, raises `EvaluationError` where it had to be killed."""
        source = os.devnull if self.stdin is None else str(folder / self.stdin)
        with (
            open(source, "rb") as given,
            (folder / _STDOUT).open("wb") as said,
            (folder / _STDERR).open("wb") as warned,
        ):
            process = subprocess.Popen(
                [path, *self.command[1:]],
                cwd=folder,
                stdin=given,
                stdout=said,
                stderr=warned,
                env={**os.environ, **self.environment},
                start_new_session=True,  # so that all it starts can be killed with it
            )
            _limit(process, self.timeout)
            end = time.monotonic() + self.timeout
            try:
                while True:
                    left = end - time.monotonic()
                    if left <= 0.0:
                        raise EvaluationError(f"It was killed after {self.timeout:g} s.")
                    try:
                        return process.wait(min(_LOOK, left))
                    except subprocess.TimeoutExpired:
                        if max(os.fstat(said.fileno()).st_size, os.fstat(warned.fileno()).st_size) > self.most_bytes:
                            remedy = f"It was killed after it had printed {self.most_bytes} bytes."
                            raise EvaluationError(remedy) from None
            finally:
                if process.poll() is None:
                    _kill(process)


def _limit(process: subprocess.Popen[bytes], timeout: float) -> None:
    """Have the system end a program, should this process be killed before it can do so."""
    if sys.platform == "linux":  # the module is not there on Windows, and the call on Linux alone
        import resource

        seconds = int(timeout * (os.cpu_count() or 1)) + 1
        with suppress(ProcessLookupError):  # it has ended already
            resource.prlimit(process.pid, resource.RLIMIT_CPU, (seconds, seconds))


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a program with all that it has started."""
    if hasattr(os, "killpg"):
        os.killpg(process.pid, signal.SIGKILL)
    else:  # Windows has no groups of processes of this kind
        process.kill()
    process.wait()

"""Runs of a program in a new folder, without a shell, with limits of time and of printed bytes."""

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

Result = TypeVar("Result")

_UNREADABLE = (LookupError, ValueError, ArithmeticError, OSError, EOFError)  # raised by reading a broken file
_STDOUT, _STDERR = ".stdout", ".stderr"  # files with what the program prints, in the folder of the run
_POLL = 0.2  # time between checks of the number of printed bytes, s; by hand
_TAIL = 400  # length of the end of the printed text in messages, characters; by hand


@dataclass(frozen=True)
class Finished:
    """A run of a program that has ended, by itself or by a signal.

    Attributes:
        folder: Folder of the run, with the files that the program wrote.
        returncode: Return code of the program, 0 for success, negative after a signal. Some programs crash after they
            have written their results, so `parse` decides whether a code is a failure.
    """

    folder: Path
    returncode: int

    def read(self, name: str) -> str:
        """Read the text of a file that the program wrote; raises `EvaluationError` if the file does not exist."""
        path = self.folder / name
        if not path.is_file():
            raise EvaluationError(f"The program wrote no file {name!r}. {self.ending}")
        return path.read_text(encoding="utf-8", errors="replace")

    @property
    def stdout(self) -> str:
        """Text that the program printed."""
        return self.read(_STDOUT)

    @property
    def ending(self) -> str:
        """Return code or signal, and the end of the printed text, for messages."""
        code = self.returncode
        how = f"The program ended with exit code {code}"
        if code < 0:
            signals = {int(one): one.name for one in signal.Signals}
            how = f"The program was ended by {signals.get(-code, f'signal {-code}')}"
        printed = " ".join((self.read(_STDERR) + " " + self.read(_STDOUT)[-_TAIL:]).split())
        return f"{how} and printed last: {printed[-_TAIL:]!r}." if printed else f"{how}."


@dataclass(frozen=True)
class Program:
    """An executable with its arguments and limits.

    Attributes:
        command: Name or path of the program, and its arguments. A relative path of the program counts from the current
            folder of Python, relative paths among the arguments from the folder of the run.
        stdin: Name of the file that becomes the standard input; None = empty.
        timeout: Time after which the program and all processes that it started are killed, s.
        max_printed_bytes: Number of printed bytes above which they are killed too: some programs prompt without end.
        environment: Environment variables besides those of this process.
        install: Remedy where the program is not installed, one sentence.
        keep_failed: Folder to which the folders of failed runs are copied; None keeps none.

    Raises:
        InputError: If `command` is not a list of strings, or a limit is not positive.
    """

    command: Sequence[str]
    stdin: str | None = None
    timeout: float = 3600.0
    max_printed_bytes: int = 2**26
    environment: Mapping[str, str] = field(default_factory=dict)
    install: str = "Install it, or give its path."
    keep_failed: Path | str | None = None

    def __post_init__(self) -> None:
        """Check every field."""
        words = self.command
        if isinstance(words, str) or not words or not all(isinstance(word, str | os.PathLike) for word in words):
            remedy = "Pass each argument as a string of its own: ['beam', 'beam.in']; there is no shell."
            raise InputError(explain("command", "be a list of strings", repr(words), remedy))
        object.__setattr__(self, "command", tuple(os.fspath(word) for word in words))
        for name in ("timeout", "max_printed_bytes"):
            if not getattr(self, name) > 0:
                raise InputError(explain(name, "be positive", getattr(self, name), "Leave it out for the default."))

    def run(self, files: Mapping[str, str], read: Callable[[Finished], Result]) -> Result:
        """Run the program once, in a new folder.

        Args:
            files: Texts of the files to write there first, by name.
            read: Function that reads the result from the finished run.

        Returns:
            Result of `read`.

        Raises:
            EvaluationError: If the program was killed, or `read` raises `EvaluationError` or an error that reading a
                broken file leads to.
            InputError: If the program is not installed, or `stdin` is not one of the files.
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
                except _UNREADABLE as broken:
                    what = f"The results cannot be read ({type(broken).__name__}: {broken}). {finished.ending}"
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
        """Run the program to its end and return its code; raises `EvaluationError` where it was killed."""
        source = os.devnull if self.stdin is None else str(folder / self.stdin)
        with (
            open(source, "rb") as given,
            (folder / _STDOUT).open("wb") as output,
            (folder / _STDERR).open("wb") as errors,
        ):
            process = subprocess.Popen(
                [path, *self.command[1:]],
                cwd=folder,
                stdin=given,
                stdout=output,
                stderr=errors,
                env={**os.environ, **self.environment},
                start_new_session=True,  # so that its child processes can be killed with it
            )
            _limit(process, self.timeout)
            end = time.monotonic() + self.timeout
            try:
                while True:
                    left = end - time.monotonic()
                    if left <= 0.0:
                        raise EvaluationError(f"The program was killed after {self.timeout:g} s.")
                    try:
                        return process.wait(min(_POLL, left))
                    except subprocess.TimeoutExpired:
                        if max(os.fstat(file.fileno()).st_size for file in (output, errors)) > self.max_printed_bytes:
                            what = f"The program was killed after {self.max_printed_bytes} printed bytes."
                            raise EvaluationError(what) from None
            finally:
                if process.poll() is None:
                    _kill(process)


def _limit(process: subprocess.Popen[bytes], timeout: float) -> None:
    """Limit the CPU time of a program, for the case that this process is killed before the program ends."""
    if sys.platform == "linux":  # Windows lacks the module, and only Linux has the call
        import resource

        seconds = int(timeout * (os.cpu_count() or 1)) + 1
        with suppress(ProcessLookupError):  # the program has ended already
            resource.prlimit(process.pid, resource.RLIMIT_CPU, (seconds, seconds))


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a program with its child processes."""
    if hasattr(os, "killpg"):
        os.killpg(process.pid, signal.SIGKILL)
    else:  # Windows has no process groups of this kind
        process.kill()
    process.wait()

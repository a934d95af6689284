"""Runs of a program in a new folder, without a shell, with limits of time, of printed and of written bytes."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path, PurePath
from typing import Any, BinaryIO, TypeVar

from gradopt.errors import EvaluationError, InputError, explain
from gradopt.truth.run_folders import keep, size_of, temporary_folder
from gradopt.workers.processes import Watchdog, end_all, has_ended, limit

Result = TypeVar("Result")

_STDOUT, _STDERR = ".stdout", ".stderr"  # files with what the program prints, in the folder of the run
_POLL = 0.2  # time between checks of the number of printed and written bytes, s; by hand
_SHORTEST, _LONGEST = 0.0005, 0.05  # first and longest time between checks whether the program has ended, s; by hand
_WALK = 20.0  # time between checks of the written bytes, at least this many times that of a check; by hand: 5 % load
_TAIL = 400  # length of the end of the printed text in messages, characters; by hand
# reasons for which a program cannot be started now, but perhaps later
_FOR_NOW = {errno.EAGAIN, errno.ENOMEM, errno.ETXTBSY, errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EIO}


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
        """Read the text of a file that the program wrote; other bytes than UTF-8 become the replacement character.

        Raises:
            EvaluationError: If there is no regular file of this name.
        """
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
        printed = " ".join(f"{self._end_of(_STDERR)} {self._end_of(_STDOUT)}".split())
        return f"{how} and printed last: {printed[-_TAIL:]!r}." if printed else f"{how}."

    def _end_of(self, name: str) -> str:
        """End of a file, "" where there is none: the program may have removed it."""
        path = self.folder / name
        with suppress(OSError):
            if path.is_file():
                with path.open("rb") as file:
                    file.seek(max(0, path.stat().st_size - 4 * _TAIL))  # a character has four bytes at most
                    return file.read().decode("utf-8", errors="replace")[-_TAIL:]
        return ""


@dataclass(frozen=True)
class Program:
    """An executable with its arguments and limits.

    When the program ends, or exceeds a limit, the processes that it has started and left behind are killed; a process
    that it put into a session of its own (`setsid`, a daemon) is not found. If this Python process ends first, also by
    a signal, a small shell kills the program and removes the folder of the run (not on Windows).

    Attributes:
        command: Name or path of the program, and its arguments. A relative path of the program counts from the current
            folder of Python, relative paths among the arguments from the folder of the run.
        stdin: Name of the file that becomes the standard input; None = empty.
        timeout: Time after which the program and all processes that it started are killed, s; infinity = never.
        max_printed_bytes: Number of printed bytes above which the run fails: some programs prompt without end. Where
            the program has not ended, it is killed.
        max_written_bytes: Size of all files in the folder of the run, bytes, above which the run fails likewise. No
            file anywhere may grow beyond it (Linux).
        environment: Environment variables besides those of this process.
        install: Remedy where the program is not installed, one sentence.
        keep_failed: Folder to which the folders of failed runs are copied; None keeps none.

    Raises:
        InputError: If `command` is not a list of strings, a limit is not a positive number, or another argument is of
            another kind. A string must not hold a NUL character.
    """

    command: Sequence[str]
    stdin: str | None = None
    timeout: float = 3600.0
    max_printed_bytes: int = 2**26
    max_written_bytes: int = 2**36
    environment: Mapping[str, str] = field(default_factory=dict)
    install: str = "Install it, or give its path."
    keep_failed: Path | str | None = None

    def __post_init__(self) -> None:
        """Check every field."""
        object.__setattr__(self, "command", _as_command(self.command))
        object.__setattr__(self, "environment", _as_environment(self.environment))
        for name in ("timeout", "max_printed_bytes", "max_written_bytes"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, Real) or not float(value) > 0.0:
                remedy = "Leave it out for the default."
                raise InputError(explain(name, "be positive", repr(value), remedy))
        for name, text in (("stdin", self.stdin), ("install", self.install), ("keep_failed", self.keep_failed)):
            given = os.fspath(text) if name == "keep_failed" and isinstance(text, os.PathLike) else text
            if not (_is_passable(given) or (given is None and name != "install")):
                remedy = "Leave it out for the default."
                raise InputError(explain(name, "be a string without NUL characters", repr(text), remedy))

    def run(self, files: Mapping[str, str], read: Callable[[Finished], Result]) -> Result:
        """Run the program once, in a new folder.

        Args:
            files: Texts of the files to write there first, by name; a name may have folders in it.
            read: Function that reads the result from the finished run.

        Returns:
            Result of `read`.

        Raises:
            EvaluationError: If the program exceeded a limit or removed its folder, or `read` raises `EvaluationError`
                or any other error that a broken file may lead to.
            InputError: If the program is not installed or cannot be executed, `stdin` is not one of the files, the
                files are not texts by name, or `read` uses a name that does not exist or does not take a `Finished`.
        """
        path = self._path()
        check_files(files)
        if self.stdin is not None and self.stdin not in files:
            remedy = "Add it to the files, or leave `stdin` out."
            raise InputError(explain("stdin", f"be one of the files {sorted(files)}", repr(self.stdin), remedy))
        try:
            with temporary_folder() as folder:
                watchdog = Watchdog(folder)
                try:
                    return self._run(path, folder, files, read, watchdog)
                except EvaluationError:
                    if self.keep_failed is not None:
                        keep(folder, Path(self.keep_failed))
                    raise
                finally:
                    watchdog.dismiss()
        except OSError as error:
            raise EvaluationError(f"The folder of the run cannot be used: {error}.") from error

    def _run(
        self,
        path: str,
        folder: Path,
        files: Mapping[str, str],
        read: Callable[[Finished], Result],
        watchdog: Watchdog,
    ) -> Result:
        for file, text in files.items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text(text, encoding="utf-8")
        finished = Finished(folder, self._wait(path, folder, watchdog))
        if folder.is_symlink() or not folder.is_dir():
            raise EvaluationError(f"The program removed the folder of its run. {finished.ending}")
        try:
            return read(finished)
        except EvaluationError:
            raise
        except Exception as broken:
            what = f"{type(broken).__name__}: {broken}"
            if _is_mistake(broken):
                remedy = "Correct the function."
                raise InputError(explain("parse", "be a function that reads a Finished", what, remedy)) from broken
            raise EvaluationError(f"The results cannot be read ({what}). {finished.ending}") from broken

    def _path(self) -> str:
        """Find the program, as an absolute path."""
        name = self.command[0]
        found = shutil.which(name)
        if found is not None:
            return str(Path(found).absolute())
        got, remedy = repr(name), self.install
        if os.path.isdir(name):
            got, remedy = f"the folder {name!r}", "Name a file in it."
        elif os.path.exists(name):
            got, remedy = f"{name!r}, which may not be executed", f"Run `chmod +x {name}`."
        raise InputError(explain("command", "name an installed program", got, remedy))

    def _wait(self, path: str, folder: Path, watchdog: Watchdog) -> int:
        """Run the program to its end and return its code; raises `EvaluationError` where it exceeded a limit."""
        source = os.devnull if self.stdin is None else str(folder / self.stdin)
        with (
            open(source, "rb") as given,
            (folder / _STDOUT).open("wb") as output,
            (folder / _STDERR).open("wb") as errors,
        ):
            process = self._start(path, folder, (given, output, errors))
            try:
                watchdog.watch(process.pid)
                limit(process.pid, self.timeout * (os.cpu_count() or 1) + 1.0, self.max_written_bytes + 1.0)
                self._watch(process, folder, (output, errors))
            finally:
                code = end_all(process)
            self._check_bytes(folder, (output, errors))  # again: what was written since the last time
            return code

    def _start(self, path: str, folder: Path, streams: tuple[BinaryIO, BinaryIO, BinaryIO]) -> subprocess.Popen[bytes]:
        given, output, errors = streams
        try:
            return subprocess.Popen(
                [path, *self.command[1:]],
                cwd=folder,
                stdin=given,
                stdout=output,
                stderr=errors,
                env={**os.environ, **self.environment},
                start_new_session=True,  # so that its child processes can be found
            )
        except OSError as error:
            if error.errno in _FOR_NOW:
                raise EvaluationError(f"The program could not be started: {error}.") from error
            remedy = "Give an executable of this system, or a script whose first line names its interpreter: #!/bin/sh."
            if error.errno == errno.ENOENT:
                remedy = (
                    f"Its interpreter does not exist: correct the first line of {path!r}, or install what it names."
                )
            got = f"{path!r} ({error.strerror or error})"
            raise InputError(explain("command", "name a program that this system can execute", got, remedy)) from error

    def _watch(self, process: subprocess.Popen[bytes], folder: Path, printed: tuple[BinaryIO, BinaryIO]) -> None:
        """Return when the program has ended; raises `EvaluationError` where it exceeds a limit."""
        began = time.monotonic()
        pause, check = _SHORTEST, began + _POLL
        while not has_ended(process):
            now = time.monotonic()
            left = began + self.timeout - now
            if left <= 0.0:
                raise EvaluationError(f"The program was killed after {self.timeout:g} s.")
            if now >= check:
                self._check_bytes(folder, printed)
                check = now + max(_POLL, _WALK * (time.monotonic() - now))
            time.sleep(min(pause, left))
            pause = min(2.0 * pause, _LONGEST)

    def _check_bytes(self, folder: Path, printed: tuple[BinaryIO, BinaryIO]) -> None:
        count = max(os.fstat(file.fileno()).st_size for file in printed)
        if count > self.max_printed_bytes:
            raise EvaluationError(f"The program printed {count} bytes, max_printed_bytes is {self.max_printed_bytes}.")
        count = size_of(folder)
        if count > self.max_written_bytes:
            raise EvaluationError(f"The program wrote {count} bytes, max_written_bytes is {self.max_written_bytes}.")


def _is_passable(text: object) -> bool:
    """Whether the system takes a text as argument, variable or path."""
    try:
        return isinstance(text, str) and "\0" not in text and bool(os.fsencode(text) or not text)
    except UnicodeEncodeError:  # half of a surrogate pair
        return False


def _as_command(words: Any) -> tuple[str, ...]:
    remedy = "Pass each argument as a string of its own: ['beam', 'beam.in']; there is no shell."
    if isinstance(words, str | bytes) or not isinstance(words, Sequence) or not words:
        raise InputError(explain("command", "be a list of strings", repr(words), remedy))
    found = tuple(os.fspath(word) if isinstance(word, os.PathLike) else word for word in words)
    if not all(_is_passable(word) for word in found) or not found[0]:
        expected = "be a list of strings, without NUL characters, that begins with the name of a program"
        raise InputError(explain("command", expected, repr(words), remedy))
    return found


def _as_environment(given: Any) -> dict[str, str]:
    remedy = "Such as {'OMP_NUM_THREADS': '1'}."
    if not isinstance(given, Mapping):
        raise InputError(explain("environment", "map names to strings", repr(given), remedy))
    for name, value in given.items():
        if not (_is_passable(name) and _is_passable(value)) or not name or "=" in name:
            expected = "map names without '=' to strings, both without NUL characters"
            raise InputError(explain("environment", expected, f"{name!r}: {value!r}", remedy))
    return dict(given)


def check_files(files: Any) -> None:
    """Raise `InputError` where files to write before a run are not texts by names within the folder of the run."""
    remedy = "Such as {'beam.in': 'length 2.0'}."
    if not isinstance(files, Mapping):
        raise InputError(explain("files", "map names to texts", repr(files), remedy))
    for name, text in files.items():
        path = PurePath(name) if _is_passable(name) else PurePath()
        inside = path.parts and not path.is_absolute() and ".." not in path.parts
        if not inside or str(path) in (_STDOUT, _STDERR) or any(str(parent) in files for parent in path.parents):
            expected = f"have names of files within the folder of the run, other than {_STDOUT!r} and {_STDERR!r}"
            raise InputError(explain("files", expected, repr(name), remedy))
        try:
            text.encode()
        except (AttributeError, UnicodeEncodeError):
            raise InputError(explain("files", "hold texts", f"{text!r} for {name!r}", remedy)) from None


def _is_mistake(error: Exception) -> bool:
    """Whether an error of a function that reads results lies in the function itself, whatever the files hold."""
    if isinstance(error, AttributeError):
        return isinstance(error.obj, Finished)
    if isinstance(error, TypeError):  # raised by the call itself: wrong number of arguments
        trace = error.__traceback__
        return trace is not None and trace.tb_next is None
    return isinstance(error, NameError | ImportError | NotImplementedError) and not isinstance(error, UnboundLocalError)

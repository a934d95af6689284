"""Folders of runs of a program: temporary ones, their size, and copies of them, whatever the program left there."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp

_log = logging.getLogger(__name__)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Make a folder that is removed afterwards, also if it is nested too deeply for Python."""
    holder = TemporaryDirectory(prefix="gradopt-", ignore_cleanup_errors=True)
    try:
        yield Path(holder.name)
    finally:
        with suppress(RecursionError):
            holder.cleanup()
        if os.path.lexists(holder.name) and os.name == "posix":
            with suppress(OSError):
                subprocess.run(["rm", "-rf", "--", holder.name], check=False, stderr=subprocess.DEVNULL)


def size_of(folder: Path) -> int:
    """Return the size of all regular files in a folder and its subfolders, bytes; links are not followed."""
    return sum(entry.stat(follow_symlinks=False).st_size for entry in _files(folder))


def _files(folder: Path) -> Iterator[os.DirEntry[str]]:
    left = [str(folder)]
    while left:
        with suppress(OSError), os.scandir(left.pop()) as entries:  # files come and go while the program runs
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    left.append(entry.path)
                elif entry.is_file(follow_symlinks=False):
                    yield entry


def keep(folder: Path, place: Path) -> None:
    """Copy a folder to a new one within another.

    Links are copied as links. FIFOs, sockets, devices and what cannot be read are left out, and a warning names the
    first of them. A place that cannot be written is a warning too: the run has failed for another reason.

    Args:
        folder: Folder to copy.
        place: Folder for the copy; it is made if it does not exist.
    """
    try:
        place.mkdir(parents=True, exist_ok=True)
        target = mkdtemp(prefix="failed-", dir=place)
    except OSError as error:
        _log.warning("The folder of a failed run could not be kept in %s: %s.", place, error)
        return
    omitted = list(_copied(str(folder), target))
    if omitted:
        _log.warning("%d entries of a failed run were not kept in %s, the first: %s.", len(omitted), target, omitted[0])


def _copied(folder: str, target: str) -> Iterator[str]:
    """Copy a folder into another; yield what was left out, and why."""
    left = [(folder, target)]
    while left:
        source, copy = left.pop()
        try:
            with os.scandir(source) as found:
                entries = list(found)
        except OSError as error:
            yield f"{os.path.basename(source)!r} ({error.strerror})"
            continue
        for entry in entries:
            there = os.path.join(copy, entry.name)
            try:
                if entry.is_symlink():
                    os.symlink(os.readlink(entry.path), there)
                elif entry.is_dir(follow_symlinks=False):
                    os.mkdir(there)
                    left.append((entry.path, there))
                elif entry.is_file(follow_symlinks=False):
                    shutil.copyfile(entry.path, there, follow_symlinks=False)
                else:
                    yield f"{entry.name!r} is a FIFO, a socket or a device"
            except OSError as error:
                yield f"{entry.name!r} ({error.strerror})"

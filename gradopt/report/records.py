"""Result files: results with the versions and the commit that made them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gradopt.data.atomic import write_atomically
from gradopt.data.json_values import plain_json
from gradopt.versions import versions


def provenance(folder: Path | None = None) -> dict[str, Any]:
    """Return versions of the packages, and the commit of the program that runs.

    Args:
        folder: Folder of the git checkout; None = the folder of the main program, or the working directory where there
            is none, as in an interactive session.

    Returns:
        `versions`, see `gradopt.versions.versions`, and `commit`, with "-dirty" where files differ from it; the commit
        is None outside a git checkout.
    """
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    where = _folder_of_program() if folder is None else folder
    try:
        done = subprocess.run(command, cwd=where, capture_output=True, text=True, check=False)
    except (FileNotFoundError, NotADirectoryError):
        return {"versions": versions(), "commit": None}
    return {"versions": versions(), "commit": done.stdout.strip() or None}


def write_result(path: Path, result: Mapping[str, Any]) -> None:
    """Write a result as JSON, atomically, together with its provenance.

    Args:
        path: Path of the file; missing folders are made.
        result: Plain values, arrays, and nested mappings of them. A number that is not finite becomes null.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(plain_json({**result, **provenance()}), indent=2, allow_nan=False)
    write_atomically(path, (text + "\n").encode())


def _folder_of_program() -> Path:
    program = getattr(sys.modules.get("__main__"), "__file__", None)
    folder = Path.cwd() if program is None else Path(program).resolve().parent
    return folder if folder.is_dir() else Path.cwd()

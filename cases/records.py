"""Result files: what was found, with what, from which commit."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gradopt.data.atomic import write_atomically
from gradopt.data.json_values import plain_json
from gradopt.versions import versions


def provenance() -> dict[str, Any]:
    """Return versions and commit of the code that makes a result; the commit is None outside a git checkout."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return {"versions": versions(), "commit": None}
    return {"versions": versions(), "commit": done.stdout.strip() or None}


def write_result(path: Path, result: Mapping[str, Any]) -> None:
    """Write a result as JSON, atomically, together with its provenance.

    Args:
        path: Where to write; folders are made.
        result: Plain values, arrays, and nested mappings of them. A number that is not finite becomes null.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(plain_json({**result, **provenance()}), indent=2, allow_nan=False)
    write_atomically(path, (text + "\n").encode())

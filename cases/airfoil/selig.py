"""Coordinate files in Selig form: x y from the trailing edge over the upper side to the leading edge and back below.

XFOIL loads such files, and the UIUC database holds them. What can mean one section only is read as it; other files are
refused, and the message names the file, the line, the cause and a remedy.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cases.airfoil.coordinate_lines import may_be_point, read_rows
from cases.airfoil.outline import outline

Floats = NDArray[np.float64]

_LONGEST_TITLE = 80  # characters; by hand: XFOIL takes 48


def read_selig(path: Path) -> Floats:
    """Read a file: titles, one x y pair a line, remarks below.

    Args:
        path: The file, also in Lednicer form with its counts.

    Returns:
        Points in Selig order, (n, 2), fractions of chord. An outline listed lower side first is turned round; a nose
        that is listed twice, as two sides joined in one file have it, is there once; points on a blunt base
        between its corners are left out.

    Raises:
        InputError: If the file is missing or holds no airfoil that can be read in one way only.
    """
    return outline(path, read_rows(path))


def write_selig(path: Path, title: str, points: Floats) -> None:
    """Write a file that XFOIL and `read_selig` read.

    Args:
        path: The file.
        title: Its first line; characters that cannot be printed are left out.
        points: Points in Selig order, (n, 2), fractions of chord.
    """
    title = "".join(c for c in " ".join(title.split()) if c.isprintable())[:_LONGEST_TITLE].strip() or "airfoil"
    if not title[0].isalpha() or re.match(r"(nan|inf)", title, re.IGNORECASE):
        title = f"airfoil {title}"  # readers take a first line of numbers for a point, # and ! for a comment
    if may_be_point(title):
        title = re.sub(r"[\s.,;]+", "_", title)
    # Ten digits: the weights of a section come back to 1e-7, with the usual six only to 1e-4.
    lines = [title, *(f"{x:13.10f} {y:13.10f}" for x, y in points)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")

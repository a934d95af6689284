"""Each file of AeroSandbox's database, which holds UIUC's, gives the points it lists."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from cases.airfoil.selig import read_selig
from gradopt.errors import InputError

asb = pytest.importorskip("aerosandbox")

FILES = sorted((Path(asb.__file__).parent / "geometry" / "airfoil" / "airfoil_database").glob("*.dat"))
PAIR = re.compile(r"\s*([-+.\dEe]+)(?:\s*,\s*|\s+)([-+.\dEe]+)\s*")


def listed(path: Path) -> np.ndarray:
    """Pairs of numbers of a file, read in the simplest way, without a repeated nose and a repeated end of a base."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    points = np.array([[float(v) for v in found.groups()] for found in map(PAIR.fullmatch, lines) if found])
    points = points[np.append(True, (np.diff(points, axis=0) != 0).any(axis=1))]
    closed = (points[0] == points[-1]).all() and points[-2, 0] == points[-1, 0]
    return points[:-1] if closed else points


@pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_files_of_the_database_give_the_points_they_list(every: int) -> None:
    read, refused = 0, []
    for path in FILES[::every]:
        try:
            points = read_selig(path)
        except InputError as error:
            refused.append(f"{path.name}: {error}")
            continue
        expected = listed(path)
        if not np.array_equal(points, expected):
            np.testing.assert_array_equal(points[::-1], expected, err_msg=path.name)
        read += 1
    # mh112 is half a file; naca23021 has dots for numbers; remarks of the others begin as points do.
    assert len(refused) <= 6, refused
    assert read >= 0.995 * len(FILES[::every])
    assert all(re.search(r"\bline \d+", message) for message in refused), refused

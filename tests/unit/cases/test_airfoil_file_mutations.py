"""Damaged coordinate files give our error, or a section as close to the true one as the damaged points are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cases.airfoil.geometry import KulfanShape, coordinates, load_shape
from cases.airfoil.selig import read_selig
from gradopt.errors import InputError

asb = pytest.importorskip("aerosandbox")

WEIGHTS = np.array([0.17, 0.16, 0.15, 0.17, 0.14, 0.16, 0.15, 0.16])
SECTION = KulfanShape(WEIGHTS, -0.6 * WEIGHTS, 0.02, 0.003, "section")
POINTS = np.round(np.stack(coordinates(SECTION, 30), axis=1), 6)
LINES = ["A section", *(f"{x:9.6f} {y:9.6f}" for x, y in POINTS)]
TEXT = "\n".join(LINES) + "\n"
FEW = settings(
    max_examples=150,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
TRUE: list[np.ndarray] = []
NOISE = st.sampled_from("0123456789.,;:-+eEdDxnaNif#! \t\r\n\0\x1a\"'()%/Ol−é")


def outline_of(path: Path) -> np.ndarray:
    return np.concatenate(coordinates(load_shape(str(path)), 100))


def true_outline(folder: Path) -> np.ndarray:
    if not TRUE:
        (folder / "true.dat").write_text(TEXT)
        TRUE.append(outline_of(folder / "true.dat"))
    return TRUE[0]


def read(folder: Path, data: bytes) -> tuple[np.ndarray, np.ndarray] | None:
    """Points and fitted outline of a file, or None where it is refused."""
    path = folder / "section.dat"
    path.write_bytes(data)
    try:
        return read_selig(path), outline_of(path)
    except InputError as error:
        assert "`name_or_path` must be an airfoil in Selig form, got `" in str(error)
        return None


def check(folder: Path, data: bytes) -> None:
    """Compare with the true section: as far off as its worst point, and in no case by more than a few percent."""
    found = read(folder, data)
    if found is None:
        return
    points, outline = found
    lines = np.stack([POINTS[:-1], POINTS[1:]], axis=1)
    off = max(_distance(point, lines) for point in points)
    missing = max(_distance(point, np.stack([points[:-1], points[1:]], axis=1)) for point in POINTS)
    worst = np.abs(outline - true_outline(folder)).max()
    assert worst <= 4 * max(off, missing) + 1e-4
    assert worst <= 0.03


def _distance(point: np.ndarray, lines: np.ndarray) -> float:
    """Distance of a point from the nearest of lines (n, 2, 2)."""
    start, along = lines[:, 0], lines[:, 1] - lines[:, 0]
    t = np.clip(np.einsum("ij,ij->i", point - start, along) / np.einsum("ij,ij->i", along, along), 0, 1)
    return float(np.hypot(*(start + t[:, np.newaxis] * along - point).T).min())


@FEW
@given(at=st.integers(0, len(TEXT) - 1), new=st.one_of(NOISE, st.just("")), insert=st.booleans())
def test_one_wrong_character(tmp_path: Path, at: int, new: str, insert: bool) -> None:
    check(tmp_path, (TEXT[:at] + new + TEXT[at + (not insert) :]).encode())


@FEW
@given(bit=st.integers(0, 8 * len(TEXT) - 1))
def test_one_wrong_bit(tmp_path: Path, bit: int) -> None:
    data = bytearray(TEXT.encode())
    data[bit // 8] ^= 1 << bit % 8
    check(tmp_path, bytes(data))


@FEW
@given(st.lists(st.tuples(st.integers(0, len(TEXT)), st.integers(0, 6), st.text(NOISE, max_size=6)), max_size=6))
def test_wrong_pieces(tmp_path: Path, pieces: list[tuple[int, int, str]]) -> None:
    text = TEXT
    for at, cut, new in pieces:
        text = text[:at] + new + text[at + cut :]
    read(tmp_path, text.encode())


@FEW
@given(
    st.integers(0, len(LINES) - 1),
    st.integers(0, len(LINES) - 1),
    st.sampled_from(["swap", "copy", "cut off", "cut above", "reverse"]),
)
def test_lines_in_wrong_places(tmp_path: Path, i: int, j: int, what: str) -> None:
    lines = list(LINES)
    i, j = min(i, j), max(i, j)
    if what == "swap":
        lines[i], lines[j] = lines[j], lines[i]
    elif what == "copy":
        lines.insert(i, lines[j])
    elif what == "cut off":
        lines = lines[:i]
    elif what == "cut above":
        lines = lines[i:]
    else:
        lines[i:j] = lines[i:j][::-1]
    check(tmp_path, "\n".join(lines).encode())


@FEW
@given(
    row=st.integers(1, len(LINES) - 1),
    column=st.integers(0, 1),
    factor=st.sampled_from([-1.0, 0.0, 0.1, 10.0, 100.0, 1e4, 1e300]),
)
def test_one_wrong_number(tmp_path: Path, row: int, column: int, factor: float) -> None:
    fields = LINES[row].split()
    fields[column] = f"{float(fields[column]) * factor:.6f}"
    check(tmp_path, "\n".join([*LINES[:row], " ".join(fields), *LINES[row + 1 :]]).encode())


@FEW
@given(data=st.binary(max_size=400), whole=st.booleans())
def test_any_bytes(tmp_path: Path, data: bytes, whole: bool) -> None:
    read(tmp_path, data if whole else data + TEXT.encode())

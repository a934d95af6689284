"""XFOIL as the truth: its values, its failures, and what its dump is worth when it dies or lies."""

from __future__ import annotations

import os
import pickle
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from cases.airfoil import display, xfoil
from cases.airfoil.geometry import KulfanShape, load_shape
from cases.airfoil.xfoil import Xfoil
from gradopt import Variable
from gradopt.errors import EvaluationError, InputError
from gradopt.truth.command import CommandTruth

needs_xfoil = pytest.mark.skipif(
    not (shutil.which("xfoil") and shutil.which("Xvfb")), reason="XFOIL needs the Debian packages xfoil and xvfb"
)
INPUTS = (Variable("upper_weights", (8,)), Variable("lower_weights", (8,)), Variable("alpha", units="deg"))
OUTPUTS = (Variable("CL"), Variable("CD", transform="log"), Variable("CM"))


@pytest.fixture(scope="module")
def naca0012() -> KulfanShape:
    """A symmetric section."""
    return load_shape("naca0012")


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A program in the place of XFOIL, to be written by the test; returns its path."""
    program = tmp_path / "bin" / "xfoil"
    program.parent.mkdir()
    program.write_text("")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(program.parent))
    xfoil._hash_of_program.cache_clear()
    display._start.cache_clear()
    yield program
    xfoil._hash_of_program.cache_clear()
    display._start.cache_clear()


def at(shape: KulfanShape, alpha: float) -> np.ndarray:
    return np.array([*shape.upper_weights, *shape.lower_weights, alpha])


def truth(shape: KulfanShape, reynolds: float = 5e6) -> CommandTruth:
    return Xfoil(shape, reynolds).truth(INPUTS, OUTPUTS)


def writes(program: Path, code: str) -> None:
    """Let the fake read its commands, write records of a dump, and go on with some code."""
    program.write_text(
        f"""#!{sys.executable}
import os, signal, struct, sys
wanted = [float(line.split()[1]) for line in sys.stdin if line.startswith("ALFA")][-1]
def records(*rows):
    with open("polar.bin", "wb") as dump:
        for row in rows:
            data = struct.pack(f"<{{len(row)}}d", *row)
            dump.write(struct.pack("<i", len(data)) + data + struct.pack("<i", len(data)))
{code}
"""
    )


@needs_xfoil
def test_a_symmetric_section_at_zero_has_neither_lift_nor_moment(naca0012: KulfanShape) -> None:
    lift, drag, moment = truth(naca0012).evaluate([at(naca0012, 0.0)]).y[0]
    assert abs(lift) < 1e-6 and abs(moment) < 1e-6
    assert drag == pytest.approx(5.13e-3, abs=2e-5)


@needs_xfoil
def test_lift_and_drag_are_those_of_the_textbook(naca0012: KulfanShape) -> None:
    """Abbott & von Doenhoff's wind tunnel has a lift slope of 0.11 per degree."""
    found = truth(naca0012).evaluate([at(naca0012, 2.0), at(naca0012, 4.0)]).y
    assert (found[1, 0] - found[0, 0]) / 2.0 == pytest.approx(0.112, abs=0.003)
    assert 5e-3 < found[0, 1] < found[1, 1] < 7e-3


@needs_xfoil
def test_all_digits_come_through(naca0012: KulfanShape) -> None:
    """The printed polar has five decimals of CD: these two would be the same."""
    found = truth(naca0012).evaluate([at(naca0012, 3.0), at(naca0012, 3.0005)]).y
    slope = (found[1] - found[0]) / 0.0005
    assert slope[0] == pytest.approx(0.111, abs=0.003)
    assert 1e-4 < slope[1] < 1e-3


@needs_xfoil
def test_the_boundary_layer_comes_with_a_point(naca0012: KulfanShape) -> None:
    point = Xfoil(naca0012).point(at(naca0012, 4.0))
    assert point.transition[0] < 0.2 < point.transition[1]  # early on the suction side
    assert point.upper.pressure.min() < -1.0 and point.upper.pressure.max() == pytest.approx(1.0, abs=0.01)
    assert point.lower.x.max() > 1.5  # the wake
    assert (point.upper.displacement[5:] > point.upper.momentum[5:]).all()


@needs_xfoil
def test_a_polar_is_point_by_point(naca0012: KulfanShape) -> None:
    polar = Xfoil(naca0012).polar(naca0012, [0.0, 4.0])
    np.testing.assert_array_equal(polar[1], truth(naca0012).evaluate([at(naca0012, 4.0)]).y[0])


@needs_xfoil
def test_no_convergence_is_a_failed_point_among_others(naca0012: KulfanShape) -> None:
    inside_out = at(naca0012, 2.0)
    inside_out[:16] = -inside_out[:16]
    found = truth(naca0012).evaluate([inside_out, at(naca0012, 2.0)])
    assert found.ok.tolist() == [False, True]
    assert found.message[0].startswith("XFOIL did not converge at alpha = 2 deg. The program")


@needs_xfoil
def test_the_truth_goes_to_other_processes_and_names_its_settings(naca0012: KulfanShape) -> None:
    one, other = truth(naca0012), truth(naca0012, 1e6)
    assert one.identity != other.identity and "Re 5000000.0" in str(one.identity)
    there = pickle.loads(pickle.dumps(one))
    assert there.evaluate([at(naca0012, 1.0)]).y.tolist() == one.evaluate([at(naca0012, 1.0)]).y.tolist()
    assert other.evaluate([at(naca0012, 1.0)]).y[0, 1] > one.evaluate([at(naca0012, 1.0)]).y[0, 1]


@needs_xfoil
def test_the_display_ends_with_its_process() -> None:
    code = "from cases.airfoil.display import hidden_display; print(hidden_display())"
    root = Path(xfoil.__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    number = done.stdout.strip()
    assert number.startswith(":") and not Path(f"/tmp/.X11-unix/X{number[1:]}").exists()


@needs_xfoil
def test_the_display_ends_with_a_process_that_is_killed() -> None:
    code = "from cases.airfoil.display import _start, hidden_display; import os\n"
    code += "hidden_display(); print(_start()[0].pid, flush=True); os.kill(os.getpid(), 9)"
    root = Path(xfoil.__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    with pytest.raises(ProcessLookupError):
        for _ in range(100):  # until it has ended
            os.kill(int(done.stdout), 0)
            time.sleep(0.05)


@needs_xfoil
def test_a_display_that_died_is_replaced() -> None:
    first = display.hidden_display()
    started = display._start()
    assert started is not None and started[1] == first == display.hidden_display()
    started[0].terminate()
    started[0].wait()
    assert display.hidden_display() is not None
    assert display._start() is not started


def test_a_missing_program_names_its_packages(naca0012: KulfanShape, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    xfoil._hash_of_program.cache_clear()
    with pytest.raises(
        InputError, match=r"`truth` must be installed, got no program `xfoil`\. On .* install xfoil xvfb"
    ):
        Xfoil(naca0012)
    xfoil._hash_of_program.cache_clear()


def test_death_after_the_dump_is_no_failure(naca0012: KulfanShape, fake: Path) -> None:
    writes(fake, "records([wanted, 0.5, 0.006, 0, -0.1, 0.3, 0.6], [0, 0], [0.0] * 12, [0.0] * 12)")
    with fake.open("a") as code:
        code.write("os.kill(os.getpid(), signal.SIGFPE)\n")
    assert truth(naca0012).evaluate([at(naca0012, 2.0)]).y.tolist() == [[0.5, 0.006, -0.1]]


@pytest.mark.parametrize(
    "code",
    [
        "records([wanted + 1.0, 0.5, 0.006, 0, -0.1, 0.3, 0.6], [0, 0], [0.0] * 12, [0.0] * 12)",  # another point
        "records([wanted, 0.5, 0.006, 0, -0.1, 0.3, 0.6])",  # torn before the boundary layer
        "open('polar.bin', 'wb').write(b'0123456789' * 9)",
        "open('polar.bin', 'wb').write(struct.pack('<i', -8) * 9)",
        "print('Cannot open display')",
    ],
)
def test_a_dump_without_the_point_is_a_failed_point(naca0012: KulfanShape, fake: Path, code: str) -> None:
    writes(fake, code)
    found = truth(naca0012).evaluate([at(naca0012, 2.0)])
    assert not found.ok[0] and found.message[0]
    with pytest.raises(EvaluationError):
        Xfoil(naca0012).point(at(naca0012, 2.0))


def test_another_attempt_follows_a_failure(naca0012: KulfanShape, fake: Path, tmp_path: Path) -> None:
    count = tmp_path / "count"
    count.write_text("")
    writes(
        fake,
        f"open({str(count)!r}, 'a').write('x')\n"
        f"if len(open({str(count)!r}).read()) == 3:\n"
        "    records([wanted, 0.5, 0.006, 0, -0.1, 0.3, 0.6], [0, 0], [0.0] * 12, [0.0] * 12)",
    )
    assert truth(naca0012).evaluate([at(naca0012, 2.0)]).ok[0]
    assert count.read_text() == "xxx"


def test_without_a_display_graphics_are_turned_off(naca0012: KulfanShape, fake: Path) -> None:
    (files, *_) = truth(naca0012).files(at(naca0012, 2.0))
    assert files["commands"].startswith("PLOP\nG F\n\nLOAD section.dat\n")


@pytest.mark.parametrize(("name", "value"), [("reynolds", -1.0), ("reynolds", np.nan), ("n_crit", np.inf)])
def test_impossible_settings_are_refused(naca0012: KulfanShape, name: str, value: float) -> None:
    with pytest.raises(InputError, match=f"`{name}` must be a .* number, got"):
        Xfoil(naca0012, **{name: value})


def test_environment_has_no_display_of_the_user(naca0012: KulfanShape, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Xvfb is there, windows must not open before the user's eyes."""
    monkeypatch.setattr(xfoil, "hidden_display", lambda: ":4711")
    monkeypatch.setenv("DISPLAY", ":0")
    if shutil.which("xfoil") is None:
        monkeypatch.setattr(xfoil, "_hash_of_program", lambda: "none")
    program = truth(naca0012).program
    assert program.environment == {"DISPLAY": ":4711"} and os.environ["DISPLAY"] == ":0"  # type: ignore[union-attr]

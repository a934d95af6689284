"""A program as a truth: input files, failed runs, limits, and wrong arguments."""

from __future__ import annotations

import os
import pickle
import re
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradopt import CommandTruth, Variable
from gradopt.errors import EvaluationError, InputError, ShapeError
from gradopt.truth import Finished, Program
from gradopt.truth.protocol import PointStatus
from gradopt.truth.store import EvaluationStore

X = (Variable("length", units="m"), Variable("force", (2,), "N"))
Y = (Variable("bend", units="m"),)
AT = np.array([2.0, 3.0, 1.0 / 3.0])
TEMPLATE = {"beam.in": "{length} {force[0]} {force[1]}"}
BEAM = "a, b, c = map(float, open('beam.in').read().split()); open('beam.out', 'w').write(repr(a * b + c))"


def result(run: Finished) -> float:
    return float(run.read("beam.out"))


def python(code: str, **options: Any) -> Program:
    return Program([sys.executable, "-c", code], **options)


def truth(code: str = BEAM, parse: Callable[[Finished], Any] = result, **options: Any) -> CommandTruth:
    template = options.pop("template", TEMPLATE)
    return CommandTruth(python(code, **options), template, parse, X, Y)


def test_template_values_have_all_digits() -> None:
    found = truth().evaluate([AT, 2.0 * AT])
    assert found.ok.all() and found.y[:, 0].tolist() == [6.0 + 1.0 / 3.0, 24.0 + 2.0 / 3.0]
    assert np.isnan(found.dydx).all()


def test_values_may_be_formatted() -> None:
    template = {"beam.in": "{length:.1f} {force[0]:.2e} {force[1]:.0f}"}
    assert truth(template=template).files(AT) == ({"beam.in": "2.0 3.00e+00 0"},)


def test_entries_of_a_matrix_have_two_indices() -> None:
    matrix = CommandTruth(["true"], {"in": "{m[0][1]} {m[1][0]}"}, result, (Variable("m", (2, 2)),), Y)
    assert matrix.files(np.arange(4.0)) == ({"in": "1.0 2.0"},)


def test_values_and_partials_may_be_returned() -> None:
    found = truth(parse=lambda run: (result(run), [3.0, 2.0, np.nan])).evaluate([AT])
    assert found.dydx[0, 0, :2].tolist() == [3.0, 2.0] and np.isnan(found.dydx[0, 0, 2])


def test_each_run_has_a_folder_of_its_own_that_is_gone_afterwards(tmp_path: Path) -> None:
    folders = []

    def parse(run: Finished) -> float:
        folders.append(run.folder)
        return float(len(list(run.folder.glob("*.out"))))

    code = "import os; open(f'{os.getpid()}.out', 'w').close()"
    assert truth(code, parse).evaluate([AT, AT]).y[:, 0].tolist() == [1.0, 1.0]
    assert folders[0] != folders[1] and not any(folder.exists() for folder in folders)


def test_a_file_becomes_standard_input() -> None:
    code = "import sys; print(sum(map(float, sys.stdin.read().split())))"
    found = truth(code, lambda run: float(run.stdout), stdin="beam.in").evaluate([[1.0, 2.0, 4.0]])
    assert found.y.tolist() == [[7.0]]


def test_without_stdin_standard_input_is_empty() -> None:
    code = "import sys; print(len(sys.stdin.read()))"
    assert truth(code, lambda run: float(run.stdout)).evaluate([AT]).y.tolist() == [[0.0]]


def test_the_command_runs_without_a_shell(tmp_path: Path) -> None:
    code = "import sys; open('beam.out', 'w').write(str(len(sys.argv[1])))"
    program = Program([sys.executable, "-c", code, "$HOME; *"])
    assert CommandTruth(program, TEMPLATE, result, X, Y).evaluate([AT]).y.tolist() == [[8.0]]


def test_environment_is_added() -> None:
    code = "import os; open('beam.out', 'w').write(os.environ['BEAM_LEVEL'] + str(len(os.environ['PATH']) > 0 + 0))"
    found = truth(code, lambda run: 7.0 if run.read("beam.out") == "3True" else 0.0, environment={"BEAM_LEVEL": "3"})
    assert found.evaluate([AT]).y.tolist() == [[7.0]]


def test_a_crash_after_the_results_are_written_is_no_failure() -> None:
    found = truth(BEAM + "; import os, signal; os.kill(os.getpid(), signal.SIGFPE)").evaluate([AT])
    assert found.ok.all() and found.y[0, 0] == pytest.approx(6.0 + 1.0 / 3.0)


def test_a_crash_before_is_a_failure_that_gives_signal_and_printed_text() -> None:
    code = "import os, signal, sys; print('iteration 7', flush=True); os.kill(os.getpid(), signal.SIGFPE)"
    found = truth(code).evaluate([AT])
    assert found.status == (PointStatus.FAILED,)
    assert "no file 'beam.out'. The program was ended by SIGFPE and printed last: 'iteration 7'" in found.message[0]


def test_the_exit_code_is_passed_to_parse_and_in_messages() -> None:
    codes = []

    def parse(run: Finished) -> float:
        codes.append(run.returncode)
        raise EvaluationError(f"did not converge. {run.ending}")

    found = truth("import sys; sys.exit(3)", parse).evaluate([AT])
    assert codes == [3] and found.message == ("did not converge. The program ended with exit code 3.",)


@pytest.mark.parametrize("content", ["", "nonsense", "1.0 2.0", "\\x00\\xff"])
def test_an_unreadable_file_is_a_failed_point(content: str) -> None:
    code = f"open('beam.out', 'wb').write(b'{content}')"
    found = truth(code).evaluate([AT])
    assert not found.ok[0] and "The results cannot be read (ValueError" in found.message[0]


def test_not_a_number_is_a_failed_point() -> None:
    found = truth("open('beam.out', 'w').write('nan')").evaluate([AT])
    assert found.status == (PointStatus.NOT_FINITE,)


def test_another_shape_from_parse_is_an_error() -> None:
    with pytest.raises(ShapeError, match=r"`parse\(finished\)` must have shape \(m,\) = \(1,\), got \(2,\)"):
        truth(parse=lambda run: [1.0, 2.0]).evaluate([AT])


def test_a_program_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    child = f"import os, time; open({str(tmp_path / 'child')!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    began = time.monotonic()
    found = truth(code, timeout=2.0).evaluate([AT])
    assert time.monotonic() - began < 20.0
    assert found.message == ("The program was killed after 2 s.",)
    with pytest.raises(ProcessLookupError):
        for _ in range(100):  # until the system has taken it away
            os.kill(int((tmp_path / "child").read_text()), 0)
            time.sleep(0.05)


def test_a_program_that_prints_without_end_is_killed() -> None:
    found = truth("while True: print('more? ' * 1000)", timeout=60.0, max_printed_bytes=10**6).evaluate([AT])
    assert re.fullmatch(r"The program printed \d+ bytes, max_printed_bytes is 1000000\.", found.message[0])


def test_failed_runs_can_be_kept(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    found = truth("open('log', 'w').write('diverged')", keep_failed=kept).evaluate([AT, AT])
    assert not found.ok.any()
    assert [(folder / "log").read_text() for folder in kept.iterdir()] == ["diverged"] * 2
    assert truth(keep_failed=tmp_path / "none").evaluate([AT]).ok.all() and not (tmp_path / "none").exists()


def test_input_files_are_tried_until_a_run_succeeds() -> None:
    code = "text = open('beam.in').read(); open('beam.out', 'w').write(text)"
    attempts = [{"beam.in": "diverged"}, {"beam.in": "5.0"}, {"beam.in": "6.0"}]
    assert truth(code, template=lambda x: attempts).evaluate([AT]).y.tolist() == [[5.0]]
    assert not truth(code, template=lambda x: attempts[:1]).evaluate([AT]).ok[0]


def test_a_missing_program_is_an_error_with_a_remedy() -> None:
    missing = CommandTruth(Program(["no-such-solver"], install="apt-get install solver."), TEMPLATE, result, X, Y)
    expected = r"`command` must name an installed program, got 'no-such-solver'\. apt-get install solver\."
    with pytest.raises(InputError, match=expected):
        missing.evaluate([AT])


def test_a_command_truth_can_be_pickled_and_has_an_identity(tmp_path: Path) -> None:
    there = pickle.loads(pickle.dumps(truth()))
    assert there.evaluate([AT]).y.tolist() == truth().evaluate([AT]).y.tolist()
    assert there.identity == truth().identity is not None
    assert truth(template={"beam.in": "{length} {force[0]} {force[1]} "}).identity != truth().identity
    assert truth(BEAM + "; 1").identity != truth().identity
    assert len({truth(parse=lambda run: 1.0).identity, truth(parse=lambda run: 2.0).identity, truth().identity}) == 3
    other = truth(template=lambda x: TEMPLATE)
    assert other.identity is not None and other.identity != truth().identity and other.unidentified == ""
    with EvaluationStore(tmp_path / "store") as store:
        store.evaluate(truth(), [AT])
        store.evaluate(there, [AT])
        assert store.evaluated - store.verified == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"template": {"in": "{lenght} {force[0]}"}},
            r"`template` must name inputs alone, got \{lenght\}\. The inputs",
        ),
        (
            {"template": {"in": "{length}"}},
            r"`template` must name every input, got none of \['force'\]\. Write \{force\}",
        ),
        (
            {"template": {"in": "{length} {force}"}},
            r"`template` must be format strings of the inputs, got \{'in': .*entry by entry",
        ),
        (
            {"template": {"in": "{length} {force[2]}"}},
            r"`template` must be format strings of the inputs, got \{'in': .*force.*\(index 2",
        ),
        (
            {"template": {"in": "{length"}},
            r"`template\['in'\]` must be a format string, got '\{length' \(.*Write a literal brace",
        ),
        (
            {"template": {"in": 5}},
            r"`template` must map names of files to texts, got 'in': 5\.",
        ),
        ({"template": {"../in": "{length} {force[0]}"}}, r"`files` must have names of files within the folder"),
        ({"template": lambda x: None}, r"`template\(x\)` must be a mapping, or a list of at least one, got None"),
        ({"template": lambda x: []}, r"`template\(x\)` must be a mapping, or a list of at least one, got \[\]"),
        ({"template": "{length}"}, r"`template` must map names of files to texts, got '\{length\}'"),
        ({"parse": "beam.out"}, "`parse` must be a function of a Finished, got 'beam.out'"),
        ({"stdin": "other"}, r"`stdin` must be one of the files \['beam.in'\], got 'other'"),
        ({"timeout": 0.0}, r"`timeout` must be positive, got 0\.0"),
    ],
)
def test_wrong_arguments_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        truth(**changes).evaluate([AT])


def test_ctrl_c_kills_the_program(tmp_path: Path) -> None:
    code = f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(60)"

    def interrupt(signum: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 2.0)
    try:
        with pytest.raises(KeyboardInterrupt):
            truth(code).evaluate([AT])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)

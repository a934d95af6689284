"""Lines of a coordinate file: bytes to text, and text to pairs of numbers with their line numbers.

A line is read only where it can mean one thing: two numbers, or text of a title or a remark. All else is refused with
its line number and the cause. Nothing of the text reaches another program: title and remarks are dropped.
"""

from __future__ import annotations

import codecs
import re
import stat
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gradopt.errors import InputError, explain

Floats = NDArray[np.float64]

_MOST_BYTES = 2**20  # bytes of a file; by hand: the largest of UIUC's files has 12 kB
_MOST_LINES = 10_000  # by hand: the longest of UIUC's files has 500
_LONGEST = 2000  # characters of a line; by hand: the longest of UIUC's titles has 763
_SHOWN = 40  # characters of a line in a message; by hand
_REMEDY = "Write it in Selig form, x and y as fractions of chord."
_CORRECT = "Correct the line. A remark goes below the points, or behind a #."

_MARKS = (  # byte order marks; that of UTF-32 begins as that of UTF-16 does
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

_POINT = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eEdD][-+]?\d{1,3})?", re.ASCII)  # a number with a decimal point
_COMMA = re.compile(r"[-+]?\d+(?:,\d+)?(?:[eEdD][-+]?\d{1,3})?", re.ASCII)  # a number with a decimal comma
_TO_PYTHON = str.maketrans("Dd,", "ee.")
_NOT_FINITE = re.compile(r"[-+]?(?:nan|inf|infinity)(?:\(\w*\))?", re.ASCII | re.IGNORECASE)
_DECIMALS = re.compile(r"[.,][\dOoIl]{3}")  # a coordinate's decimals, letters that look like digits included
_COMMENT = re.compile(r"(?:^|(?<=\s))[#!]")
_SEPARATORS = {marks: re.compile(rf"\s*[{marks}]\s*|\s+") for marks in (",;", ";")}
_DIGITS = re.compile(r"\d|[.,][OoIl]|[OoIl][.,]", re.ASCII)
_TWO_DECIMALS = re.compile(  # two numbers side by side, as in "TE 1.0, 0.002" or "x=1.0 y=0.002"
    r"(?<![\w.,>])([-+]?\d*[.,]\d+(?:[eEdD][-+]?\d{1,3})?)[\s,;:()xyz=|]*(?<![\d.])([-+]?\d*[.,]\d+)(?![\w%])", re.ASCII
)


@dataclass(frozen=True, eq=False)
class Rows:
    """Coordinate lines of a file.

    Attributes:
        numbers: Line numbers, (n,), the first line of the file being 1.
        points: Pairs of numbers, (n, 2), as written.
    """

    numbers: NDArray[np.int64]
    points: Floats


@dataclass(frozen=True)
class _Line:
    number: int
    text: str

    @cached_property
    def with_point(self) -> tuple[float, float] | None:
        """The two numbers of the line, decimal points."""
        return _pair(_fields(self.text), _POINT)

    @cached_property
    def with_comma(self) -> tuple[float, float] | None:
        """The two numbers of the line, decimal commas.

        No line is two numbers in both ways with other values: with commas as separators there is one of them, with
        decimal commas a blank or a semicolon between the numbers, and a digit on both sides of each comma.
        """
        return _pair(_fields(self.text, ";"), _COMMA)

    @property
    def is_pair(self) -> bool:
        return self.with_point is not None or self.with_comma is not None


def refuse(path: Path, got: str, remedy: str = _REMEDY) -> InputError:
    """Return the error of a file that holds no airfoil which can be read.

    Args:
        path: The file.
        got: What the file holds instead, with the line number where there is one.
        remedy: What to do about it, one sentence.
    """
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(path))
    return InputError(explain("name_or_path", "be an airfoil in Selig form", f"`{shown}`: {got}", remedy))


def read_rows(path: Path) -> Rows:
    """Read the pairs of numbers of a coordinate file.

    Columns are separated by blanks, tabs, commas or semicolons; numbers have decimal points, or decimal commas where
    the separator is no comma; exponents are written with E or D. Titles stand above, remarks below the pairs, comments
    behind # or !, as XFOIL has them. The second line may hold the four edges of the grid, as in MSES' files.

    Args:
        path: The file.

    Returns:
        The coordinate lines; none where the file has text alone.

    Raises:
        InputError: If the file is no text of at most 1 MiB and 10,000 lines, or a line can be read in several ways or
            in none.
    """
    lines = _without_comments(path, _text_lines(path))
    pairs = [k for k, line in enumerate(lines) if line.is_pair]
    first, last = (pairs[0], pairs[-1]) if pairs else (len(lines), len(lines))
    for k, line in enumerate(lines[:first]):
        if not _is_text(line.text) and not (k == first - 1 > 0 and _is_grid(line.text)):
            raise _refuse_line(path, line)
    for line in lines[first:last]:
        if not line.is_pair:
            raise _refuse_line(path, line)
    for k, line in enumerate(lines[last + 1 :]):  # below a remark, more remarks
        if all(map(_is_number, _fields(line.text))) or (k == 0 and not _is_text(line.text)):
            raise _refuse_line(path, line)
    chosen = lines[first : last + 1]
    commas = next((line for line in chosen if line.with_point is None), None)
    points = []
    for line in chosen:
        pair = line.with_comma if commas else line.with_point
        if pair is None:
            assert commas is not None
            cause = f"no decimal commas, while line {commas.number}, {commas.text[:_SHOWN]!r}, has them"
            raise _refuse_line(path, line, cause, "Write decimal points in all lines.")
        if not np.isfinite(pair).all():
            raise _refuse_line(path, line, "a number beyond the largest of 64 bits", _CORRECT)
        points.append(pair)
    numbers = np.array([line.number for line in chosen], dtype=np.int64)
    return Rows(numbers, np.array(points, dtype=np.float64).reshape(-1, 2))


def may_be_point(text: str) -> bool:
    """Whether a line that is not two numbers can be a damaged or labeled end point, so that it must not be dropped."""
    fields = _fields(text)
    if len(fields) == 1 and len(_DECIMALS.findall(text)) > 1:
        return True
    if len(fields) == 2 and _DECIMALS.search(text) and all(map(_DIGITS.search, fields)):
        return True
    for found in _TWO_DECIMALS.finditer(text):
        x, y = map(_value, found.groups())
        if 0.8 <= x <= 1.05 and abs(y) <= 0.5:  # near a trailing edge at 1; by hand
            return True
    return False


def _text_lines(path: Path) -> list[str]:
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise refuse(path, f"not a readable file ({'a folder' if stat.S_ISDIR(mode) else 'a pipe or a device'})")
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        remedy = "Check the path; an airfoil AeroSandbox ships is named without .dat."
        raise refuse(path, "no such file", remedy) from None
    except OSError as cause:
        raise refuse(path, f"not a readable file ({cause.strerror})") from cause
    except ValueError as cause:  # a path with a character that no path may have
        if isinstance(cause, InputError):
            raise
        raise refuse(path, f"not the path of a file ({cause})", "Check the path.") from cause
    if len(data) > _MOST_BYTES:
        raise refuse(path, f"more than {_MOST_BYTES} bytes", "Give one section of some hundred points.")
    lines = re.split(r"\r\n?|\n", _decoded(path, data).rstrip("\x1a"))  # the end of a file under DOS
    if len(lines) > _MOST_LINES:
        raise refuse(path, f"{len(lines)} lines, more than {_MOST_LINES}", "Give one section of some hundred points.")
    for number, line in enumerate(lines, 1):
        if len(line) > _LONGEST:
            raise refuse(path, f"line {number} has {len(line)} characters, more than {_LONGEST}", "Break the line.")
    return lines


def _decoded(path: Path, data: bytes) -> str:
    """Text of a file: UTF-8, UTF-16 or UTF-32 by its byte order mark; else UTF-8, or Latin-1 where it is none."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            try:
                return data[len(mark) :].decode(encoding)
            except UnicodeDecodeError as cause:
                got = f"{encoding.upper()} by its byte order mark, but not from byte {len(mark) + cause.start} on"
                raise refuse(path, got, "Save it as UTF-8.") from cause
    at = data.find(b"\0")
    if at >= 0:
        number = len(re.split(rb"\r\n?|\n", data[:at]))
        half = len(data) // 2
        if max(data[::2].count(0), data[1::2].count(0)) > 0.8 * half:  # by hand; of digits and blanks: all
            remedy = "Save it as UTF-8, or as UTF-16 with its mark."
            raise refuse(path, "UTF-16 without a byte order mark (each second byte is 0)", remedy)
        raise refuse(path, f"a binary file: byte {at}, in line {number}, is 0", "Give a text file.")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _without_comments(path: Path, lines: list[str]) -> list[_Line]:
    """Lines that are not blank, with their numbers; # and ! begin a comment, as in XFOIL's files."""
    kept = []
    for number, line in enumerate(lines, 1):
        text, *comment = _COMMENT.split(line, maxsplit=1) if "#" in line or "!" in line else (line,)
        if text.strip():
            kept.append(_Line(number, text.strip()))
        elif comment and (_Line(number, comment[0]).is_pair or may_be_point(comment[0])):
            cause = "a comment that can be a point"
            raise _refuse_line(path, _Line(number, line.strip()), cause, "Delete the line, or the #.")
    return kept


def _fields(text: str, marks: str = ",;") -> list[str]:
    fields = _SEPARATORS[marks].split(text.strip().replace("\N{MINUS SIGN}", "-"))
    return fields[:-1] if len(fields) > 1 and not fields[-1] else fields


def _pair(fields: list[str], number: re.Pattern[str]) -> tuple[float, float] | None:
    if len(fields) != 2 or not all(number.fullmatch(field) for field in fields):
        return None
    first, second = map(_value, fields)
    return first, second


def _value(number: str) -> float:
    return float(number.translate(_TO_PYTHON))


def _is_number(field: str) -> bool:
    return any(kind.fullmatch(field) for kind in (_POINT, _COMMA, _NOT_FINITE))


def _is_text(text: str) -> bool:
    """Whether a line above or below the points is a title or a remark beyond doubt."""
    fields = _fields(text)
    if _is_number(fields[0]) or may_be_point(text):
        return False
    if any(c.isalpha() for c in text) or not any(c.isdigit() for c in text):
        return True
    return len(fields) == 1 and "." not in text and not text[0].isdigit()  # such as "(15%)"


def _is_grid(text: str) -> bool:
    """Whether a line is the edges of the grid around a section, xmin xmax ymin ymax, as in the second line of MSES."""
    fields = _fields(text)
    if len(fields) != 4 or not all(_POINT.fullmatch(field) for field in fields):
        return False
    left, right, bottom, top = map(_value, fields)
    return left < 0.0 and right > 1.0 and bottom < 0.0 < top


def _refuse_line(path: Path, line: _Line, cause: str = "", remedy: str = "") -> InputError:
    if not cause:
        cause, remedy = _cause(line.text)
    shown = line.text[:_SHOWN] + ("..." if len(line.text) > _SHOWN else "")
    if line.is_pair:
        return refuse(path, f"line {line.number} is {shown!r}: {cause}", remedy)
    return refuse(path, f"line {line.number} is not two numbers but {shown!r}: {cause}", remedy)


def _cause(text: str) -> tuple[str, str]:
    """Why a line is neither two numbers nor text, and what to do about it."""
    fields = max(_fields(text), _fields(text, ";"), key=lambda found: sum(map(_is_number, found)) / len(found))
    numbers = [field for field in fields if _is_number(field)]
    if any(_NOT_FINITE.fullmatch(field) for field in fields):
        return "a number that is not finite", _CORRECT
    if len(numbers) == len(fields) == 1:
        return "one number", "Complete or delete the line; let a title begin with a letter."
    if len(numbers) == len(fields) == 4 and re.fullmatch(r"[-+]?\d+,\d+,\s*[-+]?\d+,\d+", text):
        return "two numbers with decimal commas, or four", "Write decimal points, or semicolons between the columns."
    if len(numbers) == len(fields):
        return f"{len(numbers)} numbers", "Keep the columns x and y alone; let a title begin with a letter."
    if len(fields) > 2 and all(_is_number(field) for field in fields[:2]):
        return "text behind two numbers", "Delete the text or put a # before it; let a title begin with a letter."
    if numbers and fields[0] == numbers[0]:
        return "a number and text", "Correct the line; let a title begin with a letter."
    if may_be_point(text):
        return "it can be a damaged point", "Correct the line; a title must not look like a point."
    if any(c.isdigit() for c in text) and not any(c.isalpha() for c in text):
        return "neither numbers nor words", _CORRECT
    return "text among the points", "Keep one section in a file; put a # before remarks."

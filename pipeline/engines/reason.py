"""Why a library failed, in one line."""

from __future__ import annotations


def reason(error: Exception) -> str:
    """The first line of the innermost error, which is where compilers say what they lack."""
    inner: BaseException = error
    while inner.__cause__ is not None:
        inner = inner.__cause__
    return _lines(inner)[0]


def last_line(error: Exception) -> str:
    """The last line, which is where OpenVINO says what it lacks."""
    return _lines(error)[-1].removeprefix("-- ")


def _lines(error: BaseException) -> list[str]:
    return str(error).strip().splitlines() or [type(error).__name__]

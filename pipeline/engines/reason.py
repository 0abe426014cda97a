"""Why a library failed, in one line."""

from __future__ import annotations


def reason(error: Exception) -> str:
    """The first line of the innermost error, which is where compilers say what they lack."""
    inner: BaseException = error
    while inner.__cause__ is not None:
        inner = inner.__cause__
    lines = str(inner).strip().splitlines()
    return lines[0] if lines else type(inner).__name__

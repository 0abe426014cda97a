"""The hash of all that a case is made from: the scan, and what is carried with it."""

from __future__ import annotations

from finevox.pipeline.cohort.case import Case
from finevox.pipeline.files import sha256_of

Hash = str | dict[str, str]


def input_sha256(case: Case, source_sha256: str | dict[str, str] | None = None) -> Hash:
    """Of the scan alone, or by name of the scan and of what is carried.

    Parameters
    ----------
    source_sha256
        Of the scan, where it is known already.

    Raises
    ------
    OSError
        If a file cannot be read.
    """
    own = source_sha256 or sha256_of(case.source)
    if not case.carried:
        return own
    hashes = dict(own) if isinstance(own, dict) else {case.source.name: own}
    return hashes | {one.source.name: str(sha256_of(one.source)) for one in case.carried}

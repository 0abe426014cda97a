"""Loading of libraries without Python's garbage collector, which doubles the time it takes."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def loading() -> Iterator[None]:
    """Keep the collector away from what is imported here; for commands, not for Python users.

    torch and monai make 700,000 objects that live until the process ends. The collector would
    look through all of them again and again while they are made, and once more at the end.
    """
    if "monai" in sys.modules or not gc.isenabled():
        # Nothing large is left to load, or the collector is someone else's to start.
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()

"""Work that goes on in another thread: the next thing is read, the last one written, meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, Self, TypeVar

Thing = TypeVar("Thing")
Result = TypeVar("Result")


class Aside(Generic[Thing, Result]):
    """A thread that does one thing at a time with what it is given, in that order.

    Whoever gives waits for the thing before, so that no more than one is held.
    """

    def __init__(self, name: str, do: Callable[[Thing], Result]) -> None:
        self._do = do
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._future: Future[Result] | None = None

    def give(self, thing: Thing) -> None:
        """Begin with the next thing; raises what went wrong with the one before."""
        if self._future is not None:
            self._future.result()
        self._future = self._pool.submit(self._do, thing)

    def result(self) -> Result:
        """Wait for what was given last.

        Raises
        ------
        ValueError
            If nothing was given.
        """
        if self._future is None:
            raise ValueError("nothing was given to do")
        return self._future.result()

    def check(self) -> None:
        """Raise what has gone wrong so far, without waiting."""
        if self._future is not None and self._future.done():
            self._future.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)


def read_ahead(things: Iterable[Thing], prepare: Aside[Thing, Result]) -> Iterator[Result]:
    """Each thing prepared, in order, the next one in another thread while one is used."""
    rest = iter(things)
    for first in rest:
        prepare.give(first)
        break
    else:
        return
    for thing in rest:
        ready = prepare.result()
        prepare.give(thing)
        yield ready
    yield prepare.result()

"""Running cases on the workers of a pool: who gets what, and what happens when a worker dies.

The run gives every case to a named worker itself, and never more than :data:`SLOTS` at a time.
Dask's own queue would know neither which case killed a worker nor when the wall time of a
worker's job ends, and ten thousand tasks would wait inside the scheduler.
"""

from __future__ import annotations

import logging
import math
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from secrets import token_hex
from typing import Any

from distributed.client import FutureCancelledError
from distributed.scheduler import KilledWorker

from finevox.errors import CohortError
from finevox.pipeline.cohort.pool import Pool
from finevox.pipeline.cohort.seats import Flight, Lost, Seat
from finevox.pipeline.cohort.staging import AlreadyBegunError
from finevox.pipeline.cohort.worker import FACTS, SLOTS, STAGES

log = logging.getLogger(__name__)

# Seconds between two looks at the workers, and between two at the clock.
LOOK_EVERY, TICK = 1.0, 0.2
# A case on a worker that is gone is given up after this many seconds without a word.
LOST_AFTER = 10.0
# A result comes at once; how long one is waited for, and how often, while its worker is there.
FETCH_SECONDS, FETCHES = 1.0, 30
# Without any worker for this long, a pool on this machine is not going to have one.
PATIENCE = 180.0
# A worker gets no case any more when less of its wall time is left than this many times the
# longest case so far; at most this share of the wall time, or nothing would ever run.
RESERVE, LARGEST_RESERVE = 1.5, 0.5
# Deadlines of workers that started together are spread over this share of the wall time.
STAGGER = 0.1
RESTART_SECONDS = 30.0


class Executor:
    """Runs tasks on a pool until all are done or the run is stopped.

    Parameters
    ----------
    pool
        The workers.
    prepare
        Makes the task that is sent for a case: of its name, the device that its worker has for
        itself, and whether it is alone there because it lost a worker before.
    function
        What a worker calls with a task; it returns a result and raises nothing.
    timeout_s
        For one case; None waits for ever.
    stop
        Set from outside, say by a signal, to end the run soon.
    """

    def __init__(
        self,
        pool: Pool,
        prepare: Callable[[str, str | None, bool], Any],
        function: Callable[[Any], Any],
        timeout_s: float | None,
        stop: threading.Event,
    ) -> None:
        self.pool, self.prepare, self.function = pool, prepare, function
        self.timeout_s, self.stop = timeout_s, stop
        self.seats: dict[str, Seat] = {}
        self._events: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        # Cases that have to be alone, and those that lost their worker to another case.
        self._retries: deque[str] = deque()
        self._again: deque[str] = deque()
        self._deaths: dict[str, int] = {}
        self._longest = 0.0
        self._looked = -math.inf
        self._seen_worker = time.monotonic()
        # Processes that get no case any more; a new one may have an old address.
        self._gone: set[str] = set()
        self._over = False

    @property
    def running(self) -> list[str]:
        """Keys of the cases that are on a worker."""
        return [key for seat in self.seats.values() for key in seat.flights]

    def run(self, names: Sequence[str]) -> Iterator[tuple[Any, Any] | None]:
        """Results of the cases as they come, each with its task; :class:`Lost` where there is none.

        In between comes None, so that whoever shows progress has something to do.

        Raises
        ------
        CohortError
            If no worker ever comes.
        """
        waiting = iter(names)
        left = len(names)
        self.pool.client.subscribe_topic(STAGES, lambda event: self._events.put(("stage", event)))
        try:
            while left and not self.stop.is_set():
                self._look(left)
                self._assign(waiting)
                for task, result in self._results():
                    left -= not isinstance(result, Lost) or result.final
                    yield task, result
                yield None
        finally:
            self._over = True
            # Where the scheduler is lost there is nothing to take back.
            with suppress(OSError):
                self.pool.client.unsubscribe_topic(STAGES)
                for seat in self.seats.values():
                    for flight in seat.flights.values():
                        flight.future.cancel(reason="the run ends")

    def _look(self, left: int) -> None:
        """See which workers there are, at most once in a while."""
        now = time.monotonic()
        if now - self._looked < LOOK_EVERY:
            return
        self._looked = now
        self.pool.scale(int(min(self.pool.maximum, left)))
        present = set()
        for address, info in self._workers().items():
            facts = info["metrics"].get(FACTS)
            if facts is None or facts["process"] in self._gone:
                continue
            seat = self.seats.get(address)
            if seat is None:
                seat = self.seats[address] = self._seat(address, info, facts)
                log.debug("worker %s at %s", seat.name, address)
            if seat.facts["process"] != facts["process"]:
                continue
            present.add(address)
            # Not so where others let it go, or its memory is full.
            seat.running = info["status"] == "running"
            seat.memory = int(info["metrics"].get("memory", 0))
        for address in self.seats.keys() - present:
            self._miss(self.seats[address])
        if self.seats:
            self._seen_worker = now
        elif self.pool.local and now - self._seen_worker > PATIENCE:
            raise CohortError(
                f"no worker came in {PATIENCE:.0f} s ({self.pool.describe()}); what they say is in "
                "the log folder"
            )

    def _workers(self) -> dict[str, Any]:
        try:
            workers: dict[str, Any] = self.pool.client.scheduler_info(n_workers=-1)["workers"]
        except (OSError, RuntimeError, AttributeError, KeyError) as error:
            # A client that has given its scheduler up knows no workers, nor whom to ask.
            raise CohortError(
                f"{self.pool.describe()}: the scheduler is lost; start the same command again"
            ) from error
        return workers

    def _seat(self, address: str, info: dict[str, Any], facts: dict[str, Any]) -> Seat:
        walltime = self.pool.walltime_s or math.inf
        # From the address: the same for the same worker, different between workers.
        share = STAGGER * (sum(map(ord, address)) % 100) / 100
        deadline = time.monotonic() - (time.time() - facts["started"]) + walltime * (1 - share)
        limit = info.get("memory_limit") or None
        return Seat(address, facts, info.get("resources") or {}, limit, deadline)

    def _miss(self, seat: Seat) -> None:
        """A worker that the scheduler does not know any more."""
        now = time.monotonic()
        for flight in seat.flights.values():
            flight.missing_since = flight.missing_since or now
            if now - flight.missing_since > LOST_AFTER:
                flight.future.cancel(reason="its worker is gone")
                self._events.put(("lost", (seat, flight)))
        if not seat.flights:
            self._forget(seat)

    def _assign(self, waiting: Iterator[str]) -> None:
        """Fill free places: first cases that have to be alone, then the others in order."""
        seats = [seat for seat in list(self.seats.values()) if self._takes_work(seat)]
        # The emptiest first, and of these the one that has the most time left.
        seats.sort(key=lambda seat: (len(seat.flights), -seat.deadline))
        while self._retries and seats and not seats[0].flights:
            seat = seats.pop(0)
            seat.alone = True
            self._send(seat, self._retries.popleft())
        # Workers that wait to be empty for a case that has to be alone get no other.
        seats = seats[len(self._retries) :]
        for filled in range(SLOTS):
            for seat in seats:
                if len(seat.flights) > filled:
                    continue
                name = self._again.popleft() if self._again else next(waiting, None)
                if name is None:
                    return
                self._send(seat, name)

    def _takes_work(self, seat: Seat) -> bool:
        if seat.closing or seat.alone or not seat.running:
            return False
        if self.pool.walltime_s is None:
            return True
        reserve = min(max(RESERVE * self._longest, 1.0), LARGEST_RESERVE * self.pool.walltime_s)
        if seat.deadline - time.monotonic() > reserve:
            return True
        seat.closing = True
        if not seat.flights:
            self._retire(seat)
        return False

    def _retire(self, seat: Seat) -> None:
        """Let a worker go whose wall time is nearly over; the pool replaces it."""
        log.debug("worker %s is let go before its wall time ends", seat.name)
        self._forget(seat)
        self.pool.client.retire_workers([seat.address], close_workers=True, remove=True)

    def _send(self, seat: Seat, name: str) -> None:
        task = self.prepare(name, seat.facts.get("device"), seat.alone)
        future = self.pool.client.submit(
            self.function,
            task,
            # Dask keeps books on each first part, for ever.
            key=("case", name, token_hex(8)),
            workers=[seat.address],
            allow_other_workers=False,
            pure=False,
            resources={"GPU": 1} if "GPU" in seat.resources else None,
        )
        flight = seat.flights[name] = Flight(name, task, future)
        future.add_done_callback(lambda _: self._events.put(("done", (seat, flight))))

    def _results(self) -> Iterator[tuple[Any, Any]]:
        """What has happened since the last time; waits a moment if nothing has."""
        wait = True
        while True:
            try:
                kind, what = self._events.get(timeout=TICK if wait else 0)
            except queue.Empty:
                break
            wait = False
            if kind == "stage":
                self._enter(what[1])
                continue
            seat, flight = what
            if seat.flights.get(flight.name) is not flight:
                continue
            del seat.flights[flight.name]
            seat.idle_since = None
            yield from self._landed(seat, flight)
            seat.alone = False
            if not seat.flights:
                if seat.dead:
                    self._forget(seat)
                elif seat.closing:
                    self._retire(seat)
        yield from self._late()

    def _enter(self, event: dict[str, Any]) -> None:
        # By the key of Dask: another attempt at the case, or another run, says the like.
        for seat in self.seats.values():
            flight = seat.flights.get(event["key"][1])
            if flight is not None and flight.future.key == event["key"]:
                flight.enter(event["stage"])

    def _landed(self, seat: Seat, flight: Flight) -> Iterator[tuple[Any, Any]]:
        try:
            result = self._fetch(seat, flight)
        except (KilledWorker, FutureCancelledError, AlreadyBegunError):
            # What ends the run may have ended its workers too, and so may a lost scheduler.
            self._workers()
            if self.stop.is_set():
                return
            seat.closing = seat.dead = True
        except TimeoutError:
            # The case had ended; it is not what its worker died of.
            seat.closing = seat.dead = True
            self._again.append(flight.name)
            reason = "its worker died with the result; it is done again"
            yield flight.task, Lost(reason, seat.name, final=False)
            return
        except Exception as error:
            # The function returns its own failures; this is one of Dask, say of sending the task.
            # No case is to blame for a lost scheduler.
            self._workers()
            yield flight.task, Lost(f"{type(error).__name__}: {error}", seat.name)
            return
        else:
            self._longest = max(self._longest, flight.seconds())
            yield flight.task, result
            return
        deaths = self._deaths[flight.name] = self._deaths.get(flight.name, 0) + 1
        log.debug("worker %s died with %s, time %d", seat.name, flight.name, deaths)
        if deaths == 1:
            self._retries.append(flight.name)
            reason = "its worker died; it is done again, alone and in small tiles"
            yield flight.task, Lost(reason, seat.name, final=False)
        else:
            yield flight.task, Lost(seat.death(), seat.name)

    def _fetch(self, seat: Seat, flight: Flight) -> Any:
        """The result of a case, which its worker holds.

        Raises
        ------
        TimeoutError
            If the worker has died with it; Dask would wait for that very worker for ever.
        """
        for _ in range(FETCHES):
            try:
                return flight.future.result(timeout=FETCH_SECONDS)
            except TimeoutError:
                if self.stop.is_set() or seat.address not in self._workers():
                    break
        raise TimeoutError

    def _late(self) -> Iterator[tuple[Any, Any]]:
        """Cases over their time limit; their workers have to go with them."""
        for seat in list(self.seats.values()):
            idle = seat.idle_seconds()
            late = [
                flight
                for n, flight in enumerate(seat.flights.values())
                if self.timeout_s is not None
                # Where all of them wait for another one, the first has to answer for it.
                and max(flight.seconds(), 0 if n else idle) > self.timeout_s
            ]
            if not late:
                continue
            flights, seat.flights = list(seat.flights.values()), {}
            self._forget(seat)
            for flight in flights:
                flight.future.cancel(reason="over the time limit")
            threading.Thread(target=self._restart, args=(seat,), daemon=True).start()
            for flight in flights:
                if flight in late:
                    reason = f"took longer than {self.timeout_s:g} s (--timeout)"
                    yield flight.task, Lost(reason, seat.name)
                else:
                    self._again.append(flight.name)
                    reason = "its worker was ended for another case; it is done again"
                    yield flight.task, Lost(reason, seat.name, final=False)

    def _forget(self, seat: Seat) -> None:
        self._gone.add(seat.facts["process"])
        self.seats.pop(seat.address, None)

    def _restart(self, seat: Seat) -> None:
        """Kill a worker whose case does not end; its nanny starts another."""
        try:
            self.pool.client.restart_workers(
                [seat.address], timeout=RESTART_SECONDS, raise_for_error=False
            )
        except Exception as error:
            # At the end of a run the connection is closed under it, which is told in many ways.
            if self._over:
                return
            log.warning("worker %s could not be restarted (%s); it is left alone", seat.name, error)

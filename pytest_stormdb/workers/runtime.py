"""One worker with all that belongs to it: its connection, its loop, its worker fixtures."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from ..database import async_statement, copying, pipelining, statement  # noqa: F401 - or each worker does so, late
from ..database.cancelling import NamedSessions
from ..database.connect import with_parameters
from ..database.connection import OWN_SESSION, NoConnection, SessionCare, WorkerConnection
from ..database.cursor_cost import STATEMENTS
from ..errors import StormDBError, WorkloadError
from ..load.alternation import Alternation
from ..load.pacing import spin_ns
from ..load.plan import LoadPlan
from ..measurement.clock import SYSTEM_CLOCK, Clock
from ..measurement.machine import cpus
from ..measurement.recorder import Recorder
from ..measurement.trace import Tracer
from ..measurement.usage import SchedulerUsage
from ..workload.contract import UnconnectedWorker, Worker, Workload
from ..workload.resources import Resources
from .arrivals import ArrivalQueue
from .deadline import Deadline
from .flush import Flush
from .lifecycle import Lifecycle, State
from .looks import Looks
from .loop import Loop
from .messages import Backend, Broken, Message, Ready, WorkerDone
from .timeouts import WatchedLoop
from .turns import Turns


@dataclass(frozen=True, slots=True)
class Job:
    """What all workers of a run work on, wherever they are; those of one ``arm``, where arms take turns.

    ``name`` is what their sessions are called on the server, each with the worker's id behind it. Of ``trace_every``
    iterations of each one is traced; 0 for none. ``longest_ns`` is how long they may have to measure, if that may be
    longer than planned; ``looks`` is shared with whoever watches the server from this machine, ``is_watched`` says
    that somebody looks at the counts as they grow.
    """

    workload: Workload
    plan: LoadPlan
    dsn: str
    name: str
    trace_every: int = 0
    alternation: Alternation | None = None
    arm: int = 0
    longest_ns: int = 0
    looks: Looks = field(default_factory=Looks)
    care: SessionCare = OWN_SESSION
    is_watched: bool = True

    def session_name(self, worker: int) -> str:
        """What the sessions of a worker are called, its own connection's and those of other clients."""
        return f"{self.name} {worker}"


@dataclass(frozen=True, slots=True)
class Control:
    """What the workers on one machine share while they run: until when, what arrives, and the clock."""

    deadline: Deadline
    arrivals: ArrivalQueue | None = None
    clock: Clock = field(default_factory=lambda: SYSTEM_CLOCK)


class WorkerRuntime:
    """One worker, from its set-up to its tear-down. Everything it has to say goes to ``send``."""

    def __init__(
        self,
        job: Job,
        control: Control,
        worker_id: int,
        send: Callable[[Message], None],
        *,
        is_alone: bool = True,
        connection: NoConnection | None = None,
    ) -> None:
        plan, clock = job.plan, control.clock
        recorder = Recorder(Tracer(job.trace_every) if job.trace_every else None)
        draws = self._draws = random.Random(f"plan:{plan.seed}:{worker_id}")
        self.worker = _make_worker(job, worker_id, recorder)
        self.lifecycle = Lifecycle()
        self.scheduling = SchedulerUsage()
        self.flush = Flush(
            worker=self.worker,
            plan=plan,
            recorder=recorder,
            send=send,
            alternation=job.alternation,
            on_block=self._draw_anew,
        )
        self.turns = self._make_turns(job, control)
        self.sessions = NamedSessions(job.dsn, job.session_name(worker_id))
        self.connection = connection or self._make_connection(job, clock)
        self.loop = Loop(
            workload=job.workload,
            plan=plan,
            worker=self.worker,
            recorder=recorder,
            connection=self.connection,
            turns=self.turns,
            draws=draws,
            send=send,
            clock=clock,
            looked=job.looks.words,
            spin_ns=spin_ns(plan, cpus()) if is_alone else 0,  # one that shares an interpreter would hold up others
        )
        self.flush.on_measured = self.connection.flush_counters
        self.resources = Resources(self.worker)
        self._workload = job.workload
        self._send = send
        self._clock = clock
        self._seed = plan.seed

    def _draw_anew(self, block: int) -> None:
        """In both blocks of a pair, this worker's counterparts in the arms draw the same."""
        pair = block // 2
        self.worker.rng.seed(f"{self._seed}:{self.worker.id}:{pair}")
        self._draws.seed(f"plan:{self._seed}:{self.worker.id}:{pair}")

    def _make_turns(self, job: Job, control: Control) -> Turns:
        return Turns(
            worker=self.worker,
            plan=job.plan,
            flush=self.flush,
            deadline=control.deadline,
            arrivals=control.arrivals,
            draws=self._draws,
            clock=control.clock,
            alternation=job.alternation,
            arm=job.arm,
        )

    def _make_connection(self, job: Job, clock: Clock) -> NoConnection:
        if not job.plan.connect:
            return NoConnection()
        name, is_async = job.session_name(self.worker.id), job.workload.is_async
        connection = WorkerConnection(self.worker, name, is_async=is_async, clock=clock, care=job.care)
        connection.may_go_on = self.turns.may_go_on
        connection.on_open = lambda pid: self._send(Backend(self.worker.id, pid))
        return connection

    async def connect(self) -> None:
        """Open the connection, set up the worker fixtures and bind the calls. Raises what goes wrong."""
        await self.connection.open()
        values = await self.resources.resolve(self._workload.arguments)
        self.loop.calls = self._workload.bind(values)

    async def release(self) -> None:
        """Tear down the worker fixtures and close the connection. Raises what a fixture raises."""
        try:
            await self.resources.close()
        finally:
            await self.connection.close()

    async def set_up(self) -> bool:
        """Get ready, and say so or what is wrong; whether it is ready."""
        try:
            await self.connect()
        except BaseException as error:
            self.fail(error)
            return False
        self.lifecycle.enter(State.READY)
        self._send(Ready(self.worker.id))
        return True

    def watched(self) -> WatchedLoop:
        """This worker as whoever enforces its timeout sees it."""
        return WatchedLoop(self.loop, self.connection, self.sessions, self.lifecycle, self._clock.now_ns())

    def finish(self, start_ns: int) -> None:
        """Say that the iterations are over; what a worker says that was given up is not heard."""
        self.turns.finish()
        if self.lifecycle.enter(State.DONE) or self.lifecycle.state is State.FAILED:
            elapsed_ns = self._clock.now_ns() - start_ns
            self._send(WorkerDone(self.worker.id, elapsed_ns, self.connection.own_work()))

    async def cursor_cost_ns(self) -> float | None:
        """What psycopg's cursors took in each iteration; of the first worker only, the others do the same.

        Of fewer iterations than the statements that it takes to find out, nothing is said.
        """
        if self.worker.id or self.flush.calls < STATEMENTS or self.lifecycle.state is not State.DONE:
            return None
        return await self.connection.cursor_cost_ns(self.worker.iteration + 1)

    async def tear_down(self) -> None:
        """Give everything back, and say what is wrong."""
        self.lifecycle.enter(State.DISMISSED)
        self.loop.counting.explain_first_failure()
        try:
            await self.release()
        except BaseException as error:
            self.fail(error)
        self.lifecycle.enter(State.ENDED)

    def fail(self, error: BaseException) -> None:
        """Say why this worker cannot go on, in a form that travels."""
        self.lifecycle.enter(State.FAILED)
        if isinstance(error, StormDBError):
            self._send(Broken(self.worker.id, error))
            return
        what = f"worker {self.worker.id}: {type(error).__name__}: {error}"
        self._send(Broken(self.worker.id, WorkloadError(what), self._workload.explain(error)))


def _make_worker(job: Job, worker_id: int, recorder: Recorder) -> Worker:
    """The worker as the workload sees it; its connection comes later."""
    return (Worker if job.plan.connect else UnconnectedWorker)(
        id=worker_id,
        count=job.plan.workers,
        dsn=with_parameters(job.dsn, application_name=job.session_name(worker_id)),
        seed=job.plan.seed,
        batch_size=job.plan.batch_size,
        recorder=recorder,
        is_async=job.workload.is_async,
    )

"""What iterations are counted as: successes, the results they returned, expected aborts, failures."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..database.connection import NoConnection
from ..load.plan import LoadPlan
from ..measurement.recorder import Recorder
from ..measurement.sample import Failure, OperationResult, Sample
from ..workload.contract import Worker, Workload
from ..workload.outcome import abort_in, failure_in, failure_of, results_of, rows_of
from .calls import Failed, Interrupted, IterationTimeout
from .looks import LOOKED
from .messages import FirstFailure, Interruption, Message


class Counting:
    """Counts for one worker, and tells the supervisor of its first failure, and of a wish to end the run.

    ``looked`` tells which iterations' spans to keep.
    """

    def __init__(
        self,
        workload: Workload,
        plan: LoadPlan,
        worker: Worker,
        recorder: Recorder,
        connection: NoConnection,
        send: Callable[[Message], None],
        looked: memoryview,
    ) -> None:
        self._workload = workload
        self._plan = plan
        self._worker = worker
        self._recorder = recorder
        self._connection = connection
        self._send = send
        self._looked = looked
        self._first: tuple[int, str, BaseException] | None = None

    def count(self, sample: Sample, value: object, *, is_overdue: bool) -> None:
        """Count a call that was no plain success. Raises WorkloadError, or Interrupted, to end the run."""
        if isinstance(value, Failed):
            self._fail(sample, value.error, is_overdue)
        elif is_overdue:
            self._recorder.record_failure(sample, self.timeout_failure("it ended by itself after that"))
        elif not self._connection.is_clean():
            self._recorder.record_failure(sample, self._connection.problem())
        elif results := results_of(value, sample.operation):
            self._record_results(sample, results)
        else:
            self._recorder.record(sample, is_open=self._plan.is_open)
            self._keep_span(sample)

    def _record_results(self, sample: Sample, results: Sequence[OperationResult]) -> None:
        """Each result counts for its operation; the call's duration enters once for each operation named."""
        successes: dict[str, int] = {}
        for result in results:
            name = result.operation or sample.operation
            failure = failure_in(result)
            if failure is None:
                successes[name] = successes.get(name, 0) + 1
            else:
                self._recorder.record_failure(sample._replace(operation=name), failure)
            self._recorder.tally(name).rows += rows_of(result)
        for name, count in successes.items():
            self._recorder.record(sample._replace(operation=name), is_open=self._plan.is_open, count=count)
        if successes:
            self._keep_span(sample)

    def _keep_span(self, sample: Sample) -> None:
        """Where the server was looked at during this iteration, what was seen there belongs to it."""
        if self._looked[LOOKED] >= sample.started_ns:
            self._recorder.keep_span(sample.intended_ns, sample.started_ns, sample.finished_ns)

    def _fail(self, sample: Sample, error: BaseException, is_overdue: bool) -> None:
        stop = self._workload.stops(error)
        if stop is not None:
            self._send(Interruption(*stop))
            raise Interrupted
        reason = abort_in(error)
        if reason is not None and not is_overdue:
            self._recorder.record_abort(sample, reason)
            return
        failure = failure_of(error)
        if isinstance(error, IterationTimeout):
            self._connection.replace_next()
        if isinstance(error, IterationTimeout) or is_overdue:
            failure = self.timeout_failure(failure.example)
        self._recorder.record_failure(sample, failure)
        if self._first is None:
            self._first = self._worker.iteration, sample.operation, error

    def explain_first_failure(self) -> None:
        """Say what the first failure looked like, after the load.

        pytest parses the sources of every frame to show it: 0.3 to 0.5 s of CPU time for one through SQLAlchemy, in
        which an open loop would fall behind, and the server would be blamed for it.
        """
        if self._first is not None:
            iteration, operation, error = self._first
            self._first = None
            self._send(FirstFailure(self._worker.id, iteration, operation, self._workload.explain(error)))

    def timeout_failure(self, detail: str) -> Failure:
        """The failure of an iteration that outlived its timeout, and what then became of it."""
        return Failure("timeout", f"cancelled after {self._plan.timeout_ns / 1e9:g} s: {detail}")

"""One iteration of each operation, in this process and without load: workloads as plain tests."""

from __future__ import annotations

import asyncio

from ..load.plan import LoadPlan
from ..workers.deadline import Deadline
from ..workers.group import Job, Seat, at_once, make_seat
from ..workload.contract import Workload


def run_once(workload: Workload, plan: LoadPlan, dsn: str) -> None:
    """Run each operation of a workload once, in this process, as a plain test; what it raises comes through."""
    seat = make_seat(Job(workload, plan, dsn, "stormdb smoke", Deadline(), None), 0, lambda message: None)
    if workload.is_async:
        asyncio.run(_once_async(workload, seat))
        return
    try:
        seat.line.open()
        values = at_once(seat.resources.fill(workload.arguments))
        for call in workload.bind(values):
            seat.worker.iteration += 1
            call()
    finally:
        at_once(seat.resources.close())
        seat.line.close()


async def _once_async(workload: Workload, seat: Seat) -> None:
    try:
        await seat.line.open_async()
        values = await seat.resources.fill(workload.arguments)
        for call in workload.bind(values):
            seat.worker.iteration += 1
            await call()
    finally:
        await seat.resources.close()
        await seat.line.close_async()

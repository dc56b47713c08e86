"""What is computed next: a queue with ranks, superseding and cancelling. No threads, no torch.

A job is advanced one step at a time (a frame, a click, a part of loading a model); before every
step the scheduler is asked anew, so whatever is more urgent interrupts a job between two steps and
the job goes on afterwards from where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from .messages import Embed, Event, LoadModel, Propagate, Request, SegmentFrame

# A model counts as interactive: clicks that were asked before it use the model before, those
# asked after it wait for it.
RANKS = {LoadModel: 0, SegmentFrame: 0, Propagate: 1, Embed: 2}
COMPUTED = tuple(RANKS)


@dataclass(eq=False)
class Job:
    """A request on its way. steps: its work once begun, an event or None at each step; the last
    event is the final one. cancelled: the client wants no more of it."""

    number: int
    request: Request
    order: int
    steps: Iterator[Event | None] | None = field(default=None, repr=False)
    cancelled: bool = False

    @property
    def rank(self) -> int:
        return RANKS[type(self.request)]


class Scheduler:
    """Jobs that wait, in the order in which they are to be computed. Not thread-safe."""

    def __init__(self):
        self._jobs: dict[int, Job] = {}
        self._asked = 0
        self.running: Job | None = None

    def add(self, number: int, request: Request) -> list[Job]:
        """Queue a request. Returns the jobs that it supersedes, which are out of the queue: an
        unfinished segment request for the same segment on the same frame."""
        superseded = []
        if isinstance(request, SegmentFrame):
            superseded = self._remove(lambda job: _same_frame(job.request, request))
        self._asked += 1
        self._jobs[number] = Job(number, request, self._asked)
        return superseded

    def take(self) -> Job | None:
        """The job whose next step is to be computed now; it runs until `put_back` or `finish`."""
        if not self._jobs:
            return None
        job = min(self._jobs.values(), key=lambda job: (job.rank, job.order))
        del self._jobs[job.number]
        self.running = job
        return job

    def put_back(self) -> bool:
        """The running job has further steps. False, and it is finished, if it was cancelled."""
        job, self.running = self.running, None
        if job.cancelled:
            return False
        self._jobs[job.number] = job
        return True

    def finish(self) -> None:
        """The running job has ended."""
        self.running = None

    def cancel(self, number: int) -> list[Job]:
        """Cancel a request. Returns it if it waits, and it is then out of the queue; a running one
        is marked, and ends after its step."""
        return self._cancel(lambda job: job.number == number)

    def cancel_clip(self, clip: str) -> list[Job]:
        """Cancel everything about a clip; returns what `cancel` does."""
        return self._cancel(lambda job: getattr(job.request, "clip", None) == clip)

    def cancel_all(self) -> list[Job]:
        return self._cancel(lambda job: True)

    @property
    def waiting(self) -> int:
        """Requests in the queue, without the running one."""
        return len(self._jobs)

    def _cancel(self, concerns: Callable[[Job], bool]) -> list[Job]:
        if self.running is not None and concerns(self.running):
            self.running.cancelled = True
        return self._remove(concerns)

    def _remove(self, concerns: Callable[[Job], bool]) -> list[Job]:
        removed = [job for job in self._jobs.values() if concerns(job)]
        for job in removed:
            job.cancelled = True
            del self._jobs[job.number]
        return removed


def _same_frame(earlier: Request, newer: SegmentFrame) -> bool:
    return (
        isinstance(earlier, SegmentFrame)
        and earlier.clip == newer.clip
        and earlier.segment == newer.segment
        and earlier.frame == newer.frame
    )

"""A session: the model, the open clips and what is asked of them stay when the worker goes.

It owns a Client and starts it anew: after a crash, a kill, a hang, garbage or a broken connection
the next request brings back a worker with the same model and the clips that are needed. What was
accepted never was in the worker. Like the client it lives on one thread, and nothing blocks.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any

from ..clip import Clip
from ..errors import SamusaError
from . import preview
from .annotated_clip import AnnotatedClip
from .client import Client, Pending, RequestFailed, WorkerLost
from .command import WorkerCommand
from .journal import JournalSummary, list_journals
from .messages import (
    AskStatus,
    Embed,
    Event,
    FailureKind,
    FramePropagated,
    LoadModel,
    ModelLoaded,
    Request,
    SegmentFrame,
)
from .transport import Transport

MOST_LOSSES = 3  # within LOSS_SECONDS; then no new worker is started unasked
LOSS_SECONDS = 60.0


class WorkerState(str, Enum):
    """down: no worker, the next request starts one. no_model: it runs and its model could not be
    loaded, the next request tries again. failed: no worker, and requests fail, until `start`."""

    DOWN = "down"
    STARTING = "starting"
    LOADING = "loading"
    READY = "ready"
    NO_MODEL = "no_model"
    FAILED = "failed"


@dataclass(eq=False)
class _Task:
    """A request of the owner's, and what has become of it."""

    pending: Pending  # the owner's
    clip: AnnotatedClip | None
    asked: Pending | None = None  # of the client, while it is there
    opening: Pending | None = None  # of the clip, with which it was asked
    again: bool = False  # has been asked a second time
    frames: int = 0  # that were delivered


class Session:
    """transport: without a process. command: where the worker runs. model: name or file. journals:
    a folder, see `places.journals_folder`; made when it is needed.

    on_state(WorkerState, text): with a sentence for the user. on_notice(text): something the user
    should read. on_log(text): pieces of the workers' log. The owner calls `tick` about every 0.5 s.
    """

    def __init__(
        self,
        transport: Transport,
        command: WorkerCommand,
        model: str,
        journals: str | os.PathLike,
        device: str = "auto",
        clock: Callable[[], float] = time.monotonic,
    ):
        self.on_state: Callable[[WorkerState, str], Any] | None = None
        self.on_notice: Callable[[str], Any] | None = None
        self.on_log: Callable[[str], Any] | None = None
        self.state = WorkerState.DOWN
        self.state_text = "No worker is running; the first request starts one."
        self.loaded: ModelLoaded | None = None  # what the worker has; None: nothing yet
        self.clips: dict[str, AnnotatedClip] = {}
        self._client = Client(transport, clock)
        self._client.on_lost = self._lost
        self._client.on_notice = self.tell
        self._client.on_log = self._logged
        self._soon = transport.soon
        self._clock = clock
        self._command = command
        self._model, self._device = model, device
        self._journals = Path(journals)
        self._clip_number = 0
        self._tasks: dict[Pending, _Task] = {}
        self._queue: list[_Task] = []  # tasks that the client does not have
        self._openings: dict[str, Pending] = {}  # clips that the worker has or gets
        self._refusals: dict[str, RequestFailed] = {}  # why it did not take a clip
        self._loading: Pending | None = None
        self._note = ""  # of the model that was loaded last
        self._losses: deque[float] = deque()
        self._refused: SamusaError | None = None  # why no worker is started
        self._wanted = False  # a worker, also without a request
        self._ended_by_us = False  # the worker that is ending

    @property
    def command(self) -> WorkerCommand:
        return self._command

    @property
    def model(self) -> str:
        return self._model

    @property
    def running(self) -> bool:
        """Whether a worker's process is there, also one that starts or ends."""
        return self._client.running

    @property
    def log(self) -> str:
        """The end of the workers' log."""
        return self._client.log

    # The worker -------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the worker and load the model now, so that the first click need not wait; also
        after the session has given up."""
        self._refused = None
        self._losses.clear()
        self._wanted = True
        self._advance()

    def set_command(self, command: WorkerCommand) -> None:
        """Let the worker run elsewhere. A running one ends, and what is asked is asked again of
        the new one; all else stays."""
        self._command = command
        self._replace()

    def restart(self) -> None:
        """End a running worker at once and start a new one."""
        self._wanted = True
        self._replace()

    def _replace(self) -> None:
        self._refused = None
        self._losses.clear()
        if self._client.running:
            self._wanted = self._ended_by_us = True
            self._say(WorkerState.DOWN, "The worker is being replaced by a new one.")
            self._client.stop(grace=0.0)
        self._advance()

    def set_model(self, model: str, device: str = "auto") -> None:
        """Choose a model by name or file. A running worker loads it at once; what is asked from
        now on waits for it."""
        if (model, device) == (self._model, self._device) and self.loaded is not None:
            return
        self._model, self._device = model, device
        if self._loading is not None:
            self._loading.cancel()
        self.loaded = self._loading = None
        self._wanted = self._wanted or self._client.running
        self._advance()

    def stop(self, grace: float = 5.0) -> None:
        """End the worker; what is asked is cancelled, clips and journals stay open. Keep the event
        loop and `tick` going until it is no longer `running`; it is killed after `grace` s, at
        once for 0."""
        self._wanted = False
        self._ended_by_us = self._client.running
        self._settle_all(list(self._tasks.values()), _cancelled())
        self._client.stop(grace)
        self._say(WorkerState.DOWN, "The worker is stopped; the next request starts one.")

    def tick(self) -> None:
        """To be called about every 0.5 s."""
        self._client.tick()
        for clip in list(self.clips.values()):
            clip.tick()
        self._advance()

    # Clips ------------------------------------------------------------------------------------

    def open_clip(self, clip: Clip, journal: str | os.PathLike | None = None) -> AnnotatedClip:
        """Open a clip whose pixels must not change meanwhile. journal: one to go on with, see
        `recoverable`. A running worker gets the pixels at once. Raises as
        `AnnotatedClip.recover`."""
        self._clip_number += 1
        clip_id = f"clip-{self._clip_number}"
        opened = AnnotatedClip(self, clip_id, clip, self._journals, self._clock)
        if self._client.accepting:
            self._open(opened)
        self.clips[clip_id] = opened
        if journal is not None:
            try:
                opened.recover(journal)
            except SamusaError:
                opened.close()
                raise
        return opened

    def recoverable(self, clip: AnnotatedClip) -> list[JournalSummary]:
        """Journals of the same clip that nobody has open, the newest first."""
        return [
            each
            for each in list_journals(self._journals)
            if each.clip is not None
            and each.clip.fingerprint == clip.work.clip.fingerprint
            and not each.is_open
        ]

    def closed(self, clip: AnnotatedClip) -> None:
        """`AnnotatedClip.close` calls it."""
        self.clips.pop(clip.id, None)
        self._refusals.pop(clip.id, None)
        was_open = self._openings.pop(clip.id, None) is not None
        self._settle_all([t for t in self._tasks.values() if t.clip is clip], _cancelled())
        if was_open and self._client.accepting:
            self._client.close_clip(clip.id)

    def _open(self, clip: AnnotatedClip) -> Pending:
        """Raises InvalidValue for frames that no worker can take."""
        aspect = clip.clip.geometry.pixel_aspect
        opening = self._client.send_clip(clip.id, clip.clip.frames, aspect)
        self._openings[clip.id] = opening
        opening.on_done(partial(self._opened, clip.id))
        return opening

    def _opened(self, clip_id: str, opening: Pending) -> None:
        if self._openings.get(clip_id) is not opening:
            return
        try:
            opening.result()
            self._refusals.pop(clip_id, None)
        except RequestFailed as error:
            del self._openings[clip_id]
            self._refusals[clip_id] = error
        except WorkerLost:
            del self._openings[clip_id]

    # Requests ---------------------------------------------------------------------------------

    def ask(self, request: Request, clip: AnnotatedClip | None = None) -> Pending:
        """For AnnotatedClip. Never raises: where no worker can be had it fails with why."""
        pending = Pending(self, request)
        task = self._tasks[pending] = _Task(pending, clip)
        if self._refused is not None:
            self._settle(task, self._refused)
            return pending
        if isinstance(request, SegmentFrame):
            older = [each for each in self._queue if _same_click(each.pending, pending)]
            self._settle_all(older, RequestFailed(FailureKind.SUPERSEDED, "Superseded."))
        self._queue.append(task)
        self._advance()
        return pending

    def ask_status(self) -> Pending:
        """What the worker has and uses, answered by Status; it needs a running worker."""
        return self._client.ask(AskStatus())

    def _cancel(self, pending: Pending) -> None:
        task = self._tasks.get(pending)
        if task is not None and task.asked is not None:
            task.asked.cancel()
        elif task is not None:
            self._settle(task, _cancelled())

    def _call(self, callback: Callable[..., Any], *arguments: Any) -> None:
        self._client._call(callback, *arguments)

    def _advance(self) -> None:
        """Whatever can be done now: start a worker, load the model, hand over what waits."""
        if not (self._queue or self._wanted) or self._refused is not None:
            return
        if not self._client.running:
            self._start_worker()
        if not self._client.accepting or self._client.welcome is None:
            return  # `_lost`, `tick` or `_greeted` goes on
        if self.loaded is None:
            if self._loading is None:
                self._load()
            return
        self._wanted = False
        queue, self._queue = self._queue, []
        for task in queue:
            if not task.pending.done:
                self._hand_over(task)

    def _start_worker(self) -> None:
        self.loaded = self._loading = None
        self._ended_by_us = False
        self._openings.clear()
        self._say(WorkerState.STARTING, f"The worker on {self._command.place} is starting.")
        preview.prepare()
        self._client.start(self._command).on_done(self._greeted)

    def _greeted(self, hello: Pending) -> None:
        try:
            hello.result()
        except RequestFailed as error:
            self._give_up(error)
        except WorkerLost:
            pass  # `_lost` has been told
        else:
            self._advance()

    def _load(self) -> None:
        self._say(WorkerState.LOADING, f"The model {self._model} is being loaded.")
        self._loading = self._client.ask(LoadModel(self._model, self._device))
        self._loading.on_done(self._model_loaded)

    def _model_loaded(self, loading: Pending) -> None:
        if loading is not self._loading:
            return  # another was chosen meanwhile, or the worker has gone
        self._loading = None
        try:
            self.loaded = loading.result()
        except RequestFailed as error:
            self._wanted = False
            self._say(WorkerState.NO_MODEL, str(error))
            self._settle_all(self._queue, error)
        except WorkerLost:
            pass
        else:
            loaded, place = self.loaded, self._command.place
            self._say(WorkerState.READY, f"{loaded.model} is ready on {place} ({loaded.device}).")
            if loaded.note != self._note:
                self._note = loaded.note  # said once, not after every loss
                if loaded.note:
                    self.tell(loaded.note)
            self._advance()

    def _hand_over(self, task: _Task) -> None:
        clip = task.clip
        try:
            if clip is not None and clip.id not in self._openings:
                self._open(clip)
        except SamusaError as error:
            self._settle(task, error)
            return
        task.opening = None if clip is None else self._openings.get(clip.id)
        task.asked = asked = self._client.ask(task.pending.request)
        asked.on_frame(partial(self._frame, task))
        asked.on_done(partial(self._answered, task))

    def _frame(self, task: _Task, event: FramePropagated) -> None:
        task.frames += 1
        task.pending._deliver(event)

    def _answered(self, task: _Task, asked: Pending) -> None:
        if task.asked is not asked or task.pending.done:
            return
        task.asked = None
        try:
            self._settle(task, asked.result())
        except WorkerLost as error:
            self._interrupted(task, error)
        except RequestFailed as error:
            if error.kind is FailureKind.UNKNOWN_CLIP and task.clip is not None:
                self._clip_missing(task, error)
            else:
                self._settle(task, error)

    def _interrupted(self, task: _Task, error: WorkerLost) -> None:
        """Ask once more, unless frames have come: these would come twice."""
        spent = task.again and not self._ended_by_us
        prefetch = isinstance(task.pending.request, Embed)
        if self._refused is not None or spent or task.frames or prefetch:
            self._settle(task, self._refused or error)
            return
        task.again = task.again or not self._ended_by_us
        self._queue.append(task)
        self._soon(self._advance)  # not now: others of the same worker are still to be told

    def _clip_missing(self, task: _Task, error: RequestFailed) -> None:
        """The worker does not have the clip: send it again, once."""
        clip = task.clip
        if task.again:
            self._settle(task, self._refusals.get(clip.id, error))
            return
        task.again = True
        if self._openings.get(clip.id) is task.opening is not None:
            del self._openings[clip.id]
            self._client.close_clip(clip.id)
        self._queue.append(task)
        self._advance()

    def _settle(self, task: _Task, answer: Event | SamusaError) -> None:
        self._tasks.pop(task.pending, None)
        if task in self._queue:
            self._queue.remove(task)
        task.pending._settle(answer)

    def _settle_all(self, tasks: list[_Task], error: SamusaError) -> None:
        for task in list(tasks):
            self._settle(task, error)

    # Losses -----------------------------------------------------------------------------------

    def _lost(self, error: WorkerLost) -> None:
        """The client tells of a worker that has gone unasked; then its requests fail."""
        self.loaded = self._loading = None
        self._openings.clear()
        self._wanted = False
        now = self._clock()
        self._losses.append(now)
        while now - self._losses[0] > LOSS_SECONDS:
            self._losses.popleft()
        if len(self._losses) >= MOST_LOSSES:
            self._give_up(
                WorkerLost(
                    f"{error} That was the {_ordinal(len(self._losses))} time within a minute: "
                    "it is not started again until you ask for it."
                )
            )
            return
        self._say(WorkerState.DOWN, f"{error} The next request starts a new one.")
        self.tell(str(error))
        for task in list(self._queue):  # they have waited for it in vain
            if task.again:
                self._settle(task, error)
            task.again = True
        self._soon(self._advance)

    def _give_up(self, error: SamusaError) -> None:
        self._refused = error
        self._wanted = False
        self._loading = None
        self._say(WorkerState.FAILED, str(error))
        self._settle_all(self._queue, error)

    # Telling ----------------------------------------------------------------------------------

    def tell(self, text: str) -> None:
        """A sentence for the user."""
        if self.on_notice is not None:
            self._call(self.on_notice, text)

    def _logged(self, text: str) -> None:
        if self.on_log is not None:
            self.on_log(text)

    def _say(self, state: WorkerState, text: str) -> None:
        if (state, text) == (self.state, self.state_text):
            return
        self.state, self.state_text = state, text
        if self.on_state is not None:
            self._call(self.on_state, state, text)


def _cancelled() -> RequestFailed:
    return RequestFailed(FailureKind.CANCELLED, "Cancelled.")


def _same_click(one: Pending, other: Pending) -> bool:
    a, b = one.request, other.request
    if not (isinstance(a, SegmentFrame) and isinstance(b, SegmentFrame)):
        return False
    return (a.clip, a.segment, a.frame) == (b.clip, b.segment, b.frame)


def _ordinal(number: int) -> str:
    return {1: "first", 2: "second", 3: "third"}.get(number, f"{number}th")

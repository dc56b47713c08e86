"""A client's side of the worker: requests out, answers back as futures, no thread and no clock of
its own. `transport` carries the bytes; the owner calls `tick` about every 0.5 s.

Everything happens on the owner's thread and nothing blocks: big copies go in pieces that the
owner's event loop runs (`Transport.soon`), and so is read what a worker says at once. A worker that
says what it must not, says nothing for HANG_SECONDS or makes no progress for STUCK_SECONDS is
killed; all its requests then fail with WorkerLost.
"""

from __future__ import annotations

import re
import time
import traceback
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from .. import __version__
from ..clip import FrameReader
from ..errors import InvalidValue, SamusaError
from . import messages as m
from .clip_transfer import ClipTransfer
from .command import WorkerCommand
from .protocol import VERSION, BrokenStream, Decoder, Message, encode
from .shared_frames import CannotShare, remove_leftovers
from .transport import LOW_WATER, Transport

HANG_SECONDS = 20.0  # without a byte from a worker, whose heart beats every second
STUCK_SECONDS = 600.0  # without progress while the heart beats; large networks take half a minute
START_SECONDS = 60.0  # until the first: an interpreter from a cold disk, a slow log-in
LONGEST_TICK = 2.0  # s that count between two ticks: an owner that was busy did not listen
READ_SECONDS = 0.008  # that are spent on a worker's messages before the event loop has its turn
PIECE = 2**14  # bytes that are read at once; 20 to 80 masks
LOG_LENGTH = 200_000  # characters of standard error that are kept

_ANSWERS = {
    m.Hello: m.Welcome,
    m.LoadModel: m.ModelLoaded,
    m.SegmentFrame: m.FrameSegmented,
    m.Propagate: m.Propagated,
    m.AskStatus: m.Status,
}  # all others: Done
LOG_HINT = "Its log, in the module SAMUSA under Worker, may tell why."
# Lines of standard error that tell why a process ended; libraries also chat there.
_COMPLAINT = re.compile(
    r"error|exception|fault|fatal|abort|illegal|killed|terminat|out of memory|bad_alloc|cannot|"
    r"could not|fail|denied|refused|not found|no such|no module|no space|assert",
    re.IGNORECASE,
)
_CHAT = re.compile(r"warning|\b(info|debug)\b|^traceback|no errors?\b|\b0 errors?\b", re.IGNORECASE)
_ASKED_TO = ""  # the verdict on a worker that is to end, by `stop` or because it does not fit


class WorkerLost(SamusaError):
    """The worker has gone, or there is none; the sentence says why and what to do. Requests may be
    asked again of a new one."""


class RequestFailed(SamusaError):
    """The worker refused or could not do a request. kind: FailureKind; details: for the log."""

    def __init__(self, kind: m.FailureKind, message: str, details: str = ""):
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.details = details


class Asked(Protocol):
    """Whom a request was asked of: a client, or a session."""

    def _call(self, callback: Callable[..., Any], *arguments: Any) -> None: ...

    def _cancel(self, pending: Pending) -> None: ...


class Pending:
    """A request and, later, its answer. number: on the wire, None while it has not been sent."""

    def __init__(self, client: Asked, request: m.Request):
        self.request = request
        self.number: int | None = None
        self._client = client
        self._answer: m.Event | SamusaError | None = None
        self._done_callbacks: list[Callable[[Pending], Any]] = []
        self._frame_callbacks: list[Callable[[m.FramePropagated], Any]] = []

    @property
    def done(self) -> bool:
        return self._answer is not None

    def on_done(self, callback: Callable[[Pending], Any]) -> None:
        """Call `callback(self)` once, when the answer is there; at once if it is there already."""
        if self.done:
            self._client._call(callback, self)
        else:
            self._done_callbacks.append(callback)

    def on_frame(self, callback: Callable[[m.FramePropagated], Any]) -> None:
        """Call back with each frame of a propagation, in the order of arrival, all of them before
        `on_done`; to be set right after asking."""
        self._frame_callbacks.append(callback)

    def result(self) -> m.Event:
        """The event that ended the request. Raises RequestFailed, WorkerLost; RuntimeError while
        it is not done."""
        if self._answer is None:
            raise RuntimeError(f"{self.request.NAME} is not done yet")
        if isinstance(self._answer, SamusaError):
            raise self._answer
        return self._answer

    def cancel(self) -> None:
        """End the request; it fails with kind CANCELLED soon, if it is not done by then. The
        frames that have come stay valid."""
        self._client._cancel(self)

    def _deliver(self, frame: m.FramePropagated) -> None:
        for callback in self._frame_callbacks:
            self._client._call(callback, frame)

    def _settle(self, answer: m.Event | SamusaError) -> None:
        if self.done:
            return
        self._answer = answer
        callbacks, self._done_callbacks, self._frame_callbacks = self._done_callbacks, [], []
        for callback in callbacks:
            self._client._call(callback, self)


class Client:
    """Starts a worker, asks it, and tells its owner what happens.

    on_lost(WorkerLost): the worker has gone without being asked to; before its requests fail.
    on_notice(text): something the user should read. on_log(text): pieces of the log; `log` holds
    its end. They and the callbacks of Pending may call the client, `start` too.
    """

    def __init__(self, transport: Transport, clock: Callable[[], float] = time.monotonic):
        self.on_lost: Callable[[WorkerLost], Any] | None = None
        self.on_notice: Callable[[str], Any] | None = None
        self.on_log: Callable[[str], Any] | None = None
        self.welcome: m.Welcome | None = None
        self._transport = transport
        self._clock = clock
        self._command: WorkerCommand | None = None  # of the process that runs or is ending
        self._unread: deque[bytes] = deque()  # has come, in pieces
        self._messages: deque[Message] = deque()  # is read, and waits for its turn
        self._reading = False  # whether `_read` is to be called
        self._ending: str | None = None  # how the process has ended that left these
        self._decoder = Decoder()
        self._number = 0
        self._held: list[Pending] = []  # not sent yet, in the order of asking
        self._waiting: dict[int, Pending] = {}  # sent, by number
        self._transfers: dict[str, ClipTransfer] = {}  # by clip, until it is closed
        self._working = False  # whether `_work` is to be called
        self._verdict: str | None = None  # why the worker has to end, None while it has not
        self._silence = 0.0  # s of ticks since something came
        self._ticked = 0.0
        self._kill_at: float | None = None
        self._said = ""  # the end of this worker's standard error
        self._log: deque[str] = deque()
        self._log_length = 0

    @property
    def running(self) -> bool:
        """Whether a process is there, also one that starts or ends."""
        return self._command is not None

    @property
    def accepting(self) -> bool:
        """Whether requests can be asked: a worker is there and has not begun to end."""
        return self.running and self._verdict is None

    @property
    def log(self) -> str:
        """The last LOG_LENGTH characters of what workers wrote to standard error, and of faults
        here."""
        return "".join(self._log)

    def start(self, command: WorkerCommand) -> Pending:
        """Start a worker; the answer is Welcome, or RequestFailed where it is of another version.
        Requests may be asked at once; they are sent after the answer. RuntimeError while one is
        `running`."""
        if self.running:
            raise RuntimeError("a worker is running")
        remove_leftovers()
        self._command = command
        self._decoder = Decoder()
        self._said = ""
        self.welcome = None
        self._verdict = None
        self._kill_at = None
        self._silence = 0.0
        self._ticked = self._clock()
        self._note(f"[starting {command.text}]\n")
        hello = Pending(self, m.Hello(VERSION, f"SAMUSA {__version__}"))
        self._transport.start(command, self)
        self._send(hello)
        return hello

    def ask(self, request: m.Request) -> Pending:
        """Send a request. One that names a clip whose pixels are on their way waits for those it
        needs. Never raises: without a worker it fails with WorkerLost."""
        pending = Pending(self, request)
        if self._refuses(pending):
            return pending
        self._held.append(pending)
        self._send_ready()
        return pending

    def send_clip(
        self, clip_id: str, frames: np.ndarray | FrameReader, aspect: float = 1.0
    ) -> Pending:
        """Open a clip; done when the worker can read every frame.

        frames: uint8 (T, H, W) or (T, H, W, 3), an array or a FrameReader, which must not change
        meanwhile; where one cannot be read any more this fails with the reason. aspect: height of
        a pixel over its width. Local workers get them in shared memory, remote ones and those
        that cannot share get them inline; both in pieces, so that the owner stays responsive.
        Raises InvalidValue: not such frames, or a clip of that id is open.
        """
        if clip_id in self._transfers:
            raise InvalidValue(f"clip {clip_id!r} is open already; close it first")
        transfer = ClipTransfer(clip_id, frames, aspect)
        pending = transfer.pending = Pending(self, transfer.announcement)
        if self._refuses(pending):
            return pending
        self._transfers[clip_id] = transfer
        self._work_soon()
        return pending

    def close_clip(self, clip_id: str) -> Pending:
        """Forget a clip; what is still asked about it fails with CANCELLED. Its shared memory is
        removed when the worker has answered or gone."""
        transfer = self._transfers.pop(clip_id, None)
        closed = Pending(self, m.CloseClip(clip_id))
        if transfer is not None:
            transfer.stop()
            transfer.pending._settle(_cancelled())
            for pending in [each for each in self._held if _clip_of(each.request) == clip_id]:
                self._held.remove(pending)
                pending._settle(_cancelled())
            closed.on_done(lambda _: transfer.remove_block())
            if not transfer.announced:
                closed._settle(m.Done())
                return closed
        if not self._refuses(closed):
            self._held.append(closed)
            self._send_ready()
        return closed

    def _refuses(self, pending: Pending) -> bool:
        if self.accepting:
            return False
        pending._settle(WorkerLost("No worker is running; start one, then ask again."))
        return True

    def tick(self) -> None:
        """To be called about every 0.5 s: notices a worker that says nothing, and ends one that
        was to stop and did not."""
        now = self._clock()
        passed, self._ticked = now - self._ticked, now
        if not self.running:
            return
        if self._kill_at is not None and now >= self._kill_at:
            self._transport.kill()
        self._silence += min(max(passed, 0.0), LONGEST_TICK)
        limit = HANG_SECONDS if self.welcome else START_SECONDS
        if self._silence > limit and self._verdict is None:
            self._end(f"has said nothing for {limit:.0f} s and was ended")

    def stop(self, grace: float = 5.0) -> None:
        """Ask the worker to end; it is killed if it has not after `grace` s of ticks, at once for
        0. Never blocks; `running` tells when it has gone. `on_lost` is not called."""
        if not self.running:
            return
        if self._verdict is None:
            self._verdict = _ASKED_TO
            self._kill_at = self._clock() + grace
            if grace > 0:
                self._send(Pending(self, m.Shutdown()))
            for transfer in self._transfers.values():
                transfer.stop()
                transfer.remove_block()
        if grace <= 0:
            self._transport.kill()
        if self._ending is not None:
            self._read(float("inf"))

    # What the transport tells -----------------------------------------------------------------

    def received(self, data: bytes) -> None:
        self._silence = 0.0
        if self._verdict:
            return  # it is being killed; what it says counts no longer
        self._unread.extend(data[at : at + PIECE] for at in range(0, len(data), PIECE))
        if not self._reading:
            self._read()

    def logged(self, text: str) -> None:
        self._said = (self._said + text)[-4000:]
        self._note(text)

    def drained(self) -> None:
        self._work_soon()

    def ended(self, reason: str) -> None:
        self._ending = reason
        if self._verdict is not None:
            self._read(float("inf"))
        elif not self._reading:
            self._read()

    def _read(self, seconds: float = READ_SECONDS) -> None:
        """Handle what has come, for so long; the event loop calls again for the rest."""
        self._reading = False
        until = self._clock() + seconds
        while (self._messages or self._unread) and not self._verdict:
            if self._messages:
                try:
                    self._take(*m.read_event(self._messages.popleft()))
                except m.BadMessage as error:
                    self._end(f"said something wrong and was ended ({error})")
            else:
                self._decode(self._unread.popleft())
            if self._clock() >= until:
                self._reading = True
                self._transport.soon(self._read)
                return
        self._messages.clear()
        self._unread.clear()
        if self._ending is not None:
            self._is_over(self._ending)

    def _decode(self, data: bytes) -> None:
        first = self.welcome is None
        try:
            self._messages.extend(self._decoder.feed(data))
        except BrokenStream as error:
            self._note(f"[not the protocol: {data[:300]!r}]\n")
            self._end(f"{_not_the_protocol(first, self._command, data)} ({error})")

    def _is_over(self, reason: str) -> None:
        self._ending = None
        command, self._command = self._command, None
        verdict, self._verdict = self._verdict, None
        cut = ", within a message" if self._decoder.unfinished else ""
        self._note(f"[the worker {reason}{cut}]\n")
        lost = self._loss(command, verdict, reason)
        transfers, self._transfers = self._transfers, {}
        unanswered = [*self._waiting.values(), *self._held]
        unanswered += [each.pending for each in transfers.values()]
        self._waiting, self._held, self.welcome = {}, [], None
        for transfer in transfers.values():
            transfer.stop()
            transfer.remove_block()
        if verdict != _ASKED_TO and self.on_lost is not None:
            self._call(self.on_lost, lost)
        for pending in unanswered:
            pending._settle(lost)

    # Requests on their way --------------------------------------------------------------------

    def _send(self, pending: Pending) -> None:
        self._number += 1
        pending.number = self._number
        try:
            data = encode(m.request_message(pending.number, pending.request))
        except BrokenStream as error:
            pending._settle(RequestFailed(m.FailureKind.BAD_REQUEST, f"Too much to send: {error}."))
            return
        self._waiting[pending.number] = pending
        self._transport.write(data)

    def _send_ready(self) -> None:
        """Send what is held and may go, in the order of asking."""
        if self.welcome is None:
            return
        held, self._held = self._held, []
        for pending in held:
            transfer = self._transfers.get(_clip_of(pending.request))
            if transfer is None or transfer.ready_for(_frames_of(pending.request)):
                self._send(pending)
            else:
                self._held.append(pending)

    def _cancel(self, pending: Pending) -> None:
        if pending.done:
            return
        transfer = self._transfers.get(_clip_of(pending.request))
        if transfer is not None and transfer.pending is pending:
            self.close_clip(transfer.clip)
        elif pending in self._held:
            self._held.remove(pending)
            pending._settle(_cancelled())
        else:
            self.ask(m.Cancel(pending.number))

    # Clips on their way -----------------------------------------------------------------------

    def _work_soon(self) -> None:
        if not self._working and self._next_transfer() is not None:
            self._working = True
            self._transport.soon(self._work)

    def _next_transfer(self) -> ClipTransfer | None:
        if self.welcome is None or self._verdict is not None:
            return None
        return next((each for each in self._transfers.values() if not each.complete), None)

    def _work(self) -> None:
        """Copy or send one piece; the event loop calls again while there are more."""
        self._working = False
        transfer = self._next_transfer()
        if transfer is None:
            return
        if not transfer.begun:
            self._begin(transfer)
        if transfer.block is not None:
            try:
                transfer.copy_piece()
            except CannotShare as error:
                self._send_inline(transfer, error)
            except SamusaError as error:  # of a FrameReader
                self._fail_transfer(transfer, _unreadable(error))
            else:
                if transfer.complete:
                    self._announce(transfer)
        elif self._transport.backlog < LOW_WATER:
            wanted = [
                frame
                for pending in self._held
                if _clip_of(pending.request) == transfer.clip
                for frame in _frames_of(pending.request) or ()
            ]
            try:
                self._send_part(transfer, transfer.next_message(wanted))
            except SamusaError as error:
                self._fail_transfer(transfer, _unreadable(error))
        else:
            return  # until `drained`
        self._send_ready()
        self._work_soon()

    def _begin(self, transfer: ClipTransfer) -> None:
        transfer.begun = True
        if self._command.remote or not self.welcome.shared_memory:
            self._announce(transfer)
            return
        try:
            transfer.make_block()
        except CannotShare as error:
            self._send_inline(transfer, error)

    def _send_inline(self, transfer: ClipTransfer, why: Exception) -> None:
        transfer.begin_again()
        self._tell(f"Frames are sent to the worker through its pipe, which takes longer: {why}.")
        self._announce(transfer)

    def _announce(self, transfer: ClipTransfer) -> None:
        transfer.announced = True
        self._send_part(transfer, transfer.announcement)

    def _send_part(self, transfer: ClipTransfer, request: m.Request) -> None:
        part = Pending(self, request)
        transfer.parts += 1
        self._send(part)
        part.on_done(lambda _: self._part_done(transfer, part))

    def _part_done(self, transfer: ClipTransfer, part: Pending) -> None:
        transfer.parts -= 1
        if transfer.stopped or self._transfers.get(transfer.clip) is not transfer:
            return
        try:
            part.result()
        except RequestFailed as error:
            if transfer.block is not None and error.kind != m.FailureKind.OUT_OF_MEMORY:
                self._send_inline(transfer, error)  # it may be in a container of its own
                self._work_soon()
                return
            self._fail_transfer(transfer, error)
        except WorkerLost:
            return  # `ended` settles the whole
        else:
            if transfer.complete and transfer.parts == 0:
                transfer.release()
                transfer.pending._settle(m.Done())

    def _fail_transfer(self, transfer: ClipTransfer, error: RequestFailed) -> None:
        del self._transfers[transfer.clip]
        transfer.stop()
        transfer.remove_block()
        if transfer.announced:
            self._send(Pending(self, m.CloseClip(transfer.clip)))  # the worker has a part of it
        transfer.pending._settle(error)
        self._send_ready()

    # What the worker says ---------------------------------------------------------------------

    def _take(self, number: int | None, event: m.Event) -> None:
        """Raises BadMessage for what does not fit."""
        if isinstance(event, m.Heartbeat):
            if event.seconds > STUCK_SECONDS and self._verdict is None:
                minutes = STUCK_SECONDS / 60
                self._end(f"has made no progress for {minutes:.0f} minutes and was ended")
            return
        if isinstance(event, m.Notice):
            self._tell(event.message)
            return
        pending = self._waiting.get(number)
        if pending is None:
            raise m.BadMessage(f"{event.NAME} for request {number}, which does not wait for it")
        request = pending.request
        if isinstance(event, m.FramePropagated):
            if not isinstance(request, m.Propagate):
                raise m.BadMessage(f"{event.NAME} as an answer to {request.NAME}")
            pending._deliver(event)
            return
        if not isinstance(event, (_ANSWERS.get(type(request), m.Done), m.Failure)):
            raise m.BadMessage(f"{event.NAME} as an answer to {request.NAME}")
        del self._waiting[number]
        if isinstance(event, m.Failure):
            if event.details:
                self._note(f"[{request.NAME}: {event.message}]\n{event.details}\n")
            failed = RequestFailed(event.kind, event.message, event.details)
            if isinstance(request, m.Hello):
                self._refuse(pending, failed)
            else:
                pending._settle(failed)
        elif isinstance(event, m.Welcome):
            self._welcome(pending, event)
        else:
            pending._settle(event)

    def _welcome(self, hello: Pending, event: m.Welcome) -> None:
        if event.protocol != VERSION:
            sentence = (
                f"The worker speaks version {event.protocol} of the protocol (SAMUSA "
                f"{event.version}), this program version {VERSION} (SAMUSA {__version__}): "
                "install the same SAMUSA on both sides."
            )
            self._refuse(hello, RequestFailed(m.FailureKind.BAD_REQUEST, sentence))
            return
        self.welcome = event
        hello._settle(event)
        self._send_ready()
        self._work_soon()

    def _refuse(self, hello: Pending, failed: RequestFailed) -> None:
        """No worker to work with, and starting it again would not help: not a loss."""
        self._verdict = _ASKED_TO
        self._transport.kill()
        hello._settle(failed)

    # Ends and tales ---------------------------------------------------------------------------

    def _end(self, verdict: str) -> None:
        """Kill the worker; `ended` follows. verdict: why, in words that follow "the worker"."""
        if self._verdict is None:
            self._verdict = verdict
        self._transport.kill()

    def _loss(self, command: WorkerCommand, verdict: str | None, reason: str) -> WorkerLost:
        if verdict == _ASKED_TO:
            return WorkerLost("The worker was stopped.")
        subject = f"The worker on {command.place}" if command.remote else "The worker"
        if verdict:
            return WorkerLost(f"{subject} {verdict}.")
        advice = command.advice(f"{reason}\n{self._said}")
        if not advice and self._said.strip():
            complaint = _last_complaint(self._said)
            advice = f"It said: {complaint}" if complaint else LOG_HINT
        return WorkerLost(f"{subject} {reason}. {advice}".strip())

    def _tell(self, text: str) -> None:
        self._note(f"[{text}]\n")
        if self.on_notice is not None:
            self._call(self.on_notice, text)

    def _note(self, text: str) -> None:
        self._keep(text)
        if self.on_log is not None:
            try:
                self.on_log(text)
            except Exception:
                self._keep(traceback.format_exc())

    def _keep(self, text: str) -> None:
        self._log.append(text[-LOG_LENGTH:])
        self._log_length += len(self._log[-1])
        while self._log_length > LOG_LENGTH:
            excess = self._log_length - LOG_LENGTH
            oldest = self._log.popleft()
            if len(oldest) > excess:
                self._log.appendleft(oldest[excess:])
            self._log_length -= min(len(oldest), excess)

    def _call(self, callback: Callable[..., Any], *arguments: Any) -> None:
        """A callback that fails is the owner's fault, and must not stop the others."""
        try:
            callback(*arguments)
        except Exception as error:
            self._note(traceback.format_exc())
            if self.on_notice is not None and callback is not self.on_notice:
                self._tell(f"A fault in SAMUSA ({type(error).__name__}: {error}); see the log.")


def _last_complaint(said: str) -> str:
    """The last line that tells why a process ended, in at most 200 characters; empty: none does."""
    for line in reversed(said.splitlines()):
        if _COMPLAINT.search(line) and not _CHAT.search(line):
            return line.strip()[:200]
    return ""


def _cancelled() -> RequestFailed:
    return RequestFailed(m.FailureKind.CANCELLED, "Cancelled.")


def _unreadable(error: SamusaError) -> RequestFailed:
    return RequestFailed(m.FailureKind.BAD_REQUEST, f"The frames cannot be read: {error}.")


def _clip_of(request: m.Request) -> str | None:
    """The clip whose pixels a request needs."""
    needs = (m.Embed, m.SegmentFrame, m.Propagate, m.OpenClip)
    return request.clip if isinstance(request, needs) else None


def _frames_of(request: m.Request) -> tuple[int, ...] | None:
    """The frames that a request looks at; None for all of the clip."""
    if isinstance(request, m.SegmentFrame):
        return (request.frame,)
    return request.frames if isinstance(request, m.Embed) else None


def _not_the_protocol(first: bool, command: WorkerCommand, data: bytes) -> str:
    shown = data[:60].decode("utf-8", "replace").strip().splitlines()
    if first and command.remote:
        return (
            f"writes something of its own first ({shown[0] if shown else ''!r}): let its "
            "~/.bashrc or ~/.profile print nothing unless the shell is interactive"
        )
    return "wrote something that is not the protocol and was ended"

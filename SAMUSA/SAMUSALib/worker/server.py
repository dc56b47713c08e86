"""The worker's process: it reads requests, answers them, and ends when it is no longer wanted.

Four threads. The main one reads and answers what needs no computing; one computes, step by step,
always the most urgent request; one writes; one sends a heartbeat and looks whether the parent
still lives. docs/worker.md tells more, docs/protocol.md what is said.
"""

from __future__ import annotations

import logging
import os
import platform
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from .. import __version__
from ..errors import SamusaError
from .cache_folder import CacheFolder
from .engines import Room
from .messages import (
    FINAL,
    AskStatus,
    BadMessage,
    Cancel,
    CloseClip,
    Done,
    Event,
    Failure,
    FailureKind,
    Heartbeat,
    Hello,
    Notice,
    OpenClip,
    Request,
    SendFrames,
    Shutdown,
    Status,
    Welcome,
    event_message,
    read_request,
)
from .outbox import Outbox
from .protocol import VERSION, BrokenStream, Decoder, Message, encode
from .scheduler import COMPUTED, Job, Scheduler
from .shared_frames import folder
from .standard_streams import take_standard_streams
from .workbench import Workbench, failure_of

BEAT = 1.0  # seconds between heartbeats
LONGEST_BEAT = 5.0  # of these that count; after more the computer has slept
GRACE = 2.0  # seconds that the work in hand gets to come to an end
PIECE = 256 * 1024  # bytes read at once
MOST_WAITING = 1000  # requests; a client that asks faster than it is served fills the memory

log = logging.getLogger("samusa.worker")


class Server:
    """A worker on two descriptors. room, clip_bytes: as of Workbench. at_end: called before the
    process exits."""

    def __init__(
        self,
        incoming: int,
        outgoing: int,
        room: Room,
        clip_bytes: int,
        at_end: Callable[[], None],
    ):
        self._incoming = incoming
        self._at_end = at_end
        self._parent = os.getppid()
        self._started = time.monotonic()
        self._workbench = Workbench(room, clip_bytes, self._notice)
        self._scheduler = Scheduler()
        self._changed = threading.Condition()  # guards the scheduler and the next four
        self._untidy = False
        self._given_up: list[Job] = []  # for the inference thread to drop, whose work they hold
        self._ending = False
        self._progress = 0.0  # when the running request began or last had a step done
        self._leaving = threading.Lock()
        self._greeted = False
        self._last_number = 0
        self._outbox = Outbox(outgoing, self._client_gone)
        self._computing = threading.Thread(target=self._compute, name="inference", daemon=True)
        self._pulse = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def run(self) -> NoReturn:
        """Serve until the end; the process exits with 0, 2 for a stream that is no good or a client
        of another version, 130 after Ctrl-C."""
        self._computing.start()
        self._pulse.start()
        try:
            status = self._read()
        except KeyboardInterrupt:
            status = 130
        except BrokenStream as error:
            log.error("the stream from the client is broken: %s", error)
            status = 2
        except BaseException:
            log.exception("the worker cannot go on")
            status = 1
        self._leave(status)

    # Reading ----------------------------------------------------------------------------------

    def _read(self) -> int:
        """Until the stream or the worker is to end; the exit status."""
        decoder = Decoder()
        while True:
            try:
                data = os.read(self._incoming, PIECE)
            except OSError as error:
                log.warning("the client's requests cannot be read: %s", error)
                return 0
            if not data:
                unfinished = ", in the middle of a message" if decoder.unfinished else ""
                log.info("the client has gone%s", unfinished)
                return 0
            for message in decoder.feed(data):
                status = self._receive(message)
                if status is not None:
                    return status

    def _receive(self, message: Message) -> int | None:
        """Answer or queue a request; the exit status where it is the last."""
        if _other_version(message):
            return self._refuse_version(message)
        try:
            number, request = read_request(message)
        except BadMessage as error:
            log.warning("bad request: %s", error)
            if error.request is not None:
                self._send(error.request, Failure(FailureKind.BAD_REQUEST, str(error)))
            return None
        if number <= self._last_number:
            self._fail(number, FailureKind.BAD_REQUEST, f"number {number} was used before")
        elif isinstance(request, Hello):
            self._greeted, self._last_number = True, number
            log.info("%s, process %d, serves %s", __version__, os.getpid(), request.client)
            self._send(number, self._welcome())
        elif not self._greeted:
            self._fail(number, FailureKind.BAD_REQUEST, "the first request must be hello")
        else:
            self._last_number = number
            if isinstance(request, Shutdown):
                self._shut_down(number)
                return 0
            if isinstance(request, COMPUTED):
                self._queue(number, request)
            else:
                self._answer(number, request)
        return None

    def _refuse_version(self, message: Message) -> int:
        number, theirs = message.header.get("number"), message.header.get("protocol")
        text = (
            f"the worker (SAMUSA {__version__}) speaks version {VERSION} of the protocol, the "
            f"client version {theirs}; install the same version of SAMUSA on both sides"
        )
        log.error("%s", text)
        if type(number) is int:
            self._fail(number, FailureKind.BAD_REQUEST, text)
        return 2

    def _welcome(self) -> Welcome:
        shared = os.name == "nt" or folder().is_dir()
        return Welcome(VERSION, __version__, platform.python_version(), os.getpid(), shared)

    def _queue(self, number: int, request: Request) -> None:
        with self._changed:
            full = self._scheduler.waiting >= MOST_WAITING
            superseded = [] if full else self._scheduler.add(number, request)
            self._changed.notify()
        if full:
            text = f"{MOST_WAITING} requests wait already; cancel some, or wait for them"
            self._fail(number, FailureKind.BAD_REQUEST, text)
        self._end_jobs(superseded, FailureKind.SUPERSEDED)

    def _answer(self, number: int, request: Request) -> None:
        """What needs no computing."""
        try:
            if isinstance(request, OpenClip):
                self._workbench.clips.open(request)
            elif isinstance(request, SendFrames):
                self._workbench.clips.send(request)
            elif isinstance(request, CloseClip):
                self._close_clip(request.clip)
            elif isinstance(request, Cancel):
                with self._changed:
                    cancelled = self._scheduler.cancel(request.target)
                self._end_jobs(cancelled, FailureKind.CANCELLED)
            elif isinstance(request, AskStatus):
                self._send(number, self._status())
                return
            self._send(number, Done())
        except (SamusaError, MemoryError) as error:
            self._send(number, failure_of(error))

    def _close_clip(self, clip: str) -> None:
        self._workbench.clips.close(clip)
        with self._changed:
            cancelled = self._scheduler.cancel_clip(clip)
            self._untidy = True
            self._changed.notify()
        self._end_jobs(cancelled, FailureKind.CANCELLED)

    def _status(self) -> Status:
        engine = self._workbench.engine
        with self._changed:
            waiting = self._scheduler.waiting
        return Status(
            engine and engine.name,
            engine and engine.device,
            resident_bytes(),
            engine.device_memory if engine else 0,
            engine.cache_bytes if engine else 0,
            len(self._workbench.clips),
            waiting,
            time.monotonic() - self._started,
        )

    # Computing --------------------------------------------------------------------------------

    def _compute(self) -> None:
        """The inference thread."""
        try:
            while self._compute_step():
                pass
        except BaseException:
            log.exception("the worker cannot go on")
            self._leave(1)

    def _compute_step(self) -> bool:
        """Wait for work and do a step of the most urgent; False at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._scheduler.waiting or self._untidy or self._ending)
            if self._ending:
                return False
            job, self._untidy = self._scheduler.take(), False
            given_up, self._given_up = self._given_up, []
            self._progress = time.monotonic()
        given_up.clear()  # a propagation may wait here for the frame that it is computing ahead
        self._workbench.tidy()
        if job is not None:
            self._advance(job)
        return True

    def _advance(self, job: Job) -> None:
        """One step of a request."""
        try:
            if job.steps is None:
                job.steps = self._workbench.steps(job.request)
            event = next(job.steps)
        except Exception as error:
            event = failure_of(error)
            if event.details:
                log.error("request %d, %s: %s", job.number, job.request.NAME, event.details)
        if event is not None:
            self._send(job.number, event)
        with self._changed:
            if isinstance(event, FINAL):
                self._scheduler.finish()
                return
            goes_on = self._scheduler.put_back()
        if not goes_on:
            self._end_jobs([job], FailureKind.CANCELLED)

    def _end_jobs(self, jobs: list[Job], kind: FailureKind) -> None:
        """Tell the client that requests are given up; the inference thread drops them."""
        for job in jobs:
            text = (
                "superseded by a newer request" if kind is FailureKind.SUPERSEDED else "cancelled"
            )
            self._fail(job.number, kind, text)
        if jobs:
            with self._changed:
                self._given_up += jobs
                self._untidy = True
                self._changed.notify()

    # Writing ----------------------------------------------------------------------------------

    def _send(self, number: int | None, event: Event) -> None:
        self._outbox.send(encode(event_message(number, event)))

    def _fail(self, number: int, kind: FailureKind, text: str) -> None:
        self._send(number, Failure(kind, text))

    def _notice(self, text: str) -> None:
        log.warning("%s", text)
        self._send(None, Notice(text))

    # Life -------------------------------------------------------------------------------------

    def _beat(self) -> None:
        """The heartbeat thread. It also ends a worker whose parent has gone while another process
        still holds the other end of its standard input."""
        beaten = time.monotonic()
        while True:
            time.sleep(BEAT)
            with self._changed:
                now = time.monotonic()
                # On Windows the clock goes on while the computer sleeps, and nothing else does.
                slept = max(0.0, now - beaten - LONGEST_BEAT)
                self._progress = min(now, self._progress + slept)
                job, since, beaten = self._scheduler.running, self._progress, now
            seconds = now - since if job else 0.0
            beat = Heartbeat(job.number if job else None, seconds)
            self._outbox.send_if_idle(encode(event_message(None, beat)))
            if os.getppid() != self._parent:
                log.info("the process that started this worker has gone")
                self._leave(0)

    def _client_gone(self) -> None:
        log.info("the client reads no more")
        self._leave(0)

    def _shut_down(self, number: int) -> None:
        running = self._stop_computing()
        if running is not None:
            self._fail(running.number, FailureKind.CANCELLED, "cancelled")
        self._send(number, Done())
        log.info("shut down")

    def _stop_computing(self) -> Job | None:
        """Give everything up; the job that is still in its step after the grace."""
        with self._changed:
            self._ending = True
            cancelled = self._scheduler.cancel_all()
            self._changed.notify()
        self._end_jobs(cancelled, FailureKind.CANCELLED)
        if threading.current_thread() is self._computing:
            return None
        self._computing.join(GRACE)
        return self._scheduler.running if self._computing.is_alive() else None

    def _leave(self, status: int) -> NoReturn:
        """End the process, whatever the other threads do: one that computes cannot be stopped, and
        the interpreter's own end would wait for it or crash in it."""
        with self._leaving:
            self._outbox.finish(GRACE)
            self._stop_computing()
            self._at_end()
            os._exit(status)


def _other_version(message: Message) -> bool:
    """A hello of another version may have fields that this one cannot read."""
    theirs = message.header.get("protocol")
    return message.header.get("request") == Hello.NAME and type(theirs) is int and theirs != VERSION


def serve(
    cache_bytes: int, clip_bytes: int, folder: Path | None = None, disk_bytes: int = 0
) -> NoReturn:
    """Serve the client at the other end of standard input and output. folder: where embeddings go
    that the memory does not hold. Raises CannotWrite for a folder that cannot be used, InvalidValue
    for closed streams."""
    own = None if folder is None else CacheFolder(folder)
    incoming, outgoing = take_standard_streams()
    logging.raiseExceptions = False
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format="%(asctime)s samusa worker: %(message)s",
        datefmt="%H:%M:%S",
        force=True,
    )
    room = Room(cache_bytes, own and own.path, disk_bytes)
    at_end = own.remove if own else lambda: None
    Server(incoming, outgoing, room, clip_bytes, at_end).run()


def resident_bytes() -> int:
    """Memory of this process; 0 where psutil is missing, as in a Slicer that is not set up yet,
    where the spline works all the same."""
    try:
        import psutil
    except ImportError:
        return 0
    return psutil.Process().memory_info().rss

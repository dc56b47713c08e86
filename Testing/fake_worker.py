"""A worker without a model, for tests of the client: it speaks the protocol, and misbehaves as its
arguments say. Masks are made of the pixels, so that a test knows them.

    python fake_worker.py [BEHAVIOUR ...]
"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "SAMUSA"))

from SAMUSALib import __version__  # noqa: E402
from SAMUSALib.annotation import FrameState  # noqa: E402
from SAMUSALib.errors import SamusaError  # noqa: E402
from SAMUSALib.masks import EncodedMask  # noqa: E402
from SAMUSALib.worker import messages as m  # noqa: E402
from SAMUSALib.worker.protocol import VERSION, Decoder, encode  # noqa: E402
from SAMUSALib.worker.shared_frames import attach  # noqa: E402


class UnknownClip(SamusaError):
    """Not open, or pixels not sent yet."""


def bright(frame: np.ndarray) -> EncodedMask:
    """The fake's mask: pixels above 128, of the first channel."""
    return EncodedMask.encode((frame if frame.ndim == 2 else frame[..., 0]) > 128)


class FakeWorker:
    def __init__(self, behaviours: set[str], write):
        self.behaviours = behaviours
        self.clips: dict[str, np.ndarray] = {}
        self.missing: dict[str, set[int]] = {}  # frames that have not come, by clip
        self.write = write

    def say(self, number: int | None, event: m.Event) -> None:
        self.write(encode(m.event_message(number, event)))

    def answer(self, number: int, request: m.Request) -> None:
        try:
            self.do(number, request)
        except UnknownClip as error:
            self.say(number, m.Failure(m.FailureKind.UNKNOWN_CLIP, str(error)))
        except SamusaError as error:
            self.say(number, m.Failure(m.FailureKind.BAD_REQUEST, str(error)))

    def do(self, number: int, request: m.Request) -> None:
        if isinstance(request, m.Hello):
            protocol = 99 if "other-version" in self.behaviours else VERSION
            shared = "no-shared-memory" not in self.behaviours
            self.say(number, m.Welcome(protocol, __version__, "3", os.getpid(), shared))
        elif isinstance(request, m.LoadModel):
            loaded = m.ModelLoaded(request.model, "cpu", ("boundary",), 1, 256, "Apache-2.0")
            self.say(number, loaded)
        elif isinstance(request, m.OpenClip):
            if request.shared is not None and "cannot-attach" in self.behaviours:
                raise SamusaError("the shared memory cannot be opened")
            if request.clip in self.clips:
                raise SamusaError(f"clip {request.clip} is open already")
            if request.shared is None:
                self.clips[request.clip] = np.zeros(request.shape, np.uint8)
                self.missing[request.clip] = set(range(request.shape[0]))
            else:
                self.clips[request.clip] = attach(request.shared, request.shape)
                self.missing[request.clip] = set()
            self.say(number, m.Done())
        elif isinstance(request, m.SendFrames):
            frames = self.clips[request.clip]
            pixels = np.frombuffer(request.pixels, np.uint8).reshape(-1, *frames.shape[1:])
            frames[request.first : request.first + len(pixels)] = pixels
            self.missing[request.clip] -= set(range(request.first, request.first + len(pixels)))
            self.say(number, m.Done())
        elif isinstance(request, m.SegmentFrame):
            self.segment(number, request)
        elif isinstance(request, m.Propagate):
            self.propagate(number, request)
        elif isinstance(request, m.CloseClip):
            self.frames_of(request.clip)
            del self.clips[request.clip]
            self.say(number, m.Done())
        elif isinstance(request, m.AskStatus):
            self.say(number, m.Status(None, None, 1, 0, 0, len(self.clips), 0, 1.0))
        elif isinstance(request, m.Shutdown):
            self.say(number, m.Done())
            if "ignores-shutdown" not in self.behaviours:
                sys.stdout.flush()
                os._exit(0)
        else:
            self.say(number, m.Done())

    def frames_of(self, clip: str) -> np.ndarray:
        if clip not in self.clips:
            raise UnknownClip(f"clip {clip} is not open")
        return self.clips[clip]

    def segment(self, number: int, request: m.SegmentFrame) -> None:
        frames = self.frames_of(request.clip)
        if request.frame in self.missing[request.clip]:
            raise UnknownClip(f"frame {request.frame} was not sent yet")
        if "dies-in-a-message" in self.behaviours:
            self.write(encode(m.event_message(number, m.Done()))[:11])
            os._exit(7)
        if "hangs" in self.behaviours:
            self.behaviours.add("no-heart")
            time.sleep(1000)
        if "babbles" in self.behaviours:
            self.write(b"Warning: something\n" * 3)
        mask = bright(frames[request.frame])
        self.say(number, m.FrameSegmented(request.segment, request.frame, mask, 0.5, 0.01))

    def propagate(self, number: int, request: m.Propagate) -> None:
        frames = self.frames_of(request.clip)
        total = len(frames)
        pause = 0.05 if "slow" in self.behaviours else 0.0
        for frame in range(total):
            time.sleep(pause)
            mask = bright(frames[frame])
            state = FrameState.PROPAGATED
            name = request.segments[0].name
            event = m.FramePropagated(name, frame, mask, 0.5, state, frame + 1, total, 0.1)
            self.say(number, event)
        self.say(number, m.Propagated(total, 0.1))


def beat(worker: FakeWorker) -> None:
    while "no-heart" not in worker.behaviours:
        worker.say(None, m.Heartbeat(None, 0.0))
        time.sleep(0.2)


def main(behaviours: set[str]) -> int:
    out = os.dup(1)
    os.dup2(2, 1)
    lock = threading.Lock()

    def write(data: bytes) -> None:
        with lock:
            view = memoryview(data)
            while view:
                view = view[os.write(out, view) :]

    worker = FakeWorker(behaviours, write)
    print("fake worker", os.getpid(), file=sys.stderr, flush=True)
    threading.Thread(target=beat, args=(worker,), daemon=True).start()
    decoder = Decoder()
    while data := os.read(0, 2**16):
        for message in decoder.feed(data):
            worker.answer(*m.read_request(message))
    return 0


if __name__ == "__main__":
    sys.exit(main(set(sys.argv[1:])))

"""Frames that are read when they are asked for: like an array, and to a worker piece by piece."""

import numpy as np
import pytest
from test_session import World

from SAMUSALib.clip import Clip, FrameReader, Geometry
from SAMUSALib.errors import SceneChanged
from SAMUSALib.prompts import FramePrompts
from SAMUSALib.worker import messages as m
from SAMUSALib.worker.accepted import fingerprint
from SAMUSALib.worker.client import RequestFailed

SHAPE = (30, 400, 500)  # 6 MB: two pieces


def pixels(shape=SHAPE):
    return np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)


def reader_of(frames, asked=None):
    def read(frame, rows):
        if asked is not None:
            asked.append(frame)
        return frames[frame][rows]

    return FrameReader(frames.shape, read)


def lazy_clip(frames, asked=None):
    geometry = Geometry.for_cine(*frames.shape[:3])
    return Clip(reader_of(frames, asked), geometry, "lazy")


@pytest.mark.parametrize("shape", [(5, 6, 7), (5, 6, 7, 3)])
def test_it_reads_like_the_array(shape):
    frames = pixels(shape)
    reader = reader_of(frames)
    assert (reader.shape, reader.ndim, reader.size, len(reader)) == (
        frames.shape,
        frames.ndim,
        frames.size,
        5,
    )
    for key in (3, slice(1, 4), slice(4, 9), slice(2, 2), (2, np.array([0, 5]))):
        assert np.array_equal(reader[key], frames[key])
    assert np.array_equal(np.asarray(reader), frames)


def test_a_clip_of_it_reads_nothing_and_the_fingerprint_is_that_of_the_array():
    frames, asked = pixels(), []
    clip = lazy_clip(frames, asked)
    assert (len(clip), clip.frame_size, asked) == (30, (400, 500), [])
    assert fingerprint(clip.frames) == fingerprint(frames)


def test_the_worker_gets_the_same_pixels(tmp_path):
    frames, asked = pixels(), []
    world = World(tmp_path)
    clip = world.session.open_clip(lazy_clip(frames, asked))
    asked.clear()
    click = clip.segment_frame("s", 20, [FramePrompts(boundary=[[5, 5]])])
    mask = world.answer(click).mask.decode()
    assert np.array_equal(mask, frames[20] > 128)
    assert asked == list(range(30))  # each once


@pytest.mark.parametrize("behaviour", [None, "no-shared-memory"])
def test_frames_that_are_gone_fail_the_request_with_the_reason(tmp_path, behaviour):
    frames = pixels()

    def read(frame, rows):
        if frame > 20 and isinstance(rows, slice):  # not for the fingerprint
            raise SceneChanged("the sequence is no longer in the scene; choose another one")
        return frames[frame][rows]

    world = World(tmp_path)
    if behaviour:
        world.transport.behaviours.add(behaviour)
    clip = Clip(FrameReader(SHAPE, read), Geometry.for_cine(*SHAPE))
    click = world.session.open_clip(clip).segment_frame("s", 25, [FramePrompts(boundary=[[5, 5]])])
    world.run()
    world.run()
    assert click.done
    with pytest.raises(RequestFailed, match="no longer in the scene"):
        click.result()
    begun = len(world.transport.asked(m.OpenClip))
    assert len(world.transport.asked(m.CloseClip)) == begun, "half a clip is left in the worker"
    assert "Traceback" not in world.session.log

"""The worker's queue: what is computed next, what is superseded, what a cancel ends."""

from SAMUSALib.prompts import FramePrompts, SegmentPrompts
from SAMUSALib.worker.messages import Embed, LoadModel, Propagate, SegmentFrame
from SAMUSALib.worker.scheduler import Scheduler

CLICK = FramePrompts(boundary=[[1, 2], [3, 4]])


def click(segment="a", frame=0, clip="c"):
    return SegmentFrame(clip, segment, frame, (CLICK,))


def propagation(clip="c"):
    return Propagate(clip, (SegmentPrompts("a", {0: CLICK}),))


def prefetch(clip="c"):
    return Embed(clip, (0, 1))


def queue(*requests):
    """A scheduler with these requests, numbered from 1."""
    scheduler = Scheduler()
    for number, request in enumerate(requests, start=1):
        assert scheduler.add(number, request) == []
    return scheduler


def one_step(scheduler):
    """Number of the request whose next step is computed; it has more to do."""
    number = scheduler.take().number
    assert scheduler.put_back()
    return number


def in_order(scheduler):
    """Numbers of all requests, each done in one step."""
    numbers = []
    while (job := scheduler.take()) is not None:
        numbers.append(job.number)
        scheduler.finish()
    return numbers


def test_an_empty_queue_has_nothing_to_do():
    assert Scheduler().take() is None


def test_clicks_go_before_propagations_and_those_before_prefetch():
    scheduler = queue(prefetch(), propagation(), click("a"), propagation(), click("b"))
    assert in_order(scheduler) == [3, 5, 2, 4, 1]


def test_a_click_interrupts_a_propagation_which_then_goes_on_before_later_ones():
    scheduler = queue(propagation(), propagation())
    assert [one_step(scheduler), one_step(scheduler)] == [1, 1]
    scheduler.add(3, click())
    assert in_order(scheduler) == [3, 1, 2]


def test_anything_interrupts_prefetch():
    scheduler = queue(prefetch())
    assert one_step(scheduler) == 1
    scheduler.add(2, propagation())
    assert in_order(scheduler) == [2, 1]


def test_a_model_is_loaded_after_earlier_clicks_and_before_later_ones():
    scheduler = queue(propagation(), click("a"), LoadModel("m"), click("b"))
    assert in_order(scheduler) == [2, 3, 4, 1]


def test_a_newer_click_supersedes_the_waiting_one_on_the_same_frame_of_the_same_segment():
    scheduler = queue(click("a", 3), click("b", 3), click("a", 4), click("a", 3, clip="other"))
    assert [job.number for job in scheduler.add(5, click("a", 3))] == [1]
    assert in_order(scheduler) == [2, 3, 4, 5]


def test_a_click_between_two_of_its_steps_is_superseded_too():
    scheduler = queue(click())
    assert one_step(scheduler) == 1
    assert [job.number for job in scheduler.add(2, click())] == [1]
    assert in_order(scheduler) == [2]


def test_a_click_in_work_is_not_superseded():
    scheduler = queue(click())
    job = scheduler.take()
    assert scheduler.add(2, click()) == []
    assert not job.cancelled


def test_cancel_takes_a_waiting_request_out_of_the_queue():
    scheduler = queue(click(), propagation())
    assert [job.number for job in scheduler.cancel(1)] == [1]
    assert in_order(scheduler) == [2]


def test_cancel_ends_a_request_in_work_after_its_step():
    scheduler = queue(propagation())
    scheduler.take()
    assert scheduler.cancel(1) == []
    assert scheduler.put_back() is False
    assert scheduler.take() is None


def test_cancel_of_an_unknown_or_ended_request_does_nothing():
    scheduler = queue(click())
    assert scheduler.cancel(7) == []
    assert in_order(scheduler) == [1]
    assert scheduler.cancel(1) == []


def test_closing_a_clip_cancels_what_is_about_it_and_nothing_else():
    scheduler = queue(click(clip="x"), prefetch("x"), LoadModel("m"), propagation("y"))
    scheduler.add(5, propagation("x"))
    assert [job.number for job in scheduler.cancel_clip("x")] == [1, 2, 5]
    assert in_order(scheduler) == [3, 4]


def test_cancel_all_empties_the_queue_and_marks_what_is_in_work():
    scheduler = queue(click(), propagation(), prefetch())
    job = scheduler.take()
    assert [each.number for each in scheduler.cancel_all()] == [2, 3]
    assert job.cancelled and scheduler.waiting == 0


def test_the_request_in_work_does_not_count_as_waiting():
    scheduler = queue(click(), propagation())
    assert scheduler.waiting == 2
    scheduler.take()
    assert (scheduler.waiting, scheduler.running.number) == (1, 1)
    scheduler.finish()
    assert (scheduler.waiting, scheduler.running) == (1, None)

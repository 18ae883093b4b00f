"""What the lanes get to do, in which order, and never twice at once."""

import threading
import time

from slidesparse_bench.cell import Cell
from slidesparse_bench.work import Work, WorkQueue

A, B, C = (Cell.parse(f"a.int8.native.prefill.m{m}") for m in (512, 1024, 2048))


def a_queue(*work, unwanted=(), stop=None):
    return WorkQueue(work, stop or threading.Event(), lambda cell, _trial: cell not in unwanted)


def test_work_comes_in_order_and_ends():
    queue = a_queue(Work((A,), 1), Work((B, C), 1))
    taken = [queue.take(), queue.take()]
    assert taken == [Work((A,), 1), Work((B, C), 1)]
    for work in taken:
        queue.done(work)
    assert queue.take() is None
    assert not queue


def test_a_cell_that_somebody_has_is_not_handed_out_in_its_next_trial():
    queue = a_queue(Work((A, B), 1), Work((B,), 2), Work((C,), 2))
    first = queue.take()
    assert queue.take() == Work((C,), 2)
    queue.done(first)
    assert queue.take() == Work((B,), 2)


def test_a_lane_waits_for_a_cell_that_another_one_still_has():
    queue = a_queue(Work((A,), 1), Work((A,), 2))
    first = queue.take()
    threading.Timer(0.3, queue.done, [first]).start()
    began = time.monotonic()
    assert queue.take() == Work((A,), 2)
    assert time.monotonic() - began >= 0.3


def test_a_cell_that_failed_is_dropped_from_what_is_left():
    gone = {A}
    queue = a_queue(Work((A, B), 1), Work((A,), 2), unwanted=gone)
    left = queue.take()
    assert left == Work((B,), 1)
    queue.done(left)
    assert queue.take() is None


def test_an_idle_lane_waits_for_what_a_busy_one_may_give_back():
    queue = a_queue(Work((A, B), 1))
    taken = queue.take()

    def lose_the_gpu():
        queue.give_back(Work((B,), 1))
        queue.done(taken)

    threading.Timer(0.3, lose_the_gpu).start()
    assert queue.take() == Work((B,), 1)


def test_what_a_lane_gives_back_goes_first():
    queue = a_queue(Work((A,), 1), Work((B,), 1))
    taken = queue.take()
    queue.done(taken)
    queue.give_back(taken)
    assert queue.take() == taken


def test_nothing_is_handed_out_after_a_stop():
    stop = threading.Event()
    queue = a_queue(Work((A,), 1), stop=stop)
    stop.set()
    assert queue.take() is None
    assert queue

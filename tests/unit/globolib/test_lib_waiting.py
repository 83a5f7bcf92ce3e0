"""The watch loop: when it asks, how long it pauses, and when it ends."""

import pytest
from globolib import waiting


class Clock:
    """A clock that only moves by what is slept; each check may take some time too."""

    def __init__(self, check_takes=0.0):
        self.now, self.slept, self.asked, self.check_takes = 100.0, [], [], check_takes

    def time(self):
        return self.now

    def sleep(self, seconds):
        assert seconds >= 0
        self.slept.append(round(seconds, 6))
        self.now += seconds

    def check(self, answers):
        """A check that gives ``answers`` one after another, then None."""
        left = list(answers)

        def ask():
            self.asked.append(round(self.now - 100, 6))
            self.now += self.check_takes
            return left.pop(0) if left else None

        return ask


@pytest.fixture
def clock():
    return Clock()


def test_what_is_so_at_once_takes_no_time(clock):
    assert waiting.until(clock.check(["yes"]), 5, clock=clock.time, sleep=clock.sleep) == "yes"
    assert clock.slept == []


def test_what_is_false_and_not_none_is_an_answer(clock):
    assert waiting.until(clock.check([None, 0]), 5, clock=clock.time, sleep=clock.sleep) == 0


def test_the_pause_grows_to_its_most(clock):
    seen = waiting.until(clock.check([None] * 5 + ["yes"]), 60, 1, 2, 5, clock=clock.time, sleep=clock.sleep)
    assert seen == "yes"
    assert clock.slept == [1, 2, 4, 5, 5]


def test_the_last_question_is_asked_when_the_time_is_over(clock):
    assert waiting.until(clock.check([]), 2.5, 1, 1, clock=clock.time, sleep=clock.sleep) is None
    assert clock.asked == [0, 1, 2, 2.5]


def test_a_slow_check_is_asked_once_more_and_never_slept_for_backwards():
    clock = Clock(check_takes=3)
    assert waiting.until(clock.check([]), 2, 1, 1, clock=clock.time, sleep=clock.sleep) is None
    assert clock.asked == [0, 3]


def test_what_the_check_raises_ends_the_wait():
    with pytest.raises(ZeroDivisionError):
        waiting.until(lambda: 1 / 0, 5)


def test_no_time_is_one_question(clock):
    assert waiting.until(clock.check([None, "late"]), 0, clock=clock.time, sleep=clock.sleep) is None
    assert clock.asked == [0]


def test_what_holds_is_watched_to_the_end_at_a_steady_pace(clock):
    assert waiting.hold(1, clock.check([]), 0.4, clock.time, clock.sleep) is None
    assert clock.asked == [0, 0.4, 0.8, 1]


def test_the_first_problem_ends_it(clock):
    assert waiting.hold(9, clock.check([None, "bad"]), 0.2, clock.time, clock.sleep) == "bad"
    assert clock.asked == [0, 0.2]

"""What a run of states says: which failed by themselves, in the order in which they ran."""

import pytest
from globolib import states

ECHO = {"result": False, "comment": "One or more requisite failed: a", "__run_num__": 3}
ANSWER = {
    "c": ECHO,
    "b": {"result": False, "comment": "second", "__run_num__": 2},
    "a": {"result": False, "comment": "first", "__run_num__": 1},
    "d": {"result": True, "comment": "well", "__run_num__": 0},
    "e": {"result": None, "comment": "would", "__run_num__": 4},
}


def test_which_failed_and_why():
    assert states.failed(ANSWER) == ["first", "second", ECHO["comment"]]
    assert states.reasons(ANSWER) == ["first", "second"]
    assert states.reasons({"c": ECHO}) == [ECHO["comment"]]
    assert states.reasons({}) == states.failed({"d": ANSWER["d"]}) == []


@pytest.mark.parametrize("number", ["x", None, [], {"a": 1}])
def test_a_server_may_say_what_it_likes(number):
    answer = {"a": {"result": False, "__run_num__": number}, "b": "words", "c": 7}
    assert states.failed(answer) == ["None"]

"""What holds for the checkers of every chapter: solutions pass, stubs wait, mistakes are named, and garbage gets a sentence."""

from typing import ClassVar

import pytest


def raises(*args):
    raise KeyError("a")


GARBAGE = [3, lambda *a: "text", lambda *a: [[1], [1, 2], "x"], raises, lambda *a: {}]


class Exercises:
    """A test class of a chapter says which.

    Attributes:
        check: the module with the checkers.
        solutions: checker → a right answer.
        wrong: (checker, wrong answer, a part of what the learner is told).
    """

    check: ClassVar[object]
    solutions: ClassVar[dict]
    wrong: ClassVar[list]

    def pytest_generate_tests(self, metafunc):
        if "answer" in metafunc.fixturenames:
            metafunc.parametrize(("name", "answer", "message"), self.wrong)
        elif "name" in metafunc.fixturenames:
            metafunc.parametrize("name", self.solutions)

    def test_the_solution_is_right(self, name):
        verdict = getattr(self.check, name)(self.solutions[name])
        assert verdict.ok, verdict

    def test_a_stub_is_not_yet(self, name):
        def stub(*args, **kwargs): ...

        assert getattr(self.check, name)(stub).state == "not yet"

    def test_mistakes_are_named(self, name, answer, message):
        verdict = getattr(self.check, name)(answer)
        assert verdict.state == "wrong"
        assert message in verdict.sentence + verdict.hint, verdict

    @pytest.mark.parametrize("garbage", GARBAGE)
    def test_garbage_gets_a_sentence(self, name, garbage):
        verdict = getattr(self.check, name)(garbage)
        assert verdict.state == "wrong"
        assert "Traceback" not in verdict.sentence

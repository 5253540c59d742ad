"""Checkers of the exercises, one module a chapter: each takes what the learner wrote and answers in one sentence.

from climax_lite.check import round_earth as check
check.latitude_weights(latitude_weights)
"""

from .verdict import Verdict, attempt, checker, not_yet, right, wrong

__all__ = ["Verdict", "attempt", "checker", "not_yet", "right", "wrong"]

"""Lead times and averaging windows of the paper, where they can be read without torch."""

LEADS = tuple(range(6, 169, 6))
"""Lead times of the paper's pretraining (hours): 6 to 168, both included."""
WEEKS_3_4 = (336, 672)
WEEKS_5_6 = (672, 1008)
"""Averaging windows of sub-seasonal prediction: hours after the initial time, the first excluded, the last included."""

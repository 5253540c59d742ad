"""Training: `pretrain` on many worlds, `finetune` on one, with Lightning underneath."""

from .callbacks import SavedState, Speed, WholeCheckpoints
from .data import DataModule
from .module import Training, decay_groups, schedule
from .policies import POLICIES, apply_policy
from .run import finetune, fit, new_network, pretrain, read_log
from .settings import Finetune, Net, Optimisation, Pretrain, Run

__all__ = [
    "POLICIES",
    "DataModule",
    "Finetune",
    "Net",
    "Optimisation",
    "Pretrain",
    "Run",
    "SavedState",
    "Speed",
    "Training",
    "WholeCheckpoints",
    "apply_policy",
    "decay_groups",
    "finetune",
    "fit",
    "new_network",
    "pretrain",
    "read_log",
    "schedule",
]

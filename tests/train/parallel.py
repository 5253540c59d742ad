"""What every process of `torchrun tests/train/parallel.py OUT` does: the same run with ddp, and with fsdp, stopped in between."""

import dataclasses
import sys
from pathlib import Path

import torch
import torch.distributed

from tests.train.worlds import FAST, NET, RUN, train

CALM = dataclasses.replace(NET, dropout=0.0, drop_path=0.0)
# Small rates: Adam divides by the size of the gradient, and makes a sign of what is rounding in one that is zero.
OPTIMISATION = dataclasses.replace(FAST, steps=20, balance=0.2)


class Stop(Exception):
    pass


def main(out: Path) -> None:
    torch.set_num_threads(1)
    for strategy in ("ddp", "fsdp"):
        run = dataclasses.replace(RUN, devices=2, strategy=strategy, validate_every=8, save_every=5)
        stopped = [stop_at(12)] if strategy == "fsdp" else []
        try:
            train(out / strategy, OPTIMISATION, run, batch_size=4, net=CALM, callbacks=stopped)
        except Stop:
            train(out / strategy, OPTIMISATION, run, batch_size=4, net=CALM)


def stop_at(step):
    import lightning as L

    class StopAt(L.Callback):
        def on_train_batch_end(self, trainer, *_):
            if trainer.global_step == step:
                raise Stop

    return StopAt()


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""ClimateBench's own network: a convolution for each year, its mean over the map, an LSTM over the years, a linear map to whole fields.

Between the pooled years and the map it has one vector, as ClimaX with a pooled head. So what it predicts is a sum of fixed maps, one for
each number of that vector, with amplitudes from the forcing: a pattern scaling with several patterns.

B batch, T years, V variables, H W latitude × longitude, C channels, D width of the LSTM.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .convolutional import SphereConv


@dataclass(frozen=True)
class CNNLSTMConfig:
    """What a `CNNLSTM` is made of. The defaults are ClimateBench's (Watson-Parris et al. 2022).

    Attributes:
        variables: names of the channels that it takes, in order; all are needed.
        out_variables: names of those that it gives.
        grid_shape: (H, W).
        time_history: T, years that it is made for; it could take other numbers.
        channels: C, of the convolution.
        width: D, numbers in the state of the LSTM.
        kernel: cells along the side of the convolution, odd.
    """

    variables: tuple[str, ...]
    out_variables: tuple[str, ...]
    grid_shape: tuple[int, int] = (32, 64)
    time_history: int = 10
    channels: int = 20
    width: int = 25
    kernel: int = 3

    def __post_init__(self) -> None:
        for field in ("variables", "out_variables", "grid_shape"):
            object.__setattr__(self, field, tuple(getattr(self, field)))
        for names in (self.variables, self.out_variables):
            if not names or len(set(names)) != len(names):
                raise ValueError(f"expected one or more variables, each once, got {names}")
        if self.kernel % 2 == 0 or min(self.channels, self.width, self.time_history) < 1:
            raise ValueError(
                "expected an odd kernel, and channels, width and time_history of one or more, "
                f"got {self.kernel}, {self.channels}, {self.width}, {self.time_history}"
            )


class CNNLSTM(nn.Module):
    """Years of forcing in, the climate of the last of them out; called as a ClimaX that has a pooled head.

    The original has rectified units in the LSTM and a pooling by two before that over the map, which changes nothing; here they are tanh.
    """

    def __init__(self, config: CNNLSTMConfig) -> None:
        super().__init__()
        self.config = c = config
        self.conv = SphereConv(len(c.variables), c.channels, c.kernel)
        self.lstm = nn.LSTM(c.channels, c.width, batch_first=True)
        self.head = nn.Linear(c.width, len(c.out_variables) * c.grid_shape[0] * c.grid_shape[1])

    def forward(self, x: Tensor, lead_hours: Tensor, variables: Sequence[str], out_variables: Sequence[str]) -> Tensor:
        """(B, T, V, H, W) → (B, V_out, H, W); the lead time has no meaning here.

        Raises:
            ValueError: when a variable is missing or unknown, or the years or the grid are others.
        """
        c = self.config
        if missing := [v for v in c.variables if v not in variables]:
            raise ValueError(f"this network needs all of its variables, and {', '.join(missing)} is missing")
        if unknown := [v for v in out_variables if v not in c.out_variables]:
            raise ValueError(
                f"this network does not predict {', '.join(unknown)}; it predicts {', '.join(c.out_variables)}"
            )
        expected = (c.time_history, len(variables), *c.grid_shape)
        if tuple(x.shape[1:]) != expected:
            raise ValueError(f"expected x of shape (batch, {', '.join(map(str, expected))}), got {tuple(x.shape)}")
        x = x[:, :, [list(variables).index(v) for v in c.variables]]
        years = torch.relu(self.conv(x.flatten(0, 1))).mean(dim=(-2, -1)).unflatten(0, (-1, c.time_history))
        states, _ = self.lstm(years)
        fields = self.head(states[:, -1]).unflatten(-1, (len(c.out_variables), *c.grid_shape))
        return fields[:, [c.out_variables.index(v) for v in out_variables]]

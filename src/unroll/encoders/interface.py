"""What every encoder offers to the rest of the package."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unroll.encoders.state import State, as_parts

Step = dict[str, Tensor]  # the quantities of one step by name, each (batch, features)


@dataclass(frozen=True)
class Trace:
    """Everything that an encoder computed for a batch, by name."""

    steps: list[list[Step]]
    """`steps[layer * directions + direction][t]` is what that layer and direction computed at time t. It holds at least
    `hidden`; a quantity named `…_gate` lies between 0 and 1. Steps beyond a row's length are there too, but nothing
    depends on them."""
    output: Tensor  # (batch, time, output_size)
    state: State  # after each row's last step


class Encoder(nn.Module, ABC):
    """A net that reads rows step by step and returns a vector for each step.

    To write one, set the four attributes and define `forward` and `zero_state`. The constructor must take `input_size`
    and `hidden_size`. It may take `num_layers`, `bidirectional`, `dropout`, `locked_dropout`, `weight_dropout` and
    `backend`. All other arguments are set by `encoder.options`.

    >>> class Decay(Encoder):
    ...     def __init__(self, input_size, hidden_size):
    ...         super().__init__()
    ...         self.input_size, self.output_size = input_size, hidden_size
    ...         self.num_directions, self.state_parts = 1, ("hidden",)
    ...         self.project = nn.Linear(input_size, hidden_size)
    ...
    ...     def zero_state(self, x):
    ...         return x.new_zeros(1, len(x), self.output_size)
    ...
    ...     def forward(self, x, lengths=None, state=None):
    ...         hidden, outputs = self.start(x, lengths, state)[0], []
    ...         for t, new in enumerate(self.project(x).unbind(1)):
    ...             inside = torch.ones(len(x), 1).bool() if lengths is None else (t < lengths)[:, None]
    ...             hidden = torch.where(inside, 0.9 * hidden + 0.1 * new, hidden)
    ...             outputs.append(hidden * inside)
    ...         return torch.stack(outputs, dim=1), hidden[None]
    >>> output, state = Decay(3, 4)(torch.randn(2, 5, 3), lengths=torch.tensor([5, 2]))
    >>> output.shape, state.shape
    (torch.Size([2, 5, 4]), torch.Size([1, 2, 4]))
    """

    input_size: int  # features of each step's input
    output_size: int  # features of each step's output, all directions together
    num_directions: int  # 1 or 2; the output of two is concatenated, forward first
    state_parts: tuple[str, ...]  # names of the state's parts, such as ("hidden", "cell")

    @abstractmethod
    def forward(self, x: Tensor, lengths: Tensor | None = None, state: State | None = None) -> tuple[Tensor, State]:
        """Encode a batch of right-padded rows.

        Args:
            x: (batch, time, input_size); nothing depends on the values beyond a row's length.
            lengths: (batch,) steps of each row, between 1 and time; None means that every row is full.
            state: the state before the first step, in the form that this method returns; None means `zero_state`.

        Returns:
            output: (batch, time, output_size), zero beyond each row's length.
            state: the state after each row's last step (backward direction: after its first). It is a tensor, or a
                tuple where there are several `state_parts`, each (layers x directions, batch, features).

        Raises:
            ValueError: shapes or lengths do not fit.
        """

    @abstractmethod
    def zero_state(self, x: Tensor) -> State:
        """Return the state of zeros that a batch `x` (batch, time, input_size) starts from by default."""

    def trace(self, x: Tensor, lengths: Tensor | None = None, state: State | None = None) -> Trace | None:
        """Return all that `forward` computes in evaluation from the same arguments, or None if the encoder can't tell.
        The monitors of the recurrence show it."""
        return None

    def start(self, x: Tensor, lengths: Tensor | None, state: State | None) -> State:
        """Check the arguments of `forward`, and return the state to start from.

        Raises:
            ValueError: shapes or lengths do not fit.
        """
        if x.dim() != 3 or x.size(-1) != self.input_size or x.size(0) < 1 or x.size(1) < 1:
            raise ValueError(f"x must be (batch, time, {self.input_size}), each at least 1, not {tuple(x.shape)}")
        if lengths is not None:
            if lengths.shape != x.shape[:1] or lengths.is_floating_point():
                given = f"{tuple(lengths.shape)} of {lengths.dtype}"
                raise ValueError(f"lengths must be (batch,) = ({x.size(0)},) of whole numbers, not {given}")
            shortest, longest = (int(bound) for bound in torch.aminmax(lengths))
            if shortest < 1 or longest > x.size(1):
                raise ValueError(f"lengths must lie between 1 and time ({x.size(1)}), not {shortest} to {longest}")
        zeros = self.zero_state(x)
        if state is None:
            return zeros
        # torch's fused kernel does not check: it writes beyond the end of a state that is too small.
        expected, found = ([tuple(part.shape) for part in as_parts(each)] for each in (zeros, state))
        if found != expected:
            raise ValueError(f"state must be {', '.join(self.state_parts)} of shape {expected}, not {found}")
        return state


def check_layers(input_size: int, hidden_size: int, num_layers: int, dropout: float) -> None:
    """Check the sizes of a stack of layers with dropout between them.

    Raises:
        ValueError: a size is below 1, `dropout` is no probability, or there is dropout but only one layer.
    """
    if min(input_size, hidden_size, num_layers) < 1:
        raise ValueError("input_size, hidden_size and num_layers must be at least 1")
    if not 0 <= dropout <= 1:
        raise ValueError(f"dropout must lie between 0 and 1, not {dropout}")
    if dropout and num_layers == 1:
        raise ValueError("dropout works between layers; with num_layers=1 there is nothing to drop")

"""RNN, GRU and LSTM over variable-length sequences, by two backends with one result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from unroll.encoders.layout import permute, round_up, time_first
from unroll.encoders.parallel import Padding, over_rows

CELLS = ("rnn_tanh", "rnn_relu", "gru", "lstm")
BACKENDS = ("auto", "packed", "padded")

State = Tensor | tuple[Tensor, Tensor]  # (layers x directions, batch, hidden); LSTM: the pair (h, c)

_KERNELS: dict[str, Any] = {
    "rnn_tanh": torch.rnn_tanh,
    "rnn_relu": torch.rnn_relu,
    "gru": torch.gru,
    "lstm": torch.lstm,
}

# A gate's pre-activation at which the sigmoid is exactly 0 or 1, and its slope exactly 0, in bf16 to float64.
_SHUT, _OPEN = -1e4, 1e4


class RecurrentEncoder(nn.RNNBase):
    """A stack of recurrent layers with torch.nn's equations, parameter names and shapes.

    A state dict of `torch.nn.RNN`, `GRU` or `LSTM` of the same sizes loads as it is. Two backends compute the same
    outputs, states and gradients (the drop-out masks alone differ):

    - `packed` hands a PackedSequence to torch: fast under cuDNN, slow on a CPU.
    - `padded` runs whole right-padded tensors through the unpacked kernels, one layer and direction at a time; the
      backward direction reads each row reversed within its own length. On a CPU this is several times faster, since
      only unpacked input reaches the fused kernels.

    `auto` takes `packed` on CUDA and `padded` elsewhere.

    >>> encoder = RecurrentEncoder("lstm", input_size=8, hidden_size=16, bidirectional=True)
    >>> output, (h, c) = encoder(torch.randn(2, 5, 8), lengths=torch.tensor([5, 3]))
    >>> output.shape, h.shape
    (torch.Size([2, 5, 32]), torch.Size([2, 2, 16]))
    """

    def __init__(
        self,
        cell: str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        backend: str = "auto",
    ) -> None:
        """Make the parameters.

        Args:
            cell: one of `CELLS`.
            input_size: features of the input at each step.
            hidden_size: features of the state in each direction.
            num_layers: recurrent layers, each reading the outputs of the one below.
            bidirectional: read each row from both ends; outputs are concatenated, forward first.
            dropout: probability of dropping an output between two layers, in training.
            backend: one of `BACKENDS`.

        Raises:
            ValueError: an unknown cell or backend, a size below 1, or dropout with nothing between layers to drop.
        """
        if cell not in CELLS:
            raise ValueError(f"unknown cell '{cell}'; there are {', '.join(CELLS)}")
        if backend not in BACKENDS:
            raise ValueError(f"unknown backend '{backend}'; there are {', '.join(BACKENDS)}")
        if min(input_size, hidden_size, num_layers) < 1:
            raise ValueError("input_size, hidden_size and num_layers must be at least 1")
        if dropout and num_layers == 1:
            raise ValueError("dropout works between layers; with num_layers=1 there is nothing to drop")
        self.cell, self.backend = cell, backend
        super().__init__(
            cell.upper(),
            input_size,
            hidden_size,
            num_layers,
            batch_first=True,
            dropout=dropout,
            bidirectional=bidirectional,
        )

    @property
    def num_directions(self) -> int:
        return 2 if self.bidirectional else 1

    def reset_parameters(self) -> None:
        """Initialise: recurrent weights orthogonal gate by gate (Saxe et al. 2014, arXiv:1312.6120), input weights
        Xavier-uniform, biases zero but an LSTM's forget gate, which starts at 1 (Jozefowicz et al. 2015)."""
        for name, parameter in self.named_parameters():
            if name.startswith("bias"):
                nn.init.zeros_(parameter)
                if self.cell == "lstm" and name.startswith("bias_ih"):
                    nn.init.ones_(parameter.data[self.hidden_size : 2 * self.hidden_size])
                continue
            initialise = nn.init.orthogonal_ if name.startswith("weight_hh") else nn.init.xavier_uniform_
            for gate in torch.split(parameter.data, self.hidden_size):
                initialise(gate)

    def forward(self, x: Tensor, lengths: Tensor | None = None, state: State | None = None) -> tuple[Tensor, State]:
        """Encode a batch of right-padded rows.

        Args:
            x: (batch, time, input_size); what it holds beyond a row's length has no influence on anything.
            lengths: (batch,) steps of each row, between 1 and time; None where every row is full.
            state: the state before the first step, in the form in which it is returned; None is zeros.

        Returns:
            output: (batch, time, directions x hidden), the top layer's, zero beyond each row's length.
            state: (layers x directions, batch, hidden) after each row's last step (first step, backwards), for an
                LSTM the pair (h, c), as torch.nn's modules return it.

        Raises:
            ValueError: shapes or lengths that do not fit.
        """
        self._check(x, lengths)
        if state is None:
            state = self.zero_state(x)
        self._check_state(state, self._state_shape(x))
        if lengths is None:
            return self._run(x, state)
        if self.backend_for(x) == "packed":
            return self._packed(x, lengths, state)
        return self._padded(x, lengths.to(x.device, torch.long), state)

    def backend_for(self, x: Tensor) -> str:
        """Return the backend that computes rows like `x`: `packed` or `padded`."""
        if self.backend != "auto":
            return self.backend
        return "packed" if x.is_cuda else "padded"

    def zero_state(self, x: Tensor) -> State:
        """Return the state that a batch `x` (batch, time, input_size) starts from where none is given."""
        zeros = x.new_zeros(self._state_shape(x))
        return (zeros, zeros) if self.cell == "lstm" else zeros

    def _check(self, x: Tensor, lengths: Tensor | None) -> None:
        if x.dim() != 3 or x.size(-1) != self.input_size or x.size(0) < 1 or x.size(1) < 1:
            raise ValueError(f"x must be (batch, time, {self.input_size}), each at least 1, not {tuple(x.shape)}")
        if lengths is None:
            return
        if lengths.shape != x.shape[:1] or lengths.is_floating_point():
            given = f"{tuple(lengths.shape)} of {lengths.dtype}"
            raise ValueError(f"lengths must be (batch,) = ({x.size(0)},) of whole numbers, not {given}")
        shortest, longest = (int(bound) for bound in torch.aminmax(lengths))
        if shortest < 1 or longest > x.size(1):
            raise ValueError(f"lengths must lie between 1 and time ({x.size(1)}), not {shortest} to {longest}")

    def _state_shape(self, x: Tensor) -> tuple[int, int, int]:
        return self.num_layers * self.num_directions, x.size(0), self.hidden_size

    def _check_state(self, state: State, shape: tuple[int, int, int]) -> None:
        """Before the kernels do not: given a state that is too small, the fused one writes beyond its end."""
        parts = state if isinstance(state, tuple) else (state,)
        if len(parts) != (2 if self.cell == "lstm" else 1) or any(part.shape != shape for part in parts):
            form = "a pair (h, c) of tensors" if self.cell == "lstm" else "a tensor"
            raise ValueError(f"state must be {form} of shape {shape}, not {[tuple(part.shape) for part in parts]}")

    def _arguments(self) -> tuple[Any, ...]:
        """What torch's kernels take for all layers and directions at once."""
        return self._flat_weights, self.bias, self.num_layers, self.dropout, self.training, self.bidirectional

    def _run(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """All rows are full: torch's own kernel does the whole."""
        output, *state_after = _KERNELS[self.cell](x, state, *self._arguments(), self.batch_first)
        return output, as_state(state_after)

    def _packed(self, x: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        data, batch_sizes, by_length, as_given = packed
        assert by_length is not None and as_given is not None
        state = _map_state(lambda s: s.index_select(1, by_length), state)
        data, *state_after = _KERNELS[self.cell](data, batch_sizes, state, *self._arguments())
        packed = PackedSequence(data, batch_sizes, by_length, as_given)
        output, _ = pad_packed_sequence(packed, batch_first=True, total_length=x.size(1))
        return output, _map_state(lambda s: s.index_select(1, as_given), as_state(state_after))

    def _padded(self, x: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        # Time first from here on, as the kernels compute: what they would transpose is transposed once.
        batch, given = x.shape[:2]
        time = round_up(given) if self.cell == "lstm" and x.device.type == "cpu" else given
        steps, rows = torch.arange(time, device=x.device)[:, None], torch.arange(batch, device=x.device)
        padding = Padding(steps >= lengths, int(lengths.min()))
        column = padding.begins < time and self._takes_a_column
        x = time_first(x, padding, column)
        # The steps of each row from its last to its first, as places in the flattened (time * batch,) steps. Backwards
        # the padding comes first; most cells can be held there, but at zero alone, and without a gradient.
        backward = None
        is_held = self.cell != "rnn_tanh" and all(map(_is_plain_zero, as_parts(state)))
        if self.bidirectional and padding.begins < time and not is_held:
            backward = torch.where(padding.mask, steps, lengths - 1 - steps) * batch + rows
        states: list[State] = []
        for layer in range(self.num_layers):
            x, after = self._one_layer(x, state, layer, padding, column, lengths, backward)
            states += after
            if layer < self.num_layers - 1:
                x = F.dropout(x, self.dropout, self.training)
                if column:
                    x = torch.cat([x, padding.mask[..., None].to(x.dtype)], dim=-1)
        parts = zip(*map(as_parts, states), strict=True)
        return x[:given].transpose(0, 1), as_state([torch.cat(part) for part in parts])

    def _one_layer(
        self,
        x: Tensor,
        state: State,
        layer: int,
        padding: Padding,
        column: bool,
        lengths: Tensor,
        backward: Tensor | None,
    ) -> tuple[Tensor, list[State]]:
        """One layer over `x` (time, batch, features): its output, zero in the padding, and its state after each row's
        last step (first step, backwards). All directions in one call, or where there is the order `backward`, one at a
        time."""
        together = 1 if backward is not None else self.num_directions
        outputs, states = [], []
        for direction in range(0, self.num_directions, together):
            index = layer * self.num_directions + direction
            before = as_parts(_map_state(partial(torch.narrow, dim=0, start=index, length=together), state))
            each = self.all_weights[index : index + together]
            weights = [weight for part in each for weight in (self._holding(part) if column else part)]
            inputs = x if backward is None or not direction else permute(x, backward)
            output, *after = over_rows(self._kernel, inputs, before, weights, padding)
            h = after[0]
            if padding.begins < len(x):  # the kernel's is after the padding
                last = output[lengths - 1, torch.arange(len(lengths), device=x.device), : self.hidden_size][None]
                h = torch.cat([last, h[1:]]) if together == 2 else last
            outputs.append(output if backward is None or not direction else permute(output, backward))
            states.append((h, after[1]) if self.cell == "lstm" else h)
        return torch.cat(outputs, dim=-1) if len(outputs) == 2 else outputs[0], states

    @property
    def _takes_a_column(self) -> bool:
        """Whether rows that have padding get one feature more, which is 1 there alone and holds the state."""
        return self.cell in ("lstm", "rnn_relu") or (self.cell == "gru" and self.bidirectional)

    def _holding(self, weights: Sequence[Tensor]) -> list[Tensor]:
        """Give the input weights the column that holds the state in the padding. The units are saturated there: no
        gradient passes through it.

        - LSTM: the input gate is shut and the forget gate opened. The cell stays as it was after the row's own last
          step, which the kernel's final state is; and zero, before the row's last step, where rows are read backwards.
        - GRU: the update gate is opened. The state stays zero before the row's last step, read backwards.
        - ReLU: the state could grow beyond all bounds, and then make the gradient NaN; it is pushed to zero.
        """
        by_gate = {"lstm": [_SHUT, _OPEN, 0.0, 0.0], "gru": [0.0, _OPEN, 0.0]}
        lowest = torch.finfo(weights[0].dtype).min / 2  # which bf16 holds as well as float32
        hold = weights[0].new_tensor(by_gate.get(self.cell, [lowest])).repeat_interleave(self.hidden_size)
        return [torch.cat([weights[0], hold[:, None]], dim=1), *weights[1:]]

    def _kernel(self, x: Tensor, *states_and_weights: Tensor) -> Sequence[Tensor]:
        """torch's kernel over one layer, in one direction or both."""
        parts = 2 if self.cell == "lstm" else 1
        states, weights = states_and_weights[:parts], list(states_and_weights[parts:])
        state = states if self.cell == "lstm" else states[0]
        both = len(weights) == 8
        results: Sequence[Tensor] = _KERNELS[self.cell](x, state, weights, True, 1, 0.0, self.training, both, False)
        return results


def _is_plain_zero(x: Tensor) -> bool:
    return not x.requires_grad and not bool(x.any())


def detach(state: State, ended: Tensor) -> State:
    """Return the state cut off from the graph that made it (the boundary of truncated backpropagation), and zero for
    the rows that have `ended` (batch,)."""
    return _map_state(lambda s: s.detach().masked_fill(ended[:, None], 0), state)


def as_parts(state: State) -> list[Tensor]:
    """Return the tensors of a state: one, or the LSTM's two."""
    return list(state) if isinstance(state, tuple) else [state]


def as_state(parts: list[Tensor]) -> State:
    """Return the state of such tensors, as torch.nn returns it: one, or the LSTM's pair."""
    return (parts[0], parts[1]) if len(parts) == 2 else parts[0]


def _map_state(change: Callable[[Tensor], Tensor], state: State) -> State:
    return (change(state[0]), change(state[1])) if isinstance(state, tuple) else change(state)

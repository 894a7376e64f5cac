"""RNN, GRU and LSTM over variable-length sequences, by two backends with one result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from unroll.encoders import reference
from unroll.encoders.cells import CELLS, Cell
from unroll.encoders.interface import Encoder, Trace, check_layers
from unroll.encoders.layout import permute, round_up, time_first
from unroll.encoders.parallel import Padding, over_rows
from unroll.encoders.state import State, as_parts, as_state, map_state

BACKENDS = ("auto", "packed", "padded")


class RecurrentEncoder(nn.RNNBase, Encoder):
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
        check_layers(input_size, hidden_size, num_layers, dropout)
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
        self.num_directions = 2 if bidirectional else 1
        self.output_size = self.num_directions * hidden_size
        self.state_parts = self._cell.state_parts

    @property
    def _cell(self) -> Cell:
        return CELLS[self.cell]

    def reset_parameters(self) -> None:
        """Initialise: recurrent weights orthogonal gate by gate (Saxe et al. 2014, arXiv:1312.6120), input weights
        Xavier-uniform, biases at the cell's `initial_bias`."""
        for name, parameter in self.named_parameters():
            for gate, values in zip(self._cell.gates, torch.split(parameter.data, self.hidden_size), strict=True):
                if name.startswith("bias"):  # torch adds two biases
                    nn.init.constant_(values, self._cell.initial_bias.get(gate, 0.0) if "_ih_" in name else 0.0)
                elif name.startswith("weight_hh"):
                    nn.init.orthogonal_(values)
                else:
                    nn.init.xavier_uniform_(values)

    def forward(self, x: Tensor, lengths: Tensor | None = None, state: State | None = None) -> tuple[Tensor, State]:
        state = self.start(x, lengths, state)
        if lengths is None:
            return self._run(x, state)
        if self.backend_for(x) == "packed":
            return self._packed(x, lengths, state)
        return self._padded(x, lengths.to(x.device, torch.long), state)

    def trace(self, x: Tensor, lengths: Tensor | None = None, state: State | None = None) -> Trace:
        return reference.trace(self.cell, dict(self.named_parameters()), x, lengths, state)

    def backend_for(self, x: Tensor) -> str:
        """Return the backend that computes rows like `x`: `packed` or `padded`."""
        if self.backend != "auto":
            return self.backend
        return "packed" if x.is_cuda else "padded"

    def zero_state(self, x: Tensor) -> State:
        zeros = x.new_zeros(self.num_layers * self.num_directions, x.size(0), self.hidden_size)
        return as_state([zeros] * len(self.state_parts))

    def _arguments(self) -> tuple[Any, ...]:
        """What torch's kernels take for all layers and directions at once."""
        return self._flat_weights, self.bias, self.num_layers, self.dropout, self.training, self.bidirectional

    def _run(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """All rows are full: torch's own kernel does the whole."""
        output, *state_after = self._cell.kernel(x, state, *self._arguments(), self.batch_first)
        return output, as_state(state_after)

    def _packed(self, x: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        data, batch_sizes, by_length, as_given = packed
        assert by_length is not None and as_given is not None
        state = map_state(lambda s: s.index_select(1, by_length), state)
        data, *state_after = self._cell.kernel(data, batch_sizes, state, *self._arguments())
        packed = PackedSequence(data, batch_sizes, by_length, as_given)
        output, _ = pad_packed_sequence(packed, batch_first=True, total_length=x.size(1))
        return output, map_state(lambda s: s.index_select(1, as_given), as_state(state_after))

    def _padded(self, x: Tensor, lengths: Tensor, state: State) -> tuple[Tensor, State]:
        # Time first from here on, as the kernels compute: what they would transpose is transposed once.
        batch, given = x.shape[:2]
        time = round_up(given) if self._cell.compiled_by_shape and x.device.type == "cpu" else given
        steps, rows = torch.arange(time, device=x.device)[:, None], torch.arange(batch, device=x.device)
        padding = Padding(steps >= lengths, int(lengths.min()))
        column = padding.begins < time and self._takes_a_column
        x = time_first(x, padding, column)
        # The steps of each row from its last to its first, as places in the flattened (time * batch,) steps. Backwards
        # the padding comes first; most cells can be held there, but at zero alone, and without a gradient.
        backward = None
        is_held = bool(self._cell.hold) and all(map(_is_plain_zero, as_parts(state)))
        if self.bidirectional and padding.begins < time and not is_held:
            backward = torch.where(padding.mask, steps, lengths - 1 - steps) * batch + rows
        states: list[list[Tensor]] = []
        for layer in range(self.num_layers):
            x, after = self._one_layer(x, state, layer, padding, column, lengths, backward)
            states += after
            if layer < self.num_layers - 1:
                x = F.dropout(x, self.dropout, self.training)
                if column:
                    x = torch.cat([x, padding.mask[..., None].to(x.dtype)], dim=-1)
        return x[:given].transpose(0, 1), as_state([torch.cat(part) for part in zip(*states, strict=True)])

    def _one_layer(
        self,
        x: Tensor,
        state: State,
        layer: int,
        padding: Padding,
        column: bool,
        lengths: Tensor,
        backward: Tensor | None,
    ) -> tuple[Tensor, list[list[Tensor]]]:
        """One layer over `x` (time, batch, features): its output, zero in the padding, and its state after each row's
        last step (first step, backwards). All directions in one call, or where there is the order `backward`, one at a
        time."""
        together = 1 if backward is not None else self.num_directions
        outputs, states = [], []
        for direction in range(0, self.num_directions, together):
            index = layer * self.num_directions + direction
            before = [part.narrow(0, index, together) for part in as_parts(state)]
            each = self.all_weights[index : index + together]
            weights = [weight for part in each for weight in (self._holding(part) if column else part)]
            inputs = x if backward is None or not direction else permute(x, backward)
            output, *after = over_rows(self._kernel, inputs, before, weights, padding)
            h = after[0]
            if padding.begins < len(x):  # the kernel's is after the padding
                last = output[lengths - 1, torch.arange(len(lengths), device=x.device), : self.hidden_size][None]
                h = torch.cat([last, h[1:]]) if together == 2 else last
            outputs.append(output if backward is None or not direction else permute(output, backward))
            states.append([h, *after[1:]])
        return torch.cat(outputs, dim=-1) if len(outputs) == 2 else outputs[0], states

    @property
    def _takes_a_column(self) -> bool:
        """Whether rows that have padding get one feature more, which is 1 there alone and holds the state."""
        return bool(self._cell.hold) and (self._cell.hold_forward or self.bidirectional)

    def _holding(self, weights: Sequence[Tensor]) -> list[Tensor]:
        """Give the input weights the column that holds the state in the padding, see `Cell.hold`."""
        lowest = torch.finfo(weights[0].dtype).min / 2  # which bf16 holds as well as float32
        by_gate = [max(self._cell.hold.get(gate, 0.0), lowest) for gate in self._cell.gates]
        hold = weights[0].new_tensor(by_gate).repeat_interleave(self.hidden_size)
        return [torch.cat([weights[0], hold[:, None]], dim=1), *weights[1:]]

    def _kernel(self, x: Tensor, *states_and_weights: Tensor) -> Sequence[Tensor]:
        """torch's kernel over one layer, in one direction or both."""
        parts = len(self.state_parts)
        state, weights = as_state(states_and_weights[:parts]), list(states_and_weights[parts:])
        both = len(weights) == 8
        results: Sequence[Tensor] = self._cell.kernel(x, state, weights, True, 1, 0.0, self.training, both, False)
        return results


def _is_plain_zero(x: Tensor) -> bool:
    return not x.requires_grad and not bool(x.any())

"""RNN, GRU and LSTM over sequences of different lengths, by two backends that give the same result."""

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
from unroll.encoders.regularizers import LockedDropout, WeightDropout
from unroll.encoders.state import State, as_parts, as_state, map_state

BACKENDS = ("auto", "packed", "padded")


class RecurrentEncoder(nn.RNNBase, Encoder):
    """A stack of recurrent layers with torch.nn's equations, parameter names and shapes.

    It loads a state dict of a `torch.nn.RNN`, `GRU` or `LSTM` of the same sizes. Two backends compute the same outputs,
    states and gradients; only their dropout masks differ:

    - `packed` gives torch a PackedSequence: fast with cuDNN, slow on a CPU.
    - `padded` gives torch right-padded tensors, one layer at a time, and makes sure that the padding changes nothing.
      On a CPU this is several times faster, because torch's fused kernels take no PackedSequence.

    `auto` is `packed` on CUDA and `padded` elsewhere.

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
        locked_dropout: bool = False,
        weight_dropout: float = 0.0,
    ) -> None:
        """Make the parameters.

        Args:
            cell: one of `CELLS`.
            input_size: features of each step's input.
            hidden_size: features of the state in each direction.
            num_layers: recurrent layers; each reads the outputs of the one below.
            bidirectional: read each row from both ends; the outputs are concatenated, forward first.
            dropout: probability of dropping an output between two layers, in training.
            backend: one of `BACKENDS`.
            locked_dropout: between two layers, drop the same outputs of a row at all steps, see `LockedDropout`.
            weight_dropout: probability of dropping a recurrent weight, in training, see `WeightDropout`.

        Raises:
            ValueError: the cell or the backend is unknown, a size is below 1, a dropout is no probability, or there is
                dropout but only one layer.
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
        self.weight_dropout = WeightDropout(weight_dropout)
        self.locked = nn.ModuleList(LockedDropout(dropout) for _ in range(num_layers - 1) if locked_dropout)

    @property
    def _cell(self) -> Cell:
        return CELLS[self.cell]

    def reset_parameters(self) -> None:
        """Initialise, gate by gate: recurrent weights orthogonal (Saxe et al. 2014, arXiv:1312.6120), input weights
        Xavier-uniform, biases by the cell's `initial_bias`."""
        for name, parameter in self.named_parameters():
            for gate, values in zip(self._cell.gates, torch.split(parameter.data, self.hidden_size), strict=True):
                if name.startswith("bias"):  # torch adds bias_ih and bias_hh, so one of them stays 0
                    nn.init.constant_(values, self._cell.initial_bias.get(gate, 0.0) if "_ih_" in name else 0.0)
                elif name.startswith("weight_hh"):
                    nn.init.orthogonal_(values)
                else:
                    nn.init.xavier_uniform_(values)

    def forward(self, x: Tensor, lengths: Tensor | None = None, state: State | None = None) -> tuple[Tensor, State]:
        state, weights = self.start(x, lengths, state), self._weights()
        if not (self.locked and self.training):
            return self._layers(x, lengths, state, weights)
        after = []
        for layer in range(self.num_layers):
            x, own = self.locked[layer - 1](x) if layer else x, self._of_layer(layer)
            before = as_state([part[own] for part in as_parts(state)])
            x, end = self._layers(x, lengths, before, weights[own])
            after.append(as_parts(end))
        return x, as_state([torch.cat(part) for part in zip(*after, strict=True)])

    def trace(self, x: Tensor, lengths: Tensor | None = None, state: State | None = None) -> Trace:
        return reference.trace(self.cell, dict(self.named_parameters()), x, lengths, state)

    def backend_for(self, x: Tensor) -> str:
        """Return the backend that `x` is computed by: `packed` or `padded`."""
        if self.backend != "auto":
            return self.backend
        return "packed" if x.is_cuda else "padded"

    def zero_state(self, x: Tensor) -> State:
        zeros = x.new_zeros(self.num_layers * self.num_directions, x.size(0), self.hidden_size)
        return as_state([zeros] * len(self.state_parts))

    def _weights(self) -> list[list[Tensor]]:
        """Return the weights of each layer and direction, as the kernels take them: the second are the recurrent."""
        weights: list[list[Tensor]] = [list(each) for each in self.all_weights]
        dropped = self.weight_dropout([each[1] for each in weights])
        return [[each[0], recurrent, *each[2:]] for each, recurrent in zip(weights, dropped, strict=True)]

    def _of_layer(self, layer: int) -> slice:
        """Return the places of a layer's directions in a state or in the weights."""
        return slice(layer * self.num_directions, (layer + 1) * self.num_directions)

    def _layers(
        self, x: Tensor, lengths: Tensor | None, state: State, weights: list[list[Tensor]]
    ) -> tuple[Tensor, State]:
        """Run the layers that `state` and `weights` are of, with ordinary dropout between them."""
        if lengths is None:
            output, *after = self._cell.run(x, state, *self._arguments(weights), self.batch_first)
            return output, as_state(after)
        if self.backend_for(x) == "packed":
            return self._packed(x, lengths, state, weights)
        return self._padded(x, lengths.to(x.device, torch.long), state, weights)

    def _arguments(self, weights: list[list[Tensor]]) -> tuple[Any, ...]:
        """Return the arguments of torch's kernels for several layers, in all directions, in one call."""
        flat, layers = [weight for each in weights for weight in each], len(weights) // self.num_directions
        return flat, self.bias, layers, self.dropout, self.training, self.bidirectional

    def _packed(self, x: Tensor, lengths: Tensor, state: State, weights: list[list[Tensor]]) -> tuple[Tensor, State]:
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        data, batch_sizes, by_length, as_given = packed
        assert by_length is not None and as_given is not None
        state = map_state(lambda s: s.index_select(1, by_length), state)
        data, *after = self._cell.run(data, batch_sizes, state, *self._arguments(weights))
        packed = PackedSequence(data, batch_sizes, by_length, as_given)
        output, _ = pad_packed_sequence(packed, batch_first=True, total_length=x.size(1))
        return output, map_state(lambda s: s.index_select(1, as_given), as_state(after))

    def _padded(self, x: Tensor, lengths: Tensor, state: State, weights: list[list[Tensor]]) -> tuple[Tensor, State]:
        cell, (batch, given) = self._cell, x.shape[:2]
        time = round_up(given) if cell.compiled_by_shape and x.device.type == "cpu" else given
        steps = torch.arange(time, device=x.device)[:, None]
        padding = Padding(steps >= lengths, int(lengths.min()))
        has_padding = padding.begins < time
        # One more feature, 1 in the padding, through which the input weights hold the state there.
        column = has_padding and bool(cell.hold) and (cell.hold_forward or self.bidirectional)
        x = time_first(x, padding, column)  # the kernels' own layout: otherwise every layer would transpose
        # The order in which each kernel call reads the steps; None is the given one. Backward, rows begin with their
        # padding. If the cell can be held there, at a zero state without a gradient, one call reads both directions.
        # Otherwise a second call reads the rows reversed: its order holds places in the flattened (time x batch) steps.
        orders: list[Tensor | None] = [None]
        if self.bidirectional and has_padding:
            is_held = bool(cell.hold) and not any(part.requires_grad or bool(part.any()) for part in as_parts(state))
            if not is_held:
                rows = torch.arange(batch, device=x.device)
                orders.append(torch.where(padding.mask, steps, lengths - 1 - steps) * batch + rows)
        states: list[list[Tensor]] = []
        layers = len(weights) // self.num_directions
        for layer in range(layers):
            own = self._of_layer(layer)
            before = [part[own] for part in as_parts(state)]
            x, after = self._one_layer(x, before, weights[own], padding, column, lengths, orders)
            states += after
            if layer < layers - 1:
                x = F.dropout(x, self.dropout, self.training)
                if column:
                    x = torch.cat([x, padding.mask[..., None].to(x.dtype)], dim=-1)
        return x[:given].transpose(0, 1), as_state([torch.cat(part) for part in zip(*states, strict=True)])

    def _one_layer(
        self,
        x: Tensor,
        state: list[Tensor],
        weights: list[list[Tensor]],
        padding: Padding,
        column: bool,
        lengths: Tensor,
        orders: list[Tensor | None],
    ) -> tuple[Tensor, list[list[Tensor]]]:
        """Run one layer over `x` (time, batch, features), with a kernel call for each of `orders`.

        Returns:
            The output (time, batch, features), zero in the padding, and for each call the parts of the state after each
            row's last step (backward direction: after its first).
        """
        outputs, states = [], []
        together = self.num_directions // len(orders)  # directions in one call
        for direction, order in enumerate(orders):
            before = [part.narrow(0, direction, together) for part in state]
            each = weights[direction : direction + together]
            flat = [weight for part in each for weight in (self._holding(part) if column else part)]
            inputs = x if order is None else permute(x, order)
            output, h, *others = over_rows(self._kernel, inputs, before, flat, padding)
            if padding.begins < len(x):  # the kernel's own h is the one after the padding
                last = output[lengths - 1, torch.arange(len(lengths), device=x.device), : self.hidden_size][None]
                h = torch.cat([last, h[1:]]) if together == 2 else last
            outputs.append(output if order is None else permute(output, order))
            states.append([h, *others])
        return torch.cat(outputs, dim=-1) if len(outputs) == 2 else outputs[0], states

    def _holding(self, weights: Sequence[Tensor]) -> list[Tensor]:
        """Append the column of `Cell.hold` to the input weights, the first of `weights`."""
        lowest = torch.finfo(weights[0].dtype).min / 2  # halved, because bf16 would round the lowest to -inf
        by_gate = [max(self._cell.hold.get(gate, 0.0), lowest) for gate in self._cell.gates]
        hold = weights[0].new_tensor(by_gate).repeat_interleave(self.hidden_size)
        return [torch.cat([weights[0], hold[:, None]], dim=1), *weights[1:]]

    def _kernel(self, x: Tensor, *states_and_weights: Tensor) -> Sequence[Tensor]:
        """Run torch's kernel over one layer, in one direction or both."""
        parts = len(self.state_parts)
        state, weights = as_state(states_and_weights[:parts]), list(states_and_weights[parts:])
        both = len(weights) == 8
        results: Sequence[Tensor] = self._cell.run(x, state, weights, True, 1, 0.0, self.training, both, False)
        return results

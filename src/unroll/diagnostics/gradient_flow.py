"""How far back through time a gradient reaches: its norm at every step before the step of the loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from unroll.encoders import Encoder, State, Trace

THOUSANDFOLD = 1e3


@dataclass(frozen=True)
class Flow:
    """Norms of the gradient of the loss at one step, by lag: the number of steps before it. They are means over the
    batch, and exactly zero before the window."""

    inputs: Tensor  # (lags,), with respect to the input
    hidden: Tensor
    """(layers, lags), with respect to the hidden state, of the forward direction if there are two. There are no layers
    if the encoder has no trace."""


def gradient_flow(encoder: Encoder, x: Tensor, loss: Callable[[Tensor], Tensor], window: int | None = None) -> Flow:
    """Differentiate the loss at the last step with respect to the input and the hidden state of every step.

    >>> from unroll.encoders import RecurrentEncoder
    >>> encoder = RecurrentEncoder("lstm", input_size=3, hidden_size=4)
    >>> flow = gradient_flow(encoder, torch.randn(2, 10, 3), lambda h: h.sum(1))
    >>> flow.inputs.shape, flow.hidden.shape
    (torch.Size([10]), torch.Size([1, 10]))

    Args:
        encoder: any encoder, in evaluation mode, so that dropout is off.
        x: (batch, time, features); there are `time` lags.
        loss: function of the encoder's output at the last step, (batch, output_size) -> (batch,).
        window: steps after which the gradient is cut, counted from the first step; None: never.

    Raises:
        ValueError: the window is below 1, or the encoder has two directions and there is a window.
    """
    if window is not None and window < 1:
        raise ValueError(f"a window is at least 1 step long, not {window}")
    if window is not None and encoder.num_directions == 2:
        raise ValueError("a window needs one direction: the backward one starts at the end, which it has not read yet")
    time, state = x.size(1), None
    cut = 0 if window is None else (time - 1) // window * window
    if cut:
        with torch.no_grad():
            state = _read(encoder, x[:, :cut], None).state
    x = x[:, cut:].detach().requires_grad_()
    found = _read(encoder, x, state)
    layers = found.steps[:: encoder.num_directions]
    states = [step["hidden"] for steps in layers for step in steps]
    of_input, *of_states = torch.autograd.grad(
        loss(found.output[:, -1]).sum(), [x, *states], allow_unused=True, materialize_grads=True
    )
    norms = [gradient.norm(dim=1).mean() for gradient in of_states]
    hidden = torch.stack(norms).view(len(layers), -1) if norms else x.new_zeros(0, x.size(1))
    return Flow(_by_lag(of_input.norm(dim=2).mean(0), time), _by_lag(hidden, time))


def _read(encoder: Encoder, x: Tensor, state: State | None) -> Trace:
    found = encoder.trace(x, state=state)
    return found if found is not None else Trace([], *encoder(x, None, state))


def _by_lag(norms: Tensor, lags: int) -> Tensor:
    """Turn norms (…, steps) in order of time into norms (…, lags), with zeros before the cut."""
    beyond = norms.new_zeros(*norms.shape[:-1], lags - norms.size(-1))
    return torch.cat([norms.flip(-1), beyond], dim=-1).detach().cpu()


def judge(norms: Tensor) -> str:
    """Say in a sentence whether the gradient with norms (lags,) vanishes, explodes or is healthy, and from which lag on
    it is zero: before a window, or where no unit passes a gradient on."""
    sizes: list[float] = norms.double().tolist()
    end = next((lag for lag, size in enumerate(sizes) if size == 0), len(sizes))
    if end == 0:
        return "nothing: the loss does not depend on the step it is taken at"
    cut = f"; from lag {end} on it is zero" if end < len(sizes) else ""
    if not all(size < float("inf") for size in sizes):  # NaN counts as not finite
        return f"exploding: the gradient is not finite{cut}"
    fallen = next((lag for lag, size in enumerate(sizes[:end]) if size * THOUSANDFOLD <= sizes[0]), None)
    grown = next((lag for lag, size in enumerate(sizes[:end]) if size >= sizes[0] * THOUSANDFOLD), None)
    if grown is not None and (fallen is None or grown < fallen):
        return f"exploding: the gradient has grown a thousandfold at lag {grown}{cut}"
    if fallen is not None:
        return f"vanishing: the gradient has fallen a thousandfold at lag {fallen}{cut}"
    left = sizes[end - 1] / sizes[0]
    return f"healthy: at lag {end - 1} the gradient has {left:.3g} times its size at lag 0{cut}"

"""Published figures of small recurrences, computed by hand and by torch.nn, to all published digits."""

import pytest
import torch
from torch import nn

from tests.diagnostics.published import FIGURES
from unroll.encoders import RecurrentEncoder


@pytest.fixture(params=["packed", "padded", "torch.nn"])
def run(request, torch_nn):
    """Encodes one row, (time, features), with two steps of padding behind it: (encoder arguments, weights, x)."""

    def encode(sizes, weights, x):
        encoder = RecurrentEncoder(*sizes, backend="auto" if request.param == "torch.nn" else request.param)
        biases = {name: torch.zeros_like(value) for name, value in encoder.state_dict().items() if "bias" in name}
        encoder.load_state_dict(biases | {name: torch.tensor(value) for name, value in weights.items()})
        forward = torch_nn(encoder)[0] if request.param == "torch.nn" else encoder
        x = torch.tensor(x, dtype=torch.float32)
        output, state = forward(torch.cat([x, torch.ones(2, x.size(1))])[None], torch.tensor([len(x)]))
        assert not output[0, len(x) :].any()
        return output[0, : len(x)].detach(), state[:, 0].detach()

    return encode


def close(actual, expected, atol):
    torch.testing.assert_close(actual, torch.tensor(expected, dtype=torch.float32), atol=atol, rtol=0)


@pytest.mark.parametrize("case", FIGURES["forward"], ids=lambda case: case["name"])
def test_forward(run, case):
    sizes = [case[name] for name in ("cell", "input_size", "hidden_size", "num_layers", "bidirectional")]
    assert case["bias"] == any(name.startswith("bias") for name in case["weights"])
    output, state = run(sizes, case["weights"], case["x"])
    close(output, case["output"], case["atol"])
    if "h_n" in case:
        close(state, case["h_n"], case["atol"])
    if "output_layer_0" in case:
        lowest = {name: value for name, value in case["weights"].items() if name.endswith("_l0")}
        sizes[3] = 1
        close(run(sizes, lowest, case["x"])[0], case["output_layer_0"], case["atol"])


def test_the_seeded_case_uses_each_bias_once(run):
    case = FIGURES["seeded"]
    torch.manual_seed(1)
    weights = nn.RNN(5, 2, 1, batch_first=True).state_dict()
    projection = torch.tensor(case["x"]) @ weights["weight_ih_l0"].T + weights["bias_ih_l0"]
    close(projection, case["input_projection"], case["atol"])
    weights = {name: value.tolist() for name, value in weights.items()}
    output, _ = run(["rnn_tanh", 5, 2], weights, case["x"])
    close(output, case["output"], case["atol"])
    # Figures published for a known mistake: the recurrent bias is used in place of the input's.
    output, _ = run(["rnn_tanh", 5, 2], weights | {"bias_ih_l0": weights["bias_hh_l0"]}, case["x"])
    close(output, case["wrong_output_if_b_hh_is_used_twice"], case["atol"])


@pytest.mark.parametrize("backend", ["packed", "padded", "torch.nn"])
def test_shapes(make_module, backend):
    case = FIGURES["shapes"]
    batch, time, *sizes = (
        case[name] for name in ("batch_size", "sequence_length", "input_size", "hidden_size", "num_layers")
    )
    x = torch.randn(batch, time, sizes[0])
    make = RecurrentEncoder if backend != "torch.nn" else make_module
    encoder = make("rnn_tanh", *sizes, **{} if backend == "torch.nn" else {"backend": backend})
    output, state = encoder(x)
    # Published time first; here the batch comes first in the output, and the layers in the state, as in torch.nn.
    assert list(output.transpose(0, 1).shape) == case["output_shape"]
    assert list(state.shape) == case["h_n_shape"]
    output, state = encoder(x[:, :1])
    assert list(output[:, 0].shape) == list(state[-1].shape) == case["cell_step_shape"]

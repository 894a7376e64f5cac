"""What an encoder is made of: parameters, initial values, dropout, and the errors for wrong use."""

import copy
import math

import pytest
import torch
from torch import nn

from unroll.encoders import BACKENDS, CELLS, RecurrentEncoder

GATES = {"rnn_tanh": 1, "rnn_relu": 1, "gru": 3, "lstm": 4}


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("num_layers", [1, 3])
@pytest.mark.parametrize("cell", CELLS)
class TestParameters:
    def test_names_shapes_and_order_are_those_of_torch(self, make_module, cell, num_layers, bidirectional):
        encoder = RecurrentEncoder(cell, 3, 4, num_layers, bidirectional)
        module = make_module(cell, 3, 4, num_layers, bidirectional=bidirectional)
        shapes = [(name, parameter.shape) for name, parameter in encoder.named_parameters()]
        assert shapes == [(name, parameter.shape) for name, parameter in module.named_parameters()]
        assert list(encoder.state_dict()) == list(module.state_dict())

    @pytest.mark.parametrize("backend", BACKENDS)
    def test_a_state_dict_of_torch_loads_and_gives_its_outputs(
        self, make_module, cell, num_layers, bidirectional, backend
    ):
        module = make_module(cell, 3, 4, num_layers, bidirectional=bidirectional)
        encoder = RecurrentEncoder(cell, 3, 4, num_layers, bidirectional, backend=backend)
        encoder.load_state_dict(module.state_dict(), strict=True)
        x = torch.randn(2, 5, 3)
        for lengths in (None, torch.tensor([5, 5])):
            torch.testing.assert_close(encoder(x, lengths)[0], module(x)[0], atol=1e-5, rtol=0)

    def test_an_encoder_s_state_dict_loads_into_torch(self, make_module, cell, num_layers, bidirectional):
        encoder = RecurrentEncoder(cell, 3, 4, num_layers, bidirectional)
        make_module(cell, 3, 4, num_layers, bidirectional=bidirectional).load_state_dict(encoder.state_dict())


@pytest.mark.parametrize("backend", ["packed", "padded"])
def test_a_copy_computes_the_same_and_is_its_own(backend):
    encoder = RecurrentEncoder("lstm", 3, 4, 2, True, backend=backend)
    twin, x, lengths = copy.deepcopy(encoder), torch.randn(2, 5, 3), torch.tensor([3, 5])
    output = encoder(x, lengths)[0]
    torch.testing.assert_close(twin(x, lengths)[0], output, atol=0, rtol=0)
    nn.init.zeros_(twin.weight_ih_l0)
    assert not torch.equal(twin(x, lengths)[0], output)
    torch.testing.assert_close(encoder(x, lengths)[0], output, atol=0, rtol=0)


@pytest.mark.parametrize("cell", CELLS)
class TestInitialValues:
    def test_recurrent_weights_are_orthogonal_gate_by_gate(self, cell):
        encoder = RecurrentEncoder(cell, 3, 6, 2, True)
        for name, weight in encoder.named_parameters():
            if name.startswith("weight_hh"):
                gates = weight.detach().view(GATES[cell], 6, 6)
                torch.testing.assert_close(gates @ gates.mT, torch.eye(6).expand_as(gates), atol=1e-5, rtol=0)
                assert len({tuple(gate.flatten().tolist()) for gate in gates}) == GATES[cell]

    def test_biases_are_zero_but_the_forget_gate_s(self, cell):
        encoder = RecurrentEncoder(cell, 3, 6, 2, True)
        biases = dict(encoder.named_parameters())
        for suffix in ("l0", "l0_reverse", "l1", "l1_reverse"):
            # torch adds the two biases of a gate, so the forget gate's must be 1 together.
            total = (biases[f"bias_ih_{suffix}"] + biases[f"bias_hh_{suffix}"]).tolist()
            assert total == ([0.0] * 6 + [1.0] * 6 + [0.0] * 12 if cell == "lstm" else [0.0] * 6 * GATES[cell])

    def test_input_weights_keep_to_xavier_s_bound(self, cell):
        encoder = RecurrentEncoder(cell, 30, 50)
        bound = math.sqrt(6 / (30 + 50))
        for gate in encoder.weight_ih_l0.detach().split(50):
            assert 0.95 * bound < gate.abs().max() <= bound
            assert abs(gate.std() - bound / math.sqrt(3)) < 0.05 * bound

    def test_reset_starts_anew(self, cell):
        encoder = RecurrentEncoder(cell, 3, 4)
        for parameter in encoder.parameters():
            nn.init.constant_(parameter, 7.0)
        torch.manual_seed(3)
        encoder.reset_parameters()
        torch.manual_seed(3)
        for parameter, fresh in zip(encoder.parameters(), RecurrentEncoder(cell, 3, 4).parameters(), strict=True):
            torch.testing.assert_close(parameter, fresh, atol=0, rtol=0)


@pytest.mark.parametrize("backend", ["packed", "padded"])
@pytest.mark.parametrize("lengths", [None, [6, 2, 4]], ids=["full", "lengths"])
class TestDropout:
    @staticmethod
    def _pass_through(num_layers: int, dropout: float, backend: str, size: int = 32) -> RecurrentEncoder:
        """Layers that pass their input on unchanged."""
        encoder = RecurrentEncoder("rnn_relu", size, size, num_layers, dropout=dropout, backend=backend)
        for name, parameter in encoder.named_parameters():
            (nn.init.eye_ if name.startswith("weight_ih") else nn.init.zeros_)(parameter)
        return encoder

    @staticmethod
    def _inputs(lengths: list[int] | None) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
        """Rows of ones, their lengths, and a mask of their steps."""
        inside = torch.arange(6) < torch.tensor(lengths or [6, 6, 6])[:, None]
        return torch.ones(3, 6, 32), torch.tensor(lengths) if lengths else None, inside

    def test_one_draw_for_each_output_between_two_layers(self, backend, lengths):
        x, lengths, inside = self._inputs(lengths)
        output = self._pass_through(2, 0.5, backend)(x, lengths)[0].detach()
        # Dropped or doubled once, between the two layers; no dropout before the first layer or after the last.
        assert set(output[inside].unique().tolist()) == {0.0, 2.0}
        assert abs((output[inside] == 0).float().mean() - 0.5) < 0.1
        assert not output[~inside].any()
        assert not torch.equal(output[0, 0], output[0, 1])  # a draw for each step
        assert not torch.equal(output[0, 0], output[1, 0])  # and row

    def test_each_place_between_layers_draws(self, backend, lengths):
        x, lengths, inside = self._inputs(lengths)
        output = self._pass_through(3, 0.5, backend)(x, lengths)[0].detach()
        assert set(output[inside].unique().tolist()) == {0.0, 4.0}
        assert abs((output[inside] == 0).float().mean() - 0.75) < 0.1

    def test_the_last_layer_s_outputs_are_whole(self, make_module, backend, lengths):
        """With everything dropped the last layer reads zeros, and its own outputs are not dropped."""
        encoder = RecurrentEncoder("lstm", 32, 8, 2, True, dropout=1.0, backend=backend)
        last = make_module("lstm", 16, 8, bidirectional=True)
        last.load_state_dict(
            {name.replace("l1", "l0"): value for name, value in encoder.state_dict().items() if "l1" in name}
        )
        x, lengths, inside = self._inputs(lengths)
        output, _ = encoder(x, lengths)
        for row, steps in zip(output, inside.sum(1).tolist(), strict=True):
            torch.testing.assert_close(row[:steps], last(torch.zeros(1, steps, 16))[0][0], atol=1e-5, rtol=0)

    def test_off_in_evaluation(self, torch_nn, backend, lengths):
        x, lengths, inside = self._inputs(lengths)
        encoder = RecurrentEncoder("gru", 32, 8, 3, True, dropout=0.5, backend=backend)
        expected, _ = torch_nn(encoder)[0](x, inside.sum(1))
        assert not torch.allclose(encoder(x, lengths)[0], expected, atol=1e-3)
        encoder.eval()
        torch.testing.assert_close(encoder(x, lengths)[0], expected, atol=1e-5, rtol=0)


class TestWrongUse:
    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            ({"cell": "LSTM"}, "cell 'LSTM'.*rnn_tanh, rnn_relu, gru, lstm"),
            ({"cell": "rnn"}, "cell 'rnn'"),
            ({"backend": "fast"}, "backend 'fast'.*auto, packed, padded"),
            ({"input_size": 0}, "input_size"),
            ({"hidden_size": 0}, "hidden_size"),
            ({"hidden_size": -4}, "hidden_size"),
            ({"num_layers": 0}, "num_layers"),
            ({"dropout": 0.5}, "dropout.*num_layers=1"),
            ({"dropout": -0.1, "num_layers": 2}, "dropout"),
            ({"dropout": 1.5, "num_layers": 2}, "dropout"),
            ({"dropout": math.nan, "num_layers": 2}, "dropout"),
        ],
        ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else "",
    )
    def test_arguments(self, wrong, message):
        with pytest.raises(ValueError, match=message):
            RecurrentEncoder(**{"cell": "lstm", "input_size": 3, "hidden_size": 4} | wrong)

    @pytest.mark.parametrize("backend", ["packed", "padded"])
    @pytest.mark.parametrize("shape", [(5, 3), (2, 5, 4), (2, 0, 3), (0, 5, 3), (2, 5, 3, 1), (3,)], ids=str)
    def test_shape_of_x(self, backend, shape):
        with pytest.raises(ValueError, match=r"x must be .*batch, time, 3"):
            RecurrentEncoder("lstm", 3, 4, backend=backend)(torch.zeros(shape))

    @pytest.mark.parametrize("backend", ["packed", "padded"])
    @pytest.mark.parametrize(
        ("lengths", "message"),
        [
            ([5], r"lengths must be \(batch,\)"),
            ([5, 5, 5], r"lengths must be \(batch,\)"),
            ([[5, 5]], r"lengths must be \(batch,\)"),
            (5, r"lengths must be \(batch,\)"),
            ([5, 0], "lengths must lie between 1 and time"),
            ([-1, 5], "lengths must lie between 1 and time"),
            ([6, 5], "lengths must lie between 1 and time"),
        ],
        ids=str,
    )
    def test_lengths(self, backend, lengths, message):
        with pytest.raises(ValueError, match=message):
            RecurrentEncoder("lstm", 3, 4, backend=backend)(torch.zeros(2, 5, 3), torch.tensor(lengths))

    @pytest.mark.parametrize("backend", ["packed", "padded"])
    @pytest.mark.parametrize("lengths", [None, [5, 3]], ids=["full", "lengths"])
    @pytest.mark.parametrize("cell", CELLS)
    @pytest.mark.parametrize(
        "shape", [(3, 2, 4), (1, 2, 4), (2, 3, 4), (2, 1, 4), (2, 2, 5), (2, 2, 1), (2, 4), (2, 2, 4, 1)], ids=str
    )
    def test_shape_of_the_state(self, cell, backend, lengths, shape):
        encoder = RecurrentEncoder(cell, 3, 4, 2, backend=backend)
        state = (torch.zeros(shape), torch.zeros(shape)) if cell == "lstm" else torch.zeros(shape)
        with pytest.raises(ValueError, match=r"state.*2, 2, 4"):
            encoder(torch.zeros(2, 5, 3), torch.tensor(lengths) if lengths else None, state)

    @pytest.mark.parametrize("backend", ["packed", "padded"])
    def test_shape_of_the_cell_state(self, backend):
        encoder = RecurrentEncoder("lstm", 3, 4, 2, backend=backend)
        with pytest.raises(ValueError, match=r"state.*2, 2, 4"):
            encoder(torch.zeros(2, 5, 3), torch.tensor([5, 3]), (torch.zeros(2, 2, 4), torch.zeros(2, 1, 4)))

    @pytest.mark.parametrize("backend", ["packed", "padded"])
    @pytest.mark.parametrize("cell", CELLS)
    def test_kind_of_the_state(self, cell, backend):
        encoder, part = RecurrentEncoder(cell, 3, 4, backend=backend), torch.zeros(1, 2, 4)
        with pytest.raises((TypeError, ValueError), match="state"):
            encoder(torch.zeros(2, 5, 3), torch.tensor([5, 3]), part if cell == "lstm" else (part, part))

    @pytest.mark.parametrize("backend", ["packed", "padded"])
    def test_lengths_that_are_no_whole_numbers(self, backend):
        with pytest.raises((TypeError, ValueError), match="lengths"):
            RecurrentEncoder("gru", 3, 4, backend=backend)(torch.zeros(2, 5, 3), torch.tensor([5.0, 2.5]))

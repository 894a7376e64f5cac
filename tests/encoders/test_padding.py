"""What must not matter: the padding, the other rows of a batch, their order, and how a row is cut into windows."""

import pytest
import torch

from unroll.encoders import CELLS, RecurrentEncoder

pytestmark = pytest.mark.parametrize("backend", ["packed", "padded"])


def run(measure, encoder, x, lengths, state=None):
    return measure(encoder, dict(encoder.named_parameters()), x, lengths, state)


def pick(state, rows):
    return tuple(part[:, rows] for part in state) if isinstance(state, tuple) else state[:, rows]


def close(actual, expected, atol=1e-6):
    torch.testing.assert_close(actual, expected, atol=atol, rtol=0)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", CELLS)
class TestPadding:
    @pytest.mark.parametrize("garbage", [1e4, torch.nan, torch.inf, -torch.inf], ids=str)
    def test_what_it_holds(self, make_encoder, make_state, measure, assert_same, cell, bidirectional, backend, garbage):
        encoder = make_encoder(cell, 3, 4, 2, bidirectional, backend=backend)
        lengths, state = torch.tensor([2, 6, 4]), make_state(encoder, 3)
        padding = torch.arange(6) >= lengths[:, None]
        x = torch.randn(3, 6, 3).masked_fill(padding[..., None], 0.0)
        expected = run(measure, encoder, x, lengths, state)
        actual = run(measure, encoder, x.masked_fill(padding[..., None], garbage), lengths, state)
        assert_same(actual, expected, 0.0)
        for result in (actual, expected):
            assert (result["output"][padding] == 0).all()
            assert (result["gradient of x"][padding] == 0).all()
            if cell != "rnn_relu":  # a ReLU may have no slope at a step
                assert (result["gradient of x"][~padding] != 0).all()

    def test_how_much_there_is(self, make_encoder, make_state, measure, cell, bidirectional, backend):
        encoder = make_encoder(cell, 3, 4, 2, bidirectional, backend=backend)
        lengths, state = torch.tensor([2, 6, 4]), make_state(encoder, 3)
        x = torch.randn(3, 6, 3)
        longer = torch.cat([x, torch.full((3, 5, 3), torch.nan)], dim=1)

        def cut(x, lengths, state):
            output, after = encoder(x, lengths, state)
            assert (output[:, 6:] == 0).all()
            return output[:, :6], after

        expected = run(measure, encoder, x, lengths, state)
        actual = measure(cut, dict(encoder.named_parameters()), longer, lengths, state)
        padded_gradient = actual["gradient of x"]
        assert (padded_gradient[:, 6:] == 0).all()
        actual["gradient of x"] = padded_gradient[:, :6]
        for name, value in expected.items():
            torch.testing.assert_close(actual[name], value, atol=1e-5, rtol=0, msg=lambda text, name=name: name + text)

    def test_a_row_alone(self, make_encoder, make_state, cell, bidirectional, backend):
        encoder = make_encoder(cell, 3, 4, 2, bidirectional, backend=backend)
        lengths, state, x = torch.tensor([2, 6, 1, 4]), make_state(encoder, 4), torch.randn(4, 6, 3)
        output, after = encoder(x, lengths, state)
        for i, length in enumerate(lengths.tolist()):
            for given in (None, torch.tensor([length])):
                alone, alone_after = encoder(x[i : i + 1, :length], given, pick(state, [i]))
                close(output[i, :length], alone[0])
                close(pick(after, [i]), alone_after)

    def test_order_of_the_rows(self, make_encoder, make_state, cell, bidirectional, backend):
        encoder = make_encoder(cell, 3, 4, 2, bidirectional, backend=backend)
        lengths, state, x = torch.tensor([2, 6, 1, 4, 6]), make_state(encoder, 5), torch.randn(5, 6, 3)
        output, after = encoder(x, lengths, state)
        for order in (lengths.argsort(descending=True), lengths.argsort(), torch.tensor([3, 0, 4, 2, 1])):
            permuted, permuted_after = encoder(x[order], lengths[order], pick(state, order))
            close(permuted, output[order])
            close(permuted_after, pick(after, order))

    def test_no_lengths_are_full_lengths(
        self, make_encoder, make_state, measure, assert_same, cell, bidirectional, backend
    ):
        encoder = make_encoder(cell, 3, 4, 2, bidirectional, backend=backend)
        x, state = torch.randn(3, 6, 3), make_state(encoder, 3)
        full = run(measure, encoder, x, torch.full((3,), 6), state)
        assert_same(run(measure, encoder, x, None, state), full, 1e-5)

    def test_no_state_is_zeros(self, make_encoder, make_state, cell, bidirectional, backend):
        encoder = make_encoder(cell, 3, 4, 2, bidirectional, backend=backend)
        zeros = make_state(encoder, 3)
        zeros = tuple(part * 0 for part in zeros) if cell == "lstm" else zeros * 0
        x = torch.randn(3, 6, 3)
        for lengths in (None, torch.tensor([2, 6, 4])):
            close(encoder(x, lengths), encoder(x, lengths, zeros), atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_an_lstm_that_forgets_at_once_does_so_in_its_own_steps_only(make_encoder, backend, dtype):
    """The padding leaves the cell state as it was, whatever the gates' weights are."""
    encoder = make_encoder("lstm", 3, 4, backend=backend)
    with torch.no_grad():
        encoder.bias_ih_l0.copy_(torch.tensor([80.0, -80.0, 80.0, 80.0]).repeat_interleave(4))
    x, lengths = torch.randn(3, 300, 3), torch.tensor([1, 300, 4])
    output, (h, c) = encoder.to(dtype)(x.to(dtype), lengths)
    # Input and output gates open, forget gate shut: c = 1 and h = tanh(1) after each step.
    close(c, torch.ones_like(c), atol=0)
    close(h, torch.ones_like(h).tanh(), atol=0 if dtype == torch.bfloat16 else 1e-6)
    assert (output[torch.arange(300) >= lengths[:, None]] == 0).all()


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_windows_with_carried_state_are_one_long_row(make_encoder, make_state, cell, num_layers, backend):
    encoder = make_encoder(cell, 3, 4, num_layers, backend=backend)
    x, state, lengths = torch.randn(3, 10, 3), make_state(encoder, 3), torch.tensor([9, 10, 8])
    expected, expected_after = encoder(x, lengths, state)
    for size in (1, 3, 7, 10):
        outputs = []
        carried = state
        for start in range(0, 10, size):
            # Some rows end in the last windows. The next window leaves out a row that has ended, so its state stays.
            reading = (lengths > start).nonzero().flatten()
            steps = (lengths[reading] - start).clamp(max=size)
            output, after = encoder(x[reading, start : start + size], steps, pick(carried, reading))
            whole = expected.new_zeros(3, output.size(1), output.size(2))
            outputs.append(whole.index_copy(0, reading, output))
            parts = zip(carried, after, strict=True) if cell == "lstm" else [(carried, after)]
            new = tuple(part.index_copy(1, reading, later) for part, later in parts)
            carried = new if cell == "lstm" else new[0]
        close(torch.cat(outputs, dim=1), expected)
        close(carried, expected_after)


@pytest.mark.parametrize("cell", CELLS)
class TestBfloat16:
    """torch has different code for these kernels on processors with and without bf16 instructions."""

    def test_autocast(self, make_encoder, make_state, cell, backend):
        encoder = make_encoder(cell, 8, 16, 2, True, backend=backend)
        lengths, state, x = torch.tensor([2, 9, 4]), make_state(encoder, 3), torch.randn(3, 9, 8)
        padding = torch.arange(9) >= lengths[:, None]
        expected, expected_after = encoder(x, lengths, state)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output, after = encoder(x.masked_fill(padding[..., None], torch.nan), lengths, state)
        close(output.float(), expected, atol=0.05)
        for part, expected_part in zip(*([s] if cell != "lstm" else s for s in (after, expected_after)), strict=True):
            close(part.float(), expected_part, atol=0.05)
        assert (output[padding] == 0).all()

    def test_gradients_under_autocast(self, make_encoder, cell, backend):
        encoder = make_encoder(cell, 8, 16, 2, True, backend=backend)
        lengths, x = torch.tensor([2, 9, 4]), torch.randn(3, 9, 8, requires_grad=True)
        inputs = [x, *encoder.parameters()]
        expected = torch.autograd.grad(encoder(x, lengths)[0].pow(2).mean(), inputs)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output, _ = encoder(x, lengths)
        gradients = torch.autograd.grad(output.float().pow(2).mean(), inputs)
        for gradient, exact in zip(gradients, expected, strict=True):
            assert (gradient - exact).norm() < 0.2 * exact.norm()  # a ReLU may switch at another step
        assert (gradients[0][torch.arange(9) >= lengths[:, None]] == 0).all()

    def test_state_carried_under_autocast(self, make_encoder, cell, backend):
        encoder = make_encoder(cell, 8, 16, 2, backend=backend)
        x = torch.randn(3, 9, 8)
        expected, _ = encoder(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            first, state = encoder(x[:, :5])
            second, _ = encoder(x[:, 5:], torch.tensor([4, 4, 4]), state)
        close(torch.cat([first, second], dim=1).float(), expected, atol=0.05)

    def test_weights_in_bfloat16(self, make_encoder, cell, backend):
        encoder = make_encoder(cell, 8, 16, 2, True, backend=backend)
        lengths, x = torch.tensor([2, 9, 4]), torch.randn(3, 9, 8)
        expected, _ = encoder(x, lengths)
        output, _ = encoder.bfloat16()(x.bfloat16(), lengths)
        close(output.float(), expected, atol=0.05)
        assert (output[torch.arange(9) >= lengths[:, None]] == 0).all()


@pytest.mark.parametrize("cell", CELLS)
def test_sizes_at_which_the_fast_kernels_work_in_blocks(torch_nn, measure, cell, backend):
    encoder = RecurrentEncoder(cell, 20, 64, bidirectional=True, backend=backend)
    x, lengths = torch.randn(17, 40, 20), torch.randint(1, 41, (17,))
    expected = measure(*torch_nn(encoder), x, lengths)
    for name, actual in run(measure, encoder, x, lengths).items():
        assert (actual - expected[name]).abs().max() < 1e-5 * max(1.0, float(expected[name].abs().max())), name


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("given", [False, True], ids=["zero_state", "given_state"])
@pytest.mark.parametrize("steps", [[33, 33], [75, 75, 75], [37, 20, 1], [131]], ids=str)
def test_numbers_of_steps_that_the_lstms_kernels_do_not_get(
    make_encoder, make_state, torch_nn, measure, backend, steps, given, bidirectional
):
    """The kernels get 34, 76, 38 and 136 steps instead."""
    encoder = make_encoder("lstm", 3, 4, 2, bidirectional, backend=backend)
    x, lengths = torch.randn(len(steps), max(steps), 3), torch.tensor(steps)
    state = make_state(encoder, len(steps)) if given else None
    expected = measure(*torch_nn(encoder), x, lengths, state)
    for name, actual in run(measure, encoder, x, lengths, state).items():
        assert actual.shape == expected[name].shape
        assert (actual - expected[name]).abs().max() < 1e-5 * max(1.0, float(expected[name].abs().max())), name

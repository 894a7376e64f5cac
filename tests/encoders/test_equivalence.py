"""Both backends against torch.nn over a PackedSequence, and against each other."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unroll.encoders import CELLS, RecurrentEncoder

# (steps of each row, time)
BATCHES = [
    ([3, 7, 1, 5, 7], 7),  # no order, the longest row twice
    ([6, 4, 2], 8),  # sorted, and every row padded
    ([1, 2, 6], 6),
    ([4, 4, 4], 4),  # no padding
    ([1, 1], 3),
    ([5], 5),
    ([3], 6),
    ([1], 1),
]


@pytest.mark.parametrize("backend", ["packed", "padded"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("num_layers", [1, 3])
@pytest.mark.parametrize("cell", CELLS)
class TestAgainstTorch:
    @pytest.mark.parametrize("given", [False, True], ids=["zero_state", "given_state"])
    def test_outputs_states_and_gradients(
        self, make_encoder, make_state, torch_nn, measure, assert_same, cell, num_layers, bidirectional, backend, given
    ):
        # In float32, which the next test is in as well, for one batch.
        for dtype, atol, batches in ((torch.float64, 1e-10, BATCHES), (torch.float32, 1e-5, BATCHES[:1])):
            encoder = make_encoder(cell, 3, 4, num_layers, bidirectional, backend=backend, dtype=dtype)
            reference = torch_nn(encoder)
            for lengths, time in batches:
                x = torch.randn(len(lengths), time, 3, dtype=dtype)
                state = make_state(encoder, len(lengths)) if given else None
                lengths = torch.tensor(lengths)
                actual = measure(encoder, dict(encoder.named_parameters()), x, lengths, state)
                assert_same(actual, measure(*reference, x, lengths, state), atol)

    def test_in_eval_mode(
        self, make_encoder, make_state, torch_nn, measure, assert_same, cell, num_layers, bidirectional, backend
    ):
        encoder = make_encoder(cell, 3, 4, num_layers, bidirectional, backend=backend).eval()
        x, lengths, state = torch.randn(3, 6, 3), torch.tensor([2, 6, 3]), make_state(encoder, 3)
        expected = measure(*torch_nn(encoder), x, lengths, state)
        assert_same(measure(encoder, dict(encoder.named_parameters()), x, lengths, state), expected, 1e-5)
        for context in (torch.no_grad(), torch.inference_mode()):
            with context:
                output, _ = encoder(x, lengths, state)
            torch.testing.assert_close(output, expected["output"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("backend", ["packed", "padded"])
@pytest.mark.parametrize("cell", CELLS)
class TestUses:
    """Ways to call that must not change the figures."""

    def test_frozen_weights_give_the_same_gradient_to_the_input(self, make_encoder, torch_nn, measure, cell, backend):
        encoder = make_encoder(cell, 3, 4, 2, True, backend=backend)
        x, lengths = torch.randn(3, 6, 3), torch.tensor([2, 6, 3])
        expected = measure(*torch_nn(encoder), x, lengths)["gradient of x"]
        encoder.requires_grad_(False)
        actual = measure(encoder, {}, x, lengths)["gradient of x"]
        torch.testing.assert_close(actual, expected, atol=1e-5, rtol=0)

    def test_frozen_input_gives_the_same_gradient_to_the_weights(self, make_encoder, torch_nn, cell, backend):
        encoder = make_encoder(cell, 3, 4, 2, True, backend=backend)
        x, lengths = torch.randn(3, 6, 3), torch.tensor([2, 6, 3])
        forward, parameters = torch_nn(encoder)
        encoder(x, lengths)[0].sum().backward()
        forward(x, lengths)[0].sum().backward()
        for name, parameter in encoder.named_parameters():
            torch.testing.assert_close(parameter.grad, parameters[name].grad, atol=1e-5, rtol=0)

    def test_views_of_larger_tensors(self, make_encoder, make_state, torch_nn, measure, assert_same, cell, backend):
        encoder = make_encoder(cell, 3, 4, 2, True, backend=backend)
        x, lengths, state = (
            torch.randn(6, 3, 4).transpose(0, 1)[..., :3],
            torch.tensor([2, 6, 3]),
            make_state(encoder, 6),
        )
        state = tuple(part[:, ::2] for part in state) if cell == "lstm" else state[:, ::2]
        assert not x.is_contiguous()
        expected = measure(*torch_nn(encoder), x, lengths, state)
        assert_same(measure(encoder, dict(encoder.named_parameters()), x, lengths, state), expected, 1e-5)

    def test_the_kind_of_integer_does_not_matter(self, make_encoder, cell, backend):
        encoder, x = make_encoder(cell, 3, 4, 1, True, backend=backend), torch.randn(3, 6, 3)
        output, _ = encoder(x, torch.tensor([2, 6, 3]))
        for dtype in (torch.int32, torch.int16, torch.uint8):
            torch.testing.assert_close(encoder(x, torch.tensor([2, 6, 3], dtype=dtype))[0], output, atol=0, rtol=0)

    def test_no_gradient_comes_through_the_padding_of_the_output(self, make_encoder, torch_nn, measure, cell, backend):
        """A loss may be infinitely steep at the zeros there, as a logarithm that is masked afterwards."""
        encoder = make_encoder(cell, 3, 4, 2, True, backend=backend)
        x, lengths = torch.randn(2, 5, 3), torch.tensor([5, 3])
        steep = torch.ones(2, 5, 8)
        forward, parameters = torch_nn(encoder)
        forward(x, lengths)[0].backward(steep)
        steep[1, 3:] = torch.nan
        encoder(x, lengths)[0].backward(steep)
        for name, parameter in encoder.named_parameters():
            torch.testing.assert_close(parameter.grad, parameters[name].grad, atol=1e-5, rtol=0)

    def test_a_state_that_overflows_in_the_padding_spoils_nothing(
        self, make_encoder, torch_nn, measure, assert_same, cell, backend
    ):
        """Recurrent weights of 11: a ReLU state grows elevenfold with each step, also where a row has ended."""
        encoder = make_encoder(cell, 1, 1, backend=backend)
        with torch.no_grad():
            encoder.weight_ih_l0.fill_(1.0)
            encoder.weight_hh_l0.fill_(11.0)
        x, lengths = torch.ones(2, 60, 1), torch.tensor([3, 2])
        expected = measure(*torch_nn(encoder), x, lengths)
        assert all(result.isfinite().all() for result in expected.values())
        actual = measure(encoder, dict(encoder.named_parameters()), x, lengths)
        for name, value in expected.items():
            torch.testing.assert_close(actual[name], value, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("cell", CELLS)
def test_auto_is_one_of_the_two(make_encoder, cell):
    encoder = make_encoder(cell, 3, 4)
    assert encoder.backend == "auto"
    x, lengths = torch.randn(3, 6, 3), torch.tensor([2, 6, 3])
    output, _ = encoder(x, lengths)
    for backend in ("packed", "padded"):
        other = RecurrentEncoder(cell, 3, 4, backend=backend)
        other.load_state_dict(encoder.state_dict())
        torch.testing.assert_close(output, other(x, lengths)[0], atol=1e-5, rtol=0)


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cell=st.sampled_from(list(CELLS)),
    sizes=st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 3)),
    bidirectional=st.booleans(),
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=6),
    extra=st.integers(0, 4),
    given_state=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_padded_equals_packed(
    make_encoder, make_state, measure, assert_same, cell, sizes, bidirectional, lengths, extra, given_state, seed
):
    torch.manual_seed(seed)
    packed = make_encoder(cell, *sizes, bidirectional, backend="packed", dtype=torch.float64)
    padded = RecurrentEncoder(cell, *sizes, bidirectional, backend="padded").double()
    padded.load_state_dict(packed.state_dict())
    x = torch.randn(len(lengths), max(lengths) + extra, sizes[0], dtype=torch.float64)
    state = make_state(packed, len(lengths)) if given_state else None
    lengths = torch.tensor(lengths)
    expected = measure(packed, dict(packed.named_parameters()), x, lengths, state)
    assert_same(measure(padded, dict(padded.named_parameters()), x, lengths, state), expected, 1e-10)

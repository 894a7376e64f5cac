"""Regularisers against their equations, torch.nn with the same masks, and finite differences."""

import pytest
import torch
from torch.func import functional_call
from torch.nn import functional as F

from tests.encoders.conftest import MODULES
from unroll.encoders import CELLS, MinGRU, RecurrentEncoder, parallel
from unroll.encoders.regularizers import (
    EmbeddingDropout,
    LockedDropout,
    WeightDropout,
    activation_penalty,
    same_masks,
)


class TestLockedDropout:
    def test_one_mask_for_all_steps_of_a_row(self):
        output = LockedDropout(0.5)(torch.ones(8, 20, 32))
        assert torch.equal(output, output[:, :1].expand_as(output))

    def test_rows_and_features_draw_for_themselves(self):
        masks = LockedDropout(0.5)(torch.ones(64, 2, 64))[:, 0] != 0
        assert len({tuple(row.tolist()) for row in masks}) == 64
        assert len({tuple(column.tolist()) for column in masks.T}) == 64

    def test_calls_draw_anew(self):
        dropout, x = LockedDropout(0.5), torch.ones(4, 2, 64)
        assert not torch.equal(dropout(x), dropout(x))

    @pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
    def test_share_and_expectation(self, p):
        output = LockedDropout(p)(torch.ones(400, 2, 250))
        kept = output != 0
        assert abs((~kept).float().mean() - p) < 0.01
        torch.testing.assert_close(output[kept], torch.full_like(output[kept], 1 / (1 - p)))
        assert abs(output.mean() - 1) < 0.05

    def test_values_are_scaled_and_gradients_follow_the_mask(self):
        x = torch.randn(4, 6, 16, requires_grad=True)
        output = LockedDropout(0.5)(x)
        kept = output != 0
        torch.testing.assert_close(output, x * kept * 2)
        output.sum().backward()
        torch.testing.assert_close(x.grad, kept * 2.0)

    def test_off_in_evaluation(self):
        x = torch.randn(4, 6, 16)
        assert torch.equal(LockedDropout(0.5).eval()(x), x)

    def test_zero_drops_nothing(self):
        x = torch.randn(4, 6, 16)
        assert torch.equal(LockedDropout(0.0)(x), x)

    @pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
    def test_dtype_is_kept(self, dtype):
        assert LockedDropout(0.5)(torch.ones(2, 3, 4, dtype=dtype)).dtype == dtype


class TestEmbeddingDropout:
    IDS = torch.tensor([[0, 3, 1, 3, 2], [2, 2, 0, 1, 3]])

    def test_it_is_an_embedding_whose_rows_are_masked(self):
        table = torch.randn(400, 6, dtype=torch.float64, requires_grad=True)
        ids, dropout = torch.randint(400, (5, 300)), EmbeddingDropout(0.5, 400)
        with same_masks():
            kept = dropout(torch.ones(1, 400, 1, dtype=torch.float64), torch.arange(400)[None])[0]
            output = dropout(F.embedding(ids, table), ids)
        assert set(kept.flatten().tolist()) == {0.0, 2.0}
        expected = F.embedding(ids, table * kept)
        torch.testing.assert_close(output, expected, rtol=0, atol=1e-12)
        weights = torch.randn_like(output)
        gradients = [torch.autograd.grad((result * weights).sum(), table)[0] for result in (output, expected)]
        torch.testing.assert_close(*gradients, rtol=0, atol=1e-12)

    def test_calls_draw_anew_each_word_for_itself(self):
        dropout, ids = EmbeddingDropout(0.3, 40_000), torch.arange(40_000)[None]
        one, other = (dropout(torch.ones(1, 40_000, 1), ids) != 0 for _ in range(2))
        assert not torch.equal(one, other)
        assert abs((~one).float().mean() - 0.3) < 0.01
        assert abs((~one & ~other).float().mean() - 0.09) < 0.01

    def test_gradients_are_finite_differences(self):
        x, dropout = torch.randn(2, 5, 3, dtype=torch.float64, requires_grad=True), EmbeddingDropout(0.5, 4)
        assert torch.autograd.gradcheck(seeded(lambda x: dropout(x, self.IDS)), x)

    def test_off_in_evaluation_and_with_zero(self):
        x = torch.randn(2, 5, 3)
        assert EmbeddingDropout(0.5, 4).eval()(x, self.IDS) is x
        assert EmbeddingDropout(0.0, 4)(x, self.IDS) is x


class TestWeightDropout:
    @pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
    def test_share_and_scale(self, p):
        (output, other) = WeightDropout(p)([torch.ones(400, 250)] * 2)
        kept = output != 0
        assert abs((~kept).float().mean() - p) < 0.01
        torch.testing.assert_close(output[kept], torch.full_like(output[kept], 1 / (1 - p)))
        assert not torch.equal(output, other)

    def test_off_in_evaluation_and_with_zero(self):
        weights = [torch.randn(3, 4)]
        assert WeightDropout(0.5).eval()(weights)[0] is weights[0]
        assert WeightDropout(0.0)(weights)[0] is weights[0]


@pytest.mark.parametrize("p", [-0.1, 1.0, 1.5])
@pytest.mark.parametrize("make", [LockedDropout, WeightDropout, lambda p: EmbeddingDropout(p, 3)])
def test_what_is_no_probability_below_1_is_refused(make, p):
    with pytest.raises(ValueError, match="p must be at least 0 and below 1"):
        make(p)


class TestSameMasks:
    def test_each_dropout_draws_once_within_and_anew_outside(self):
        one, other, x = LockedDropout(0.5), LockedDropout(0.5), torch.ones(4, 2, 64)
        with same_masks():
            first = one(x)
            assert torch.equal(first, one(x))
            assert not torch.equal(first, other(x))
        assert not torch.equal(first, one(x))
        with same_masks():
            assert not torch.equal(first, one(x))

    def test_an_error_ends_it(self):
        dropout, x = LockedDropout(0.5), torch.ones(4, 2, 64)
        with pytest.raises(KeyError), same_masks():
            raise KeyError
        assert not torch.equal(dropout(x), dropout(x))


class TestActivationPenalty:
    def test_it_is_its_equation(self):
        raw, dropped = torch.randn(2, 3, 5, 4, dtype=torch.float64)
        ar = [dropped[b, t, f].item() ** 2 for b in range(3) for t in range(5) for f in range(4)]
        tar = [(raw[b, t + 1, f] - raw[b, t, f]).item() ** 2 for b in range(3) for t in range(4) for f in range(4)]
        expected = 2.0 * sum(ar) / len(ar) + 0.5 * sum(tar) / len(tar)
        assert activation_penalty(raw, dropped, 2.0, 0.5).item() == pytest.approx(expected, rel=1e-12)

    def test_a_single_step_does_not_change(self):
        x = torch.randn(3, 1, 4, dtype=torch.float64)
        assert activation_penalty(x, x, 2.0, 1.0).item() == pytest.approx(2 * x.square().mean().item(), rel=1e-12)

    def test_gradients_are_finite_differences(self):
        raw, dropped = (torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
        assert torch.autograd.gradcheck(lambda *x: activation_penalty(*x, 2.0, 1.0), (raw, dropped))

    def test_it_is_float32_at_least(self):
        x = torch.full((1, 2, 3), 0.1, dtype=torch.bfloat16)
        assert activation_penalty(x, x, 1.0, 1.0).dtype == torch.float32


def seeded(function):
    """The same masks in each call."""

    def call(*arguments):
        torch.manual_seed(7)
        return function(*arguments)

    return call


def by_torch(encoder, weights, locks, x, lengths, state):
    """Layer after layer of torch.nn with masked recurrent weights, over a PackedSequence, a mask between two layers.

    `weights` holds a mask for each layer and direction, `locks` one for the rows and features between two layers.
    Returns the output, the parts of the final state, and the modules' gradients by the encoder's names.
    """
    modules, states = [], []
    names = ("", "_reverse")[: encoder.num_directions]
    for layer in range(encoder.num_layers):
        if layer:
            x = x * locks[layer - 1]
        module = MODULES[encoder.cell](
            x.size(2), encoder.hidden_size, batch_first=True, bidirectional=encoder.bidirectional
        ).double()
        own = {f"{part}_l0{end}": f"{part}_l{layer}{end}" for part in PARTS for end in names}
        module.load_state_dict({short: getattr(encoder, name).detach() for short, name in own.items()})
        for direction, end in enumerate(names):
            getattr(module, f"weight_hh_l0{end}").data *= weights[layer * len(names) + direction]
        packed = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        rows = slice(layer * len(names), (layer + 1) * len(names))
        before = tuple(part[rows] for part in state) if isinstance(state, tuple) else state[rows]
        output, after = module(packed, before)
        x, _ = torch.nn.utils.rnn.pad_packed_sequence(output, batch_first=True, total_length=x.size(1))
        states.append(after if isinstance(after, tuple) else (after,))
        modules.append((module, own))
    final = [torch.cat(part) for part in zip(*states, strict=True)]
    return x, final, modules


PARTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


@pytest.mark.parametrize("full", [False, True], ids=["padded_rows", "lengths_none"])
@pytest.mark.parametrize("backend", ["packed", "padded"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_a_regularised_encoder_is_torch_s_with_the_same_masks(
    make_encoder, make_state, cell, bidirectional, backend, full
):
    options = {"weight_dropout": 0.4, "dropout": 0.3, "locked_dropout": True, "backend": backend}
    encoder = make_encoder(cell, 3, 4, 3, bidirectional, **options, dtype=torch.float64)
    lengths = torch.tensor([6, 6, 6] if full else [2, 6, 3])
    state, x = make_state(encoder, 3), torch.randn(3, 6, 3, dtype=torch.float64)
    recurrent = [each[1] for each in encoder.all_weights]
    with same_masks():
        weights = encoder.weight_dropout([torch.ones_like(weight) for weight in recurrent])
        ones = torch.ones(3, 1, encoder.output_size, dtype=torch.float64)
        locks = [dropout(ones) for dropout in encoder.locked]
        output, after = encoder(x, None if full else lengths, state)
    for mask, p in [*((mask, 0.4) for mask in weights), *((mask, 0.3) for mask in locks)]:
        values = torch.tensor([0, 1 / (1 - p)], dtype=torch.float64)
        assert torch.equal(mask.unique(), values)
    expected, final, modules = by_torch(encoder, weights, locks, x, lengths, state)
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(after if cell == "lstm" else (after,), tuple(final), rtol=0, atol=1e-10)
    numbers = torch.randn_like(output)
    (output * numbers).sum().backward()
    (expected * numbers).sum().backward()
    masks = dict(zip((name for name, _ in encoder.named_parameters() if "weight_hh" in name), weights, strict=True))
    for module, own in modules:
        for short, name in own.items():
            gradient = getattr(module, short).grad * masks.get(name, 1)
            torch.testing.assert_close(getattr(encoder, name).grad, gradient, rtol=0, atol=1e-10)


@pytest.mark.parametrize("cell", CELLS)
def test_gradients_of_a_regularised_encoder_are_finite_differences(make_encoder, cell):
    options = {"weight_dropout": 0.4, "dropout": 0.3, "locked_dropout": True, "backend": "padded"}
    encoder = make_encoder(cell, 2, 2, 2, **options, dtype=torch.float64)
    names, weights = zip(*encoder.named_parameters(), strict=True)
    x, lengths = torch.randn(2, 3, 2, dtype=torch.float64), torch.tensor([3, 2])

    def forward(*values):
        return functional_call(encoder, dict(zip(names, values, strict=True)), (x, lengths))[0]

    values = [weight.detach().clone().requires_grad_() for weight in weights]
    assert torch.autograd.gradcheck(seeded(forward), values)


@pytest.mark.parametrize("lengths", [None, torch.tensor([2, 6, 3])])
@pytest.mark.parametrize("backend", ["packed", "padded"])
def test_in_evaluation_the_weights_are_raw(make_encoder, torch_nn, backend, lengths):
    options = {"weight_dropout": 0.4, "dropout": 0.3, "locked_dropout": True, "backend": backend}
    encoder, x = make_encoder("lstm", 3, 4, 2, **options).eval(), torch.randn(3, 6, 3)
    forward, parameters = torch_nn(encoder)  # it takes the state dict, so names and shapes are torch.nn's
    assert list(encoder.state_dict()) == list(parameters)
    expected, _ = forward(x, torch.full((3,), 6) if lengths is None else lengths)
    torch.testing.assert_close(encoder(x, lengths)[0], expected, rtol=0, atol=1e-6)
    trace = encoder.train().trace(x, lengths)
    torch.testing.assert_close(trace.output, expected, rtol=0, atol=1e-6)


def test_dropped_weights_are_no_parameters_and_change_none(make_encoder):
    encoder = make_encoder("gru", 3, 4, weight_dropout=0.5)
    before = {name: (weight, weight.detach().clone()) for name, weight in encoder.named_parameters()}
    used = []
    encoder.weight_dropout.register_forward_hook(lambda module, weights, dropped: used.extend(dropped))
    encoder(torch.randn(3, 6, 3), torch.tensor([2, 6, 3]))[0].sum().backward()
    assert not any(isinstance(weight, torch.nn.Parameter) for weight in used)
    for name, weight in encoder.named_parameters():
        assert weight is before[name][0]
        assert torch.equal(weight, before[name][1])
    assert torch.equal(encoder.weight_hh_l0.grad[used[0] == 0], torch.zeros(int((used[0] == 0).sum())))


def test_a_call_has_one_mask_also_where_rows_go_over_the_cores(make_encoder, monkeypatch):
    monkeypatch.setattr(parallel, "threads_sleep_soon", lambda: True)
    monkeypatch.setattr(parallel, "MIN_WORK", 0)
    encoder = make_encoder("lstm", 3, 4, 2, True, weight_dropout=0.5, backend="padded", dtype=torch.float64)
    x, lengths = torch.randn(1, 6, 3, dtype=torch.float64).expand(12, -1, -1), torch.full((12,), 5)
    torch.set_num_threads(2)
    try:
        output, again = encoder(x, lengths)[0], encoder(x, lengths)[0]
    finally:
        torch.set_num_threads(1)
    torch.testing.assert_close(output, output[:1].expand_as(output), rtol=0, atol=1e-12)
    assert not torch.allclose(output, again)


@pytest.mark.parametrize("make", [MinGRU, lambda *sizes, **options: RecurrentEncoder("gru", *sizes, **options)])
def test_locked_dropout_hides_a_feature_of_a_layer_at_all_steps(make):
    encoder = make(3, 64, num_layers=2, dropout=0.5, locked_dropout=True).double()
    seen = []
    second = encoder.between[0] if isinstance(encoder, MinGRU) else encoder.locked[0]
    second.register_forward_hook(lambda module, inputs, output: seen.append(output))
    x = torch.randn(4, 7, 3, dtype=torch.float64)
    encoder(x)
    hidden = (seen[0] == 0).all(dim=1)
    assert torch.equal(hidden, (seen[0] == 0).any(dim=1))
    assert 0.3 < hidden.double().mean() < 0.7
    assert len({tuple(row.tolist()) for row in hidden}) == 4
    assert torch.equal(encoder.eval()(x)[0], encoder(x)[0])


def test_gradients_of_a_min_gru_with_locked_dropout_are_finite_differences():
    encoder = MinGRU(2, 2, num_layers=2, dropout=0.5, locked_dropout=True).double()
    x = torch.randn(2, 4, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(seeded(lambda x: encoder(x, torch.tensor([4, 3]))[0]), x)

"""Rows in shares, one per core, against torch's kernel over all rows at once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from unroll.encoders import RecurrentEncoder, parallel

NN = {"rnn_tanh": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}


@pytest.fixture(autouse=True)
def _two_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(parallel, "threads_sleep_soon", lambda: True)
    monkeypatch.setattr(parallel, "MIN_WORK", 0)
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


@pytest.fixture
def shares(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows of each call of the kernel."""
    rows: list[int] = []
    kernel = RecurrentEncoder._kernel

    def counting(encoder: RecurrentEncoder, x: torch.Tensor, *rest: torch.Tensor) -> Any:
        rows.append(x.size(1))
        return kernel(encoder, x, *rest)

    monkeypatch.setattr(RecurrentEncoder, "_kernel", counting)
    return rows


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", list(NN))
def test_outputs_states_and_gradients_are_torchs(cell: str, bidirectional: bool, shares: list[int]) -> None:
    rows, time, layers = 11, 7, 2
    oracle = NN[cell](3, 5, layers, batch_first=True, bidirectional=bidirectional).double()
    encoder = RecurrentEncoder(cell, 3, 5, layers, bidirectional, backend="padded").double()
    encoder.load_state_dict(oracle.state_dict())
    lengths = torch.randint(1, time + 1, (rows,))
    results = []
    for module in (oracle, encoder):
        torch.manual_seed(1)
        x = torch.randn(rows, time, 3, dtype=torch.float64, requires_grad=True)
        states = [torch.randn(layers * (1 + bidirectional), rows, 5, dtype=torch.float64) for _ in range(2)]
        states = [state.requires_grad_() for state in states[: 1 + (cell == "lstm")]]
        state = tuple(states) if cell == "lstm" else states[0]
        if module is oracle:
            packed = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            output, after = module(packed, state)
            output, _ = torch.nn.utils.rnn.pad_packed_sequence(output, batch_first=True, total_length=time)
        else:
            output, after = module(x, lengths, state)
        everything = [output, *(after if isinstance(after, tuple) else [after])]
        torch.stack([(part * torch.randn(part.shape, dtype=part.dtype)).sum() for part in everything]).sum().backward()
        results.append([*everything, x.grad, *(s.grad for s in states), *(p.grad for p in module.parameters())])
    for expected, got in zip(*results, strict=True):
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)
    assert sorted(shares) == sorted([5, 6] * layers * (1 + bidirectional))


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_from_the_zero_state_both_directions_take_one_call(cell: str, shares: list[int]) -> None:
    oracle = NN[cell](3, 5, batch_first=True, bidirectional=True).double()
    encoder = RecurrentEncoder(cell, 3, 5, 1, True, backend="padded").double()
    encoder.load_state_dict(oracle.state_dict())
    lengths, results = torch.randint(1, 8, (11,)), []
    for module in (oracle, encoder):
        torch.manual_seed(1)
        x = torch.randn(11, 7, 3, dtype=torch.float64, requires_grad=True)
        if module is oracle:
            packed = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            output, after = module(packed)
            output, _ = torch.nn.utils.rnn.pad_packed_sequence(output, batch_first=True, total_length=7)
        else:
            output, after = module(x, lengths)
        everything = [output, *(after if isinstance(after, tuple) else [after])]
        torch.stack([(part * torch.randn(part.shape, dtype=part.dtype)).sum() for part in everything]).sum().backward()
        results.append([*everything, x.grad, *(p.grad for p in module.parameters())])
    for expected, got in zip(*results, strict=True):
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)
    assert sorted(shares) == [5, 6]


def test_little_work_is_left_to_the_kernel(shares: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "MIN_WORK", 20 * 4 * 5)
    encoder = RecurrentEncoder("lstm", 3, 5)
    encoder(torch.randn(20, 4, 3), torch.full((20,), 4))
    encoder(torch.randn(19, 4, 3), torch.full((19,), 4))
    assert sorted(shares) == [10, 10, 19]


def test_few_rows_and_one_thread_are_left_to_the_kernel(shares: list[int]) -> None:
    encoder = RecurrentEncoder("lstm", 3, 5)
    encoder(torch.randn(2 * parallel.MIN_ROWS - 1, 4, 3), torch.full((2 * parallel.MIN_ROWS - 1,), 4))
    torch.set_num_threads(1)
    encoder(torch.randn(20, 4, 3), torch.full((20,), 4))
    assert shares == [7, 20]


def test_autocast_reaches_the_shares(shares: list[int]) -> None:
    encoder, x, lengths = RecurrentEncoder("lstm", 16, 16), torch.randn(10, 6, 16), torch.full((10,), 6)
    with torch.autocast("cpu", torch.bfloat16):
        output, _ = encoder(x, lengths)
    output.float().sum().backward()
    assert output.dtype == torch.bfloat16
    assert encoder.weight_hh_l0.grad.dtype == torch.float32
    assert shares == [5, 5]


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_nothing_is_kept_where_no_gradient_is_wanted(mode: Any) -> None:
    encoder, x, lengths = RecurrentEncoder("lstm", 3, 5), torch.randn(10, 6, 3), torch.full((10,), 6)
    with mode():
        quiet, _ = encoder(x, lengths)
    assert not quiet.requires_grad
    torch.testing.assert_close(quiet.clone(), encoder(x, lengths)[0].detach())


def test_frozen_weights_get_no_gradient_and_the_input_does() -> None:
    encoder, lengths = RecurrentEncoder("gru", 3, 5).requires_grad_(False), torch.full((10,), 6)
    x = torch.randn(10, 6, 3, requires_grad=True)
    encoder(x, lengths)[0].sum().backward()
    assert x.grad.abs().sum() > 0
    assert encoder.weight_hh_l0.grad is None


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("cell", list(NN))
def test_equal_work_gives_equal_bits(cell: str, bf16: bool) -> None:
    """Whichever share ends first. Autocast's own cache of casts, which the threads share, would make it matter."""
    encoder, x, lengths = RecurrentEncoder(cell, 8, 16), torch.randn(12, 50, 8), torch.randint(1, 51, (12,))
    gradients = []
    for _ in range(30):
        encoder.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            output, _ = encoder(x, lengths)
        output.float().square().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in encoder.parameters()])
    assert all(torch.equal(a, b) for again in gradients[1:] for a, b in zip(gradients[0], again, strict=True))


def test_a_forked_process_has_workers_of_its_own() -> None:
    encoder, x, lengths = RecurrentEncoder("lstm", 3, 5), torch.randn(10, 6, 3), torch.full((10,), 6)
    encoder(x, lengths)
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)  # OpenMP itself does not survive a fork
        encoder(x, lengths)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize(("first", "shared"), [("unroll.runtime", True), ("torch", False)])
def test_rows_are_shared_out_where_openmp_could_be_told_to_make_room(first: str, shared: bool) -> None:
    """OpenMP reads the environment when torch is loaded, so `configure` changes nothing after that."""
    code = f"""
import sys, {first}
from unroll.runtime import configure
configure()
import torch
from unroll.encoders import RecurrentEncoder, parallel
torch.set_num_threads(2)
parallel.MIN_WORK, rows, kernel = 0, [], RecurrentEncoder._kernel
def counting(encoder, x, *rest):
    rows.append(x.size(1))
    return kernel(encoder, x, *rest)
RecurrentEncoder._kernel = counting
RecurrentEncoder("lstm", 3, 5)(torch.randn(20, 4, 3), torch.full((20,), 4))
print(sorted(rows))
"""
    environment = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ("[10, 10]" if shared else "[20]")


def test_each_worker_computes_on_one_core_whenever_it_starts() -> None:
    """A worker that copied the process's two threads would start a team of its own on the other worker's core."""
    large = torch.randn(1000, 1000)

    def work(_: int) -> int:
        (large + large).sum(), large @ large  # these use all threads that they may
        return torch.get_num_threads()

    with parallel._pool.__wrapped__(0, 2) as pool:  # one of its own
        assert torch.get_num_threads() == 2
        assert set(pool.map(work, range(8))) == {1}
        assert torch.get_num_threads() == 2

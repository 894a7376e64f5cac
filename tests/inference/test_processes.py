"""A loaded model in threads and in forked processes: the same answers, and no waiting for ever."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.inference.test_classify import WORDS, saved
from tests.inference.test_generate import make_model
from unroll.inference.load import load

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # of Python 3.12, which warns of hangs

TEXTS = [" ".join(WORDS * length) for length in range(1, 60)]
SECONDS = 120  # then the child is taken to hang


@pytest.fixture
def two_threads() -> Iterator[None]:
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


def in_a_fork(answer: Callable[[], Any]) -> Any:
    """Return what a forked process answers."""
    process = multiprocessing.get_context("fork")
    receiver, sender = process.Pipe(duplex=False)
    child = process.Process(target=lambda: sender.send(answer()))
    child.start()
    try:
        assert receiver.poll(SECONDS), "the forked process hangs"
        return receiver.recv()
    finally:
        child.kill()
        child.join()


def test_a_forked_process_predicts(tmp_path: Path, two_threads: None) -> None:
    path = saved(tmp_path)
    model = load(path)
    a = torch.randn(600, 600)
    expected, _ = [each.label for each in model.predict(TEXTS)], a @ a  # OpenMP's threads are there now
    assert in_a_fork(lambda: [each.label for each in model.predict(TEXTS)]) == expected
    assert in_a_fork(lambda: [each.label for each in load(path).predict(TEXTS)]) == expected
    assert torch.get_num_threads() == 2


def test_a_forked_process_generates(two_threads: None) -> None:
    model = make_model()
    expected = model.generate("K", 50, samples=64)
    figures = model.score(model.codec.tokenize("Mad fig.\n" * 500))
    assert in_a_fork(lambda: model.generate("K", 50, samples=64)) == expected
    assert in_a_fork(lambda: model.score(model.codec.tokenize("Mad fig.\n" * 500))) == pytest.approx(figures)


def test_threads_share_a_model(tmp_path: Path) -> None:
    classifier, writer = load(saved(tmp_path)), make_model()
    labels = [each.label for each in classifier.predict(TEXTS)]
    expected = writer.generate("K", 100, samples=4)
    fresh = make_model()
    fresh.model.load_state_dict(writer.model.state_dict())
    with ThreadPoolExecutor(8) as pool:
        predicted = [pool.submit(classifier.predict, TEXTS) for _ in range(16)]
        written = [pool.submit(fresh.generate, "K", 100, samples=4) for _ in range(16)]  # its stepper is made by one
        assert all([each.label for each in answers.result()] == labels for answers in predicted)
        assert all(texts.result() == expected for texts in written)

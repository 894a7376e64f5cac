"""Encoders by name: what the settings build, and the errors that name a wrong setting."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unroll.encoders import Encoder, MinGRU, RecurrentEncoder, State, build_encoder, register_encoder
from unroll.errors import ConfigError
from unroll.registry import ENCODERS

SETTINGS: dict[str, Any] = {
    "hidden_size": 4,
    "num_layers": 1,
    "bidirectional": False,
    "dropout": 0.0,
    "locked_dropout": False,
    "weight_dropout": 0.0,
    "backend": "auto",
}


class Decay(Encoder):
    """One direction and one layer; one option has no default, the other has one."""

    def __init__(self, input_size: int, hidden_size: int, rate: float, scale: float = 1.0) -> None:
        super().__init__()
        if not 0 < rate < 1:
            raise ValueError(f"rate must lie between 0 and 1, not {rate}")
        self.input_size, self.output_size = input_size, hidden_size
        self.num_directions, self.state_parts = 1, ("hidden",)
        self.rate, self.scale = rate, scale
        self.project = nn.Linear(input_size, hidden_size)

    def zero_state(self, x: Tensor) -> State:
        return x.new_zeros(1, len(x), self.output_size)

    def forward(self, x: Tensor, lengths: Tensor | None = None, state: State | None = None) -> tuple[Tensor, State]:
        raise NotImplementedError  # these encoders are built and looked at, never run


class Silent(Decay):
    """It does not set all attributes."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        nn.Module.__init__(self)
        self.input_size = input_size


class Named(RecurrentEncoder):
    """Its constructor takes `cell` and an option."""

    def __init__(self, cell: str, input_size: int, hidden_size: int, twice: bool = False) -> None:
        super().__init__("gru", input_size, hidden_size * (1 + twice))
        self.name = cell


class Unfinished(Encoder):
    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()


class Sizeless(Decay):
    def __init__(self, input_size: int) -> None:
        super().__init__(input_size, 4, 0.5)


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ENCODERS, "_entries", dict(ENCODERS._entries))
    for cls in (Decay, Silent, Named):
        register_encoder(cls.__name__.lower(), cls)


@pytest.mark.parametrize("cell", ["rnn_tanh", "rnn_relu", "gru", "lstm"])
def test_torchs_cells_are_built_as_by_hand(cell: str) -> None:
    torch.manual_seed(1)
    settings = SETTINGS | {"num_layers": 2, "bidirectional": True, "dropout": 0.5, "backend": "packed"}
    settings |= {"locked_dropout": True, "weight_dropout": 0.25}
    encoder = build_encoder(3, cell=cell, **settings)
    torch.manual_seed(1)
    expected = RecurrentEncoder(cell, 3, **settings)
    assert isinstance(encoder, RecurrentEncoder)
    assert (encoder.cell, encoder.backend, encoder.dropout) == (cell, "packed", 0.5)
    assert (encoder.weight_dropout.p, [dropout.p for dropout in encoder.locked]) == (0.25, [0.5])
    for parameter, value in zip(encoder.parameters(), expected.parameters(), strict=True):
        assert torch.equal(parameter, value)


def test_mingru_is_built_of_the_settings_that_it_has() -> None:
    encoder = build_encoder(3, cell="min_gru", options=None, **SETTINGS | {"num_layers": 2, "bidirectional": True})
    assert isinstance(encoder, MinGRU)
    assert (encoder.hidden_size, encoder.num_layers, encoder.num_directions) == (4, 2, 2)


def test_options_are_arguments_of_an_encoder_of_one_s_own() -> None:
    encoder = build_encoder(3, cell="decay", options={"rate": 0.9}, **SETTINGS)
    assert isinstance(encoder, Decay)
    assert (encoder.rate, encoder.scale, encoder.output_size) == (0.9, 1.0, 4)
    encoder = build_encoder(3, cell="named", options={"twice": True}, **SETTINGS)
    assert isinstance(encoder, Named)
    assert (encoder.name, encoder.output_size) == ("named", 8)


@pytest.mark.parametrize(
    ("cell", "changed", "message"),
    [
        (
            "decay",
            {"bidirectional": True},
            "encoder.bidirectional=true: encoder.cell=decay has no such setting; write encoder.bidirectional=false",
        ),
        (
            "decay",
            {"num_layers": 2},
            "encoder.num_layers=2: encoder.cell=decay has no such setting; write encoder.num_layers=1",
        ),
        (
            "min_gru",
            {"backend": "packed"},
            "encoder.backend=packed: encoder.cell=min_gru has no such setting; write encoder.backend=auto",
        ),
        (
            "min_gru",
            {"weight_dropout": 0.5},
            "encoder.weight_dropout=0.5: encoder.cell=min_gru has no such setting; write encoder.weight_dropout=0",
        ),
        (
            "decay",
            {"locked_dropout": True},
            "encoder.locked_dropout=true: encoder.cell=decay has no such setting; write encoder.locked_dropout=false",
        ),
        (
            "decay",
            {"options": {"rate": 0.5, "speed": 1}},
            "encoder.options.speed: encoder.cell=decay has no such option; there are rate, scale",
        ),
        (
            "lstm",
            {"options": {"rate": 0.5}},
            "encoder.options.rate: encoder.cell=lstm has no such option; there are none",
        ),
        (
            "lstm",
            {"options": {"hidden_size": 5}},
            "encoder.options.hidden_size: encoder.cell=lstm has no such option; there are none",
        ),
        ("decay", {}, "encoder.options.rate: encoder.cell=decay needs it; write encoder.options.rate=VALUE"),
        ("decay", {"options": {"rate": 3}}, "encoder.cell=decay: rate must lie between 0 and 1, not 3"),
        (
            "lstm",
            {"dropout": 0.5},
            "encoder.cell=lstm: dropout works between layers; with num_layers=1 there is nothing to drop",
        ),
        (
            "silent",
            {},
            "encoder.cell=silent: Silent must set output_size, num_directions, state_parts;"
            " see unroll.encoders.Encoder",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 9 else "",
)
def test_a_wrong_setting_is_named_in_one_line(cell: str, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_encoder(3, cell=cell, **SETTINGS | changed)
    assert str(caught.value) == message


def test_an_unknown_cell_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match=r"encoder.cell=lsmt: .*did you mean encoder.cell=lstm"):
        build_encoder(3, cell="lsmt", **SETTINGS)


FAULTS = [
    (nn.LSTM, "is no subclass of unroll.encoders.Encoder"),
    (lambda **settings: None, "is no subclass of unroll.encoders.Encoder"),
    (Unfinished, "Unfinished does not define forward, zero_state"),
    (Sizeless, "Sizeless's constructor must take hidden_size"),
]


@pytest.mark.parametrize(("entry", "message"), FAULTS, ids=["module", "function", "abstract", "sizeless"])
def test_what_is_no_encoder_is_refused_at_once(entry: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        register_encoder("mine", entry)
    assert "mine" not in ENCODERS


@pytest.mark.parametrize(("entry", "message"), FAULTS, ids=["module", "function", "abstract", "sizeless"])
def test_an_installed_package_s_entry_that_is_none_is_a_config_error(entry: Any, message: str) -> None:
    ENCODERS.register("mine", entry)  # unchecked, as an entry point comes in
    with pytest.raises(ConfigError, match=f"encoder.cell=mine: .*{message}"):
        build_encoder(3, cell="mine", **SETTINGS)


def test_the_package_s_own_names_are_taken() -> None:
    with pytest.raises(ValueError, match=r"encoder\.cell=lstm is unroll's own"):
        register_encoder("lstm", Decay)

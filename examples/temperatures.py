"""A first numeric sequence: tomorrow's temperature from the last 30 days of weather.

The weather is made up, by the equations in `write_weather`: a warm and a cold season, high and low pressure, and cold
air that arrives two days after the pressure has fallen. A net that only looks at today can't know of that air. The
equations also say how good a forecast can be: each day adds a chance of 1.8 °C, which nobody can foresee.

The program registers a task of its own. In return it gets the package's training: checkpoints, resume, TensorBoard
(`tensorboard --logdir runs`), and every setting that is not about texts. For measurements of your own, put them into
data/weather.csv with the same columns, and delete the call of `write_weather`.

    python examples/temperatures.py                         # half a minute; draws runs/temperatures.png
    python examples/temperatures.py --years 6 --epochs 5    # seconds
"""

from __future__ import annotations

import argparse
import hashlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

import unroll
from unroll.batching.documents import BucketSampler
from unroll.batching.loader import ResumableLoader
from unroll.config import Config, DataConfig
from unroll.config.fields import setting
from unroll.encoders import build_encoder
from unroll.inference.weights import with_weights
from unroll.tasks.data import TaskData
from unroll.tasks.module import TaskModule
from unroll.tasks.spec import TaskSpec, load_data

CONF = Path(__file__).parent / "conf"  # with task/weather.yaml
CHANCE = 1.8  # °C, standard deviation of what each day adds to the temperature by chance


def season(dates: npt.NDArray[np.datetime64]) -> npt.NDArray[np.float64]:
    """Return the angle of the year at each date: 0 on 20 January, the coldest day, 2 pi a year later."""
    day_of_year = (dates - dates.astype("datetime64[Y]")).astype(float)
    angle: npt.NDArray[np.float64] = 2 * np.pi * (day_of_year - 19) / 365.25
    return angle


def write_weather(path: Path, years: int) -> None:
    """Write a csv of made-up weather, a row a day: date, temperature (°C), humidity (%) and pressure (hPa)."""
    dates = np.arange("2001-01-01", f"{2001 + years}-01-01", dtype="datetime64[D]")
    random, angle = np.random.default_rng(0), season(dates)
    pressure, departure = np.zeros(len(dates)), np.zeros(len(dates))  # from what is normal on that day
    for t in range(3, len(dates)):
        pressure[t] = 0.75 * pressure[t - 1] + random.normal(0, 6)
        sunshine = -0.06 * np.cos(angle[t]) * pressure[t - 1]  # a clear sky warms in summer, and cools in winter
        cold_air = 0.25 * (pressure[t - 2] - pressure[t - 3])
        departure[t] = 0.7 * departure[t - 1] + sunshine + cold_air + random.normal(0, CHANCE)
    temperature = 10 - 9 * np.cos(angle) + departure
    humidity = np.clip(75 + 8 * np.cos(angle) - departure - 0.5 * pressure + random.normal(0, 5, len(dates)), 20, 100)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        file.write("date,temperature,humidity,pressure\n")
        for date, *values in zip(dates, temperature, humidity, 1013 + pressure, strict=True):
            file.write(f"{date}," + ",".join(f"{value:.1f}" for value in values) + "\n")


# --- the task: settings, data, model, training, and the model in use ---


@dataclass
class WeatherDataConfig(DataConfig):
    """`path` is a csv as `write_weather` writes it."""

    window: int = setting(30, 1)  # days that the next one is predicted from
    batch_size: int = setting(64, 1)


@dataclass
class WeatherConfig(Config):
    kind: str = "weather"
    task: str = "weather"
    data: WeatherDataConfig = field(default_factory=WeatherDataConfig)


class Batch(NamedTuple):
    days: Tensor  # (batch, window, 5): temperature, humidity, pressure, and the season as a sine and a cosine
    target: Tensor  # (batch,), the temperature of the next day in °C

    @property
    def num_tokens(self) -> int:
        return self.days.shape[0] * self.days.shape[1]

    @property
    def num_examples(self) -> int:
        return len(self.target)


class Windows(Dataset[Batch]):
    """Windows of days, each with the temperature of the day that follows."""

    def __init__(self, table: npt.NDArray[Any], window: int) -> None:
        """Take a table of a row a day, in order, with the columns of the csv."""
        self.dates = table["date"].astype("datetime64[D]")
        angle = season(self.dates)
        columns = [table["temperature"], table["humidity"], table["pressure"], np.sin(angle), np.cos(angle)]
        self.days, self.window = torch.from_numpy(np.stack(columns, axis=1)).float(), window

    def __len__(self) -> int:
        return len(self.days) - self.window

    def __getitem__(self, rows: list[int]) -> Batch:
        steps = torch.tensor(rows)[:, None] + torch.arange(self.window + 1)
        days = self.days[steps]
        return Batch(days[:, :-1], days[:, -1, 0])


class Weather(TaskData):
    """The csv in three stretches: 80 % of the days to train on, then 10 % to validate on, then 10 % to test on."""

    train: Windows
    val: Windows
    test: Windows

    def __init__(self, config: WeatherConfig) -> None:
        super().__init__()
        self.config, self.seed = config.data, config.seed

    def setup(self, stage: str | None = None) -> None:
        path = Path(self.config.path or "data/weather.csv")
        table = np.genfromtxt(path, delimiter=",", names=True, dtype=None, encoding="utf-8")
        self.source, self.origin = "local", str(path)
        self.fingerprint = hashlib.sha256(path.read_bytes()).hexdigest()
        parts = np.split(table, [len(table) * 8 // 10, len(table) * 9 // 10])
        self.train, self.val, self.test = (Windows(part, self.config.window) for part in parts)

    def report(self) -> list[str]:
        return [f"days to predict: {len(self.train):,} train, {len(self.val):,} val, {len(self.test):,} test"]

    def train_dataloader(self) -> DataLoader[Batch]:
        return self._loader(self.train, self.seed)  # with a seed, rows are shuffled anew in each epoch

    def val_dataloader(self) -> DataLoader[Batch]:
        return self._loader(self.val)

    def test_dataloader(self) -> DataLoader[Batch]:
        return self._loader(self.test)

    def _loader(self, windows: Windows, seed: int | None = None) -> DataLoader[Batch]:
        lengths = np.full(len(windows), self.config.window)
        return ResumableLoader(windows, BucketSampler(lengths, batch_size=self.config.batch_size, seed=seed))


class Forecaster(nn.Module):
    """Today's temperature, plus the change that an encoder of the last days expects."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, config: WeatherConfig) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(5))  # of the training days' features, and saved with the weights
        self.register_buffer("deviation", torch.ones(5))
        self.encoder = build_encoder(5, **asdict(config.encoder))
        self.head = nn.Linear(self.encoder.output_size, 1)

    def forward(self, days: Tensor) -> Tensor:
        """Return the next day's temperature (batch,), in °C, for `days` (batch, window, 5)."""
        output, _ = self.encoder((days - self.mean) / self.deviation)
        change: Tensor = self.head(output[:, -1])
        return days[:, -1, 0] + change[:, 0]


class Forecasting(TaskModule):
    """Training on the mean squared error, in °C²."""

    monitor, monitor_mode, shown = "val/loss", "min", ("loss",)

    def __init__(self, config: WeatherConfig, data: Weather, total_steps: int | None) -> None:
        model = Forecaster(config)
        model.mean.copy_(data.train.days.mean(0))
        model.deviation.copy_(data.train.days.std(0))
        super().__init__(config, model, data, total_steps)

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        return {"loss": F.mse_loss(self.model(batch.days), batch.target)}

    def evaluate(self, batch: Batch, split: str) -> None:
        self.log(f"{split}/loss", F.mse_loss(self.model(batch.days), batch.target), batch_size=batch.num_examples)


class LoadedForecaster:
    """The trained model, as `unroll.load` returns it."""

    def __init__(self, model: Forecaster, config: WeatherConfig) -> None:
        self.model, self.config = model, config

    @classmethod
    def from_checkpoint(cls, config: WeatherConfig, content: dict[str, Any]) -> LoadedForecaster:
        return cls(with_weights(lambda: Forecaster(config), content["state_dict"]), config)

    @torch.inference_mode()
    def predict(self, windows: Windows) -> Tensor:
        """Return the temperature after each window (windows,), in °C."""
        temperatures: Tensor = self.model(windows[list(range(len(windows)))].days)
        return temperatures


unroll.register_task(
    "weather", TaskSpec(WeatherConfig, Weather, Forecasting, LoadedForecaster, examples="days", unit="days")
)


# --- what the net is compared with ---


def seasonal_mean(known: Windows, asked: Windows) -> Tensor:
    """Return for each day after the first window the value of the wave, a year long, that fits the known days best."""

    def wave(days: Tensor) -> Tensor:
        return torch.cat([torch.ones(len(days), 1), days[:, 3:]], dim=1)  # a constant, a sine and a cosine

    weights: Tensor = torch.linalg.lstsq(wave(known.days), known.days[:, :1]).solution
    return (wave(asked.days[asked.window :]) @ weights)[:, 0]


def draw(dates: npt.NDArray[np.datetime64], truth: Tensor, said: dict[str, Tensor]) -> Figure:
    """Draw the temperatures of some days, and what was said of each the day before."""
    figure = Figure(figsize=(9, 4.5), dpi=110, layout="constrained")
    axes = figure.subplots()
    axes.plot(dates, truth.numpy(), color="black", marker=".", label="temperature")
    for (name, temperatures), style in zip(said.items(), ("--", ":", "-"), strict=True):
        axes.plot(dates, temperatures.numpy(), style, label=name)
    axes.set(
        title="Made-up weather that the net has not seen, and forecasts for the next day", ylabel="temperature, °C"
    )
    axes.tick_params(axis="x", rotation=20)
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def main(arguments: list[str] | None = None) -> dict[str, float]:
    parser = argparse.ArgumentParser(description="Predict the next day's temperature.")
    parser.add_argument("--years", type=int, default=20, help="of made-up weather")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--out", type=Path, default=Path("runs/temperatures.png"), help="the picture")
    given = parser.parse_args(arguments)

    write_weather(Path("data/weather.csv"), given.years)
    summary = unroll.train("weather", [f"trainer.max_epochs={given.epochs}", "threads=1"], config_dir=CONF)

    model = unroll.load(summary["checkpoints"]["best"])
    data = load_data(model.config)
    temperatures, window = data.test.days[:, 0], data.test.window
    truth = temperatures[window:]
    said = {
        "seasonal mean": seasonal_mean(data.train, data.test),
        "the same as today": temperatures[window - 1 : -1],
        "the net": model.predict(data.test),
    }
    errors = {name: float(F.mse_loss(values, truth).sqrt()) for name, values in said.items()}
    print(f"\nroot mean squared error on {len(truth)} days that the net has not seen, in °C")
    for name, error in {**errors, "chance alone": CHANCE}.items():
        print(f"  {name:18} {error:.2f}")
    two_months = {name: values[:60] for name, values in said.items()}
    draw(data.test.dates[window : window + 60], truth[:60], two_months).savefig(given.out)
    print(f"two months of it are drawn in {given.out}")
    return errors


if __name__ == "__main__":
    main()

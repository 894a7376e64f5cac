"""Where a run's figures, pictures and texts go. Those of W&B and MLflow are stand-ins, which record what is called."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from tests.training.boards import events, rows
from tests.training.conftest import Finished, finish, small_config
from tests.training.resuming import cut_off, go_on, imdb
from unroll import checkpoint
from unroll.errors import ConfigError, UserError
from unroll.tasks.spec import from_dict
from unroll.training.start import train


def test_a_table_has_the_figures_that_tensorboard_has(reviews: Path, tmp_path: Path) -> None:
    folder = finish(small_config(reviews, tmp_path / "run", logger=["csv", "tensorboard"])).folder
    board, table = events(folder), rows(folder)
    tags = set(board.Tags()["scalars"])
    assert tags - {"train/tokens_per_second"} == set(table[0]) - {"step"}
    assert {"train/loss", "val/accuracy", "test/auroc"} <= tags
    for tag in tags - {"train/tokens_per_second"}:
        points = {int(row["step"]): np.float32(row[tag]) for row in table if row[tag]}
        assert points == {point.step: np.float32(point.value) for point in board.Scalars(tag)}, tag
    assert "encoder.hidden_size: 12" in (folder / "csv/hparams.yaml").read_text().splitlines()


def test_a_table_is_continued_without_a_row_twice(
    reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Validations and lines of the log fall between the batches of a step, after the step before was saved."""
    settings: dict[str, Any] = {
        "trainer": {"max_epochs": 1, "accumulate_grad_batches": 2, "log_every_n_steps": 1, "val_check_interval": 5},
        "checkpoint": {"every_n_steps": 1, "every_n_minutes": None},
        "logger": ["csv"],
    }
    whole = tmp_path / "whole"
    train(imdb(reviews, whole, **settings))
    for hook, count in (("on_train_batch_end", 7), ("on_validation_end", 1), ("on_test_end", 1)):
        folder = tmp_path / hook
        cut_off(imdb(reviews, folder, **settings), hook, count, monkeypatch)
        go_on(folder)
        assert rows(folder) == rows(whole), hook


def test_a_logger_may_come_and_go(reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "run"

    def steps() -> list[int]:
        return [int(row["step"]) for row in rows(folder) if row["train/loss"]]

    cut_off(imdb(reviews, folder, logger=["csv"], data={"batch_size": 16}), "on_train_batch_end", 13, monkeypatch)
    with (folder / "csv" / "metrics.csv").open("a", newline="") as file:
        file.write(",1")  # a row that was being written
    go_on(folder, logger=[], **{"trainer.max_steps": 11})  # saved at 11 without a table
    assert steps() == [6, 12]
    go_on(folder, logger=["csv"], **{"trainer.max_steps": -1})
    assert steps()[:3] == [6, 12, 18]
    assert steps() == sorted(set(steps()))


def test_without_a_logger_the_run_is_the_same(reviews: Path, finished: Finished, tmp_path: Path) -> None:
    silent = finish(small_config(reviews, tmp_path / "run", logger=[]))
    assert {path.name for path in silent.folder.iterdir()} == {".lock", "checkpoints", "config.yaml", "summary.json"}
    assert "tensorboard --" in finished.screen
    assert "tensorboard" not in silent.screen
    assert silent.summary["metrics"] == finished.summary["metrics"]
    one, other = (checkpoint.load(run.folder / "checkpoints/last.ckpt") for run in (silent, finished))
    assert all(torch.equal(one["state_dict"][name], weight) for name, weight in other["state_dict"].items())
    assert torch.equal(one["random"]["cpu"], other["random"]["cpu"])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (["tensorbord"], r"logger=tensorbord: must be one of tensorboard, csv, .*; did you mean logger=tensorboard\?"),
        (["csv", "wandb", "csv"], r"logger=\[csv,wandb,csv\]: csv is there twice; write it once"),
        ("csv", r"logger=csv: must be a list of names; write logger=\[csv\]"),
        (None, r"logger=null: must be a list of names; write logger=\[tensorboard\]"),
    ],
)
def test_a_wrong_logger_is_refused(value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_dict({"logger": value})


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
@pytest.mark.parametrize("as_folder", [False, True])
def test_a_missing_package_is_named_before_data_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, as_folder: bool
) -> None:
    if as_folder:  # as W&B leaves one where it has written
        (tmp_path / "here" / name).mkdir(parents=True)
        monkeypatch.setattr(sys, "path", [str(tmp_path / "here")])
        monkeypatch.delitem(sys.modules, name, raising=False)
    else:
        monkeypatch.setitem(sys.modules, name, None)  # type: ignore[arg-type]
    config = small_config(tmp_path / "no data", tmp_path / "run", logger=["csv", name])
    with pytest.raises(ConfigError) as caught:
        train(config)
    assert str(caught.value) == f"logger={name} needs a package that is not there; pip install 'unroll[{name}]'"
    assert not (tmp_path / "run").exists()


class Wandb(ModuleType):
    """W&B's module, as far as it is called; all its runs are kept."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.__spec__ = SimpleNamespace(origin="here")  # type: ignore[assignment]
        self.runs: list[Any] = []

    def init(self, **arguments: Any) -> Any:
        logged: list[dict[str, Any]] = []
        run = SimpleNamespace(
            arguments=arguments,
            logged=logged,
            ended=[],
            id=arguments["id"],
            define_metric=lambda *_, **__: None,
            log=logged.append,
        )
        run.finish = lambda exit_code: run.ended.append(exit_code)
        self.runs.append(run)
        return run

    @staticmethod
    def Settings(**settings: Any) -> Any:
        return settings

    @staticmethod
    def Image(figure: Any) -> Any:
        return ("image", figure)

    @staticmethod
    def Html(page: str, inject: bool) -> Any:
        return ("page", page)


def test_wandb_has_all_figures_and_is_continued(reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = Wandb()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    for name, entry in (("wandb.sdk.lib", "RunDisabled"), ("wandb.wandb_run", "Run")):
        monkeypatch.setitem(sys.modules, name, SimpleNamespace(**{entry: SimpleNamespace}))  # type: ignore[arg-type]
    monkeypatch.setattr("lightning.pytorch.loggers.wandb._WANDB_AVAILABLE", True)
    for name in ("WANDB_MODE", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "run"
    config = imdb(reviews, folder, logger=["csv", "wandb"])
    cut_off(config, "on_train_batch_end", 17, monkeypatch)
    monkeypatch.setenv("WANDB_MODE", "online")
    go_on(folder)
    first, second = wandb.runs
    assert [run.arguments["mode"] for run in wandb.runs] == ["offline", "online"]
    assert first.arguments["id"] == second.arguments["id"] == (folder / "wandb/run_id").read_text()
    assert (first.arguments["project"], first.arguments["name"]) == (config.task, "run")
    assert first.arguments["config"]["encoder.hidden_size"] == 12
    assert first.ended == [1] and second.ended == [0]
    logged = {step: [entry for entry in first.logged if entry["trainer/global_step"] == step] for step in (6, 12)}
    (row,) = [row for row in rows(folder) if row["step"] == "6"]
    assert logged[6][0]["train/loss"] == float(row["train/loss"])
    shown = {name: value for entry in logged[12] for name, value in entry.items() if isinstance(value, list | tuple)}
    assert shown["val/confusion"][0][0] == shown["recurrence/gradient_by_lag"][0][0] == "image"
    assert shown["val/most_wrong"][0] == "page" and "<table>" in shown["val/most_wrong"][1]
    assert "test/accuracy" in {name for entry in second.logged for name in entry}


class MLflow:
    """MLflow's client, as far as it is called, and its server, of which there is one for each address."""

    servers: ClassVar[dict[str, dict[str, Any]]] = {}

    def __init__(self, address: str) -> None:
        self.runs: dict[str, Any] = self.servers.setdefault(address, {})

    def get_experiment_by_name(self, name: str) -> Any:
        return SimpleNamespace(lifecycle_stage="active", experiment_id=name)

    def create_run(self, experiment_id: str, tags: dict[str, str]) -> Any:
        run = SimpleNamespace(info=SimpleNamespace(run_id=f"{len(self.runs)}", experiment_id=experiment_id), tags=tags)
        run.metrics, run.params, run.files, run.status = [], {}, {}, ["RUNNING"]
        self.runs[run.info.run_id] = run
        return run

    def get_run(self, run_id: str) -> Any:
        return self.runs[run_id]

    def update_run(self, run_id: str, status: str) -> None:
        self.runs[run_id].status.append(status)

    set_terminated = update_run

    def log_batch(self, run_id: str, metrics: Any = (), params: Any = ()) -> None:
        self.runs[run_id].metrics += metrics
        for param in params:
            assert self.runs[run_id].params.setdefault(param.key, param.value) == param.value

    def log_figure(self, run_id: str, figure: Any, name: str) -> None:
        self.runs[run_id].files[name] = figure

    def log_text(self, run_id: str, text: str, name: str) -> None:
        self.runs[run_id].files[name] = text


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch) -> type[MLflow]:
    modules = {name: ModuleType(name) for name in ("mlflow", "mlflow.tracking", "mlflow.entities", "mlflow.utils")}
    modules["mlflow.utils.mlflow_tags"] = ModuleType("mlflow.utils.mlflow_tags")
    root: Any = modules["mlflow"]
    root.__spec__, root.set_tracking_uri = SimpleNamespace(origin="here"), lambda _: None
    vars(modules["mlflow.tracking"]).update(MlflowClient=MLflow, context=SimpleNamespace(resolve_tags=dict))
    context = ModuleType("mlflow.tracking.context")
    vars(context).update(resolve_tags=dict)
    modules["mlflow.tracking"].__dict__["context"] = modules["mlflow.tracking.context"] = context
    vars(modules["mlflow.entities"]).update(Metric=SimpleNamespace, Param=SimpleNamespace)
    vars(modules["mlflow.utils.mlflow_tags"]).update(MLFLOW_RUN_NAME="mlflow.runName")
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr("lightning.pytorch.loggers.mlflow._MLFLOW_AVAILABLE", True)
    monkeypatch.setattr(MLflow, "servers", {})
    for variable in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(variable, raising=False)
    return MLflow


def test_mlflow_has_all_figures_and_is_continued(
    reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mlflow: type[MLflow]
) -> None:
    folder = tmp_path / "run"
    optimizer, trainer = {"schedule": "constant", "warmup_fraction": 0.0}, {"max_epochs": 2, "log_every_n_steps": 5}
    config = imdb(reviews, folder, logger=["mlflow", "csv"], optimizer=optimizer, trainer=trainer)
    cut_off(config, "on_train_batch_end", 18, monkeypatch)  # saved at 15, and logged at 15
    go_on(folder, **{"trainer.max_epochs": 3})
    (address,) = mlflow.servers
    assert address == f"sqlite:///{folder}/mlflow/mlflow.db"
    (run,) = mlflow.servers[address].values()
    assert run.info.run_id == (folder / "mlflow/run_id").read_text()
    assert run.status[-1] == "FINISHED" and run.status.count("RUNNING") == 2 and "FAILED" in run.status
    assert run.tags == {"mlflow.runName": "run"} and run.info.experiment_id == config.task
    assert run.params["trainer.max_epochs"] == "2"
    for tag in ("train/loss", "val/accuracy", "test/f1"):
        points = {metric.step: metric.value for metric in run.metrics if metric.key == tag}
        assert points == {int(row["step"]): float(row[tag]) for row in rows(folder) if row[tag]}, tag
    assert "<table>" in run.files["val/most_wrong/00000012.html"]
    assert {"val/confusion/00000012.png", "recurrence/gradient_by_lag/00000036.png"} <= set(run.files)


def test_a_server_without_the_run_is_named(
    reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mlflow: type[MLflow]
) -> None:
    cut_off(imdb(reviews, tmp_path / "run", logger=["mlflow"]), "on_train_batch_end", 13, monkeypatch)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"^logger=mlflow can't begin \(KeyError: '0'\); remove the cause"):
        go_on(tmp_path / "run")

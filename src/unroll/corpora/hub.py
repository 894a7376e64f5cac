"""Labelled data sets of the Hugging Face hub. Their files are fetched and checked; their code never runs."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, TypeVar

from unroll import progress
from unroll.corpora.tables import READERS, table_suffix
from unroll.durable import replacing, write_text
from unroll.errors import ConfigError, DataError

T = TypeVar("T")

HUB_PATIENCE = 3.0  # seconds that the hub may take to answer
HUB_LONGEST = 120.0  # seconds to find out which files there are, and again to fetch them, and beside that
HUB_SLOWEST = 2**20  # bytes a second
UNLABELLED_SPLITS = ("unlabelled", "unlabeled", "unsupervised")  # what sets call their split without labels
HUB_LARGEST_FILE, HUB_LARGEST = 2**30, 2**32  # bytes of one file, and of all

_NAME = re.compile(r"(\w[\w.-]*/\w[\w.-]*)(?:/(\w[\w.-]*))?(?:@(\w[\w./-]*))?", re.ASCII)
_COMMIT = re.compile("[0-9a-f]{12,40}")


class HubName(NamedTuple):
    """A set of the hub, as `data.hub` names it: "OWNER/NAME[/CONFIG][@REVISION]"."""

    repo: str
    config: str | None
    revision: str | None

    def folder(self, root: Path, commit: str) -> Path:
        """Return where the files of a commit are kept."""
        return root / "hub" / self.repo.replace("/", "--") / commit[:12] / (self.config or "")


@dataclass(frozen=True)
class HubSet:
    """The files of a set, on this machine."""

    origin: str
    """The set and its commit: "stanfordnlp/imdb@e6281661ce1c"."""
    train: tuple[Path, ...]
    test: tuple[Path, ...]
    """Empty where the set has no such split."""
    unlabelled: tuple[Path, ...]
    """Likewise, and where it was not asked for."""
    class_names: dict[str, list[str]]
    """By column, the names of classes 0, 1, … that the set's card gives."""
    notes: tuple[str, ...]


def parse_hub(hub: str) -> HubName:
    """Parse the name of a data set of the hub; ConfigError where it is none."""
    match = _NAME.fullmatch(hub)
    if match is None:
        raise ConfigError(f"data.hub={hub[:80]}: no name of a data set; write OWNER/NAME or OWNER/NAME@REVISION")
    return HubName(*match.groups())


def fetch(name: HubName, root: Path, unlabelled: bool = False) -> HubSet:
    """Return the files of the splits `train` and `test`, from `root`/hub where that has them, else from the hub.
    With `unlabelled` those of the split without labels, one of `UNLABELLED_SPLITS`, too.

    A set whose revision is a commit is pinned: once fetched, it needs no network. For any other revision, the hub is
    asked for the commit first. Each file's size and SHA-256 must be those that the hub states.

    Raises ConfigError where the set has several configurations and `name` none of them, and DataError where the files
    can't be fetched; without a network, after HUB_PATIENCE seconds.
    """
    if name.revision is not None and _COMMIT.fullmatch(name.revision):
        found = _kept(name, name.folder(root, name.revision), unlabelled)
        if found is not None:
            return found
    try:
        return _fetch(name, root, unlabelled)
    except ConfigError:
        raise
    except Exception as error:  # the library's, its HTTP client's, the resolver's, TLS's, the disk's: all the same
        message = f"{name.repo} can't be fetched from the hub ({reason(error)}); {_remedy(name, root)}"
        raise DataError(message) from error


def _fetch(name: HubName, root: Path, unlabelled: bool) -> HubSet:
    from huggingface_hub import HfApi

    api = HfApi(token=False)  # the data are public
    info = within(
        HUB_PATIENCE,
        lambda: api.dataset_info(name.repo, revision=name.revision, timeout=HUB_PATIENCE, files_metadata=True),
    )
    commit = str(info.sha)
    if not _COMMIT.fullmatch(commit):
        raise DataError(f"its commit is {commit[:40]!r} there")
    folder = name.folder(root, commit)
    found = _kept(name, folder, unlabelled)
    if found is not None:
        return found
    progress.say(f"fetching {name.repo} from the Hugging Face hub")
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder, prefix=".", ignore_cleanup_errors=True) as scratch:
        splits, class_names = within(HUB_LONGEST, lambda: _splits(name, commit, scratch))
        there = {file.rfilename: file for file in info.siblings or ()}  # and no other file is fetched
        theirs = {"train": "train", "test": "test"}  # by our name of a split
        if unlabelled:
            theirs["unlabelled"] = next((split for split in UNLABELLED_SPLITS if split in splits), "unlabelled")
        files = {split: [there.get(path) for path in splits.get(their, ())] for split, their in theirs.items()}
        every = [file for split in files.values() for file in split]
        seconds = HUB_LONGEST + _check(list(splits), files) / HUB_SLOWEST
        within(seconds, lambda: _download(name, commit, every, scratch))
        kept = {
            split: [_keep(file, split, i, scratch, folder) for i, file in enumerate(files[split])] for split in files
        }
    left = ", ".join(split for split in splits if split not in theirs.values())
    used = f"train, test and {theirs['unlabelled']}" if files.get("unlabelled") else "train and test"
    notes = [f"only the splits {used} of {name.repo} are used, not {left}"] if left else []
    # Written last, so that it stands for whole files.
    record = {"commit": commit, "splits": kept, "class_names": class_names, "notes": notes}
    write_text(folder / "set.json", json.dumps(record, indent=1))
    return _read(name, folder, unlabelled)


def _download(name: HubName, commit: str, files: list[Any], scratch: str) -> None:
    """Fetch the files into `scratch`/files, and check each."""
    from huggingface_hub import hf_hub_download

    options: dict[str, Any] = {"repo_type": "dataset", "revision": commit, "local_dir": Path(scratch, "files")}
    for file in files:
        path = Path(hf_hub_download(name.repo, file.rfilename, token=False, **options))
        size = path.stat().st_size
        if size != file.size:
            raise DataError(f"{file.rfilename} was damaged on the way: {size:,} bytes, not {file.size:,}; run again")
        if file.lfs is not None:
            with path.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            if digest != file.lfs.sha256:
                raise DataError(f"{file.rfilename} was damaged on the way: its SHA-256 is not the hub's; run again")


def _keep(file: Any, split: str, number: int, scratch: str, folder: Path) -> tuple[str, int]:
    """Give a file that is whole its place in `folder`; return its name there and its bytes."""
    target = folder / f"{split}-{number:05d}{table_suffix(Path(file.rfilename))}"
    with replacing(target) as stream, Path(scratch, "files", file.rfilename).open("rb") as content:
        shutil.copyfileobj(content, stream)
    return target.name, file.size


def _splits(name: HubName, commit: str, scratch: str) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """The paths of each split, and the names of classes by column, as `datasets` takes them from card and file names.

    `datasets` 5 runs no script of a set; it refuses sets that consist of one.
    """
    from datasets import DownloadConfig, get_dataset_config_names, load_dataset_builder

    address = f"hf://datasets/{name.repo}"  # a folder here of that name is another thing
    options = {"revision": commit, "download_config": DownloadConfig(token=False, cache_dir=scratch)}
    try:
        builder = load_dataset_builder(address, name.config, cache_dir=scratch, token=False, **options)
    except ValueError as error:
        configs = get_dataset_config_names(address, **options)
        if name.config in configs or (name.config is None and len(configs) == 1):
            raise
        some = ", ".join(configs[:20]) + (", …" if len(configs) > 20 else "")
        remedy = f"write data.hub={name.repo}/{configs[0]} or another of them"
        wrong = f"no configuration {name.config!r} among" if name.config else "several configurations,"
        raise ConfigError(f"data.hub={name.repo}: the set has {wrong} {some}; {remedy}") from error
    prefix = f"{address}@{commit}/"
    files = builder.config.data_files.items()
    splits = {str(split): [file.removeprefix(prefix) for file in addresses] for split, addresses in files}
    features = (builder.info.features or {}).items()
    return splits, {column: list(feature.names) for column, feature in features if getattr(feature, "names", None)}


def _check(splits: list[str], wanted: dict[str, list[Any]]) -> int:
    """Refuse what can't be read, or is too much; return the bytes of all files."""
    if not wanted["train"]:
        raise DataError(f"it has no split train, but {', '.join(splits)[:200]}")
    files = [file for files in wanted.values() for file in files]
    if not all(file and file.size for file in files):
        raise DataError("its card names a file that is empty or none of its own")
    largest, size = max(file.size for file in files), sum(file.size for file in files)
    if largest > HUB_LARGEST_FILE or size > HUB_LARGEST:
        bounds = f"over {HUB_LARGEST_FILE:,} in one or {HUB_LARGEST:,} in all"
        raise DataError(f"its files have {size:,} bytes there, the largest {largest:,}: {bounds}")
    other = [file.rfilename for file in files if not table_suffix(Path(file.rfilename))]
    if other:
        raise DataError(f"its file {other[0][:100]} is no table of the kinds {', '.join(READERS)}")
    return int(size)


def _kept(name: HubName, folder: Path, unlabelled: bool) -> HubSet | None:
    """What was fetched into `folder` before, None where that is not whole."""
    try:
        return _read(name, folder, unlabelled)
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _read(name: HubName, folder: Path, unlabelled: bool) -> HubSet:
    record = json.loads((folder / "set.json").read_text(encoding="utf-8"))
    paths: dict[str, tuple[Path, ...]] = {"unlabelled": ()}
    for split in ("train", "test", "unlabelled")[: 3 if unlabelled else 2]:
        paths[split] = tuple(folder / file for file, _ in record["splits"][split])
        for path, (_, size) in zip(paths[split], record["splits"][split], strict=True):
            if path.stat().st_size != size:
                raise ValueError(f"{path} has not {size} bytes")
    origin = f"{name.repo}{f'/{name.config}' if name.config else ''}@{record['commit'][:12]}"
    return HubSet(origin, **paths, class_names=dict(record["class_names"]), notes=tuple(record["notes"]))


def _remedy(name: HubName, root: Path) -> str:
    """What to do without the hub; a set whose revision is no commit may have been fetched before."""
    config = f"/{name.config}" if name.config else ""
    above = name.folder(root, "").parent if name.config else name.folder(root, "")
    commits = sorted(path.relative_to(above).parts[0] for path in above.glob(f"*{config}/set.json"))
    copy = f"write data.hub={name.repo}{config}@{commits[0]} for the copy that is here, or " if commits else ""
    return f"{copy}put train.parquet and test.parquet into {root / name.repo.partition('/')[2]}"


def within(seconds: float, work: Callable[[], T]) -> T:
    """Return what `work` does, in a thread of its own; TimeoutError once it takes longer than `seconds`.

    No time-out of the libraries covers the name server and all retries: a silent hub would block them for minutes.
    """
    answer: Future[T] = Future()

    def run() -> None:
        try:
            answer.set_result(work())
        except Exception as error:
            answer.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return answer.result(timeout=seconds)


def reason(error: Exception) -> str:
    """Return an error of any kind in a part of a line."""
    return f"{type(error).__name__}: {error}".splitlines()[0][:200].removeprefix("DataError: ").rstrip(": ")

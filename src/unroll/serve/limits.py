"""What one client may ask for, how many are served at a time, and how long anything takes."""

from __future__ import annotations

from dataclasses import dataclass

from unroll.errors import ConfigError


@dataclass(frozen=True)
class Limits:
    """Bounds of a server. Together they bound its memory; whatever exceeds one is refused with the reason."""

    # A request
    header_bytes: int = 2**14  # of a head that is not complete
    body_bytes: int = 2**20
    texts: int = 256  # in one request
    text_characters: int = 100_000  # of each text
    explained_characters: int = 10_000  # of a text to explain: it is read about twice for each of its pieces
    explained_pieces: int = 100  # a longer text is explained in pieces of several words
    prompt_characters: int = 10_000
    length: int = 20_000  # characters to write

    # What waits and what runs
    queued_texts: int = 2_048  # of all requests that wait for a prediction; more are answered with 503
    batch_texts: int = 128  # that are predicted together; one request's texts are never parted
    streams: int = 4  # texts that are written at a time; more are answered with 503
    connections: int = 512  # fewer than the 1,024 files that a process may open by default

    # Seconds
    predict_seconds: float = 30  # until a prediction is there
    stream_seconds: float = 600  # until a text is written
    header_seconds: float = 10  # until a request's head has arrived
    body_seconds: float = 20  # until its body has
    send_seconds: float = 20  # that a client may take to read what has been sent
    idle_seconds: int = 5  # between two requests of a connection
    shutdown_seconds: int = 30  # that begun requests may take after SIGTERM

    def __post_init__(self) -> None:
        most = max(self.texts, 2 * self.explained_pieces + 1)
        if most > self.queued_texts:
            raise ConfigError(
                f"queued_texts={self.queued_texts}: one request may have {most} texts; give at least so many"
            )

"""The endpoint that one writes first: FastAPI, and the textbook's model (Raschka, Liu & Mirjalili 2022, ch. 15) in
torch, called once a request.

`python -m benchmarks.plain_server CKPT` takes vocabulary and labels from a checkpoint. Its first line is its port.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from benchmarks.plain_classifier import TextbookClassifier
from unroll import checkpoint
from unroll.serve.server import listen
from unroll.text.tokenizers import get_tokenizer


class Body(BaseModel):
    text: str


class Answer(BaseModel):
    label: str
    probability: float


def make_app(path: Path) -> FastAPI:
    content = checkpoint.load(path)
    ids = {token: id_ for id_, token in enumerate(content["vocabulary"])}
    labels, tokenize = content["labels"], get_tokenizer(content["tokenizer"])
    model = TextbookClassifier(len(ids), len(labels)).eval()
    app = FastAPI()

    @app.post("/predict")
    def predict(body: Body) -> Answer:
        found = torch.tensor([[ids.get(token, 1) for token in tokenize(body.text)] or [1]])
        with torch.inference_mode():
            probabilities = model(found, torch.tensor([found.size(1)])).softmax(-1)[0]
        best = int(probabilities.argmax())
        return Answer(label=labels[best], probability=float(probabilities[best]))

    return app


if __name__ == "__main__":
    app = make_app(Path(sys.argv[1]))
    with listen("127.0.0.1", 0) as listener:
        print(f"plain at http://127.0.0.1:{listener.getsockname()[1]},", file=sys.stderr, flush=True)
        uvicorn.Server(uvicorn.Config(app, log_level="error")).run([listener])

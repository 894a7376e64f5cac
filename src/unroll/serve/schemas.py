"""Bodies of requests and answers, as OpenAPI shows them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, create_model

from unroll.serve.limits import Limits

TAGS = ONE, MANY = ("<one text>", "<many texts>")  # of the two forms of a body; no error shows them


class Strict(BaseModel):
    """No value is converted, and no name is ignored."""

    model_config = ConfigDict(strict=True, extra="forbid")


class Problem(BaseModel):
    """Why a request was refused."""

    detail: str


class Health(BaseModel):
    """The server answers."""

    status: str = "ok"


class Predicted(BaseModel):
    """What the classifier says of one text."""

    label: str
    probability: float = Field(description="of `label`")
    probabilities: dict[str, float] = Field(description="of every label")
    tokens: int = Field(description="tokens read")
    unknown: int = Field(description="tokens that the model does not know; if all are, the label says nothing")


class Predictions(BaseModel):
    """A prediction for each text, in their order."""

    predictions: list[Predicted]


class Explanation(BaseModel):
    """What moved a prediction."""

    prediction: Predicted
    labels: list[str] = Field(description="the order of `probabilities`")
    pieces: list[str] = Field(description="the text, cut at words")
    probabilities: list[list[float]] = Field(
        description="of each label: before anything is read, then after each piece"
    )
    influence: list[float] = Field(
        description="what each piece adds to the log-odds of the predicted label, in nats, against the text without it"
    )


class Written(BaseModel):
    """A line of the stream: a token that was written. The last line has `done` or `error` instead."""

    text: str | None = Field(None, description="what it adds to the text; it may be nothing")
    bits: float | None = Field(None, description="its surprise, -log2 of its probability; null for the first of a text")
    done: bool | None = Field(None, description="true: the text is complete")
    error: str | None = Field(None, description="why the text ends here")


def _body(name: str, **fields: Any) -> Any:
    """Return a model with fields, each a type and a default; `...` for none."""
    return create_model(name, __base__=Strict, **fields)


def texts_body(limits: Limits) -> Any:
    """Return the type of the body of `/predict`: `{"text": …}` or `{"texts": […]}`."""
    text = Annotated[str, Field(max_length=limits.text_characters)]
    one = _body("OneText", text=(text, ...))
    many = _body("ManyTexts", texts=(Annotated[list[text], Field(max_length=limits.texts)], ...))

    def which(body: Any) -> str:
        return MANY if isinstance(body, dict) and "texts" in body else ONE

    return Annotated[Annotated[one, Tag(ONE)] | Annotated[many, Tag(MANY)], Discriminator(which)]


def explain_body(limits: Limits) -> Any:
    """Return the type of the body of `/explain`."""
    return _body("TextToExplain", text=(Annotated[str, Field(max_length=limits.explained_characters)], ...))


def generate_body(limits: Limits) -> Any:
    """Return the type of the body of `/generate`; its defaults are those of `unroll generate`."""
    return _body(
        "Prompt",
        prompt=(Annotated[str, Field(max_length=limits.prompt_characters)], ""),
        length=(Annotated[int, Field(ge=1, le=limits.length, description="characters to write")], 500),
        temperature=(Annotated[float, Field(ge=0, le=100, description="0: always the likeliest")], 0.8),
        top_k=(Annotated[int | None, Field(ge=1, le=2**31 - 1, description="choose among the likeliest")], None),
        top_p=(Annotated[float | None, Field(gt=0, le=1, description="their probability together")], None),
        seed=(Annotated[int, Field(ge=0, le=2**63 - 1, description="same seed, same text")], 0),
    )

"""Labelling in a browser: a page and its server, on this machine alone."""

import hashlib
import json
import logging
import secrets
from collections.abc import Callable
from importlib.metadata import version
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Path, Request
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from kvorum.errors import KvorumError
from kvorum.labelling.file import Changed, LabelFile
from kvorum.labelling.page import page
from kvorum.serve.guard import Guard
from kvorum.serve.listening import ListeningServer, ended_by_signals
from kvorum.serve.replies import refusal, replies, tell_errors

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
LONGEST_BODY = 1024
"""Bytes: a label is an index."""
BODY_SECONDS = 5.0
"""In which a request's body must have come."""
PATIENCE = 5
"""Seconds for a label that is being written when the server is stopped."""


class Label(BaseModel):
    """A question's answer, and what whoever gives it sees: a label is written only where that is still so."""

    model_config = ConfigDict(extra="forbid", strict=True)

    answer: int | None = Field(description="The index of a choice, from 0; null takes the answer away")
    was: int | None = Field(description="The answer that is shown in its place, null where none is")
    opening: str = Field(description="Of the questions as they were got: which opening of the file they are from")
    question: str = Field(description="The key of the question that is shown")


class Progress(BaseModel):
    """How far the file is."""

    labelled: int
    left: int


class Shown(BaseModel):
    """A question, as the page shows it."""

    key: str = Field(description="The same for the same question and choices, whenever they are asked")
    id: str
    question: str
    choices: list[str]
    subject: str
    answer: int | None
    gone: bool = Field(description="Whether the file no longer holds it, since another program has changed it")


class Questions(Progress):
    """All questions, in the order of the file: a question's place is its index."""

    opening: str = Field(description="Another each time that the file is opened: places may mean other questions then")
    file: str
    identity: str = Field(description="The same whenever this file is opened, and another for each file")
    questions: list[Shown]


class Answers(Progress):
    """What can have changed since the questions were got."""

    opening: str
    answers: list[int | None]
    gone: list[int] = Field(description="The places of the questions that the file no longer holds")


class Stale(Exception):
    """What is to be labelled is not what was shown; `field` says in what."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def serve_labels(file: LabelFile, port: int = 0, *, told: Callable[[str], None] = log.info) -> None:
    """Take labels in a browser until SIGINT or SIGTERM.

    `told` is given the address once it answers. Raises KvorumError where the port is taken or none.
    """
    server = ListeningServer(label_app(file), HOST, port, patience=PATIENCE, told=told)
    with ended_by_signals(server):
        server.serve_until_stopped()


def label_app(file: LabelFile) -> FastAPI:
    """The application around a file."""
    app = FastAPI(
        title="kvorum label",
        version=version("kvorum"),
        docs_url=None,  # its scripts would come from elsewhere
        redoc_url=None,
        redirect_slashes=False,
    )

    opening = secrets.token_hex(8)
    identity = _digest(str(file.target))
    keys = [_digest([question.question, question.choices]) for question in file.questions]

    @app.get("/api/questions", responses=replies(403, 409, 500))
    def questions() -> Questions:
        """The questions with their answers, as the file holds them now."""
        answers = file.refresh()
        shown = zip(keys, file.questions, answers, file.held, strict=True)
        return Questions(
            opening=opening,
            file=str(file.path),
            identity=identity,
            questions=[
                Shown(
                    key=key,
                    id=question.id,
                    question=question.question,
                    choices=list(question.choices),
                    subject=question.subject,
                    answer=answer,
                    gone=not held,
                )
                for key, question, answer, held in shown
            ],
            labelled=file.labelled,
            left=len(file.left),
        )

    @app.get("/api/answers", responses=replies(403, 409, 500))
    def answers() -> Answers:
        """The answers alone, as the file holds them now."""
        now = file.refresh()
        return Answers(
            opening=opening,
            answers=list(now),
            gone=[place for place, held in enumerate(file.held) if not held],
            labelled=file.labelled,
            left=len(file.left),
        )

    @app.put(
        "/api/questions/{place}",
        responses=replies(400, 403, 404, 408, 409, 413, 415, 422, 500),
        dependencies=[Depends(_from_the_page)],
    )
    def label(place: Annotated[int, Path(ge=0, lt=2**31)], given: Label) -> Progress:
        """Give a question its answer; it is on the disk when this replies.

        Nothing is written, and the status is 409, where the file was opened again since the questions were got, or
        where the question has another answer now than was shown.
        """
        if given.opening != opening:
            raise Stale("opening", "kvorum label was started again since the questions were got; nothing was written")
        if place >= len(file.questions):
            raise HTTPException(404, f"there is no question {place}; there are {len(file.questions)}, counted from 0")
        if given.question != keys[place]:
            raise Stale("question", f"question {place} is another than was shown; nothing was written")
        file.label(place, given.answer, was=given.was)
        return Progress(labelled=file.labelled, left=len(file.left))

    @app.head("/", include_in_schema=False)
    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    def root() -> HTMLResponse:
        return page().reply()

    tell_errors(app)

    @app.exception_handler(Stale)
    async def stale(_: Request, error: Stale) -> JSONResponse:
        return refusal(409, str(error), error.field)

    @app.exception_handler(Changed)
    async def changed(_: Request, error: Changed) -> JSONResponse:
        return refusal(409, str(error), None)

    @app.exception_handler(KvorumError)
    async def wrong(_: Request, error: KvorumError) -> JSONResponse:
        return refusal(422, str(error), "answer")

    @app.exception_handler(OSError)
    async def unwritten(_: Request, error: OSError) -> JSONResponse:
        log.error("a label was not written: %s", error)
        return refusal(500, f"{error.filename or file.path} cannot be written: {error.strerror or error}", None)

    app.add_middleware(Guard, max_body=LONGEST_BODY, time_limit=BODY_SECONDS)  # pyright: ignore
    return app


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def _from_the_page(request: Request) -> None:
    """Refuse what another web page sends: its browser names that page, and asks before it sends JSON elsewhere."""
    origin = request.headers.get("origin")
    if origin is not None and origin != f"http://{request.headers['host']}":
        raise HTTPException(403, "the request comes from another page than this server's")
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(415, "send the body as content-type: application/json")

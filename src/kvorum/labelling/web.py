"""Labelling in a browser: a page and its server, on this machine alone."""

import logging
from collections.abc import Callable
from importlib.metadata import version
from typing import Annotated

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
    """A question's answer."""

    model_config = ConfigDict(extra="forbid", strict=True)

    answer: int | None = Field(description="The index of a choice, from 0; null takes the answer away")


class Progress(BaseModel):
    """How far the file is."""

    labelled: int
    left: int


class Shown(BaseModel):
    """A question, as the page shows it."""

    id: str
    question: str
    choices: list[str]
    subject: str
    answer: int | None
    gone: bool = Field(description="Whether the file no longer holds it, since another program has changed it")


class Questions(Progress):
    """All questions, in the order of the file: a question's place is its index."""

    file: str
    questions: list[Shown]


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

    @app.get("/api/questions", responses=replies(403, 409, 500))
    def questions() -> Questions:
        """The questions with their answers, as the file holds them now."""
        answers = file.refresh()
        shown = zip(file.questions, answers, file.held, strict=True)
        return Questions(
            file=str(file.path),
            questions=[
                Shown(
                    id=question.id,
                    question=question.question,
                    choices=list(question.choices),
                    subject=question.subject,
                    answer=answer,
                    gone=not held,
                )
                for question, answer, held in shown
            ],
            labelled=file.labelled,
            left=len(file.left),
        )

    @app.put(
        "/api/questions/{place}",
        responses=replies(400, 403, 404, 408, 409, 413, 415, 422, 500),
        dependencies=[Depends(_from_the_page)],
    )
    def label(place: Annotated[int, Path(ge=0, lt=2**31)], given: Label) -> Progress:
        """Give a question its answer; it is on the disk when this replies."""
        if place >= len(file.questions):
            raise HTTPException(404, f"there is no question {place}; there are {len(file.questions)}, counted from 0")
        file.label(place, given.answer)
        return Progress(labelled=file.labelled, left=len(file.left))

    @app.head("/", include_in_schema=False)
    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    def root() -> HTMLResponse:
        shown = page()
        headers = {"content-security-policy": shown.content_security, "cache-control": "no-cache"}
        return HTMLResponse(shown.html, headers=headers)

    tell_errors(app)

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


def _from_the_page(request: Request) -> None:
    """Refuse what another web page sends: its browser names that page, and asks before it sends JSON elsewhere."""
    origin = request.headers.get("origin")
    if origin is not None and origin != f"http://{request.headers['host']}":
        raise HTTPException(403, "the request comes from another page than this server's")
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(415, "send the body as content-type: application/json")

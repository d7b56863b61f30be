"""The application: routes, their limits, and what each can reply."""

import asyncio
import logging
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Annotated

from fastapi import FastAPI, HTTPException, Path, Query, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse

from kvorum.errors import KvorumError
from kvorum.predictions import Predictions
from kvorum.serve.batcher import Batcher, QueueFull, Stopping
from kvorum.serve.guard import LOCAL_NAMES, Guard
from kvorum.serve.metrics import Metrics
from kvorum.serve.options import ServeOptions
from kvorum.serve.page import page
from kvorum.serve.replies import refusal, replies, tell_errors
from kvorum.serve.schema import (
    Answers,
    Asked,
    Described,
    Examples,
    Health,
    Plane,
    request_model,
)
from kvorum.serve.served import NoSuchTask, Served, WrongQuestion
from kvorum.tasks import Question

log = logging.getLogger(__name__)

DESCRIPTION = (
    "Answers of an ensemble of LoRA adapters on one base model, with how sure each is and why. Entropies are in nats."
)


def build_app(served: Served, options: ServeOptions, tokens: tuple[str, ...] = ()) -> FastAPI:
    """The application around a posterior: its start sets up the model, its stop finishes what was taken."""
    metrics = Metrics(lambda: float(batcher.waiting))
    batcher = Batcher(served.posterior, most=options.queue, told=metrics.passed)

    def start() -> None:
        batcher.start(served.trial())

    # Tokenising is the one work of a request that takes long enough to keep others waiting.
    preparing = ThreadPoolExecutor(max_workers=1, thread_name_prefix="kvorum-prepare")

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await asyncio.to_thread(start)
        yield
        await asyncio.to_thread(batcher.stop)
        preparing.shutdown()

    app = FastAPI(
        title="kvorum",
        version=version("kvorum"),
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # its scripts would come from elsewhere
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.start, app.state.give_up = start, batcher.give_up
    guarded = [401] if tokens else [403] if not options.open else []

    @app.post(
        "/v1/answers",
        responses=replies(400, *guarded, 408, 413, 415, 422, 429, 500, 503, 504),
        summary="Ask questions",
    )
    async def answers(request: Request, asked: request_model(options)) -> Answers:  # pyright: ignore[reportInvalidTypeForm]
        """Answers or abstentions, in the order of the questions, with what is known of the doubt in each."""
        questions = [_question(place, one) for place, one in enumerate(asked.questions)]
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(options.time_limit):
                with batcher.room(len(questions)) as submit:
                    encoded = await loop.run_in_executor(preparing, served.prepare, questions, options)
                    scored = asyncio.wrap_future(submit(questions, encoded))
                # Given up, it is cancelled, and what still waits of it is passed over.
                predictions = await _unless_gone(request, scored)
        except TimeoutError:
            raise HTTPException(504, f"no answer within {options.time_limit:g} s") from None
        found = served.answers(predictions)
        for one in found:
            metrics.questions.labels("abstained" if one.answer is None else "answered").inc()
        return Answers(answers=found)

    @app.get("/v1/posterior", responses=replies(*guarded, 500), summary="What runs here")
    async def posterior() -> Described:
        """The model, its members, how they were calibrated, and what this server takes."""
        return await asyncio.to_thread(served.described, options)

    @app.get("/v1/tasks/{task}/questions", responses=replies(*guarded, 404, 422, 500), summary="Questions to pick")
    async def questions(
        task: Annotated[str, Path(max_length=300, examples=list(served.tasks[:1]))],
        offset: Annotated[int, Query(ge=0, lt=10**9)] = 0,
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
    ) -> Examples:
        """Questions of a task that the run has scored, in its order."""
        return await asyncio.to_thread(served.examples, task, offset, limit)

    @app.get("/v1/plane", responses=replies(*guarded, 404, 500), summary="Entropy and mutual information")
    async def plane() -> Plane:
        """Where the calibration questions stand, so that an answer can be placed among them."""
        found = await asyncio.to_thread(served.plane)
        if found is None:
            raise HTTPException(404, "the run has scored no task at this epoch")
        return found

    @app.head("/health", include_in_schema=False)
    @app.get("/health", responses=replies(*([403] if guarded == [403] else []), 500, 503), summary="Whether it answers")
    async def health() -> Health:
        """ok, while questions can be asked."""
        if not batcher.alive:
            raise HTTPException(503, "no more questions can be scored")
        return Health(status="ok")

    @app.get(
        "/metrics",
        responses={200: {"content": {"text/plain": {}}}, **replies(*guarded, 500)},
        response_class=Response,
        summary="For Prometheus",
    )
    async def counted() -> Response:
        """Requests, questions, passes and the process, counted."""
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.head("/", include_in_schema=False)
    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def root() -> HTMLResponse:
        return page().reply()

    tell_errors(app)
    _tell_errors(app)
    app.add_middleware(
        Guard,  # pyright: ignore
        max_body=options.max_body,
        time_limit=options.time_limit,
        names=None if tokens or options.open else LOCAL_NAMES | {options.host.lower()},
        tokens=tokens,
        told=metrics.replied,
    )
    _describe_tokens(app, bool(tokens))
    return app


def _question(place: int, asked: Asked) -> Question:
    try:
        return Question(id=asked.id, question=asked.question, choices=tuple(asked.choices), subject=asked.subject)
    except KvorumError as error:
        raise WrongQuestion(place, "choices" if "'choices'" in str(error) else "question", str(error)) from None


def _tell_errors(app: FastAPI) -> None:
    """Those that only this application knows, in the form of all."""

    @app.exception_handler(QueueFull)
    async def busy(_: Request, error: QueueFull) -> JSONResponse:
        return refusal(429, str(error), None, {"retry-after": str(error.seconds)})

    @app.exception_handler(Stopping)
    async def stopping(_: Request, error: Stopping) -> JSONResponse:
        return refusal(503, str(error), None)

    @app.exception_handler(WrongQuestion)
    async def wrong(_: Request, error: WrongQuestion) -> JSONResponse:
        return refusal(422, str(error), error.field)

    @app.exception_handler(NoSuchTask)
    async def missing(_: Request, error: NoSuchTask) -> JSONResponse:
        return refusal(404, str(error), None)


async def _unless_gone(request: Request, scored: "asyncio.Future[Predictions]") -> Predictions:
    """The predictions; cancels them where the client goes before they are there."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    watching = asyncio.ensure_future(gone())
    try:
        await asyncio.wait({scored, watching}, return_when=asyncio.FIRST_COMPLETED)
        if not scored.done():
            raise HTTPException(503, "nobody waits for the answer any more")
        return await scored
    finally:
        watching.cancel()
        scored.cancel()


def _describe_tokens(app: FastAPI, wanted: bool) -> None:
    """Say in the OpenAPI that a token is wanted."""
    if not wanted:
        return
    schema = app.openapi()
    schema.setdefault("components", {})["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    for path, methods in schema["paths"].items():
        for operation in methods.values():
            operation["security"] = [] if path == "/health" else [{"token": []}]

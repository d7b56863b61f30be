"""A server on a tiny random model, in a thread of the test."""

import copy
import dataclasses
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

import kvorum
from kvorum.decisions import calibrate
from kvorum.decisions.kept import keep_calibration
from kvorum.posterior.posterior import Posterior
from kvorum.serve.options import ServeOptions
from kvorum.serve.served import Served
from kvorum.serve.server import Server


def rows(count: int, first: int = 0) -> list[dict[str, Any]]:
    return [
        {"id": f"q{i}", "question": f"Which is {i} " + "or so " * (i % 4) + "?", "choices": [f"{i}", f"{i + 1}", "no"]}
        | {"answer": i % 3}
        for i in range(first, first + count)
    ]


@pytest.fixture(scope="session")
def run(tiny_model: str, tmp_path_factory: pytest.TempPathFactory) -> kvorum.Run:
    """A fitted run with a task held out, and calibrated on it."""
    folder = tmp_path_factory.mktemp("served")
    for name, made in (("fitted", rows(12)), ("held", rows(40, 100)), ("other", rows(5, 200))):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in made), encoding="utf-8")
    kvorum.fit(
        tiny_model,
        folder / "fitted.jsonl",
        evaluate=[folder / "held.jsonl", folder / "other.jsonl"],
        members=3,
        rank=2,
        epochs=1,
        lr=3e-2,
        out=str(folder / "run"),
    )
    opened = kvorum.Run.open(folder / "run")
    keep_calibration(opened, 1, calibrate(opened.predictions(1, "held"), coverage=0.6))
    return opened


@pytest.fixture(scope="session")
def served(run: kvorum.Run) -> Served:
    from kvorum.decisions.kept import kept_calibration

    posterior = dataclasses.replace(kvorum.load(run), compile="off")
    return Served(posterior=posterior, calibration=kept_calibration(run, 1), run=run, epoch=1)


@contextmanager
def listening(served: Served, **options: Any) -> Iterator[httpx.Client]:
    """A client of a server that runs meanwhile; its model is a copy, since a server's adapters are on it."""
    ready = threading.Event()
    posterior = served.posterior
    base = dataclasses.replace(posterior.base, model=copy.deepcopy(posterior.base.model))
    served = dataclasses.replace(served, posterior=dataclasses.replace(posterior, base=base))
    server = Server(served, ServeOptions(port=0, **options), told=lambda _: ready.set())
    thread = threading.Thread(target=server.serve_until_stopped)
    thread.start()
    try:
        assert ready.wait(60)
        with httpx.Client(base_url=server.address, timeout=60) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join(60)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def client(served: Served) -> Iterator[httpx.Client]:
    with listening(served) as made:
        yield made


@pytest.fixture
def slow(served: Served, monkeypatch: pytest.MonkeyPatch) -> Callable[[float], Served]:
    """The same with passes that take so many seconds more."""

    def slowed(seconds: float) -> Served:
        from kvorum.posterior import scoring

        real = scoring.score_pack
        pause = threading.Event()

        def score_pack(*given: Any, **named: Any) -> Any:
            pause.wait(seconds)
            return real(*given, **named)

        monkeypatch.setattr(scoring, "score_pack", score_pack)
        return served

    return slowed


def asked(count: int, first: int = 300) -> dict[str, Any]:
    return {"questions": [{key: row[key] for key in ("id", "question", "choices")} for row in rows(count, first)]}


__all__ = ["Path", "Posterior", "asked", "listening", "rows"]

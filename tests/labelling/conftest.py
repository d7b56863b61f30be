"""Files of questions to label, and a server on one of them in a thread of the test."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from kvorum.labelling import LabelFile


def rows(count: int) -> list[dict[str, Any]]:
    return [
        {"id": f"q{place}", "question": f"Which is {place}?", "choices": [f"{place}", f"{place + 1}", "none"]}
        | {"answer": None, "subject": "numbers", "score": 1.50, "mutual_information": 0.25}
        for place in range(count)
    ]


def write_jsonl(path: Path, made: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in made), encoding="utf-8")
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_jsonl(tmp_path / "mine.jsonl", rows(5))


def answers(path: Path) -> list[Any]:
    return [json.loads(line)["answer"] for line in path.read_text(encoding="utf-8").splitlines()]


def given(client: Any, place: int, answer: Any, was: int | None = None) -> dict[str, Any]:
    """The body of a label, for a question as the server shows it."""
    found = client.get("/api/questions").json()
    shown = found["questions"][place] if 0 <= place < len(found["questions"]) else {"key": "none"}
    return {"answer": answer, "was": was, "opening": found["opening"], "question": shown["key"]}


def put(client: Any, place: int, answer: int | None, was: int | None = None) -> Any:
    return client.put(f"/api/questions/{place}", json=given(client, place, answer, was))


@contextmanager
def listening(file: LabelFile, port: int = 0) -> Iterator[tuple[str, Callable[[], None]]]:
    """The address of a server on a file, and what stops it."""
    from kvorum.labelling.web import HOST, label_app
    from kvorum.serve.listening import ListeningServer

    ready = threading.Event()
    server = ListeningServer(label_app(file), HOST, port, patience=2, told=lambda _: ready.set())
    thread = threading.Thread(target=server.serve_until_stopped)
    thread.start()

    def stop() -> None:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()

    try:
        assert ready.wait(20)
        yield server.address, stop
    finally:
        stop()

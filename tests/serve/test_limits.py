"""What is malformed, too much, too slow or not allowed gets an error that says so, and the server goes on."""

import json
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from kvorum.errors import KvorumError
from kvorum.serve.options import ServeOptions
from kvorum.serve.served import Served
from kvorum.serve.server import Server
from tests.serve.conftest import asked, listening

FINE = {"question": "Which?", "choices": ["one", "two"]}


def one(**changed: Any) -> dict[str, Any]:
    return {"questions": [FINE, FINE | changed]}


@pytest.mark.parametrize(
    ("body", "status", "field", "words"),
    [
        (b"nonsense", 400, "body", "no JSON"),
        (b"", 422, "body", "required"),
        (b"[" * 50_000, 400, None, ""),
        ([], 422, "body", ""),
        ({}, 422, "questions", "required"),
        ({"questions": []}, 422, "questions", "at least 1"),
        ({"questions": [FINE] * 65}, 422, "questions", "at most 64"),
        (one(question=" \n"), 422, "questions[1].question", "it is empty"),
        (one(question="x" * 8001), 422, "questions[1].question", "at most 8000"),
        (one(question=7), 422, "questions[1].question", "string"),
        (b'{"questions": [{"question": "\\ud800", "choices": ["a", "b"]}]}', 422, "questions[0].question", "unicode"),
        (one(choices=["one"]), 422, "questions[1].choices", "at least 2"),
        (one(choices=["one", "one"]), 422, "questions[1].choices", "0 and 1 (counted from 0) are the same"),
        (one(choices=["one", ""]), 422, "questions[1].choices[1]", "it is empty"),
        (one(choices=["one", None]), 422, "questions[1].choices[1]", "string"),
        (one(choices=[str(place) for place in range(27)]), 422, "questions[1].choices", "at most 26"),
        (one(answer=1), 422, "questions[1].answer", "not permitted"),
        (one(question="x " * 400), 422, "questions[1].question", "tokens"),
    ],
)
def test_what_is_wrong_is_named(client: httpx.Client, body: Any, status: int, field: str | None, words: str) -> None:
    content = {"content": body} if isinstance(body, bytes) else {"json": body}
    reply = client.post("/v1/answers", headers={"content-type": "application/json"}, **content)
    error = reply.json()["error"]
    assert reply.status_code == status
    assert field is None or error["field"] == field
    assert words.lower() in error["message"].lower()
    assert "Traceback" not in reply.text and ".py" not in reply.text
    assert client.post("/v1/answers", json=asked(1)).status_code == 200


def test_another_content_type_is_not_taken_for_json(client: httpx.Client) -> None:
    """A page elsewhere can send plain text across origins without asking first."""
    reply = client.post("/v1/answers", content=b'{"questions": []}', headers={"content-type": "text/plain"})
    assert reply.status_code == 415 and reply.json()["error"]["field"] == "Content-Type"


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_that_is_too_long_is_refused_before_it_is_read(served: Served, declared: bool) -> None:
    def chunks() -> Any:
        for _ in range(100):
            yield b" " * 1000

    with listening(served, max_body=5000) as client:
        reply = client.post(
            "/v1/answers",
            content=b" " * 6000 if declared else chunks(),
            headers={"content-type": "application/json"},
        )
        assert reply.status_code == 413
        assert reply.json()["error"]["field"] == "body" and "5,000 bytes" in reply.json()["error"]["message"]


def test_a_full_queue_says_when_to_ask_again_and_loses_nothing(slow: Callable[[float], Served]) -> None:
    with listening(slow(0.2), queue=64, max_questions=16) as client, ThreadPoolExecutor(24) as pool:

        def ask(first: int) -> httpx.Response:
            return httpx.post(f"{client.base_url}/v1/answers", json=asked(16, first), timeout=60)

        replies = list(pool.map(ask, range(24)))
        statuses = [reply.status_code for reply in replies]
        assert set(statuses) == {200, 429}
        for first, reply in enumerate(replies):
            if reply.status_code == 200:
                assert [answer["id"] for answer in reply.json()["answers"]] == [f"q{first + i}" for i in range(16)]
            else:
                assert int(reply.headers["retry-after"]) >= 1
                assert "questions wait already" in reply.json()["error"]["message"]
        assert client.get("/health").json() == {"status": "ok"}
        assert ask(0).status_code == 200


def test_an_answer_that_takes_too_long_is_given_up_and_its_questions_are_passed_over(
    slow: Callable[[float], Served],
) -> None:
    with listening(slow(0.3), time_limit=0.45) as client:
        began = time.monotonic()
        reply = client.post("/v1/answers", json=asked(64))
        assert reply.status_code == 504 and time.monotonic() - began < 5
        assert "0.45 s" in reply.json()["error"]["message"]
        time.sleep(1)
        waiting = [line for line in client.get("/metrics").text.splitlines() if line.startswith("kvorum_waiting")]
        assert waiting == ["kvorum_waiting_questions 0.0"]


def test_a_body_that_does_not_come_is_not_waited_for(served: Served) -> None:
    with (
        listening(served, time_limit=0.5) as client,
        socket.create_connection((client.base_url.host, client.base_url.port or 0)) as wire,
    ):
        wire.sendall(
            b"POST /v1/answers HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
            b"content-length: 100\r\n\r\n{"
        )
        wire.settimeout(20)
        assert wire.recv(100).startswith(b"HTTP/1.1 408 ")


def test_only_who_sends_a_token_may_ask(served: Served, tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("first-token-of-two\n\nsecond-token-of-two\n")
    with listening(served, tokens=file) as client:
        for path in ("/v1/posterior", "/v1/plane", "/v1/tasks/held/questions", "/metrics", "/openapi.json", "/v2"):
            for headers in (
                {},
                {"authorization": "Bearer first-token-of-tw"},
                {"authorization": "Basic first-token-of-two"},
                {"authorization": "first-token-of-two"},
                {"authorization": "Bearer"},
            ):
                reply = client.get(path, headers=headers)
                assert reply.status_code == 401 and reply.headers["www-authenticate"] == "Bearer", (path, headers)
        assert client.post("/v1/answers", json=asked(1)).status_code == 401
        assert client.get("/health").status_code == client.get("/").status_code == 200
        for token in ("first-token-of-two", "second-token-of-two"):
            headers = {"authorization": f"Bearer {token}"}
            assert client.post("/v1/answers", json=asked(1), headers=headers).status_code == 200
        described = client.get("/openapi.json", headers=headers).json()
        assert described["paths"]["/v1/answers"]["post"]["security"] == [{"token": []}]


def test_another_name_for_loopback_is_refused_unless_it_is_open(served: Served) -> None:
    with listening(served) as client:
        for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil.example:8000"):
            reply = client.get("/v1/posterior", headers={"host": host})
            assert reply.status_code == 403 and reply.json()["error"]["field"] == "Host"
        for host in ("localhost", "localhost:9", "127.0.0.1:80", "[::1]:80", "LocalHost"):
            assert client.get("/health", headers={"host": host}).status_code == 200
    with listening(served, open=True) as client:
        assert client.get("/health", headers={"host": "proxy.example"}).status_code == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "example.org"])
def test_beyond_loopback_it_listens_only_with_tokens_or_when_told(host: str, tmp_path: Path) -> None:
    with pytest.raises(KvorumError, match="--tokens FILE"):
        ServeOptions(host=host).accepted()
    assert ServeOptions(host=host, open=True).accepted() == ()
    file = tmp_path / "tokens"
    file.write_text("a-token-long-enough")
    assert ServeOptions(host=host, tokens=file).accepted() == ("a-token-long-enough",)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_needs_no_token(host: str) -> None:
    assert ServeOptions(host=host).accepted() == ()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "holds no token"),
        ("short", "shorter than 16"),
        ("with a space in it", "holds a space"),
        ("é" * 20, "ASCII"),
    ],
)
def test_a_file_of_tokens_that_cannot_be_used_is_refused(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "tokens"
    file.write_text(content)
    with pytest.raises(KvorumError, match=message):
        ServeOptions(tokens=file).accepted()
    with pytest.raises(KvorumError, match="cannot be read"):
        ServeOptions(tokens=tmp_path / "none").accepted()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"port": 70_000}, "port is 70000"),
        ({"queue": 8}, "queue is 8"),
        ({"max_body": 0}, "max_body is 0"),
        ({"max_choices": 1}, "max_choices is 1"),
        ({"time_limit": 0.0}, "time_limit is 0.0"),
        ({"grace": float("nan")}, "grace is nan"),
    ],
)
def test_limits_that_make_no_sense_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(KvorumError, match=message):
        ServeOptions(**changed)


def test_a_port_that_is_taken_is_told(served: Served) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(KvorumError, match=f"cannot listen on 127.0.0.1 port {port}"):
            Server(served, ServeOptions(port=port))


def test_a_pass_that_fails_is_an_error_of_those_in_it_alone(
    served: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from kvorum.posterior import scoring

    with listening(served) as client:
        real, broken = scoring.score_pack, threading.Event()

        def score_pack(*given: Any, **named: Any) -> Any:
            if broken.is_set():
                raise RuntimeError("secret detail of the machine")
            return real(*given, **named)

        monkeypatch.setattr(scoring, "score_pack", score_pack)
        broken.set()
        reply = client.post("/v1/answers", json=asked(1))
        assert reply.status_code == 500 and "secret" not in reply.text
        assert "secret detail" in caplog.text
        broken.clear()
        assert client.post("/v1/answers", json=asked(1)).status_code == 200


def test_where_scoring_has_ended_it_says_so_and_nobody_waits(
    served: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from kvorum.posterior import scoring

    with listening(served, time_limit=30.0) as client:

        def score_pack(*_: Any, **__: Any) -> Any:
            time.sleep(0.2)
            raise SystemExit("ended")

        monkeypatch.setattr(scoring, "score_pack", score_pack)
        began = time.monotonic()
        with ThreadPoolExecutor(4) as pool:
            statuses = [
                reply.status_code
                for reply in pool.map(
                    lambda first: httpx.post(f"{client.base_url}/v1/answers", json=asked(2, first), timeout=60),
                    range(4),
                )
            ]
        assert set(statuses) == {503} and time.monotonic() - began < 20
        assert client.get("/health").status_code == 503
        assert "scoring has ended" in caplog.text


def waiting(client: httpx.Client) -> float:
    lines = client.get("/metrics").text.splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("kvorum_waiting_questions "))


def test_who_goes_away_leaves_the_queue(slow: Callable[[float], Served]) -> None:
    with listening(slow(0.3)) as client:
        content = json.dumps(asked(64)).encode()
        head = "POST /v1/answers HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: "
        with socket.create_connection((client.base_url.host, client.base_url.port or 0)) as wire:
            wire.sendall(f"{head}{len(content)}\r\n\r\n".encode() + content)
            while not waiting(client):
                time.sleep(0.02)
        began = time.monotonic()
        assert client.post("/v1/answers", json=asked(1)).status_code == 200
        assert waiting(client) == 0 and time.monotonic() - began < 3, "64 questions would take longer"


def test_a_question_that_cannot_be_scored_spoils_no_other(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    from kvorum.posterior import scoring

    real = scoring.score_pack

    def score_pack(attachment: Any, pack: Any, **named: Any) -> Any:
        if pack.width == 7:
            raise RuntimeError("seven")
        time.sleep(0.1)
        return real(attachment, pack, **named)

    monkeypatch.setattr(scoring, "score_pack", score_pack)
    seven = {"questions": [{"question": "Which?", "choices": [str(place) for place in range(7)]}]}
    with listening(served) as client, ThreadPoolExecutor(6) as pool:
        bodies = [asked(3), seven, asked(2, 50), seven, asked(3, 70), asked(1)]
        replies = list(pool.map(lambda body: client.post("/v1/answers", json=body).status_code, bodies))
    assert replies == [200, 500, 200, 500, 200, 200]


def test_where_a_member_gives_no_number_it_abstains(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    from kvorum.posterior import scoring

    with listening(served) as client:
        real = scoring.Scorer.__call__

        def with_nan(self: Any, *given: Any) -> Any:
            probs, rest = real(self, *given)
            probs[1] = np.nan
            return probs, rest

        monkeypatch.setattr(scoring.Scorer, "__call__", with_nan)
        (answer,) = client.post("/v1/answers", json=asked(1)).json()["answers"]
    assert answer["answer"] is answer["decision"] is None
    assert [member["member"] for member in answer["members"]] == [0, 2]


def test_probes_may_ask_for_the_head_alone_and_no_path_is_led_on_to_another(client: httpx.Client) -> None:
    assert client.head("/health").status_code == client.head("/").status_code == 200
    assert client.get("/health/").status_code == 404

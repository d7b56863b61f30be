"""The server behind the page: what it takes, from whom, and what it says of the rest."""

import json
import logging
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

httpx = pytest.importorskip("httpx")
pytest.importorskip("uvicorn")
pytest.importorskip("fastapi")

from fastapi.testclient import TestClient  # noqa: E402

from kvorum.errors import KvorumError  # noqa: E402
from kvorum.labelling import LabelFile  # noqa: E402
from kvorum.labelling.web import label_app, serve_labels  # noqa: E402
from kvorum.serve import listening as serve_listening  # noqa: E402
from tests.labelling.conftest import answers, given, put, rows, write_jsonl  # noqa: E402
from tests.labelling.terminals import COMMAND  # noqa: E402


@pytest.fixture
def client(file: Path) -> Iterator[Any]:
    with LabelFile(file) as opened:
        yield TestClient(label_app(opened), base_url="http://127.0.0.1:8765", raise_server_exceptions=False)


def refused(reply: Any, status: int) -> str:
    error = reply.json()["error"]
    assert reply.status_code == status and set(error) == {"code", "message", "field"}
    assert "Traceback" not in reply.text
    return error["message"]


def test_questions_come_in_order_and_a_label_is_in_the_file_when_it_is_confirmed(client: Any, file: Path) -> None:
    found = client.get("/api/questions").json()
    assert (found["file"], found["labelled"], found["left"]) == (str(file), 0, 5)
    first = {"id": "q0", "question": "Which is 0?", "choices": ["0", "1", "none"], "subject": "numbers"}
    assert len({one["key"] for one in found["questions"]}) == 5
    del found["questions"][0]["key"]
    assert found["questions"][0] == first | {"answer": None, "gone": False}, "and no score that could sway"
    assert put(client, 3, 2).json() == {"labelled": 1, "left": 4}
    assert answers(file) == [None, None, None, "none", None]
    assert client.get("/api/questions").json()["questions"][3]["answer"] == 2
    assert put(client, 3, None, was=2).json() == {"labelled": 0, "left": 5}
    assert answers(file) == [None] * 5


@pytest.mark.parametrize(
    ("place", "body", "status", "words"),
    [
        ("5", {}, 404, "there are 5"),
        ("-1", {}, 422, "greater than or equal to 0"),
        ("x", {}, 422, "integer"),
        ("0", {"answer": 3}, 422, "no index of 3 choices"),
        ("0", {"answer": -1}, 422, "no index of 3 choices"),
        ("0", {"answer": "0"}, 422, "integer"),
        ("0", {"answer": True}, 422, "integer"),
        ("0", {"more": 1}, 422, "not permitted"),
        ("0", b"{}", 422, "required"),
        ("0", b'{"answer": 0}', 422, "required"),
        ("0", b"nonsense", 400, "no JSON"),
        ("0", b'{"answer": 0' + b" " * 2000 + b"}", 413, "longer than 1,024 bytes"),
        ("0", {"was": 1}, 409, "taken the answer away"),
        ("0", {"opening": "another"}, 409, "started again since"),
        ("0", {"question": "another"}, 409, "is another than was shown"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_written(
    client: Any, file: Path, place: str, body: Any, status: int, words: str
) -> None:
    before = file.read_bytes()
    asked = int(place) if place.isdigit() else 0
    content = {"content": body} if isinstance(body, bytes) else {"json": given(client, asked, 0) | body}
    reply = client.put(f"/api/questions/{place}", headers={"content-type": "application/json"}, **content)
    assert words in refused(reply, status)
    assert file.read_bytes() == before


def test_a_page_of_another_opening_writes_nothing_and_knows_its_questions_again(file: Path) -> None:
    made = rows(5)
    with LabelFile(file) as opened:
        client = TestClient(label_app(opened), base_url="http://127.0.0.1")
        kept, before = given(client, 0, 1), client.get("/api/questions").json()
    moved = write_jsonl(file, [made[4], *made[:4]]).read_bytes()
    with LabelFile(file) as opened:
        client = TestClient(label_app(opened), base_url="http://127.0.0.1")
        reply = client.put("/api/questions/0", json=kept)
        assert "started again" in refused(reply, 409) and reply.json()["error"]["field"] == "opening"
        now = client.get("/api/questions").json()
        assert file.read_bytes() == moved
    assert (now["identity"], now["opening"] != before["opening"]) == (before["identity"], True)
    assert now["questions"][1]["key"] == before["questions"][0]["key"]
    with LabelFile(write_jsonl(file.parent / "other.jsonl", made)) as opened:
        found = TestClient(label_app(opened), base_url="http://127.0.0.1").get("/api/questions").json()
        assert found["identity"] != before["identity"]


def test_of_two_tabs_neither_overwrites_what_it_has_not_shown(client: Any, file: Path) -> None:
    assert put(client, 0, 0).status_code == 200
    assert "given another answer, '0'," in refused(put(client, 0, 1, was=None), 409)
    assert put(client, 0, 1, was=0).status_code == 200
    assert "given another answer, '1'," in refused(put(client, 0, None, was=0), 409), "an undo of the first tab"
    made = rows(5)
    made[1]["answer"] = "none"
    write_jsonl(file, made)
    assert client.get("/api/answers").json()["answers"] == [None, 2, None, None, None], "which the one tab has seen"
    assert "given another answer, 'none'," in refused(put(client, 1, 0, was=None), 409), "and the other has not"
    assert answers(file)[1] == "none"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "http://127.0.0.1:1"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "https://{host}"}, 403),
        ({"host": "evil.example"}, 403),
        ({"host": "evil.example", "origin": "http://evil.example"}, 403),
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
        ({"content-type": "text/plain; application/json"}, 415),
        ({"content-type": "application/problem+json"}, 415),
        ({"content-type": ""}, 415),
    ],
)
def test_another_web_page_can_write_nothing(client: Any, file: Path, headers: dict[str, str], status: int) -> None:
    before = file.read_bytes()
    host = client.base_url.netloc.decode()
    sent = {"content-type": "application/json"} | {name: text.format(host=host) for name, text in headers.items()}
    body = json.dumps(given(client, 0, 1)).encode()
    refused(client.put("/api/questions/0", content=body, headers=sent), status)
    assert file.read_bytes() == before
    own = {"content-type": "application/json; charset=utf-8", "origin": f"http://{host}"}
    assert client.put("/api/questions/0", content=body, headers=own).status_code == 200


def test_another_web_page_can_read_nothing(client: Any) -> None:
    """A name that somebody points at loopback is refused; a reply says of no other page that it may read it."""
    refused(client.get("/api/questions", headers={"host": "evil.example"}), 403)
    refused(client.get("/", headers={"host": "evil.example"}), 403)
    reply = client.get("/api/questions", headers={"origin": "http://evil.example"})
    asked = client.options(
        "/api/questions/0", headers={"origin": "http://evil.example", "access-control-request-method": "PUT"}
    )
    for one in (reply, asked):
        assert not [name for name in one.headers if name.startswith("access-control")]
    assert asked.status_code == 405
    assert reply.headers["x-content-type-options"] == "nosniff"


def test_a_changed_file_is_said_to_be_so(client: Any, file: Path) -> None:
    made = rows(5)
    made[2]["question"] = "Another?"
    made[3]["answer"] = "none"
    write_jsonl(file, made)
    assert "no row is certain to hold this question" in refused(put(client, 2, 0), 409)
    assert "somebody else has given another answer" in refused(put(client, 3, 0), 409)
    found = client.get("/api/questions").json()
    assert [one["gone"] for one in found["questions"]] == [False, False, True, False, False]
    assert (found["labelled"], found["left"]) == (1, 3)
    cheap = {name: found[name] for name in ("opening", "labelled", "left")}
    assert client.get("/api/answers").json() == cheap | {"answers": [None, None, None, 2, None], "gone": [2]}
    body = given(client, 0, 0)
    file.write_text("nonsense\n")
    assert "not JSON" in refused(client.get("/api/questions"), 409)
    assert "not JSON" in refused(client.get("/api/answers"), 409)
    assert "not JSON" in refused(client.put("/api/questions/0", json=body), 409)


def test_a_disk_that_takes_nothing_is_said_to_be_so(
    client: Any, file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device", str(file) + ".tmp")

    with monkeypatch.context() as patched, caplog.at_level(logging.ERROR):
        patched.setattr(os, "fsync", full)
        message = refused(put(client, 0, 0), 500)
    assert "No space left" in message and "a label was not written" in caplog.text
    assert answers(file)[0] is None
    assert put(client, 0, 0).status_code == 200


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_serves_until_it_is_stopped_and_says_what_came_of_it(file: Path, number: int) -> None:
    child = subprocess.Popen(
        [*COMMAND, "label", str(file), "--web", "--no-open"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    line = child.stdout.readline()
    assert line.startswith("label at http://127.0.0.1:")
    address = line.split()[2].rstrip(";")
    with httpx.Client(base_url=address) as client:
        assert put(client, 1, 1).status_code == 200
    child.send_signal(number)
    said, errors = child.communicate(timeout=20)
    assert child.returncode == 0, errors
    assert "1 labelled now, 1 of 5 in all" in said and "4 left" in said and answers(file)[1] == "2"


def test_the_command_opens_the_browser_and_json_is_all_that_stdout_gets(file: Path) -> None:
    """The browser that is named in the environment is a program that puts a label and stops the server. It is waited
    for, as by default."""
    browser = file.parent / "browser.py"
    browser.write_text(
        "#!/usr/bin/env python3\nimport json, os, signal, sys, urllib.request\n"
        "found = json.load(urllib.request.urlopen(sys.argv[1] + '/api/questions', timeout=10))\n"
        "body = {'answer': 2, 'was': None, 'opening': found['opening'], 'question': found['questions'][0]['key']}\n"
        "request = urllib.request.Request(sys.argv[1] + '/api/questions/0', json.dumps(body).encode(),\n"
        "    {'content-type': 'application/json'}, method='PUT')\n"
        "urllib.request.urlopen(request).read()\n"
        f"os.kill(int(open({str(file.parent / 'pid')!r}).read()), signal.SIGINT)\n"
    )
    browser.chmod(0o755)
    code = f"import os; open({str(file.parent / 'pid')!r}, 'w').write(str(os.getpid()))\n{COMMAND[2]}"
    done = subprocess.run(
        [COMMAND[0], "-c", code, "label", str(file), "--web", "--json"],
        env=os.environ | {"BROWSER": f"{browser} %s", "no_proxy": "*"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"file": str(file), "labelled": 1, "left": 4}
    assert "label at http://" in done.stderr and answers(file)[0] == "none"


def test_what_is_missing_or_taken_is_named(file: Path) -> None:
    hidden = f"import sys\nsys.modules['uvicorn'] = None\nimport importlib.util\n{COMMAND[2]}"
    hidden = hidden.replace(
        "import importlib.util\n",
        "import importlib.util\nfound = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *more: None if name == 'uvicorn' else found(name, *more)\n",
    )
    web = ["label", str(file), "--web"]
    done = subprocess.run([COMMAND[0], "-c", hidden, *web], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "pip install 'kvorum[serve]'" in done.stderr
    with LabelFile(file) as opened:
        for port in (99999999, -1):
            with pytest.raises(KvorumError, match=f"cannot listen on 127.0.0.1 port {port}"):
                serve_labels(opened, port)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_the_start_is_not_lost(file: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes before uvicorn has its own handlers: nothing else would stop the server."""
    started = serve_listening.uvicorn.Server.run
    told: list[str] = []

    def run(self: Any, **sockets: Any) -> None:
        signal.raise_signal(number)
        started(self, **sockets)

    monkeypatch.setattr(serve_listening.uvicorn.Server, "run", run)
    watch = threading.Timer(10, os.kill, (os.getpid(), number))  # or it would serve on
    watch.start()
    before = signal.getsignal(number)
    with LabelFile(file) as opened:
        serve_labels(opened, told=told.append)
    watch.cancel()
    assert told == [] and signal.getsignal(number) == before

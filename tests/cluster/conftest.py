"""Few questions, and storage as Amazon's, on this machine."""

import json
import urllib.request
from collections.abc import Iterator

import pytest

from kvorum.run import Run
from tests.cluster.fits import at_once


@pytest.fixture(scope="session")
def few(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Eight questions of a user's own."""
    rows = [
        {"id": f"q{i}", "question": f"{i}?", "choices": ["ab", f"{i}", "no"][: 2 + i % 2], "answer": i % 2}
        for i in range(8)
    ]
    file = tmp_path_factory.mktemp("few") / "few.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(file)


@pytest.fixture(scope="session")
def joint(tiny_model: str, few: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A fit of all members together; only to be read."""
    return at_once(tiny_model, few, tmp_path_factory.mktemp("joint") / "run")


@pytest.fixture(scope="session")
def s3_server() -> Iterator[int]:
    """The port of a server that stands in for S3, with a bucket `bucket`."""
    server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    port = server.get_host_and_port()[1]
    urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{port}/bucket", method="PUT")).close()
    yield port
    server.stop()


@pytest.fixture
def s3(s3_server: int, monkeypatch: pytest.MonkeyPatch) -> str:
    """What follows `s3://bucket/...` to find that server; the keys are in the environment."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    return f"?endpoint_override=127.0.0.1:{s3_server}&scheme=http&region=us-east-1"

"""An ensemble onto the hub: what is uploaded, what the card says, and what goes wrong in one line."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import kvorum
from kvorum import cli
from kvorum.interchange.card import model_card
from kvorum.interchange.ensemble import Ensemble
from tests.interchange.test_imported import fails


class FakeApi:
    """What of the hub's client is used, into a folder."""

    kept: Path
    calls: list[tuple[str, dict[str, Any]]]
    public = False

    def create_repo(self, name: str, **settings: Any) -> str:
        self.calls.append((name, settings))
        return f"https://hub.invalid/{name}"

    def repo_info(self, name: str) -> Any:
        return type("Info", (), {"private": not self.public})

    def upload_folder(self, **settings: Any) -> None:
        self.calls.append(("upload", settings))
        shutil.copytree(settings["folder_path"], self.kept)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> type[FakeApi]:
    class Here(FakeApi):
        kept = tmp_path / "uploaded"
        calls: list[tuple[str, dict[str, Any]]] = []  # noqa: RUF012

    monkeypatch.setattr("huggingface_hub.HfApi", Here)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "hf_secret")
    return Here


@pytest.fixture(scope="module")
def run(tiny_model: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    out = str(tmp_path_factory.mktemp("push") / "run")
    kvorum.fit(tiny_model, "facts_opposites", evaluate=["facts_opposites", "facts_sums"], members=2, rank=2, epochs=1,
               train_limit=20, evaluate_limit=8, lr=1e-2, batch_size=10, out=out)  # fmt: skip
    return out


def front_and_body(file: Path) -> tuple[dict[str, Any], str]:
    _, front, body = file.read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(front), body


def test_push_uploads_members_and_a_card(run: str, hub: type[FakeApi], capsys: pytest.CaptureFixture) -> None:
    cli.main(["push", run, "user/name", "--json"])
    said = capsys.readouterr()
    assert json.loads(said.out)["address"] == "https://hub.invalid/user/name"
    (name, made), (_, upload) = hub.calls
    assert name == "user/name" and made == {"private": None, "exist_ok": True}
    assert upload["repo_id"] == "user/name" and upload["delete_patterns"] == ["member-*/*"]
    files = {str(file.relative_to(hub.kept)) for file in hub.kept.rglob("*") if file.is_file()}
    each = {f"member-0{i}/{name}" for i in (0, 1) for name in ("adapter_config.json", "adapter_model.safetensors")}
    assert files == each | {"kvorum.json", "README.md"}
    front, body = front_and_body(hub.kept / "README.md")
    assert front["library_name"] == "peft" and {"lora", "ensemble", "uncertainty"} <= set(front["tags"])
    assert "base_model" not in front, "a folder here is nobody's model there"
    numbers = kvorum.Run.open(run).numbers(1, "facts_sums")
    (line,) = [line for line in body.splitlines() if line.startswith("| facts_sums |")]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[1] == "8" and cells[3].startswith(f"{numbers['ensemble']['nll']['value']:.3f}"[:4])
    assert all("<br>" in cell and "–" in cell for cell in cells[2:]), "every number has its interval"
    assert (
        'kvorum.load_peft("user/name", base="BASE_MODEL")' in body
        and 'subfolder="member-00"' in body
        and "--enable-lora" in body
    )
    assert "facts_opposites, epoch 1 of 1" in body and f"torch {kvorum.Run.open(run).facts['torch']}" in body


def test_nothing_that_is_pushed_tells_of_the_disk(run: str, tiny_model: str, hub: type[FakeApi]) -> None:
    cli.main(["push", run, "user/name"])
    for file in hub.kept.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert b"hf_secret" not in content and tiny_model.encode() not in content and run.encode() not in content


def test_what_was_pushed_comes_back_by_its_id(
    run: str, tiny_model: str, hub: type[FakeApi], monkeypatch: pytest.MonkeyPatch
) -> None:
    cli.main(["push", run, "user/name"])
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(hub.kept))
    back = kvorum.load_peft("user/name", base=tiny_model)
    task = kvorum.load_task("facts_sums")
    np.testing.assert_array_equal(back.predict(task, limit=4).probs, kvorum.load(run).predict(task, limit=4).probs)


def test_a_private_push_never_ends_in_a_public_repository(
    run: str, hub: type[FakeApi], capsys: pytest.CaptureFixture
) -> None:
    hub.public = True
    assert "is there already, and public" in fails(capsys, "push", run, "user/name", "--private")
    assert not hub.kept.exists()
    hub.public = False
    cli.main(["push", run, "user/name", "--private", "--epoch", "0"])
    assert hub.calls[-2][1]["private"] is True and "After epoch 0" in (hub.kept / "README.md").read_text()


@pytest.mark.parametrize("name", ["name", "user/name/more", "user/..", "a b/c", "user/na--me", "../x", "-a/b", ""])
def test_a_bad_name_is_one_line(name: str, run: str, hub: type[FakeApi], capsys: pytest.CaptureFixture) -> None:
    arguments = ["push", run, "--", name] if name.startswith("-") else ["push", run, name]
    assert "is no name of a repository" in fails(capsys, *arguments)
    assert not hub.calls


def test_no_token_and_no_network_are_one_line(
    run: str, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    assert "there is no token for the hub" in fails(capsys, "push", run, "user/name")
    # The real client, told to be offline by tests/conftest.py.
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "hf_secret")
    said = fails(capsys, "push", run, "user/name")
    assert "user/name could not be pushed: " in said and "offline" in said.lower() and "hf_secret" not in said


def test_what_the_hub_refuses_is_one_line(
    run: str, hub: type[FakeApi], capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub.errors import HfHubHTTPError

    http = HfHubHTTPError.__bases__[0]
    for error in (PermissionError("403 Forbidden\nyou may not"), http("connection refused")):

        def refuse(*_: Any, error: Exception = error, **__: Any) -> None:
            raise error

        monkeypatch.setattr(hub, "upload_folder", refuse)
        assert "user/name could not be pushed: " in fails(capsys, "push", run, "user/name")


def test_the_card_names_a_base_on_the_hub_and_its_texts_stay_in_their_cells(run: str) -> None:
    opened = kvorum.Run.open(run)
    about = Ensemble(model="org/base", base_revision="ab" * 20, answer_format="letter", normalisation="sum",
                     prompt_template="x", chat=False, fitted_on="a|b\n# <b>", epoch=1)  # fmt: skip
    card = model_card(opened, about, ["member-00"], "user/name", 12)
    front = yaml.safe_load(card.split("---\n")[1])
    assert front["base_model"] == "org/base" and f'revision="{"ab" * 20}"' in card and "--max-lora-rank 16" in card
    assert "a&#124;b # &#60;b&#62;" in card and "\n# <b>" not in card
    packaged = about.model_copy(update={"model": "smollm2-135m", "base_revision": "cd" * 32}).for_others()
    card = model_card(opened, packaged, ["member-00"], "user/name", 2)
    assert yaml.safe_load(card.split("---\n")[1])["base_model"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert "not quantised" in card and packaged.base_commit is None

"""A file that is changed, cut short or gone is named by the next command, or changes nothing; a repair restores it."""

import json
import logging
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kvorum
from kvorum.adapters import AdapterStack
from kvorum.cli import main
from kvorum.terminal import run_dict
from tests.faults.conftest import TALLY, Fits, contents

MADE_AGAIN = (".numbers.json", "report/", "lock")
"""What follows from the rest, and what says nothing: damage there is harmless."""


def files(run: Path) -> list[str]:
    return sorted(str(file.relative_to(run)) for file in run.rglob("*") if file.is_file())


def everything(run: Path) -> dict[str, Any]:
    """All that is read from a run: numbers, log, predictions, adapters."""
    opened = kvorum.Run.open(run)
    damage = opened.damage()
    if damage:
        raise kvorum.KvorumError(str(damage))
    found: dict[str, Any] = {"log": opened.log, "config": opened.config.as_dict(), "facts": opened.facts}
    found["shown"] = json.loads(json.dumps(run_dict(opened)))
    for epoch in opened.epochs:
        stack = AdapterStack.load(opened.checked(opened.adapters_file(epoch)))
        found[f"stack {epoch}"] = [parameter.numpy().tobytes() for parameter in stack.parameters()]
        for task in opened.tasks(epoch):
            predictions = opened.predictions(epoch, task)
            found[f"{task} {epoch}"] = (predictions.probs.tobytes(), predictions.questions, predictions.facts)
    return found


def damages(content: bytes, draw: random.Random, flips: int) -> list[tuple[str, bytes | None]]:
    """A file's contents with one byte other, at the ends and between, cut short, too long, empty; and no file."""
    size = len(content)
    places = {0, size // 2, size - 1, *(draw.randrange(size) for _ in range(flips))} if size else set()
    made: list[tuple[str, bytes | None]] = [("gone", None), ("empty", b""), ("longer", content + b"\0")]
    made += [("shorter", content[: draw.randrange(size)])] if size else []
    for place in sorted(places):
        other = (content[place] + draw.randrange(1, 256)) % 256
        made.append((f"byte {place}", content[:place] + bytes([other]) + content[place + 1 :]))
    return made


def test_every_damage_to_every_file_is_named_or_harmless(
    fits: Fits, long: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    run = fits.copy(fits.whole)
    main(["report", str(run)])
    expected, draw = everything(run), random.Random(4)
    named = harmless = 0
    for name in files(run):
        file, content = run / name, (run / name).read_bytes()
        for what, changed in damages(content, draw, 40 if long else 2):
            if changed == content:
                continue
            file.unlink()
            if changed is not None:
                file.write_bytes(changed)
            try:
                found = everything(run)
            except kvorum.KvorumError as error:
                assert Path(name).name in str(error), f"{name}, {what}: {error}"
                named += 1
            else:
                # A log that has grown is one whose last steps are not saved yet.
                allowed = any(part in name for part in MADE_AGAIN) or (name == "log.jsonl" and what == "longer")
                allowed |= name == "manifest.json" and json_of(changed) == json.loads(content)
                assert allowed, f"{name}, {what}: not noticed"
                assert found == expected, f"{name}, {what}: changes what is read"
                harmless += 1
            file.write_bytes(content)
    assert everything(run) == expected
    TALLY["files damaged, and named"] += named
    TALLY["files damaged, without harm"] += harmless
    assert named > 40 and harmless > 20


def json_of(content: bytes | None) -> Any:
    try:
        return json.loads(content or b"")
    except ValueError:
        return None


@pytest.mark.parametrize(
    "name", ["epochs/001/adapters.safetensors", "epochs/002/predictions/mine.parquet", "log.jsonl"]
)
@pytest.mark.parametrize("gone", [False, True])
def test_the_next_command_names_it_and_a_repair_computes_the_very_same_again(fits: Fits, name: str, gone: bool) -> None:
    run = fits.copy(fits.whole)
    damage(run / name, gone=gone)
    end = fits.run(run)
    assert end.status == 2 and name in end.said and "--repair" in end.said
    end = fits.run(run, settings={"repair": True})
    assert end.status == 0, end.said
    assert contents(run) == fits.expected
    assert kvorum.Run.open(run).damage() == []


def damage(file: Path, *, gone: bool) -> None:
    content = file.read_bytes()
    file.unlink()
    if not gone:
        file.write_bytes(content[:100] + bytes([content[100] ^ 1]) + content[101:])


def test_any_two_files_damaged_are_repaired(fits: Fits, long: bool) -> None:
    names = [name for name in fits.expected if not name.endswith(".numbers.json")]
    draw = random.Random(5)
    for _ in range(30 if long else 2):
        run = fits.copy(fits.whole)
        some = draw.sample(names, 2)
        for name in some:
            damage(run / name, gone=draw.random() < 0.5)
        # A repair that is killed on its way is none: the next one begins again.
        fits.run(run, settings={"repair": True}, fault={"at": draw.randint(1, 60)})
        again = fits.run(run)
        assert again.status in (0, 2), again.said
        end = fits.run(run, settings={"repair": True})
        assert end.status == 0, f"{some}: {end.said}"
        assert contents(run) == fits.expected, some
        TALLY["two files damaged, the repair killed, and repaired"] += 1


def test_a_damaged_configuration_is_written_again_by_the_fit_that_it_is_of_and_by_no_other(fits: Fits) -> None:
    run = fits.copy(fits.whole)
    file = run / "config.yaml"
    file.write_text(file.read_text().replace("lr: 0.01", "lr: 0.02"))
    said = fits.run(run).said
    assert "config.yaml is not what was written" in said
    other = fits.run(run, settings={"repair": True, "lr": 0.02})
    assert other.status == 2 and "these are not the settings" in other.said
    assert fits.run(run, settings={"repair": True}).status == 0
    assert kvorum.Run.open(run).config.lr == 0.01 and contents(run) == fits.expected


@pytest.mark.parametrize("gone", [False, True])
def test_a_lost_manifest_is_made_again_of_the_files_as_they_are(
    fits: Fits, gone: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    run = fits.copy(fits.whole)
    damage(run / "manifest.json", gone=gone)
    end = fits.run(run)
    assert end.status == 2 and "manifest.json" in end.said and "kvorum check" in end.said
    with pytest.raises(SystemExit, match="2"):
        main(["check", str(run)])
    assert "manifest.json" in capsys.readouterr().err
    (run / "epochs" / "001" / "predictions" / "mine.parquet").write_bytes(b"PAR1 no longer")
    main(["check", str(run), "--repair"])
    assert "all as they were written" in capsys.readouterr().out
    assert fits.run(run).status == 0 and contents(run) == fits.expected


def test_check_tells_scripts_and_repairs_without_going_on(fits: Fits, capsys: pytest.CaptureFixture[str]) -> None:
    run = fits.copy(fits.whole)
    main(["check", str(run), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["damage"] == [] and found["files"] == 9
    assert found["bytes"] == sum(
        (run / name).stat().st_size for name in json.loads((run / "manifest.json").read_text())["files"]
    )
    damage(run / "epochs" / "000" / "adapters.safetensors", gone=True)
    with pytest.raises(SystemExit, match="1"):
        main(["check", str(run), "--json"])
    assert json.loads(capsys.readouterr().out)["damage"] == [
        {"file": "epochs/000/adapters.safetensors", "why": "is missing"}
    ]
    main(["show", str(run)])
    assert "epochs/000/adapters.safetensors is missing; kvorum check" in capsys.readouterr().err.replace("\n", " ")
    main(["check", str(run), "--repair"])
    assert contents(run) == fits.expected


def test_predictions_of_a_task_that_was_added_are_not_computed_by_guess(
    fits: Fits, capsys: pytest.CaptureFixture[str]
) -> None:
    run = fits.copy(fits.whole)
    main(["evaluate", str(run), "--task", "facts_sums", "--evaluate-limit", "5"])
    damage(run / "epochs" / "002" / "predictions" / "facts_sums.parquet", gone=False)
    with pytest.raises(SystemExit, match="2"):
        main(["show", str(run)])
    capsys.readouterr()
    main(["check", str(run), "--repair"])
    assert f"kvorum evaluate {run} --task facts_sums --epochs 2" in capsys.readouterr().err.replace("\n", " ")
    main(["show", str(run)])


def test_a_run_may_be_copied_and_moved(fits: Fits) -> None:
    run = fits.copy(fits.whole)
    elsewhere = fits.new()
    shutil.move(run, elsewhere)
    assert kvorum.Run.open(elsewhere).damage() == []
    found = kvorum.load(elsewhere).predict(fits.task)
    np.testing.assert_allclose(found.probs, kvorum.Run.open(fits.whole).predictions(2, "mine").probs, atol=1e-6)

"""`kvorum calibrate` and `kvorum serve` as commands: what they write and say, and how serving stops."""

import json
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

import kvorum
from kvorum.cli import main
from kvorum.decisions import calibrate
from kvorum.decisions.kept import kept_calibration
from kvorum.errors import KvorumError
from kvorum.run import Damage
from tests.serve.conftest import asked, rows

CHILD = [sys.executable, "-c", "from kvorum.cli import main; main()"]


@pytest.fixture
def copy(run: kvorum.Run, tmp_path: Path) -> kvorum.Run:
    shutil.copytree(run.path, tmp_path / "run")
    return kvorum.Run.open(tmp_path / "run")


def failure(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    return " ".join(capsys.readouterr().err.split())


def test_calibrate_keeps_what_the_library_finds(copy: kvorum.Run, capsys: pytest.CaptureFixture[str]) -> None:
    main(["calibrate", str(copy.path), "--task", "held", "--coverage", "0.7", "--score", "mutual_information"])
    expected = calibrate(copy.predictions(1, "held"), coverage=0.7, score="mutual_information")
    found = kept_calibration(copy, 1)
    assert found is not None and found.answer == expected.answer and found.sets == expected.sets
    said = capsys.readouterr().out
    assert (
        "calibrated on 40 questions of held" in said and "at least" in said and "hold the right answer in 90%" in said
    )
    assert not copy.damage(), "it counts, and is as it was written"
    main(["calibrate", str(copy.path), "--task", "held", "--coverage", "0.5", "--alpha", "0.3", "--json"])
    shown = json.loads(capsys.readouterr().out)
    assert shown["epoch"] == 1 and shown["calibration"]["answer"]["target"] == 0.5
    again = kept_calibration(copy, 1)
    assert again is not None and again.as_dict() == shown["calibration"], "the newest one counts"


def test_a_task_that_is_not_scored_yet_is_scored_first(
    copy: kvorum.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "fresh.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows(20, 500)))
    main(["calibrate", str(copy.path), "--task", str(file), "--coverage", "0.5"])
    assert "calibrated on 20 questions of fresh" in capsys.readouterr().out
    assert len(copy.predictions(1, "fresh")) == 20


def test_questions_that_were_fitted_on_are_left_out(
    copy: kvorum.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mixed.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in [*rows(12), *rows(20, 500)]))
    main(["calibrate", str(copy.path), "--task", str(file), "--coverage", "0.5"])
    printed = capsys.readouterr()
    assert "12 of 32 questions were fitted on, and are left out" in printed.err
    assert "calibrated on 20 questions of mixed (12 left out)" in printed.out
    fitted = tmp_path / "same.jsonl"
    fitted.write_text("".join(json.dumps(row) + "\n" for row in rows(12)))
    assert "all 12 questions of same are among those" in failure(
        capsys, "calibrate", str(copy.path), "--task", str(fitted), "--coverage", "0.5"
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--task", "held"], "name one of target_risk"),
        (["--task", "held", "--target-risk", "1.5"], "target_risk is 1.5"),
        (["--task", "held", "--target-risk", "0.0001"], "no threshold is known to keep the risk"),
        (["--task", "nothing_like_it", "--coverage", "0.5"], "nothing_like_it"),
        (["--task", "held", "--coverage", "0.5", "--epoch", "7"], "has no epoch 7"),
    ],
)
def test_what_cannot_be_calibrated_changes_nothing(
    copy: kvorum.Run, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    before = kept_calibration(copy, 1)
    assert words in failure(capsys, "calibrate", str(copy.path), *arguments)
    assert kept_calibration(kvorum.Run.open(copy.path), 1) == before


def test_ask_says_what_the_calibration_decides(copy: kvorum.Run, capsys: pytest.CaptureFixture[str]) -> None:
    question = ["ask", str(copy.path), "Which is 7 ?", "--choices", "7", "8", "no"]
    main([*question, "--json"])
    said = json.loads(capsys.readouterr().out)
    threshold = kept_calibration(copy, 1).answer.threshold  # pyright: ignore[reportOptionalMemberAccess]
    assert said["decision"]["answered"] == (1 - max(said["probabilities"].values()) <= threshold)
    main(question)
    assert said["decision"]["why"][:30] in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--host", "0.0.0.0"], "--tokens FILE lets in only"),
        (["--tokens", "/nowhere/tokens"], "/nowhere/tokens: cannot be read"),
        (["--port", "99999"], "port is 99999"),
        (["--epoch", "9"], "has no epoch 9"),
    ],
)
def test_what_cannot_be_served_is_told_at_once(
    run: kvorum.Run, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert words in failure(capsys, "serve", str(run.path), *arguments)


def test_a_damaged_calibration_is_not_served_without_a_word(
    copy: kvorum.Run, capsys: pytest.CaptureFixture[str]
) -> None:
    file = copy.calibration_file(1)
    file.write_text(file.read_text().replace("0.95", "0.05"))
    assert "calibration.json" in failure(capsys, "serve", str(copy.path))


def test_a_repair_lets_go_of_a_damaged_calibration_and_says_so(
    copy: kvorum.Run, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    file = copy.calibration_file(1)
    file.write_text(file.read_text() + " ")
    with pytest.raises(KvorumError, match="kvorum calibrate computes it again"):
        kept_calibration(copy, 1)
    main(["check", str(copy.path), "--repair"])
    assert "calibration.json is let go of; kvorum calibrate makes it again" in caplog.text
    assert not file.exists() and kept_calibration(kvorum.Run.open(copy.path), 1) is None


def test_a_manifest_that_is_made_again_counts_a_calibration_in(
    copy: kvorum.Run, capsys: pytest.CaptureFixture[str]
) -> None:
    before = kept_calibration(copy, 1)
    (copy.path / "manifest.json").unlink()
    main(["check", str(copy.path), "--repair"])
    assert before is not None and kept_calibration(kvorum.Run.open(copy.path), 1) == before


def test_a_calibration_that_was_not_written_to_its_end_is_told_of(copy: kvorum.Run) -> None:
    copy.forget([Damage("epochs/001/calibration.json", "")])
    with pytest.raises(KvorumError, match="does not count, since it was not written to its end"):
        kept_calibration(copy, 1)


def test_predictions_on_other_questions_of_that_name_are_not_replaced(
    copy: kvorum.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "elsewhere").mkdir()
    file = tmp_path / "elsewhere" / "held.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows(7, 900)))
    said = failure(capsys, "calibrate", str(copy.path), "--task", str(file), "--coverage", "0.5")
    assert "holds predictions on other questions under the name 'held'" in said
    assert len(kvorum.Run.open(copy.path).predictions(1, "held")) == 40


@pytest.mark.slow
@pytest.mark.parametrize("ended_by", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_finishes_what_was_taken(run: kvorum.Run, ended_by: signal.Signals) -> None:
    with subprocess.Popen(
        [*CHILD, "serve", str(run.path), "--port", "0", "--compile", "off"], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        address = child.stdout.readline().split()[-1]
        assert address.startswith("http://127.0.0.1:")

        def ask(first: int) -> dict[str, Any] | None:
            try:
                reply = httpx.post(f"{address}/v1/answers", json=asked(60, first), timeout=60)
            except httpx.ConnectError:
                return None  # never taken
            assert reply.status_code == 200, reply.text
            return reply.json()

        with ThreadPoolExecutor(8) as pool:
            taken = [pool.submit(ask, first) for first in range(8)]
            while not float(_metric(address, "kvorum_pass_questions_count")):
                time.sleep(0.01)
            child.send_signal(ended_by)
            answers = [future.result() for future in taken]
        assert child.wait(60) == 0
    whole = [one for one in answers if one is not None]
    assert whole
    for one in whole:
        assert len(one["answers"]) == 60


def _metric(address: str, name: str) -> str:
    lines = httpx.get(f"{address}/metrics", timeout=60).text.splitlines()
    return next(line.split()[1] for line in lines if line.startswith(f"{name} "))

"""Repairs, and goings on, in states that are not the simplest."""

import errno
import os
from pathlib import Path

import pytest
import yaml

import kvorum
from kvorum.adapters import AdapterStack
from kvorum.cli import main
from kvorum.run import manifest as listed
from kvorum.study import Study
from tests.faults.conftest import SETTINGS, Fits, contents, stopped_within
from tests.faults.test_damage import damage
from tests.faults.test_together import wait_for


def test_other_steps_are_gone_on_with_from_the_last_whole_epoch_and_a_refusal_costs_nothing(fits: Fits) -> None:
    run = stopped_within(fits, 2)
    file = run / "epochs" / "000" / "predictions" / "mine.parquet"
    content, before = file.read_bytes(), contents(run)
    file.write_bytes(content[:-1])
    end = fits.run(run, settings={"batch_size": 3, "allow_drift": True})
    assert end.status == 2 and "mine.parquet" in end.said
    file.write_bytes(content)
    assert {name: before[name] for name in before if name != "lock.json"}.items() <= contents(run).items()
    end = fits.run(run, settings={"batch_size": 3, "allow_drift": True})
    assert end.status == 0 and "going on after epoch 1, to epoch 2" in end.said
    steps = [(line["epoch"], line["step"]) for line in kvorum.Run.open(run).log]
    assert steps == [(1, step) for step in range(3)] + [(2, step) for step in range(4)]
    assert contents(run)["epochs/001/adapters.safetensors"] == fits.expected["epochs/001/adapters.safetensors"]


def test_a_damaged_point_within_an_epoch_costs_no_more_than_that_epoch(fits: Fits) -> None:
    run = stopped_within(fits, 2)
    opened = kvorum.Run.open(run)
    damage(opened.adapters_file(*opened.points[-1]), gone=False)
    end = fits.run(run)
    assert end.status == 2 and "step-" in end.said
    end = fits.run(run, settings={"repair": True})
    assert end.status == 0 and "going on after epoch 1, to epoch 2" in end.said
    assert contents(run) == fits.expected


def test_fewer_epochs_than_are_begun_are_those_that_are_whole(fits: Fits) -> None:
    run = stopped_within(fits, 2)
    end = fits.run(run, settings={"epochs": 1})
    assert end.status == 0 and "going on after epoch 1, to epoch 1" in end.said
    assert kvorum.Run.open(run).points[-1].step, "what lies beyond waits"
    assert fits.run(run).status == 0 and contents(run) == fits.expected


def test_what_was_computed_before_a_drift_is_not_computed_again_by_other_settings(fits: Fits) -> None:
    run = fits.new()
    assert fits.run(run, settings={"epochs": 1}).status == 0
    assert fits.run(run, settings={"lr": 0.05, "allow_drift": True}).status == 0
    later = contents(run)["epochs/002/adapters.safetensors"]
    damage(run / "epochs/001/adapters.safetensors", gone=False)
    end = fits.run(run, settings={"lr": 0.05, "repair": True})
    assert end.status == 0 and "lost for good" in end.said
    opened = kvorum.Run.open(run)
    assert opened.epochs == (0, 2) and opened.damage() == []
    assert opened.facts["lost"] == ["epochs/001/adapters.safetensors"]
    assert contents(run)["epochs/002/adapters.safetensors"] == later
    main(["report", str(run)])
    assert "lost for good: epochs/001/adapters.safetensors" in (run / "report" / "index.html").read_text()
    assert fits.run(run, settings={"lr": 0.05, "epochs": 3}).status == 0
    damage(run / "epochs/003/adapters.safetensors", gone=True)
    end = fits.run(run, settings={"lr": 0.05, "epochs": 3, "repair": True})
    assert end.status == 2 and "nothing to go on from" in end.said


def test_check_repairs_the_newest_adapters_too(fits: Fits) -> None:
    run = fits.copy(fits.whole)
    damage(run / "epochs/002/adapters.safetensors", gone=False)
    main(["check", str(run), "--repair"])
    assert contents(run) == fits.expected


def test_what_is_computed_again_is_held_against_what_is_saved(fits: Fits) -> None:
    run = fits.copy(fits.whole)
    damage(run / "epochs/001/adapters.safetensors", gone=True)
    end = fits.run(run, settings={"repair": True, "token_budget": 40})
    assert end.status == 0 and "epoch 2, computed again, differs from what is saved by" in end.said
    # Other adapters under a manifest that vouches for them: another fit.
    run = fits.copy(fits.whole)
    opened = kvorum.Run.open(run)
    file = opened.adapters_file(2)
    stack = AdapterStack.load(file)
    for parameter in stack.parameters():
        parameter.mul_(1.5)
    stack.save(file)
    opened.keep(file)
    damage(run / "epochs/001/adapters.safetensors", gone=True)
    end = fits.run(run, settings={"repair": True})
    assert end.status == 2 and "this is another fit" in end.said


def test_a_configuration_written_again_keeps_what_cannot_be_found_again(fits: Fits) -> None:
    run = fits.new()
    assert fits.run(run, settings={"epochs": 1, "schedule": "cosine"}).status == 0
    assert fits.run(run, settings={"epochs": 1, "schedule": "cosine", "lr": 0.02, "allow_drift": True}).status == 0
    before = kvorum.Run.open(run).facts
    (run / "config.yaml").unlink()
    settings = {"schedule": "cosine", "lr": 0.02, "repair": True}
    end = fits.run(run, settings={**settings, "epochs": 3})
    assert end.status == 2 and "these are not the settings" in end.said, "its learning rate depends on its epochs"
    assert fits.run(run, settings={**settings, "epochs": 1}).status == 0
    after = kvorum.Run.open(run).facts
    assert before["drift"] == after["drift"] and before["started"] == after["started"]


def test_damage_and_drift_at_once_are_not_a_dead_end(fits: Fits) -> None:
    run = stopped_within(fits, 2)
    opened = kvorum.Run.open(run)
    damage(opened.adapters_file(*opened.points[-1]), gone=False)
    end = fits.run(run, settings={"lr": 0.02, "allow_drift": True, "repair": True})
    assert end.status == 0, end.said
    assert kvorum.Run.open(run).damage() == []


def test_who_reads_beside_a_fit_sees_no_damage(fits: Fits) -> None:
    run = fits.new()
    said = fits.begin(run, settings={"epochs": 8})
    wait_for(run / "epochs" / "000" / "adapters.safetensors")
    looks = 0
    while not (run / "epochs" / "008" / "adapters.safetensors").exists():
        opened = kvorum.Run.open(run)
        assert opened.damage() == []
        assert isinstance(opened.log, list)
        looks += 1
    assert fits.end(said).status == 0 and looks > 20


def test_what_the_system_refuses_to_read_is_not_taken_for_damaged(fits: Fits, monkeypatch: pytest.MonkeyPatch) -> None:
    run = fits.copy(fits.whole)
    real = listed.sha256

    def refused(file: Path, size: int | None = None) -> str:
        if file.name == "adapters.safetensors":
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(file))
        return real(file, size)

    monkeypatch.setattr(listed, "sha256", refused)
    (one, *_) = kvorum.Run.open(run).damage()
    assert one.unreadable and str(one) == "epochs/000/adapters.safetensors cannot be read (Input/output error)"
    with pytest.raises(kvorum.KvorumError, match="nothing is done before that can be read"):
        kvorum.fit(fits.model, fits.task, out=str(run), repair=True, **SETTINGS)
    monkeypatch.undo()
    assert contents(run) == fits.expected


def test_a_manifest_of_another_version_is_left_alone(fits: Fits) -> None:
    run = fits.copy(fits.whole)
    file = run / "manifest.json"
    file.write_text(file.read_text().replace("kvorum manifest 1", "kvorum manifest 7"))
    before = file.read_text()
    for settings in ({}, {"repair": True}):
        end = fits.run(run, settings=settings)
        assert end.status == 2 and "is 'kvorum manifest 7', and this kvorum knows" in end.said
    assert file.read_text() == before


def test_a_lost_manifest_does_not_cost_the_point_within_an_epoch(fits: Fits) -> None:
    run = stopped_within(fits, 2)
    with (run / "log.jsonl").open("a") as log:
        log.write('{"epoch": 2, "step": 7}\n{"epoch": 2, "st')
    (run / "manifest.json").unlink()
    end = fits.run(run, settings={"repair": True})
    assert end.status == 0 and "going on after epoch 2, step " in end.said
    assert contents(run) == fits.expected


def test_a_log_whose_tail_was_never_finished_does_not_stand_in_the_way_of_a_repair(fits: Fits) -> None:
    run = stopped_within(fits, 1)
    opened = kvorum.Run.open(run)
    opened.keep(drop=[*opened.files_of(opened.points[-1]), opened.adapters_file(0)])
    with (run / "log.jsonl").open("a") as log:
        log.write('{"epoch": 1, "st')
    assert fits.run(run, settings={"repair": True}).status == 0
    assert contents(run) == fits.expected


def test_predictions_stay_until_the_new_ones_are_written(fits: Fits) -> None:
    run = kvorum.Run.open(fits.copy(fits.whole))
    before = run.predictions(2, "mine").probs
    real = os.fsync

    def full(handle: int) -> None:
        if os.readlink(f"/proc/self/fd/{handle}").endswith(".tmp"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left on device"):
            run.save_predictions(2, "mine", run.predictions(0, "mine"))
    assert run.damage() == [] and (run.predictions(2, "mine").probs == before).all()
    assert not list(run.path.rglob("*.tmp"))


def test_a_prompt_of_any_characters_survives_the_configuration(fits: Fits, tmp_path: Path) -> None:
    prompt = tmp_path / "prompt.jinja"
    prompt.write_text("Q\x85 \u2028 {{ question }} \U0001f600 ü\nA:", encoding="utf-8")
    small = {"members": 1, "rank": 1, "epochs": 0, "prompt": str(prompt), "out": str(tmp_path / "run")}
    kvorum.fit(fits.model, fits.task, **small)
    kvorum.fit(fits.model, fits.task, **small)


def test_a_folder_that_looks_like_a_leftover_stays(fits: Fits) -> None:
    run = fits.copy(fits.whole)
    (run / ".tmpfolder").mkdir()
    assert fits.run(run).status == 0 and (run / ".tmpfolder").is_dir()


def test_a_repair_of_nothing_makes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["check", str(tmp_path / "typo"), "--repair"])
    assert "no such directory" in capsys.readouterr().err and not (tmp_path / "typo").exists()


def test_a_study_does_not_take_a_run_with_another_prompt_for_done(fits: Fits, tmp_path: Path) -> None:
    prompt = tmp_path / "prompt.jinja"
    prompt.write_text("{{ question }}\nA:")
    small = {"model": fits.model, "task": fits.task, "members": 1, "rank": 1, "epochs": 1, "prompt": str(prompt)}
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump({"out": str(tmp_path / "s"), "settings": small, "runs": {"a": None}}))
    Study.read(file).run_all()
    assert Study.read(file).done("a") is not None
    prompt.write_text("{{ question }}\nB:")
    assert Study.read(file).done("a") is None
    with pytest.raises(kvorum.KvorumError, match="prompt template: was"):
        Study.read(file).run_all()


def test_questions_with_other_subjects_are_other_questions(fits: Fits) -> None:
    here = kvorum.Run.open(fits.whole).predictions(0, "mine")
    names = ("probs", "rest", "answers", "ids", "questions", "choices", "facts")
    same = {name: getattr(here, name) for name in names}
    other = kvorum.Predictions(**same, subjects=("other",) * len(here))
    assert kvorum.Predictions(**same, subjects=here.subjects).questions_digest() == here.questions_digest()
    assert other.questions_digest() != here.questions_digest()


def test_a_model_handed_over_is_told_by_its_buffers_and_settings_too(fits: Fits) -> None:
    import transformers

    from kvorum.engine import fingerprint

    model = transformers.AutoModelForCausalLM.from_pretrained(fits.model)
    first = fingerprint(model)
    model.config.transformers_version = "0"
    assert fingerprint(model) == first
    model.config.rms_norm_eps = 0.5
    second = fingerprint(model)
    next(iter(model.buffers())).mul_(0.5)
    assert len({first, second, fingerprint(model)}) == 3

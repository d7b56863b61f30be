"""Whatever ends a fit, the same command goes on, and ends with the very same files."""

import random
import signal
from pathlib import Path

import pytest

import kvorum
from tests.faults.conftest import SETTINGS, TALLY, Fits, contents, stopped_within


def sampled(count: int, most: int, seed: int) -> list[int]:
    """All of 1 to `count`, or so many of them."""
    return sorted(random.Random(seed).sample(range(1, count + 1), min(count, most)))


def readable(run: Path) -> None:
    """Whatever the moment, what is there is whole: the run opens, nothing is damaged, and all that counts is read."""
    if not (run / "config.yaml").is_file():
        return
    opened = kvorum.Run.open(run)
    assert opened.damage() == []
    assert all("loss" in line for line in opened.log)
    for epoch in opened.epochs:
        opened.checked(opened.adapters_file(epoch))
        for task in opened.tasks(epoch):
            assert len(opened.predictions(epoch, task)) == 12


def finish(fits: Fits, run: Path) -> None:
    readable(run)
    end = fits.run(run)
    assert end.status == 0, end.said
    readable(run)
    assert contents(run) == fits.expected
    assert not list(run.rglob(".*.tmp")) and not list(run.rglob("step-*")), "nothing is left lying about"


def test_killed_before_any_change_on_the_disk_it_goes_on_to_the_same_files(fits: Fits, long: bool) -> None:
    assert fits.changes > 100
    for at in sampled(fits.changes, fits.changes if long else 3, seed=1):
        run = fits.new()
        assert fits.run(run, fault={"at": at}).status == -signal.SIGKILL
        finish(fits, run)
        TALLY["killed before a change on the disk"] += 1


def test_killed_at_random_moments_it_goes_on_to_the_same_files(fits: Fits, long: bool) -> None:
    draw = random.Random(2)
    landed = 0
    for _ in range(200 if long else 3):
        run = fits.new()
        for _ in range(draw.randint(1, 3)):
            end = fits.run(run, signals=[(signal.SIGKILL, draw.uniform(0, fits.took.seconds))])
            landed += end.status == -signal.SIGKILL
            TALLY["killed at a random moment"] += end.status == -signal.SIGKILL
            readable(run)
            if end.status == 0:
                break
        finish(fits, run)
    assert landed >= (150 if long else 1)


def test_when_the_power_is_cut_what_was_not_flushed_does_no_harm(fits: Fits, long: bool) -> None:
    for at in sampled(fits.changes, fits.changes if long else 3, seed=3):
        run = fits.new()
        assert fits.run(run, fault={"at": at, "what": "power", "seed": at}).status == -signal.SIGKILL
        finish(fits, run)
        TALLY["power cut before a change on the disk"] += 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_says_how_to_go_on(fits: Fits, long: bool, number: signal.Signals) -> None:
    draw = random.Random(number)
    stopped = attempts = 0
    while attempts < (20 if long else 1) or (not stopped and attempts < 20):
        attempts += 1
        run = fits.new()
        # Nothing but the signal saves within an epoch here.
        end = fits.run(
            run, settings={"save_minutes": 60}, signals=[(number, draw.uniform(0.3, 0.9) * fits.took.seconds)]
        )
        if "Stopped" in end.said:
            stopped += 1
            TALLY[f"stopped by {number.name}"] += 1
            assert end.status == 128 + number
            assert "everything up to there is saved" in end.said and "stopping: what is computed" in end.said
            # Not a step is lost: the log counts to its very end.
            log = run / "log.jsonl"
            assert len(kvorum.Run.open(run).log) == (len(log.read_text().splitlines()) if log.exists() else 0)
        else:
            # Before the fit itself has begun, or after its end, a signal does what it always does.
            assert end.status in (130, -number, 0), end.said
        finish(fits, run)
    assert stopped


def test_a_second_signal_leaves_at_once(fits: Fits) -> None:
    run = fits.new()
    wait = 0.55 * fits.took.seconds
    # So many epochs that the first signal falls into the fit.
    end = fits.run(run, settings={"epochs": 60}, signals=[(signal.SIGINT, 2 * wait), (signal.SIGINT, 2 * wait)])
    assert end.status == 130, end.said
    readable(run)


def test_saved_points_within_an_epoch_are_what_is_gone_on_from(fits: Fits) -> None:
    run = stopped_within(fits, 2)
    point = kvorum.Run.open(run).points[-1]
    end = fits.run(run)
    assert f"going on after epoch {point.epoch + 1}, step {point.step}, to epoch 2" in end.said
    assert contents(run) == fits.expected


def test_save_minutes_of_an_hour_saves_epochs_only(fits: Fits) -> None:
    run, counted = fits.new(), fits.folder / "hourly"
    fits.run(run, fault={}, counted=str(counted), settings={"save_minutes": 60})
    assert int(counted.read_text()) < fits.changes - 4 * 5
    assert contents(run) == fits.expected and SETTINGS["save_minutes"] == 0

"""The page's tables of decisions say what the parts of the analysis say."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from kvorum.decisions import calibrate
from kvorum.decisions.kept import keep_calibration
from kvorum.decisions.promises import outcome
from kvorum.report.analysis import analyse
from kvorum.report.decision_grids import decided_grid, detection_grid, selective_grid
from kvorum.report.figures.risk import draw_risk
from kvorum.terminal_study import study_dict
from kvorum.uncertainty.detection import detection
from kvorum.uncertainty.selective import risk_coverage


@pytest.fixture
def calibrated(make_run):
    tasks = {"facts_capitals": {"questions": 60}, "facts_sums": {"questions": 40}}
    run = make_run(tasks, epochs=[0, 1], fitted="facts_capitals")
    found = calibrate(run.predictions(1, "facts_capitals"), coverage=0.5)
    keep_calibration(run, 1, found)
    return run


def test_tables_hold_what_was_computed(calibrated):
    analysis = analyse(calibrated)
    inside, other = (task[-1] for task in analysis.tasks)
    selective = selective_grid(analysis)
    assert [body.title.split(":")[0] for body in selective.bodies] == ["facts_capitals (in domain)", "facts_sums"]
    assert len(selective.bodies[0].lines[0].entries) == 8
    both = [of.evaluation.predictions for of in (inside, other)]
    expected = detection(*((of.probs, of.rest) for of in both))
    assert other.detection == expected and inside.detection is None
    assert [body.title.split(":")[0] for body in detection_grid(analysis).bodies] == ["facts_sums"]
    decided = decided_grid(analysis)
    assert [line.head for line in decided.bodies[0].lines] == ["facts_capitals (held-out halves)", "facts_sums"]
    assert other.decided == outcome(both[1], other.calibration)
    assert "calibrated on 60 questions of facts_capitals for 50% answered" in decided.words[0]


def test_numbers_of_the_marked_epochs_are_in_the_json(calibrated):
    tasks = study_dict(analyse(calibrated))["tasks"]
    assert tasks["facts_sums"]["1"]["decided"]["questions"] == 40
    assert tasks["facts_sums"]["1"]["selective"]["mutual_information"]["aurc"]["value"] > 0
    assert tasks["facts_sums"]["0"]["decided"] is None


def test_curves_are_the_risk_at_each_coverage_and_the_diamond_is_the_calibration(calibrated):
    analysis = analyse(calibrated)
    sheet = draw_risk([task[-1] for task in analysis.tasks])
    for axes, task in zip(sheet.figure.axes, analysis.tasks, strict=True):
        lines = {line.get_gid(): line for line in axes.lines}
        predictions = task[-1].evaluation.predictions
        curve = risk_coverage(predictions.mutual_information, ~predictions.correct)
        assert set(lines["risk-mutual_information"].get_xdata()) <= set(curve.coverage)
        assert lines["risk-mutual_information"].get_ydata()[-1] == pytest.approx((~predictions.correct).mean())
        assert lines["calibrated"].get_xdata()[0] == task[-1].decided["answered"]["value"]
        # The ideal one makes its first mistake when it has answered all that it is right on.
        assert lines["ideal"].get_xdata()[1] == pytest.approx(predictions.correct.mean())


def test_a_calibration_that_cannot_be_used_is_told_of_and_the_report_goes_on(calibrated):
    file: Path = calibrated.calibration_file(1)
    file.write_text(file.read_text() + " ")
    analysis = analyse(calibrated)
    assert decided_grid(analysis) is None
    assert any("calibration.json" in warning for warning in analysis.warnings)


def test_unknown_answers_leave_the_tables_out(make_run):
    run = make_run({"facts_capitals": {"questions": 5, "unknown": 5}}, epochs=[0, 1])
    analysis = analyse(run)
    assert selective_grid(analysis) is detection_grid(analysis) is decided_grid(analysis) is None
    assert np.isnan(analysis.tasks[0][-1].evaluation.chance)


def test_rules_made_of_other_adapters_are_not_used(calibrated):
    file = calibrated.calibration_file(1)
    from kvorum.decisions import Calibration

    found = Calibration.load(file)
    calibrated.put(file, dataclasses.replace(found, adapters_sha256="0" * 64).save)
    assert any("other adapters" in warning for warning in analyse(calibrated).warnings)


def test_questions_fitted_on_stay_out_of_the_halves_and_other_questions_are_told_of(make_run):
    run = make_run({"facts_capitals": {"questions": 60}}, epochs=[0, 1], fitted="facts_capitals")
    whole = run.predictions(1, "facts_capitals")
    fitted = dataclasses.replace(whole, facts=whole.facts | {"trained_on": True, "trained_on_questions": 2})
    run.save_predictions(1, "facts_capitals", fitted)
    keep_calibration(run, 1, calibrate(fitted, coverage=0.5, fitted_ids=whole.ids[:2]))
    assert analyse(run).tasks[0][-1].decided["questions"] == 58
    run.save_predictions(1, "facts_capitals", fitted.select(examples=range(50)))
    analysis = analyse(run)
    assert analysis.tasks[0][-1].decided is None
    assert any("other questions at epoch 1 than it was calibrated on" in warning for warning in analysis.warnings)

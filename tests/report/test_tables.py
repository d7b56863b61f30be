import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from kvorum.report.tables import COLUMNS, Cell, columns_of, groups_of, numbers_table
from kvorum.uncertainty.summary import summarize

from .conftest import HOSTILE_TASK


@pytest.fixture(scope="module")
def rows(run):
    return {(row.task, row.epoch): row for row in numbers_table(run)}


def test_a_row_for_every_task_and_epoch_in_domain_first(run, rows):
    tasks = ["facts_capitals", "facts_elements", HOSTILE_TASK]
    assert list(rows) == [(task, epoch) for task in tasks for epoch in range(4)]
    assert [row.in_domain for row in rows.values()] == [True] * 4 + [False] * 8
    assert [row.fitted_on_itself for row in rows.values()] == [False] * 8 + [True] * 4


def test_every_row_has_every_column(rows):
    for row in rows.values():
        assert set(row.cells) == {column.key for column in COLUMNS}
    assert len({column.key for column in COLUMNS}) == len(COLUMNS)


def test_numbers_are_those_of_summarize(run, rows):
    for (task, epoch), row in rows.items():
        predictions = run.predictions(epoch, task)
        numbers = summarize(predictions.probs, predictions.rest, predictions.answers)
        for metric in ("accuracy", "nll", "brier", "ece", "ece_mass"):
            for who, of in (("ensemble", "ensemble"), ("members", "member_average")):
                cell, expected = row.cells[f"{metric}.{who}"], numbers[of][metric]
                assert (cell.value, cell.low, cell.high) == (expected["value"], expected["low"], expected["high"])
        for measure in ("predictive_entropy", "expected_entropy", "mutual_information"):
            for outcome in ("correct", "wrong"):
                expected = numbers[measure][outcome]
                assert row.cells[f"{measure}.{outcome}.mean"].value == expected["mean"]["value"]
                assert row.cells[f"{measure}.{outcome}.median"].value == expected["median"]
        for measure in ("predictive_entropy", "mutual_information"):
            assert row.cells[f"wrong_auroc.{measure}"].value == numbers["wrong_auroc"][measure]["value"]
        assert row.correct + row.wrong == row.labelled
        assert (row.questions, row.members) == (len(predictions), 5)


def test_accuracy_against_counting(run, rows):
    predictions = run.predictions(3, "facts_elements")
    right = np.mean(predictions.probs.mean(axis=0).argmax(axis=1) == predictions.answers)
    assert rows["facts_elements", 3].cells["accuracy.ensemble"].value == pytest.approx(right)


def test_separation_is_the_auroc_from_the_task_fitted_on(run, rows):
    inside, other = run.predictions(3, "facts_capitals"), run.predictions(3, "facts_elements")
    truth = [0] * len(inside) + [1] * len(other)
    for measure in ("predictive_entropy", "mutual_information"):
        scores = np.concatenate([getattr(inside, measure), getattr(other, measure)])
        cell = rows["facts_elements", 3].cells[f"separation.{measure}"]
        assert cell.value == pytest.approx(roc_auc_score(truth, scores))
        assert cell.low is not None
        assert cell.high is not None
        assert cell.low <= cell.value <= cell.high
        assert rows["facts_capitals", 3].cells[f"separation.{measure}"].text == "–"


def test_without_the_task_fitted_on_there_is_no_separation(make_run):
    (row,) = numbers_table(make_run({"facts_elements": {"questions": 4}}, epochs=[0]))
    assert row.cells["separation.mutual_information"] == Cell(value=None)


def test_unlabelled_tasks_have_dashes(make_run):
    (row,) = numbers_table(make_run({"facts_capitals": {"questions": 4, "unknown": 4}}, epochs=[0]))
    assert row.cells["accuracy.ensemble"].text == "–"
    assert row.cells["accuracy.ensemble"].interval == ""
    assert row.cells["mutual_information.wrong.median"].text == "–"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.0, "0.000"),
        (7e-18, "0.000"),
        (0.00002, "<0.0001"),
        (0.0123, "0.0123"),
        (0.09996, "0.100"),
        (0.5, "0.500"),
        (12.3456, "12.346"),
    ],
)
def test_digits(value, text):
    assert Cell(value=value).text == text


def test_an_interval_has_the_digits_of_its_upper_end():
    assert Cell(value=0.1, low=0.0567, high=0.1234).interval == "0.057–0.123"
    assert Cell(value=0.01, low=0.0067, high=0.0234).interval == "0.0067–0.0234"


def test_groups_span_all_columns():
    for section in ("scores", "uncertainty", "ranking"):
        columns = columns_of(section)
        assert math.fsum(span for _, span in groups_of(columns)) == len(columns) > 0

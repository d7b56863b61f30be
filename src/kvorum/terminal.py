"""A run's numbers and an ensemble's answers, for a terminal and as plain values for JSON."""

from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from kvorum.predictions import Predictions
from kvorum.report.tables import COLUMNS, Column, Row, numbers_table
from kvorum.run import Run

TABLES = (
    ("Scores of the ensemble's mean prediction", lambda column: column.key.endswith(".ensemble")),
    ("Scores of its members, on average", lambda column: column.key.endswith(".members")),
    ("Uncertainty in nats, means: entropy = expected entropy + mutual information", lambda c: c.key.endswith(".mean")),
    ("Uncertainty in nats, medians", lambda column: column.key.endswith(".median")),
    ("How well uncertainty finds wrong answers, and another task (AUROC)", lambda column: column.section == "ranking"),
)


def numbers_tables(run: Run) -> Iterator[Table | Text]:
    """For each task a few narrow tables, a row an epoch, each number over its 95% interval."""
    rows = numbers_table(run)
    if not rows:
        yield Text(f"{run.path}: nothing is scored yet")
    for task in dict.fromkeys(row.task for row in rows):
        of_task = [row for row in rows if row.task == task]
        note = ", of those it was fitted on" if of_task[0].fitted_on_itself else ""
        yield Text(f"{task}: {of_task[0].questions} questions{note}, {_members(of_task)}", style="bold")
        for title, chosen in TABLES:
            yield _table(title, [column for column in COLUMNS if chosen(column)], of_task)
        yield Text()


def _members(rows: Sequence[Row]) -> str:
    first, last = rows[0].members, rows[-1].members
    return f"{first} members" + (f", {last} at epoch {rows[-1].epoch}, the others diverged" if last < first else "")


def _table(title: str, columns: Sequence[Column], rows: Sequence[Row]) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold", title_style="")
    table.add_column("epoch", justify="right")
    for column in columns:
        word = column.name.partition(",")[0]
        heading = column.group if word in {"ensemble", "members"} else f"{column.group}\n{word}"
        table.add_column(heading, justify="right", max_width=13)
    for row in rows:
        cells = [Text(row.cells[column.key].text) for column in columns]
        for text, column in zip(cells, columns, strict=True):
            if interval := row.cells[column.key].interval:
                text.append(f"\n{interval}", style="dim")
        table.add_row(str(row.epoch), *cells)
    return table


def run_dict(run: Run) -> dict[str, Any]:
    """The settings, facts and every number of a run, as plain values."""
    return {
        "run": str(run.path),
        "settings": run.config.as_dict(),
        "facts": run.facts,
        "epochs": {
            str(epoch): {
                task: run.numbers(epoch, task) | {"separation": run.separation(epoch, task)}
                for task in run.tasks(epoch)
            }
            for epoch in run.epochs
        },
    }


def answer_dict(predictions: Predictions) -> dict[str, Any]:
    """The ensemble's answer to the first question of predictions, as plain values; uncertainties in nats."""
    best = int(predictions.predicted[0])
    choices = predictions.choices[0]
    votes = predictions.probs[:, 0].argmax(-1)
    return {
        "question": predictions.questions[0],
        "answer": choices[best],
        "answer_index": best,
        "probabilities": {choice: float(p) for choice, p in zip(choices, predictions.mean[0], strict=False)},
        "rest": float(predictions.mean_rest[0]),
        "predictive_entropy": float(predictions.predictive_entropy[0]),
        "expected_entropy": float(predictions.expected_entropy[0]),
        "mutual_information": float(predictions.mutual_information[0]),
        "members": [
            {
                "member": member,
                "vote": choices[int(vote)],
                "probabilities": [float(p) for p in predictions.probs[row, 0, : len(choices)]],
            }
            for row, (member, vote) in enumerate(zip(predictions.facts["members"], votes, strict=True))
        ],
    }


def answer_table(predictions: Predictions) -> Group:
    """The ensemble's answer to the first question of predictions, for a terminal."""
    answer = answer_dict(predictions)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("choice")
    table.add_column("probability", justify="right")
    table.add_column("")
    table.add_column("votes", justify="right")
    table.add_column("members from to", justify="right")
    for number, choice in enumerate(predictions.choices[0]):
        p = float(predictions.mean[0, number])
        each = predictions.probs[:, 0, number]
        votes = sum(member["vote"] == choice for member in answer["members"])
        style = "bold green" if number == answer["answer_index"] else ""
        table.add_row(
            Text(choice, style=style), f"{p:.3f}", "█" * round(20 * p), str(votes), f"{each.min():.3f} {each.max():.3f}"
        )
    if answer["rest"] > 0:
        table.add_row("anything else", f"{answer['rest']:.3f}", "█" * round(20 * answer["rest"]), "", "")
    doubt = Text(
        f"entropy {answer['predictive_entropy']:.3f} nats = {answer['expected_entropy']:.3f} in the question "
        f"(aleatoric) + {answer['mutual_information']:.3f} between the members (epistemic)"
    )
    return Group(Text(answer["question"], style="bold"), table, doubt, Text())

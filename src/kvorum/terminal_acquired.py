"""Questions chosen to be labelled, for a terminal and as plain values for JSON."""

from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from kvorum.active.acquire import Acquired


SHOWN = 10
"""Chosen questions that a terminal lists."""
HEADINGS = {"entropy": "entropy", "mutual_information": "MI"}


def acquired_dict(acquired: "Acquired") -> dict[str, Any]:
    """Chosen questions with their scores, as plain values; entropies in nats."""
    columns = zip(acquired.questions, acquired.scores, acquired.entropy, acquired.mutual_information, strict=True)
    return {
        "by": acquired.by,
        "pool": {"questions": acquired.pool, "fitted": acquired.fitted, "repeats": acquired.repeats},
        "chosen": [
            {
                "id": question.id,
                "question": question.question,
                "subject": question.subject,
                "score": float(score),
                "entropy": float(entropy),
                "mutual_information": float(information),
            }
            for question, score, entropy, information in columns
        ],
    }


def acquired_table(acquired: "Acquired") -> Table:
    """The most wanted of the chosen questions."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    shown = [name for name in HEADINGS if name != acquired.by]
    for heading in ("", acquired.by.replace("_", " "), *(HEADINGS[name] for name in shown)):
        table.add_column(heading, justify="right")
    table.add_column("question", no_wrap=True, overflow="ellipsis", max_width=80)
    for number, one in enumerate(acquired_dict(acquired)["chosen"][:SHOWN], start=1):
        numbers = [f"{one[name]:.3f}" for name in ("score", *shown)]
        table.add_row(str(number), *numbers, Text(" ".join(one["question"].split())))
    if len(acquired.questions) > SHOWN:
        table.add_row("…", *("" for _ in ("score", *shown)), f"and {len(acquired.questions) - SHOWN} more")
    return table

"""The seam: what an ensemble answered, as numpy arrays and as a Parquet file. Torch ends here."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float64, Int, Int64

from kvorum import uncertainty
from kvorum.errors import KvorumError, nearest
from kvorum.facts import PredictionFacts, check_facts
from kvorum.files import atomic
from kvorum.parquet import MOST_VALUES, read_batches
from kvorum.uncertainty.calibration import Scheme

if TYPE_CHECKING:
    import pyarrow

UNKNOWN = -1
TOLERANCE = 1e-4
FACTS_KEY = b"kvorum"
WIDEST = 16
"""How many times the mean number of choices the largest may be, where arrays would be large."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Predictions:
    """Every member's probabilities for every question of a task, and what follows from them.

    Uncertainties are in nats and "higher = more uncertain". Whatever needs the right answer leaves out the questions
    whose answer is unknown, and is nan where none is left. Raises KvorumError for arrays that do not fit together or
    are no probabilities.
    """

    probs: Float64[np.ndarray, "member example candidate"]
    """Of each candidate; 0 beyond the last candidate of a question that has fewer than others."""
    rest: Float64[np.ndarray, "member example"]
    """Probability on everything that is no candidate; 0 in text format."""
    answers: Int64[np.ndarray, "example"]
    """Index of the right candidate, -1 where it is unknown."""
    ids: tuple[str, ...]
    subjects: tuple[str, ...]
    questions: tuple[str, ...]
    choices: tuple[tuple[str, ...], ...]
    facts: dict[str, Any]
    """Where they come from (model, task, epoch, members, ...): anything JSON can hold."""

    def __post_init__(self) -> None:
        _check_shapes(self)
        _check_values(self)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def members(self) -> int:
        """How many members answered."""
        return len(self.probs)

    @cached_property
    def mean(self) -> Float64[np.ndarray, "example candidate"]:
        """The ensemble's distribution: the mean of the members' probabilities."""
        return self.probs.mean(axis=0)

    @cached_property
    def mean_rest(self) -> Float64[np.ndarray, "example"]:
        """The ensemble's probability on everything that is no candidate."""
        return self.rest.mean(axis=0)

    @cached_property
    def predicted(self) -> Int64[np.ndarray, "example"]:
        """The ensemble's answer: the candidate of the highest mean probability."""
        return uncertainty.predicted(self.mean)

    @cached_property
    def labelled(self) -> Bool[np.ndarray, "example"]:
        """Whether the right answer is known."""
        return self.answers != UNKNOWN

    @cached_property
    def correct(self) -> Bool[np.ndarray, "example"]:
        """Whether the ensemble's answer is the right one; false where that is unknown."""
        return self.predicted == self.answers

    @cached_property
    def predictive_entropy(self) -> Float64[np.ndarray, "example"]:
        """Total uncertainty."""
        return uncertainty.predictive_entropy(self.probs, self.rest)

    @cached_property
    def expected_entropy(self) -> Float64[np.ndarray, "example"]:
        """Aleatoric uncertainty: what the members themselves leave open."""
        return uncertainty.expected_entropy(self.probs, self.rest)

    @cached_property
    def mutual_information(self) -> Float64[np.ndarray, "example"]:
        """Epistemic uncertainty: what the members disagree on."""
        return uncertainty.mutual_information(self.probs, self.rest)

    def accuracy(self) -> float:
        """Share of right answers."""
        return _mean(self.correct[self.labelled])

    def nll(self) -> float:
        """Mean negative log-likelihood of the right answers, in nats."""
        return _mean(uncertainty.nll(self.mean[self.labelled], self.answers[self.labelled]))

    def brier(self) -> float:
        """Mean Brier score, 0 to 2, over the candidates and the rest."""
        known = self.labelled
        return _mean(uncertainty.brier(self.mean[known], self.mean_rest[known], self.answers[known]))

    def ece(self, bins: int = 10, scheme: Scheme = "width") -> float:
        """Expected calibration error of the top candidate's probability, in bins of equal width or of equal mass."""
        confidence = uncertainty.confidence(self.mean)
        return uncertainty.ece(confidence[self.labelled], self.correct[self.labelled], bins=bins, scheme=scheme)

    def questions_digest(self) -> str:
        """What tells these questions, in this order, from others: SHA-256 of all that is asked."""
        return questions_digest(
            zip(self.ids, self.questions, self.choices, self.answers.tolist(), self.subjects, strict=True)
        )

    def select(
        self,
        *,
        examples: Sequence[int] | Int[np.ndarray, "chosen"] | Bool[np.ndarray, "example"] | slice = slice(None),
        members: Sequence[int] | Int[np.ndarray, "voice"] | Bool[np.ndarray, "member"] | slice = slice(None),
    ) -> "Predictions":
        """Some of the questions, some of the members, in the order given: indices, a mask or a slice of each."""
        rows = _chosen(examples, len(self), "examples")
        voices = _chosen(members, self.members, "members")
        facts = dict(self.facts)
        if isinstance(numbers := facts.get("members"), list) and len(numbers) == self.members:
            facts["members"] = [numbers[voice] for voice in voices]
        return Predictions(
            probs=self.probs[np.ix_(voices, rows)],
            rest=self.rest[np.ix_(voices, rows)],
            answers=self.answers[rows],
            ids=tuple(self.ids[row] for row in rows),
            subjects=tuple(self.subjects[row] for row in rows),
            questions=tuple(self.questions[row] for row in rows),
            choices=tuple(self.choices[row] for row in rows),
            facts=facts,
        )

    def save(self, path: str | Path) -> None:
        """Write a Parquet file, a row a question, the facts as JSON under `kvorum` in its metadata.

        The file appears whole or not at all. Raises KvorumError when there is no question, and for facts or texts
        that no file can hold.
        """
        import pyarrow.parquet

        if not len(self):
            raise KvorumError(f"{path}: there is no question to save")
        check_facts(PredictionFacts, self.facts, f"{path}: the facts", members=self.members)
        try:
            facts = json.dumps(self.facts, ensure_ascii=False, allow_nan=False).encode()
        except (TypeError, ValueError) as error:
            raise KvorumError(f"{path}: the facts are not what JSON can hold: {error}") from error
        try:
            table = _table(self).replace_schema_metadata({FACTS_KEY: facts})
        except UnicodeEncodeError as error:
            raise KvorumError(f"{path}: a text is no valid Unicode: {error}") from error
        with atomic(path) as beside:
            pyarrow.parquet.write_table(table, beside, compression="zstd", write_page_checksum=True)

    @classmethod
    def load(cls, path: str | Path) -> "Predictions":
        """Read what `save` wrote. Raises KvorumError, naming the file, for a damaged or foreign one."""
        path = Path(path)
        if not path.is_file():
            raise KvorumError(f"{path}: there is no such file")
        try:
            return cls(**_fields(_read(path)))
        except KvorumError as error:
            raise KvorumError(f"{path}: {error}") from error


def questions_digest(rows: Iterable[tuple[str, str, tuple[str, ...], int, str]]) -> str:
    """SHA-256 of the id, question, choices, answer (-1 where unknown) and subject of each row."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps(row, ensure_ascii=False).encode("utf-8", errors="surrogatepass"))
    return digest.hexdigest()


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _chosen(which: Sequence[int] | np.ndarray | slice, size: int, axis: str) -> np.ndarray:
    if not isinstance(which, slice):
        which = np.asarray(which) if len(which) else np.zeros(0, np.int64)
    try:
        return np.arange(size)[which]
    except IndexError as error:
        raise KvorumError(f"select({axis}=...): {error}; there are {size} {axis}") from error


def _check_shapes(predictions: Predictions) -> None:
    shape = predictions.probs.shape
    if len(shape) != 3 or predictions.probs.dtype != np.float64:
        raise KvorumError(
            f"probs is {predictions.probs.dtype} of shape {shape}; expected float64 of (member, example, candidate)"
        )
    if shape[0] == 0:
        raise KvorumError("probs holds no member; expected 1 or more")
    for name, expected, dtype in (("rest", shape[:2], np.float64), ("answers", shape[1:2], np.int64)):
        array = getattr(predictions, name)
        if array.shape != expected or array.dtype != dtype:
            raise KvorumError(
                f"{name} is {array.dtype} of shape {array.shape}; expected {np.dtype(dtype)} of {expected}, "
                f"because probs is of shape {shape}"
            )
    for name in ("ids", "subjects", "questions", "choices"):
        found = len(getattr(predictions, name))
        if found != shape[1]:
            raise KvorumError(f"{name} holds {found} entries; expected {shape[1]}, one a question of probs")
    for row, choices in enumerate(predictions.choices):
        if not 1 <= len(choices) <= shape[2]:
            raise KvorumError(
                f"{_row(predictions, row)} has {len(choices)} choices; expected 1 or more, and probs has {shape[2]}"
            )


def _check_values(predictions: Predictions) -> None:
    probs, rest, answers = predictions.probs, predictions.rest, predictions.answers
    counts = np.array([len(choices) for choices in predictions.choices], dtype=np.int64)
    beyond = np.arange(probs.shape[2]) >= counts[:, None]
    # Each says what must hold and is then negated, so that nan, of which no comparison holds, is found too.
    _refuse(predictions, ~((probs >= 0).all(axis=2) & (rest >= 0)), "each from 0 to 1")
    _refuse(predictions, ~((probs == 0) | ~beyond).all(axis=2), "0 beyond the last choice")
    _refuse(predictions, ~(np.abs(probs.sum(axis=2) + rest - 1) <= TOLERANCE), "a sum of 1 with the rest")
    outside = np.flatnonzero((answers < UNKNOWN) | (answers >= counts))
    if outside.size:
        row = int(outside[0])
        raise KvorumError(
            f"{_row(predictions, row)}: the answer is {answers[row]}; expected 0 to {counts[row] - 1}, or none"
        )


def _refuse(predictions: Predictions, wrong: Bool[np.ndarray, "member example"], expected: str) -> None:
    if wrong.any():
        row, member = np.argwhere(wrong.T)[0].tolist()
        found = predictions.probs[member, row].tolist()
        raise KvorumError(
            f"{_row(predictions, row)}, member {member}: the probabilities are {found} and "
            f"{predictions.rest[member, row]} for the rest; expected {expected}"
        )


def _row(predictions: Predictions, row: int) -> str:
    return f"row {row + 1} (id '{predictions.ids[row]}')"


def _schema() -> "pyarrow.Schema":
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("subject", pa.string(), nullable=False),
            pa.field("question", pa.string(), nullable=False),
            pa.field("choices", pa.list_(pa.string()), nullable=False),
            pa.field("answer", pa.int64()),
            pa.field("probs", pa.list_(pa.list_(pa.float64())), nullable=False),
            pa.field("rest", pa.list_(pa.float64()), nullable=False),
        ]
    )


def _table(predictions: Predictions) -> "pyarrow.Table":
    import pyarrow as pa

    probs = [predictions.probs[:, row, : len(choices)].tolist() for row, choices in enumerate(predictions.choices)]
    columns = {
        "id": predictions.ids,
        "subject": predictions.subjects,
        "question": predictions.questions,
        "choices": [list(choices) for choices in predictions.choices],
        "answer": [None if answer == UNKNOWN else answer for answer in predictions.answers.tolist()],
        "probs": probs,
        "rest": predictions.rest.T.tolist(),
    }
    return pa.table(columns, schema=_schema())


def _read(path: Path) -> "pyarrow.Table":
    import pyarrow as pa
    import pyarrow.parquet

    schema = _schema()
    try:
        with pyarrow.parquet.ParquetFile(path, page_checksum_verification=True) as file:
            present = file.schema_arrow.names
            for name in schema.names:
                if name not in present:
                    raise KvorumError(f"there is no column '{name}'{nearest(name, present)}")
                if present.count(name) > 1:
                    raise KvorumError(f"there are {present.count(name)} columns '{name}'; expected one")
            batches = list(read_batches(file, schema.names))
            table = pa.Table.from_batches(batches, batches[0].schema if batches else file.schema_arrow)
            table = table.select(schema.names).replace_schema_metadata(file.schema_arrow.metadata)
        table.validate(full=True)
        for name in schema.names:
            if name != "answer" and table[name].null_count:
                row = table[name].is_null().to_pylist().index(True)
                raise KvorumError(f"row {row + 1}: '{name}' is null")
        return table.cast(schema.with_metadata(table.schema.metadata))
    except KvorumError:
        raise
    except (pa.ArrowException, OSError, ValueError, LookupError, TypeError) as error:
        raise KvorumError(f"this is no file of predictions, or a damaged one ({error})") from error


def _fields(table: "pyarrow.Table") -> dict[str, Any]:
    if not len(table):
        raise KvorumError("there is no question in it")
    widths = [len(choices) for choices in table["choices"].to_pylist()]
    members, width = len(table["rest"][0]), max(widths)
    if members * width * len(widths) > MOST_VALUES and width * len(widths) > WIDEST * sum(widths):
        raise KvorumError(f"one row has {width} choices, and {len(widths)} rows have {sum(widths)} in all: too uneven")
    probs = np.zeros((members, len(widths), width))
    rest = np.zeros((members, len(widths)))
    kept: dict[str, list[Any]] = {name: [] for name in ("id", "subject", "question", "choices", "answer")}
    number = 0
    # Numbers as Python has them are some times as large as in an array: never all of them at once.
    for batch in table.to_batches(max_chunksize=1024):
        for row in batch.to_pylist():
            probs[:, number, : len(row["choices"])] = _probs(row, number, members)
            rest[:, number] = row["rest"]
            for name, values in kept.items():
                values.append(row[name])
            number += 1
    return {
        "probs": probs,
        "rest": rest,
        "answers": np.array([UNKNOWN if answer is None else answer for answer in kept["answer"]], np.int64),
        "ids": tuple(kept["id"]),
        "subjects": tuple(kept["subject"]),
        "questions": tuple(kept["question"]),
        "choices": tuple(map(tuple, kept["choices"])),
        "facts": _facts(table, members),
    }


def _probs(row: dict[str, Any], number: int, members: int) -> Float64[np.ndarray, "member candidate"]:
    if None in row["choices"]:
        raise KvorumError(f"row {number + 1}: 'choices' holds a null")
    if len(row["rest"]) != members:
        raise KvorumError(f"row {number + 1}: 'rest' holds {len(row['rest'])} numbers; expected {members}, as in row 1")
    candidates = len(row["choices"])
    lengths = [None if given is None else len(given) for given in row["probs"]]
    if lengths != [candidates] * members:
        raise KvorumError(
            f"row {number + 1}: 'probs' holds lists of {lengths} numbers; expected one a member ({members}), "
            f"each of one number a choice ({candidates})"
        )
    return np.array(row["probs"], np.float64).reshape(members, candidates)


def _facts(table: "pyarrow.Table", members: int) -> dict[str, Any]:
    stored = (table.schema.metadata or {}).get(FACTS_KEY)
    if stored is None:
        raise KvorumError("its metadata has no 'kvorum' entry; expected a file that kvorum wrote")
    try:
        facts = json.loads(stored)
    except (ValueError, RecursionError) as error:
        raise KvorumError(f"the 'kvorum' entry of its metadata is no JSON ({error})") from error
    if not isinstance(facts, dict):
        raise KvorumError(f"the 'kvorum' entry of its metadata is a {type(facts).__name__}; expected an object")
    check_facts(PredictionFacts, facts, "the 'kvorum' entry of its metadata", members=members)
    return facts

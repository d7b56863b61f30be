"""The seam: checks on construction, the numbers that follow, and the Parquet file, whole and damaged."""

import json
import subprocess
import sys
from dataclasses import replace

import jaxtyping
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvorum.errors import KvorumError
from kvorum.facts import PredictionFacts
from kvorum.predictions import Predictions
from kvorum.uncertainty import separation, summarize


def make(counts=(3, 2, 4, 3), members=3, seed=0, bucket=0.1, answers=None, **fields) -> Predictions:
    """Random probabilities for a question with each of these numbers of choices; every third is unlabelled."""
    rng = np.random.default_rng(seed)
    probs = np.zeros((members, len(counts), max(counts, default=2)))
    rest = np.zeros(probs.shape[:2]) + bucket
    for row, count in enumerate(counts):
        probs[:, row, :count] = rng.dirichlet(np.ones(count), size=members) * (1 - rest[:, row, None])
    if answers is None:
        answers = [-1 if row % 3 == 2 else int(rng.integers(count)) for row, count in enumerate(counts)]
    given = {
        "probs": probs,
        "rest": rest,
        "answers": np.array(answers, np.int64),
        "ids": tuple(f"q{row}" for row in range(len(counts))),
        "subjects": tuple("physics" if row % 2 else "" for row in range(len(counts))),
        "questions": tuple(f"Question {row}?" for row in range(len(counts))),
        "choices": tuple(tuple(f"choice {n}" for n in range(count)) for count in counts),
        "facts": {"epoch": 3, "task": "commonsense_qa", "members": list(range(members)), "trained_on": False},
    }
    return Predictions(**(given | fields))


def assert_same(found: Predictions, expected: Predictions) -> None:
    for name in ("probs", "rest", "answers"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), strict=True)
    for name in ("ids", "subjects", "questions", "choices", "facts"):
        assert getattr(found, name) == getattr(expected, name)


class TestNumbers:
    def test_two_members_of_opposite_minds(self):
        split = make((2,), members=2, probs=np.array([[[1.0, 0.0]], [[0.0, 1.0]]]), rest=np.zeros((2, 1)), answers=[1])
        assert split.mutual_information == pytest.approx(np.log(2))
        assert split.expected_entropy == 0
        assert split.mean.tolist() == [[0.5, 0.5]]
        assert split.predicted.tolist() == [0]
        assert (split.accuracy(), split.nll(), split.brier()) == (0, pytest.approx(np.log(2)), 0.5)
        assert split.ece() == split.ece(scheme="mass") == 0.5

    def test_members_are_averaged_as_probabilities(self):
        predictions = make()
        np.testing.assert_allclose(predictions.mean.sum(axis=1) + predictions.mean_rest, 1)
        assert predictions.predicted.tolist() == predictions.probs.sum(axis=0).argmax(axis=1).tolist()
        assert (predictions.members, len(predictions)) == (3, 4)

    def test_they_are_those_of_the_summary(self):
        predictions = make(tuple(range(2, 7)) * 20)
        numbers = summarize(predictions.probs, predictions.rest, predictions.answers, bins=8, resamples=2)["ensemble"]
        assert predictions.accuracy() == pytest.approx(numbers["accuracy"]["value"])
        assert predictions.nll() == pytest.approx(numbers["nll"]["value"])
        assert predictions.brier() == pytest.approx(numbers["brier"]["value"])
        assert predictions.ece(bins=8) == pytest.approx(numbers["ece"]["value"])
        assert predictions.ece(bins=8, scheme="mass") == pytest.approx(numbers["ece_mass"]["value"])

    def test_unlabelled_questions_are_left_out(self):
        predictions = make(answers=[0, -1, -1, 2])
        assert predictions.labelled.tolist() == [True, False, False, True]
        assert not predictions.correct[1:3].any()
        alone = predictions.select(examples=[0, 3])
        for score in (Predictions.accuracy, Predictions.nll, Predictions.brier, Predictions.ece):
            assert score(predictions) == score(alone)

    @pytest.mark.filterwarnings("error")
    def test_without_labels_scores_are_nan(self):
        unlabelled = make(answers=[-1] * 4)
        for score in (unlabelled.accuracy, unlabelled.nll, unlabelled.brier, unlabelled.ece):
            assert np.isnan(score())

    def test_two_tasks_can_be_told_apart(self):
        sure = make(members=1, probs=np.full((1, 4, 2), [0.99, 0.01]), rest=np.zeros((1, 4)), counts=(2,) * 4)
        torn = make(members=1, probs=np.full((1, 4, 2), 0.5), rest=np.zeros((1, 4)), counts=(2,) * 4)
        assert separation(sure, torn, resamples=5)["predictive_entropy"]["value"] == 1


class TestSelect:
    def test_questions_by_index_mask_and_slice(self):
        predictions = make()
        for chosen in ([1, 3], np.array([1, 3]), np.array([False, True, False, True]), slice(1, 4, 2), [-3, -1]):
            some = predictions.select(examples=chosen)
            assert some.ids == ("q1", "q3")
            assert some.choices == (predictions.choices[1], predictions.choices[3])
            np.testing.assert_array_equal(some.probs, predictions.probs[:, [1, 3]])
            np.testing.assert_array_equal(some.rest, predictions.rest[:, [1, 3]])
            np.testing.assert_array_equal(some.answers, predictions.answers[[1, 3]])

    def test_members_keep_their_numbers(self):
        some = make(members=4).select(members=[3, 1])
        assert some.facts["members"] == [3, 1]
        np.testing.assert_array_equal(some.probs, make(members=4).probs[[3, 1]])

    @pytest.mark.filterwarnings("error")
    @pytest.mark.parametrize("none", [[], (), np.zeros(4, bool), slice(0, 0)])
    def test_no_question_is_possible(self, none):
        nothing = make().select(examples=none)
        assert len(nothing) == 0
        assert np.isnan(nothing.accuracy())
        assert nothing.mutual_information.shape == (0,)

    def test_what_is_not_there_is_refused(self):
        with pytest.raises(KvorumError, match=r"select\(examples=...\).*there are 4 examples"):
            make().select(examples=[4])
        with pytest.raises(KvorumError, match="no member"):
            make().select(members=[])


class TestChecks:
    @pytest.mark.parametrize(
        ("value", "message"),
        [
            (-0.1, "each from 0 to 1"),
            (np.nan, "each from 0 to 1"),
            (np.inf, "a sum of 1 with the rest"),
            (0.95, "a sum of 1 with the rest"),
        ],
    )
    def test_what_is_no_probability_is_refused(self, value, message):
        probs = make().probs.copy()
        probs[2, 1, 0] = value
        with pytest.raises(KvorumError, match=rf"row 2 \(id 'q1'\), member 2: the probabilities are .* {message}"):
            make(probs=probs)

    def test_the_rest_is_a_probability_too(self):
        for rest in (-0.1, 0.3, np.nan):
            with pytest.raises(KvorumError, match=r"row 1 .*member 0"):
                make(rest=np.full((3, 4), rest))

    def test_a_sum_may_be_off_by_the_rounding_of_single_precision(self):
        assert make(rest=np.full((3, 4), 0.1 + 9e-5)).rest[0, 0] == 0.1 + 9e-5
        with pytest.raises(KvorumError, match="a sum of 1"):
            make(rest=np.full((3, 4), 0.1 + 2e-4))

    def test_probability_beyond_the_last_choice_is_refused(self):
        full = make((3,) * 4)
        with pytest.raises(KvorumError, match=r"row 2 .* 0 beyond the last choice"):
            replace(full, choices=(*full.choices[:1], ("a", "b"), *full.choices[2:]))

    @pytest.mark.parametrize("answer", [-2, 2, 9])
    def test_an_answer_that_is_no_choice_is_refused(self, answer):
        with pytest.raises(KvorumError, match=rf"row 2 \(id 'q1'\): the answer is {answer}; expected 0 to 1, or none"):
            make(answers=[0, answer, 0, 0])

    def test_arrays_that_do_not_fit_together_are_refused_also_where_no_one_checks_annotations(self, monkeypatch):
        monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
        with pytest.raises(KvorumError, match=r"rest is float64 of shape \(2, 4\); expected float64 of \(3, 4\)"):
            make(rest=np.zeros((2, 4)))
        with pytest.raises(KvorumError, match="answers is int64 of shape"):
            make(answers=[0])
        with pytest.raises(KvorumError, match="ids holds 1 entries; expected 4"):
            make(ids=("a",))
        with pytest.raises(KvorumError, match="probs is float32"):
            make(probs=make().probs.astype(np.float32))
        with pytest.raises(KvorumError, match=r"row 1 .* has 0 choices"):
            make(choices=((), *make().choices[1:]))


ragged = st.lists(st.integers(1, 6), min_size=1, max_size=6)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


class TestFile:
    @settings(max_examples=40, deadline=None)
    @given(ragged, st.integers(1, 4), st.integers(0, 2**32), st.data())
    def test_what_is_saved_is_loaded(self, tmp_path_factory, counts, members, seed, data):
        path = tmp_path_factory.mktemp("round") / "task.parquet"
        size = len(counts)
        column = st.tuples(*[texts] * size)
        predictions = make(
            counts,
            members,
            seed,
            bucket=np.random.default_rng(seed).random((members, size)),
            ids=data.draw(column),
            subjects=data.draw(column),
            questions=data.draw(column),
            choices=tuple(data.draw(st.tuples(*[texts] * count)) for count in counts),
            facts=data.draw(
                st.dictionaries(
                    texts.filter(lambda name: name not in PredictionFacts.model_fields),
                    st.one_of(texts, st.integers(), st.floats(allow_nan=False, allow_infinity=False)),
                )
            ),
        )
        predictions.save(path)
        assert_same(Predictions.load(path), predictions)

    def test_the_columns_are_those_the_manual_names(self, tmp_path):
        predictions = make(answers=[0, -1, 3, 1], questions=("Сколько?", "多少?", "\U0001f600", "é\n\x00"))
        predictions.save(tmp_path / "task.parquet")
        table = pyarrow.parquet.read_table(tmp_path / "task.parquet")
        assert table.column_names == ["id", "subject", "question", "choices", "answer", "probs", "rest"]
        assert table["answer"].to_pylist() == [0, None, 3, 1]
        assert table["question"].to_pylist() == list(predictions.questions)
        assert [[len(member) for member in row] for row in table["probs"].to_pylist()] == [
            [3] * 3,
            [2] * 3,
            [4] * 3,
            [3] * 3,
        ]
        assert table["probs"][1].as_py() == predictions.probs[:, 1, :2].tolist()
        assert table["rest"][1].as_py() == predictions.rest[:, 1].tolist()
        assert json.loads(table.schema.metadata[b"kvorum"]) == predictions.facts

    def test_the_axis_of_candidates_is_as_long_as_the_longest_question_needs(self, tmp_path):
        make((2, 5)).select(examples=[0]).save(tmp_path / "task.parquet")
        assert Predictions.load(tmp_path / "task.parquet").probs.shape == (3, 1, 2)

    def test_saving_replaces_and_a_failure_keeps_the_old_file(self, tmp_path):
        path = tmp_path / "task.parquet"
        make(seed=1).save(path)
        make(seed=2).save(path)
        broken = make(facts={"model": object()})
        with pytest.raises(KvorumError, match=r"task\.parquet: the facts are not what JSON can hold"):
            broken.save(path)
        assert_same(Predictions.load(path), make(seed=2))
        assert list(tmp_path.iterdir()) == [path]

    def test_what_no_file_can_hold_is_refused(self, tmp_path):
        path = tmp_path / "task.parquet"
        for facts in ({"loss": float("nan")}, {"model": "\ud800"}):
            with pytest.raises(KvorumError, match=r"task\.parquet: the facts"):
                make(facts=facts).save(path)
        with pytest.raises(KvorumError, match=r"task\.parquet: a text is no valid Unicode"):
            make(questions=("a", "b", "\ud800", "d")).save(path)
        with pytest.raises(KvorumError, match="no question to save"):
            make().select(examples=[]).save(path)
        assert not path.exists()

    def test_a_file_from_another_writer_with_wider_types_and_other_columns_is_read(self, tmp_path):
        predictions = make()
        predictions.save(tmp_path / "mine.parquet")
        table = pyarrow.parquet.read_table(tmp_path / "mine.parquet")
        other = table.select(list(reversed(table.column_names))).append_column("note", pa.array(["x"] * 4))
        large = pa.schema(
            [
                field.with_type(
                    pa.large_list(field.type.value_type) if pa.types.is_list(field.type) else pa.large_string()
                )
                if field.name not in ("answer", "note")
                else field
                for field in other.schema
            ],
            metadata=other.schema.metadata,
        )
        pyarrow.parquet.write_table(other.cast(large), tmp_path / "other.parquet", row_group_size=2)
        assert_same(Predictions.load(tmp_path / "other.parquet"), predictions)


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "таблица task.parquet"
    make().save(path)
    return path


def rewritten(path, change) -> None:
    """The same file with its rows changed, by another writer."""
    table = pyarrow.parquet.read_table(path)
    rows = table.to_pylist()
    change(rows)
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows).replace_schema_metadata(table.schema.metadata), path)


class TestDamagedFile:
    def test_one_that_is_not_there(self, tmp_path):
        for path in (tmp_path / "none.parquet", tmp_path):
            with pytest.raises(KvorumError, match="there is no such file"):
                Predictions.load(path)

    @pytest.mark.parametrize(
        "content", [b"", b"PAR1", b"PAR1" * 4, b"id,answer\n1,2\n", bytes(5000), b"\x89PNG\r\n" * 99]
    )
    def test_one_that_is_no_parquet(self, tmp_path, content):
        path = tmp_path / "x.parquet"
        path.write_bytes(content)
        with pytest.raises(KvorumError, match=r"x\.parquet: this is no file of predictions, or a damaged one"):
            Predictions.load(path)

    def test_one_cut_short_anywhere(self, saved):
        whole = saved.read_bytes()
        for length in range(0, len(whole), 37):
            saved.write_bytes(whole[:length])
            with pytest.raises(KvorumError, match=r"таблица task\.parquet: "):
                Predictions.load(saved)

    def test_one_with_a_byte_changed_is_refused_or_reads_as_probabilities(self, saved):
        whole = saved.read_bytes()
        refused = 0
        for place in range(0, len(whole), 11):
            changed = bytearray(whole)
            changed[place] ^= 0xFF
            saved.write_bytes(changed)
            try:
                Predictions.load(saved)
            except KvorumError as error:
                assert str(saved) in str(error)
                refused += 1
        assert refused > 100

    def test_a_number_changed_by_one_bit_is_never_read(self, saved):
        """Most such changes would still be probabilities; a checksum tells."""
        with pyarrow.parquet.ParquetFile(saved) as file:
            column = file.metadata.row_group(0).column(5)
        assert column.path_in_schema.startswith("probs")
        start, whole = column.dictionary_page_offset, saved.read_bytes()
        refused = 0
        for place in range(start, start + column.total_compressed_size):
            changed = bytearray(whole)
            changed[place] ^= 1
            saved.write_bytes(changed)
            try:
                found = Predictions.load(saved)
            except KvorumError:
                refused += 1
            else:
                assert_same(found, make())
        assert refused > column.total_compressed_size / 2

    @pytest.mark.parametrize("column", ["id", "subject", "question", "choices", "answer", "probs", "rest"])
    def test_a_missing_column_is_named_with_the_nearest(self, saved, column):
        table = pyarrow.parquet.read_table(saved)
        names = [name + "_x" if name == column else name for name in table.column_names]
        pyarrow.parquet.write_table(table.rename_columns(names), saved)
        with pytest.raises(
            KvorumError, match=f"task.parquet: there is no column '{column}'; did you mean .*'{column}_x'"
        ):
            Predictions.load(saved)

    def test_a_column_that_is_there_twice(self, saved):
        table = pyarrow.parquet.read_table(saved)
        pyarrow.parquet.write_table(table.append_column("id", table["id"]), saved)
        with pytest.raises(KvorumError, match="there are 2 columns 'id'"):
            Predictions.load(saved)

    @pytest.mark.parametrize("column", ["choices", "answer", "probs", "rest"])
    def test_a_column_of_another_type(self, saved, column):
        table = pyarrow.parquet.read_table(saved)
        place = table.column_names.index(column)
        pyarrow.parquet.write_table(table.set_column(place, column, pa.array(["x"] * 4)), saved)
        with pytest.raises(KvorumError, match=r"таблица task\.parquet"):
            Predictions.load(saved)

    @pytest.mark.parametrize("column", ["id", "subject", "question", "choices", "probs", "rest"])
    def test_a_null(self, saved, column):
        rewritten(saved, lambda rows: rows[2].update({column: None}))
        with pytest.raises(KvorumError, match=f"row 3: '{column}' is null"):
            Predictions.load(saved)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (
                lambda row: row["probs"].pop(),
                r"row 2: 'probs' holds lists of \[2, 2\] numbers; expected one a member \(3\)",
            ),
            (lambda row: row["probs"][1].pop(), r"row 2: 'probs' holds lists of \[2, 1, 2\] numbers"),
            (lambda row: row["probs"][1].append(0.0), r"row 2: 'probs' holds lists of \[2, 3, 2\] numbers"),
            (lambda row: row["probs"].__setitem__(0, None), r"row 2: 'probs' holds lists of \[None, 2, 2\] numbers"),
            (lambda row: row["rest"].pop(), "row 2: 'rest' holds 2 numbers; expected 3, as in row 1"),
            (lambda row: row["choices"].append("more"), r"row 2: 'probs' holds .* each of one number a choice \(3\)"),
            (lambda row: row["choices"].__setitem__(0, None), "row 2: 'choices' holds a null"),
            (lambda row: row.update(choices=[], probs=[[], [], []]), "row 2 .* has 0 choices"),
            (lambda row: row["probs"][1].__setitem__(0, None), "row 2 .*member 1.* expected each from 0 to 1"),
            (lambda row: row["probs"][1].__setitem__(0, 5.0), "row 2 .*member 1.* expected a sum of 1"),
            (lambda row: row["rest"].__setitem__(2, None), "row 2 .*member 2.* expected each from 0 to 1"),
            (lambda row: row.update(answer=2), "row 2 .*the answer is 2; expected 0 to 1"),
        ],
    )
    def test_rows_that_do_not_fit_are_named(self, saved, change, message):
        rewritten(saved, lambda rows: change(rows[1]))
        with pytest.raises(KvorumError, match=rf"таблица task\.parquet: {message}"):
            Predictions.load(saved)

    def test_no_member_at_all(self, saved):
        rewritten(saved, lambda rows: [row.update(rest=[], probs=[]) for row in rows])
        with pytest.raises(KvorumError, match=r"task\.parquet"):
            Predictions.load(saved)

    def test_no_question_at_all(self, saved):
        pyarrow.parquet.write_table(pyarrow.parquet.read_table(saved).slice(0, 0), saved)
        with pytest.raises(KvorumError, match="there is no question in it"):
            Predictions.load(saved)

    @pytest.mark.parametrize(
        ("metadata", "message"),
        [
            (None, "has no 'kvorum' entry"),
            ({"kvorum": "{"}, "is no JSON"),
            ({"kvorum": "[" * 100_000}, "is no JSON"),
            ({"kvorum": b"\xff"}, "is no JSON"),
            ({"kvorum": "[1]"}, "is a list; expected an object"),
        ],
    )
    def test_facts_that_are_none(self, saved, metadata, message):
        table = pyarrow.parquet.read_table(saved)
        pyarrow.parquet.write_table(table.replace_schema_metadata(metadata), saved)
        with pytest.raises(KvorumError, match=f"task.parquet: .*{message}"):
            Predictions.load(saved)

    def test_text_that_is_no_unicode(self, saved):
        table = pyarrow.parquet.read_table(saved)
        wrong = pa.array([b"a", b"\xff\xfe", b"c", b"d"]).view(pa.string())
        pyarrow.parquet.write_table(table.set_column(2, table.schema.field("question"), wrong), saved)
        with pytest.raises(KvorumError, match=r"task\.parquet: this is no file of predictions, or a damaged one"):
            Predictions.load(saved)


def test_torch_and_parquet_are_not_imported_until_needed():
    code = "import sys, kvorum.predictions; print(sorted({'torch', 'pyarrow', 'sklearn', 'scipy'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"

import functools
import logging
from collections import Counter

import datasets
import pyarrow
import pyarrow.parquet
import pytest

from kvorum.errors import KvorumError
from kvorum.tasks import load_task, mmlu
from kvorum.tasks.published import PUBLISHED

COUNTS = {
    "commonsense_qa": (9741, 1221),
    "mmlu": (0, 14042),
    "mmlu_stem": (0, 3153),
    "mmlu_social_sciences": (0, 3077),
    "mmlu_humanities": (0, 4705),
    "mmlu_other": (0, 3107),
    "arc_challenge": (1119, 1172),
    "arc_easy": (2251, 2376),
    "openbookqa": (4957, 500),
}

COMMONSENSE = [
    {
        "id": "q1",
        "question": "Where is a fruit?",
        "question_concept": "fruit",
        "choices": {"label": ["A", "B", "C"], "text": ["tree", " tree", "sea "]},
        "answerKey": "C",
    },
    {
        "id": "q2",
        "question": "Who {{barks}}?",
        "question_concept": "bark",
        "choices": {"label": ["1", "2", "3", "4"], "text": ["cat", "dog", "cow", "hen"]},
        "answerKey": "2",
    },
]
MMLU = [
    {"question": "1 + 1?", "subject": "abstract_algebra", "choices": ["1", "2", "3", "4"], "answer": 1},
    {"question": "Who?", "subject": "sociology", "choices": ["w", "x", "y", "z"], "answer": 0},
    {"question": "2 + 2?", "subject": "abstract_algebra", "choices": ["1", "2", "3", "4"], "answer": 3},
    {"question": "What?", "subject": "sociology", "choices": ["w", "x", "y", "z"], "answer": 3},
]


def write(root, path, rows):
    path = root / path
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)


@pytest.fixture
def mirror(tmp_path):
    write(tmp_path, "tau/commonsense_qa/default/train.parquet", COMMONSENSE)
    write(tmp_path, "tau/commonsense_qa/default/validation.parquet", COMMONSENSE[:1])
    write(tmp_path, "cais/mmlu/all/test.parquet", MMLU)
    return tmp_path


@pytest.fixture
def hub(monkeypatch):
    """`datasets.load_dataset` as it is called, serving the Parquet files of a folder."""
    calls = []

    def serve(root):
        def load_dataset(path, name=None, *, split=None):
            calls.append((path, name, split))
            table = pyarrow.parquet.read_table(root / path / name / f"{split}.parquet")
            return datasets.Dataset(table)

        monkeypatch.setattr(datasets, "load_dataset", load_dataset)
        return calls

    return serve


class TestMirror:
    def test_labels_become_indices_and_texts_stay(self, mirror):
        task = load_task("commonsense_qa", data_root=mirror)
        first, second = task.train
        assert (first.id, first.choices, first.answer, first.subject) == ("q1", ("tree", "tree", "sea"), 2, "")
        assert (second.question, second.answer) == ("Who {{barks}}?", 1)
        assert [question.id for question in task.test] == ["q1"]
        assert (task.name, task.train_split, task.test_split) == ("commonsense_qa", "train", "validation")
        assert task.source == "tau/commonsense_qa (mirror)"
        assert not task.tested_on_train

    def test_mmlu_is_numbered_within_subjects_and_has_no_train_split(self, mirror):
        everything = load_task("mmlu", data_root=str(mirror))
        assert [q.id for q in everything.test] == [
            "abstract_algebra/1",
            "sociology/1",
            "abstract_algebra/2",
            "sociology/2",
        ]
        assert (everything.train, everything.train_split) == ((), "")
        group = load_task("mmlu_social_sciences", data_root=mirror)
        assert [(q.id, q.answer, q.subject) for q in group.test] == [
            ("sociology/1", 0, "sociology"),
            ("sociology/2", 3, "sociology"),
        ]

    def test_equal_choices_stay_and_are_told_of(self, mirror, caplog):
        caplog.set_level(logging.INFO)
        load_task("commonsense_qa", data_root=mirror)
        assert "1 questions have two equal choices" in caplog.text

    def test_the_environment_names_it_too(self, mirror, monkeypatch):
        monkeypatch.setenv("KVORUM_DATA", str(mirror))
        assert load_task("mmlu").source == "cais/mmlu (mirror)"
        with pytest.raises(KvorumError, match="not in the data root"):
            load_task("mmlu", data_root=mirror / "elsewhere")

    def test_an_absent_set(self, mirror):
        with pytest.raises(
            KvorumError, match=r"'arc_easy' is not in the data root .*<hub id>/<config>/<split>.parquet"
        ):
            load_task("arc_easy", data_root=mirror)

    def test_a_group_without_questions(self, mirror):
        with pytest.raises(KvorumError, match=r"task 'mmlu_other' \(cais/mmlu \(mirror\)\) holds no questions"):
            load_task("mmlu_other", data_root=mirror)

    def test_a_damaged_file(self, mirror):
        path = mirror / "cais/mmlu/all/test.parquet"
        path.write_bytes(path.read_bytes()[:100])
        with pytest.raises(KvorumError, match=f"{path}: not a readable Parquet file"):
            load_task("mmlu", data_root=mirror)

    def test_a_missing_column(self, mirror):
        write(mirror, "cais/mmlu/all/test.parquet", [{**row, "answers": row["answer"]} for row in MMLU])
        load_task("mmlu", data_root=mirror)
        without = [{"answers" if field == "answer" else field: value for field, value in row.items()} for row in MMLU]
        write(mirror, "cais/mmlu/all/test.parquet", without)
        with pytest.raises(KvorumError, match=r"there is no column 'answer'; did you mean 'answers'\?"):
            load_task("mmlu", data_root=mirror)

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"choices": None}, "not a row in the schema"),
            ({"choices": ["w", None]}, "not a row in the schema"),
            ({"choices": ["w"]}, "only one choice"),
            ({"question": None}, "not a row in the schema"),
            ({"question": " "}, "'question' is empty"),
            ({"answer": 4}, "'answer' is 4"),
            ({"answer": None}, "not a row in the schema"),
        ],
    )
    def test_a_bad_row(self, mirror, change, said):
        rows = [MMLU[0], MMLU[1] | change, *MMLU[2:]]
        path = "cais/mmlu/all/test.parquet"
        write(mirror, path, rows)
        with pytest.raises(KvorumError, match=f"{mirror / path}, row 2: .*{said}"):
            load_task("mmlu", data_root=mirror)
        task = load_task("mmlu", data_root=mirror, skip_bad_rows=True)
        # The others keep their ids.
        assert [q.id for q in task.test] == ["abstract_algebra/1", "abstract_algebra/2", "sociology/2"]
        assert len(task.skipped) == 1

    def test_a_label_that_is_none(self, mirror):
        write(mirror, "tau/commonsense_qa/default/train.parquet", [COMMONSENSE[0] | {"answerKey": "D"}])
        with pytest.raises(KvorumError, match="row 1: 'answerKey' is 'D', which is none of the labels A, B, C"):
            load_task("commonsense_qa", data_root=mirror)

    def test_an_unpublished_answer(self, mirror):
        write(mirror, "tau/commonsense_qa/default/validation.parquet", [COMMONSENSE[0] | {"answerKey": ""}])
        assert load_task("commonsense_qa", data_root=mirror).test[0].answer is None


class TestHub:
    @pytest.mark.parametrize("name", ["commonsense_qa", "mmlu", "mmlu_stem"])
    def test_it_reads_what_the_mirror_reads(self, mirror, hub, name):
        calls = hub(mirror)
        from_hub, from_mirror = load_task(name), load_task(name, data_root=mirror)
        assert (from_hub.train, from_hub.test) == (from_mirror.train, from_mirror.test)
        published = PUBLISHED[name]
        assert from_hub.source == f"{published.hub_id} (hub)"
        splits = [split for split in (published.train_split, published.test_split) if split]
        assert calls == [(published.hub_id, published.config, split) for split in splits]

    @pytest.mark.parametrize(
        "error",
        [
            ConnectionError("Couldn't reach 'cais/mmlu' on the Hub (OfflineModeIsEnabled)"),
            datasets.exceptions.DatasetNotFoundError("Dataset 'cais/mmlu' doesn't exist"),
            ValueError("Unknown split 'test'"),
            datasets.exceptions.DatasetGenerationError("An error occurred"),
        ],
    )
    def test_what_the_hub_refuses_is_an_error_with_a_way_out(self, monkeypatch, error):
        def load_dataset(*_, **__):
            raise error

        monkeypatch.setattr(datasets, "load_dataset", load_dataset)
        with pytest.raises(
            KvorumError, match=r"cannot get cais/mmlu \(all, test\) .*--data-root .* names a folder"
        ) as raised:
            load_task("mmlu")
        assert str(error) in str(raised.value)

    def test_without_a_network(self, monkeypatch):
        # datasets reads its switch when it is imported; the real function is asked, and asks nobody.
        monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        with pytest.raises(KvorumError, match=r"cannot get cais/mmlu .*--data-root"):
            load_task("mmlu")


def test_the_groups_of_mmlu_are_57_subjects():
    groups = (mmlu.STEM, mmlu.SOCIAL_SCIENCES, mmlu.HUMANITIES, mmlu.OTHER)
    subjects = Counter(subject for group in groups for subject in group)
    assert len(subjects) == subjects.total() == 57


@functools.cache
def real(name, root):
    return load_task(name, data_root=root)


class TestRealSets:
    @pytest.mark.parametrize("name", PUBLISHED)
    def test_published_counts(self, question_sets, name):
        task = real(name, question_sets)
        assert (len(task.train), len(task.test)) == COUNTS[name]
        assert all(question.answer is not None for question in task.train + task.test)
        assert not {question.id for question in task.train} & {question.id for question in task.test}

    def test_the_groups_of_mmlu_add_up(self, question_sets):
        groups = ["mmlu_stem", "mmlu_social_sciences", "mmlu_humanities", "mmlu_other"]
        together = [question for name in groups for question in real(name, question_sets).test]
        everything = real("mmlu", question_sets).test
        assert sorted(together, key=lambda q: q.id) == sorted(everything, key=lambda q: q.id)

    def test_the_hub_reads_them_alike(self, question_sets, hub):
        hub(question_sets)
        for name in ("arc_challenge", "openbookqa"):
            assert load_task(name).train == real(name, question_sets).train

    def test_an_answer_by_hand(self, question_sets):
        first = real("commonsense_qa", question_sets).train[0]
        assert first.id == "075e483d21c29a511267ef62bedc0461"
        assert first.choices[first.answer] == "ignore"

import csv
import json
import logging

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvorum.errors import KvorumError
from kvorum.tasks import Question, load_task

ROWS = [
    {"question": "Which is a fruit?", "choices": ["apple", "stone", "cup"], "answer": 0},
    {
        "question": 'Which, "quoted", is\na city?',
        "choices": ["Rome", "a, b"],
        "answer": "a",
        "id": "x7",
        "subject": "geo",
    },
    {"question": "  Which is 4? {{ 1 }} <b>", "choices": ["2", "4", "5"], "answer": "4"},
]
READ = (
    Question(id="mine/1", question=ROWS[0]["question"], choices=("apple", "stone", "cup"), answer=0),
    Question(id="x7", question=ROWS[1]["question"], choices=("Rome", "a, b"), answer=0, subject="geo"),
    Question(id="mine/3", question=ROWS[2]["question"], choices=("2", "4", "5"), answer=1),
)


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_csv(path, header, *rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def write_parquet(path, rows):
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


class TestGoodFiles:
    def test_jsonl(self, tmp_path):
        task = load_task(write_jsonl(tmp_path / "mine.jsonl", ROWS))
        assert task.test == READ
        assert task.train == READ
        assert (task.name, task.source, task.train_split, task.test_split) == ("mine", "mine.jsonl", "all", "all")
        assert task.tested_on_train

    def test_csv_with_a_json_list(self, tmp_path):
        cells = [
            [r.get(f, "") for f in ("id", "question", "subject", "answer")] + [json.dumps(r["choices"])] for r in ROWS
        ]
        path = write_csv(tmp_path / "mine.csv", ["id", "question", "subject", "answer", "choices"], *cells)
        assert load_task(path).test == READ

    def test_csv_with_a_column_for_each_choice(self, tmp_path):
        header = ["question", "choice_0", "choice_1", "choice_2", "answer", "id", "subject"]
        cells = [
            [
                r["question"],
                *r["choices"],
                *[""] * (3 - len(r["choices"])),
                r["answer"],
                r.get("id", ""),
                r.get("subject", ""),
            ]
            for r in ROWS
        ]
        assert load_task(write_csv(tmp_path / "mine.csv", header, *cells)).test == READ

    def test_parquet(self, tmp_path):
        rows = [{"id": None, "subject": None} | row | {"answer": str(row["answer"])} for row in ROWS]
        assert load_task(write_parquet(tmp_path / "mine.parquet", rows)).test == READ

    def test_parquet_answers_with_gaps_are_floats(self, tmp_path):
        rows = [{**ROWS[0], "answer": 2.0}, {**ROWS[0], "answer": None}, {**ROWS[0], "answer": float("nan")}]
        questions = load_task(write_parquet(tmp_path / "mine.parquet", rows)).test
        assert [question.answer for question in questions] == [2, None, None]

    def test_what_a_spreadsheet_writes(self, tmp_path):
        path = tmp_path / "Mine.CSV"
        lines = [
            "\ufeffquestion, choice_0,choice_1,answer,notes",
            "État?,oui,non,(B),x",
            ",,,,",
            "",
            "Qui?,tu,il,,",
            "",
        ]
        path.write_bytes("\r\n".join(lines).encode())
        first, second = load_task(path).test
        assert (first.id, first.question, first.choices, first.answer) == ("Mine/1", "État?", ("oui", "non"), 1)
        assert (second.id, second.answer) == ("Mine/2", None)

    def test_blank_lines_of_jsonl_count_as_lines(self, tmp_path):
        path = tmp_path / "mine.jsonl"
        path.write_text("\n" + json.dumps(ROWS[0]) + "\r\n\n" + json.dumps(ROWS[2]))
        assert [question.id for question in load_task(path).test] == ["mine/2", "mine/4"]

    def test_answers_may_be_unknown(self, tmp_path):
        rows = [
            {"question": "Which?", "choices": ["x", "y"]},
            {"question": "Which?", "choices": ["x", "y"], "answer": None},
        ]
        assert [q.answer for q in load_task(write_jsonl(tmp_path / "mine.jsonl", rows)).test] == [None, None]

    def test_whole_numbers_are_ids(self, tmp_path):
        assert load_task(write_jsonl(tmp_path / "mine.jsonl", [{**ROWS[0], "id": 12}])).test[0].id == "12"


@pytest.mark.parametrize(
    ("choices", "answer", "index"),
    [
        (["one", "two", "three"], 2, 2),
        (["one", "two", "three"], "2", 2),
        (["one", "two", "three"], "1.0", 1),
        (["one", "two", "three"], "b", 1),
        (["one", "two", "three"], "B", 1),
        (["one", "two", "three"], "(c)", 2),
        (["one", "two", "three"], "a)", 0),
        (["one", "two", "three"], " three ", 2),
        # A text comes first, then a letter, then an index; a number is never a text.
        (["b", "a"], "a", 1),
        (["B", "A"], "a", 0),
        (["3", "2", "0"], "2", 1),
        (["3", "2", "0"], 2, 2),
        (["10", "20", "30"], "1", 1),
        (["1", "2"], "2", 1),
    ],
)
def test_ways_to_give_an_answer(tmp_path, choices, answer, index):
    row = {"question": "Which?", "choices": choices, "answer": answer}
    assert load_task(write_jsonl(tmp_path / "mine.jsonl", [row])).test[0].answer == index


def test_an_answer_with_two_meanings_is_told_of(tmp_path, caplog):
    rows = [{"question": f"Which {n}?", "choices": ["2", "4", "6"], "answer": "2"} for n in range(3)]
    load_task(write_jsonl(tmp_path / "mine.jsonl", [ROWS[0], *rows]))
    [message] = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert "the letter or index of another: 3" in message
    assert "the first in line 2" in message


GOOD = {"question": "Which?", "choices": ["x", "y"], "answer": 0}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"qestion": "Which?", "choices": ["x", "y"]}, r"no 'question'; did you mean 'qestion'\?"),
        (
            {"question": "Which?", "choises": ["x", "y"]},
            r"no 'choices', nor 'choice_0' and so on; did you mean 'choises'\?",
        ),
        ({"question": "Which?", "choices": ["x", "y"], "anwser": 0}, "'anwser' but no 'answer'; rename it"),
        ({"question": "Which?", "choices": ["x", "y"], "answerKey": "A"}, "'answerKey' but no 'answer'"),
        ({"question": "Which?", "choices": ["x", "y"], "label": 1}, "'label' but no 'answer'"),
        (GOOD | {"question": ""}, "'question' is empty"),
        (GOOD | {"question": None}, "'question' is empty"),
        (GOOD | {"question": 7}, "'question' is 7, which is no text"),
        (GOOD | {"choices": ["x"]}, "'choices': only one choice, 'x'"),
        (GOOD | {"choices": []}, "'choices': no choices"),
        (GOOD | {"choices": ["x", ""]}, r"'choices': choice 1 \(counted from 0\) is empty"),
        (GOOD | {"choices": ["x", " x"]}, "'choices': 'x' is there twice, as choices 0 and 1"),
        (GOOD | {"choices": ["x", 2]}, "'choices': choice 1 .* is 2, which is no text; write it as text, in quotes"),
        (GOOD | {"choices": ["x", None]}, "'choices': choice 1 .* is None, which is no text"),
        (GOOD | {"choices": "x, y"}, "'choices' is 'x, y', which is no list"),
        (GOOD | {"choices": {"text": ["x"], "label": ["A"]}}, "'choices' is {'text'.*, which is no list"),
        (GOOD | {"choice_0": "x"}, "both 'choices' and 'choice_0'"),
        ({"question": "Which?", "choice_1": "x", "choice_2": "y"}, "no 'choice_0'; choices count from 0"),
        (GOOD | {"answer": 2}, "'answer' is 2, which is no index of 2 choices, counted from 0"),
        (GOOD | {"answer": -1}, "'answer' is -1, which is no index"),
        (GOOD | {"answer": "2"}, "'answer' is '2', which is neither"),
        (
            GOOD | {"answer": "c"},
            "'answer' is 'c', which is neither the text of a choice, nor its letter, nor its index",
        ),
        (GOOD | {"answer": ""}, "'answer' is '', which is neither"),
        (GOOD | {"choices": ["Paris", "Rome"], "answer": "paris"}, r"did you mean 'Paris'\?"),
        (GOOD | {"answer": True}, "'answer' is True, which is neither"),
        (GOOD | {"answer": 0.5}, "'answer' is 0.5, which is neither"),
        (GOOD | {"answer": float("inf")}, "'answer' is inf, which is neither"),
        (GOOD | {"answer": ["x"]}, r"'answer' is \['x'\], which is neither"),
        (GOOD | {"id": 1.5}, "'id' is 1.5"),
        (GOOD | {"id": "one"}, "'id' is 'one', as in line 1 already"),
        (GOOD | {"subject": 3}, "'subject' is 3, which is no text"),
        (GOOD | {"question": "half \ud83d"}, "'question' holds half a character"),
        ([GOOD], "is no JSON object; each line is one"),
        ("text", "is no JSON object"),
        (None, "null is no JSON object"),
    ],
)
class TestBadRows:
    def test_an_error_names_file_line_and_field(self, tmp_path, row, said):
        path = write_jsonl(tmp_path / "mine.jsonl", [GOOD | {"id": "one"}, row])
        with pytest.raises(KvorumError, match=said) as raised:
            load_task(path)
        assert str(raised.value).startswith(f"{path}, line 2: ")
        assert str(raised.value).endswith("\n(--skip-bad-rows leaves such rows out and tells of them)")

    def test_skipping_leaves_it_out_and_tells(self, tmp_path, caplog, row, said):
        path = write_jsonl(tmp_path / "mine.jsonl", [GOOD | {"id": "one"}, row, GOOD])
        task = load_task(path, skip_bad_rows=True)
        assert [question.id for question in task.test] == ["one", "mine/3"]
        [message] = task.skipped
        assert message.startswith(f"{path}, line 2: ")
        assert "bad rows left out: 1" in caplog.text


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("mine.jsonl", b"", "holds no questions: it is empty"),
        ("mine.jsonl", b"\n\n", "holds no questions: it is empty"),
        ("mine.jsonl", b"[\n{", r"line 1: not JSON: Expecting value \(column 2\); each line is one JSON object"),
        ("mine.jsonl", b"{'question': 1}", "line 1: not JSON: Expecting property name"),
        ("mine.jsonl", b'{"question": "\xff"}', r"line 1: not UTF-8 text \(byte 14 of the line\)"),
        ("mine.jsonl", b"[" * 100_000, "line 1: not JSON that can be read"),
        ("mine.jsonl", b'{"answer": ' + b"1" * 5000 + b"}", "line 1: not JSON that can be read"),
        ("mine.csv", b"", "holds no questions: it is empty"),
        ("mine.csv", b"question,choices,answer\n", "holds no questions: it is empty"),
        (
            "mine.csv",
            b"question;choices;answer\nWhich?;x;0\n",
            "one column, called 'question;choices;answer'; .* by commas",
        ),
        ("mine.csv", b"questions,choice_0,choice_1\n", r"columns: there is no 'question'; did you mean 'questions'\?"),
        ("mine.csv", b"question,choice_0,choice_1,answers\n", "columns: there is 'answers' but no 'answer'"),
        ("mine.csv", b"question,answer\n", "columns: there is no 'choices', nor 'choice_0'"),
        ("mine.csv", b"question,question,choices\n", "the column 'question' is there twice"),
        ("mine.csv", b"question,choices\nWhich?,\"['x', 'y']\"\n", "row 1: 'choices' is .*, which is no JSON list"),
        ("mine.csv", b"question,choices\nWhich?,7\n", "row 1: 'choices' is 7, which is no list of texts"),
        ("mine.csv", b"question,choice_0,choice_1\nWhich, one?,x,y\n", "row 1: 4 cells under 3 columns; quote a cell"),
        ("mine.csv", b"question,choice_0,choice_1\nWhich?,x\n", "row 1: 2 cells under 3 columns"),
        ("mine.csv", b"question,choice_0,choice_1,choice_2\nWhich?,x,,y\n", r"row 1: 'choices': choice 1 .* is empty"),
        (
            "mine.csv",
            b'question,choice_0,choice_1\nA?,x,y\n"open,x,y\n',
            "not valid CSV after row 1: unexpected end of data",
        ),
        (
            "mine.csv",
            "question,choice_0,choice_1\nWhich é?,x,y\n".encode("latin-1"),
            "not UTF-8 text, somewhere after row 0; save it as CSV in UTF-8",
        ),
        ("mine.csv", "question,choice_0".encode("utf-16"), "not UTF-8 text"),
        ("mine.parquet", b"", "not a readable Parquet file"),
        ("mine.parquet", b"PAR1 and then nothing PAR1", "not a readable Parquet file"),
        ("mine.json", b"{}", "a task's file ends in .jsonl, .csv, .parquet, but this is 'mine.json'"),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path, name, content, said):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(KvorumError, match=said) as raised:
        load_task(path)
    assert str(path) in str(raised.value)


def test_a_parquet_file_without_the_columns(tmp_path):
    path = write_parquet(tmp_path / "mine.parquet", [{"question": "Which?", "options": ["x", "y"]}])
    with pytest.raises(KvorumError, match="columns: there is no 'choices', nor 'choice_0' and so on"):
        load_task(path)


def test_a_parquet_file_with_no_text_in_its_text(tmp_path):
    not_text = pyarrow.array([b"\xff\xfe"]).view(pyarrow.string())
    table = pyarrow.table({"question": not_text, "choices": [["x", "y"]]})
    pyarrow.parquet.write_table(table, tmp_path / "mine.parquet")
    with pytest.raises(KvorumError, match="not a readable Parquet file"):
        load_task(tmp_path / "mine.parquet")


def test_where_every_row_is_bad_skipping_does_not_help(tmp_path):
    path = write_jsonl(tmp_path / "mine.jsonl", [{"question": ""}, {"question": ""}])
    with pytest.raises(KvorumError, match=r"holds no questions: every row is bad \(2\), the first: .*, line 1"):
        load_task(path, skip_bad_rows=True)


def test_an_absent_file(tmp_path):
    write_jsonl(tmp_path / "questions.jsonl", [GOOD])
    with pytest.raises(KvorumError, match=r"no file 'question.jsonl' in .*; did you mean 'questions.jsonl'\?"):
        load_task(tmp_path / "question.jsonl")
    with pytest.raises(KvorumError, match=r"no file 'question.jsonl', since there is no folder"):
        load_task(tmp_path / "nowhere" / "question.jsonl")


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / "questions.csv").mkdir()
    with pytest.raises(KvorumError, match="is a folder, not a file"):
        load_task(tmp_path / "questions.csv")
    with pytest.raises(KvorumError, match="but this is a folder"):
        load_task(tmp_path)


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    path = write_jsonl(tmp_path / "mine.jsonl", [GOOD])
    monkeypatch.setattr(type(path), "open", refuse)  # whoever runs the tests may be allowed to read everything
    with pytest.raises(KvorumError, match=r"mine.jsonl: cannot be read: Permission denied"):
        load_task(path)


def test_columns_that_are_not_used_are_told_of(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    load_task(
        write_csv(tmp_path / "mine.csv", ["question", "choice_0", "choice_1", "source"], ["Which?", "x", "y", "web"])
    )
    assert "not used: source" in caplog.text


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda text: text.strip() == text)
rows = st.builds(
    lambda question, choices, place, id: {
        "question": question,
        "choices": choices,
        "answer": place % len(choices),
        "id": id,
    },
    texts,
    st.lists(texts, min_size=2, max_size=6, unique=True),
    st.integers(0, 5),
    texts,
)


@settings(max_examples=40, deadline=None)
@given(st.lists(rows, min_size=1, max_size=4, unique_by=lambda row: row["id"]))
def test_every_kind_of_file_keeps_every_text(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("files")
    expected = [(row["id"], row["question"], tuple(row["choices"]), row["answer"]) for row in rows]
    cells = [[row["id"], row["question"], json.dumps(row["choices"]), row["answer"]] for row in rows]
    jsonl = write_jsonl(folder / "mine.jsonl", rows)
    # An index among choices that are numbers means another thing in CSV, where every cell is text: give the text.
    table = write_csv(
        folder / "mine.csv",
        ["id", "question", "choices", "answer"],
        *([*cell[:3], row["choices"][row["answer"]]] for cell, row in zip(cells, rows, strict=True)),
    )
    for path in (jsonl, table, write_parquet(folder / "mine.parquet", rows)):
        task = load_task(path)
        assert [(q.id, q.question, q.choices, q.answer) for q in task.test] == expected

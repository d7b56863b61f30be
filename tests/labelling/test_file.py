"""A label is in the file at once, as the text of a choice, and not a byte beside it changes."""

import csv
import io
import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvorum.errors import KvorumError
from kvorum.labelling import Changed, LabelFile
from kvorum.labelling import contents as label_contents
from kvorum.labelling.contents import parse_contents
from kvorum.labelling.splice import json_with_answer
from kvorum.tasks import load_task
from tests.labelling.conftest import answers, rows, write_jsonl

TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
SEEN = st.one_of(
    TEXTS, st.sampled_from(['"', 'a"b', "a,b", "a\nb", "a\r\nb", "  a ", "b", "1", "a", "é", "\ufeffx", "'=1"])
)
QUESTIONS = SEEN.filter(lambda text: text.strip())
CHOICES = st.lists(QUESTIONS.map(str.strip), min_size=2, max_size=4, unique=True)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | SEEN,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS, inner, max_size=2),
    max_leaves=4,
)
NAMES = TEXTS.map(lambda text: f"{text} 0123456789")
"""Of columns that are no field, nor alike to one."""
OTHERS = st.dictionaries(NAMES, VALUES, max_size=3)


@st.composite
def labelled(draw: st.DrawFn, count: int) -> list[tuple[int, Any]]:
    """Which rows get which label, some of them several."""
    return draw(st.lists(st.tuples(st.integers(0, count - 1), st.none() | st.integers(0, 1)), min_size=1, max_size=6))


def given_labels(path: Path, labels: list[tuple[int, Any]]) -> dict[int, Any]:
    expected: dict[int, Any] = {}
    with LabelFile(path) as file:
        for place, answer in labels:
            file.label(place, answer)
            expected[place] = answer
            assert file.answers[place] == answer
            assert parse_contents(path, path.read_bytes()).questions[place].answer == answer, "it is there at once"
    return expected


@st.composite
def jsonl_lines(draw: st.DrawFn) -> list[str]:
    lines = []
    for place in range(draw(st.integers(1, 4))):
        row = {"question": draw(QUESTIONS), "choices": draw(CHOICES), "id": f"q{place}"}
        if draw(st.booleans()):
            row["answer"] = None
        items = draw(st.permutations([*row.items(), *draw(OTHERS).items()]))
        text = json.dumps(dict(items), ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 0])))
        lines.append(draw(st.sampled_from(["", " ", "\ufeff"])) + text.replace("\n", draw(st.sampled_from(["", " "]))))
    return lines


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_a_line_of_jsonl_changes_in_its_answer_alone(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("some") / "mine.jsonl"
    ending = data.draw(st.sampled_from(["\n", "\r\n"]))
    before = (ending.join(data.draw(jsonl_lines())) + data.draw(st.sampled_from(["", ending, ending * 2]))).encode()
    path.write_bytes(before)
    count = len(load_task(path).test)
    expected = given_labels(path, data.draw(labelled(count)))
    questions = load_task(path).test
    assert [one.answer for one in questions] == [expected.get(place) for place in range(count)]
    old, new = before.split(b"\n"), path.read_bytes().split(b"\n")
    assert len(old) == len(new)
    for place, (was, now) in enumerate(zip(old, new, strict=True)):
        if place not in expected:
            assert now == was
            continue
        had, has = json.loads(was.decode("utf-8-sig")), json.loads(now.decode("utf-8-sig"))
        answer = expected[place]
        assert has.pop("answer") == (None if answer is None else had["choices"][answer])
        had.pop("answer", None)
        assert repr(has) == repr(had), "NaN, too, and in the same order"


@st.composite
def csv_text(draw: st.DrawFn) -> str:
    """A header with or without a column for answers, and rows; quoted as it comes."""
    others = draw(st.lists(st.sampled_from(["score", "note, too", 'a "name"']), unique=True, max_size=2))
    names = ["question", "choice_0", "choice_1", "choice_2", *others, *draw(st.sampled_from([["answer"], []]))]
    names = draw(st.permutations(names))
    out = io.StringIO(newline="")
    # Before Python 3.13 the writer quotes no lone \r where lines end in \n.
    quoting, ending = draw(
        st.sampled_from([(csv.QUOTE_MINIMAL, "\r\n"), (csv.QUOTE_ALL, "\r\n"), (csv.QUOTE_ALL, "\n")])
    )
    writer = csv.writer(out, quoting=quoting, lineterminator=ending)
    writer.writerow(names)
    for _ in range(draw(st.integers(1, 4))):
        choices = draw(CHOICES)
        row = {"question": draw(QUESTIONS), "answer": "", **{name: draw(SEEN) for name in others}}
        row |= {f"choice_{place}": choices[place] if place < len(choices) else "" for place in range(3)}
        writer.writerow([row[name] for name in names])
        if draw(st.integers(0, 3)) == 0:
            out.write(draw(st.sampled_from(["\n", ",,\n"])))  # rows that are not there
    text = out.getvalue()
    return text.rstrip("\r\n") if draw(st.booleans()) else text


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_a_row_of_csv_changes_in_its_answer_alone(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("some") / "mine.csv"
    text = data.draw(csv_text())
    mark = data.draw(st.sampled_from([b"", b"\xef\xbb\xbf"]))
    path.write_bytes(mark + text.encode())
    count = len(load_task(path).test)
    labels = data.draw(labelled(count))
    expected = given_labels(path, labels)
    assert [one.answer for one in load_task(path).test] == [expected.get(place) for place in range(count)]
    raw = path.read_bytes()
    assert raw.startswith(b"\xef\xbb\xbf") == bool(mark)
    old, new = (list(csv.reader(io.StringIO(one, newline=""))) for one in (text, raw.decode("utf-8-sig")))
    had = "answer" in old[0]
    column = old[0].index("answer") if had else len(old[0])
    assert new[0] == old[0] if had else new[0] == [*old[0], "answer"]
    assert len(new) == len(old)
    used = [place for place, cells in enumerate(old) if place and any(cells)]
    for place, (was, now) in enumerate(zip(old[1:], new[1:], strict=True), start=1):
        if place not in used:
            assert now == was
        else:
            assert now[:column] + now[column + 1 :] == (was[:column] + was[column + 1 :] if had else was)
    if had and all(answer is None for _, answer in labels):
        assert raw == mark + text.encode(), "what is empty is left as it is"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('{"a":{"answer":1},"answer" : "b"  }\n', '{"a":{"answer":1},"answer" : "é"  }\n'),
        ('{"answer": 0, "n": 1.50e0, "answer": null}', '{"answer": 0, "n": 1.50e0, "answer": "é"}'),
        ('{"n": "\\u00e9 }"}\r\n', '{"n": "\\u00e9 }", "answer": "\\u00e9"}\r\n'),
        ('\ufeff {"n": "ü" }', '\ufeff {"n": "ü", "answer": "é" }'),
    ],
)
def test_only_the_answer_of_the_row_itself_is_exchanged(line: str, expected: str) -> None:
    """Not that of something within it; of two the last, which is read; in letters of the file's own kind."""
    ascii_only = line.isascii() and not expected.isascii()
    found = json_with_answer(line, "é")
    assert found == (expected.replace("é", "\\u00e9") if ascii_only else expected)


@pytest.mark.parametrize("cell", ["b", "2", "(a)", "1.0"])
def test_a_choice_that_reads_like_anothers_letter_or_index_is_read_back_as_itself(tmp_path: Path, cell: str) -> None:
    made = [{"question": "?", "choices": ["first", "second", cell], "answer": None}]
    path = write_jsonl(tmp_path / "mine.jsonl", made)
    with LabelFile(path) as file:
        file.label(0, 2)
    assert answers(path) == [cell] and load_task(path).test[0].answer == 2


def test_a_label_given_as_letter_or_index_stays_until_it_is_changed(tmp_path: Path) -> None:
    made = rows(3)
    made[0]["answer"], made[1]["answer"] = "b", 2
    path = write_jsonl(tmp_path / "mine.jsonl", made)
    with LabelFile(path) as file:
        assert (file.answers, file.labelled, file.left) == ((1, 2, None), 2, (2,))
        file.label(2, 0)
        assert answers(path) == ["b", 2, "2"] and file.left == ()
        file.label(0, None)
        assert answers(path) == [None, 2, "2"] and file.left == (0,)


def test_all_labels_that_are_none_of_the_choices_are_named_at_once(tmp_path: Path) -> None:
    made = rows(30)
    for place in range(2, 27):
        made[place]["answer"] = f"wrong {place}"
    with pytest.raises(KvorumError) as error:
        LabelFile(write_jsonl(tmp_path / "mine.jsonl", made))
    lines = str(error.value).splitlines()
    assert lines[0].endswith("mine.jsonl: 25 rows are bad") and lines[-1] == "and 5 more"
    for place, line in enumerate(lines[1:-1], start=2):
        assert line.startswith(f"line {place + 1}: 'answer' is 'wrong {place}'")
    assert len(lines) == 22


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("mine.jsonl", '{"question": "?", "choices": ["a"]}', "mine.jsonl, line 1: 'choices': only one choice"),
        ("mine.jsonl", "\n\nnonsense", "mine.jsonl, line 3: not JSON"),
        ("mine.jsonl", "", "holds no questions"),
        ("mine.csv", "", "holds no questions"),
        ("mine.csv", "\ufeff", "holds no questions"),
        ("mine.csv", "question,choice_0,choice_1,answer\n?,a,b,c\n", "mine.csv, row 1: 'answer' is 'c'"),
        ("mine.csv", "question,choice_0,choice_1,label\n?,a,b,c\n", "there is 'label' but no 'answer'"),
        ("mine.parquet", "", "write it as .jsonl or .csv first"),
        ("mine.xlsx", "", "ends in .jsonl or .csv"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, name: str, content: str, words: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(KvorumError) as error:
        LabelFile(tmp_path / name)
    assert words in str(error.value)
    assert (tmp_path / name).read_text(encoding="utf-8") == content


def test_a_file_that_is_not_there_is_not_made(tmp_path: Path, file: Path) -> None:
    with pytest.raises(KvorumError, match=r"there is no file 'mien.jsonl'.*did you mean 'mine.jsonl'"):
        LabelFile(tmp_path / "mien.jsonl")
    with LabelFile(file) as opened:
        file.unlink()
        with pytest.raises(Changed, match="there is no file"):
            opened.label(0, 1)
    assert not file.exists()


def test_a_file_too_large_to_be_written_at_every_label_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_contents, "LARGEST", 100)
    with pytest.raises(KvorumError, match="longer than 100 bytes"):
        LabelFile(file)


def test_places_and_answers_that_are_none_are_refused(file: Path) -> None:
    before = file.read_bytes()
    with LabelFile(file) as opened:
        for place, answer in ((5, 0), (-1, 0), (0, 3), (0, -1)):
            with pytest.raises(KvorumError, match="counted from 0"):
                opened.label(place, answer)
    assert file.read_bytes() == before


def test_its_rights_stay_and_a_link_stays_a_link(tmp_path: Path, file: Path) -> None:
    file.chmod(0o640)
    link = tmp_path / "link.jsonl"
    link.symlink_to(file.name)
    with LabelFile(link) as opened:
        opened.label(1, 1)
        with pytest.raises(KvorumError, match="another kvorum label"):
            LabelFile(file)
    assert link.is_symlink() and answers(file)[1] == "2"
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


def test_a_link_that_leads_elsewhere_now_destroys_neither_file(tmp_path: Path, file: Path) -> None:
    other = write_jsonl(tmp_path / "other.jsonl", rows(2))
    link = tmp_path / "link.jsonl"
    link.symlink_to(file.name)
    before = file.read_bytes(), other.read_bytes()
    with LabelFile(link) as opened:
        link.unlink()
        link.symlink_to(other.name)
        for act in (opened.refresh, lambda: opened.label(0, 1)):
            with pytest.raises(Changed, match=r"link.jsonl leads to another file now"):
                act()
        assert (file.read_bytes(), other.read_bytes()) == before
        link.unlink()
        link.symlink_to(file.name)
        opened.label(0, 1)
    assert answers(file)[0] == "1" and other.read_bytes() == before[1]


def test_a_read_only_file_is_not_labelled(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.chmod(0o440)
    if os.geteuid() == 0:  # who may write everywhere
        monkeypatch.setattr(os, "access", lambda path, how: how != os.W_OK or not stat.S_IMODE(path.stat().st_mode))
    with pytest.raises(KvorumError, match="read-only"):
        LabelFile(file)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may give files away")
def test_its_owner_stays(file: Path) -> None:
    os.chown(file, 12345, 23456)
    file.chmod(0o640)
    with LabelFile(file) as opened:
        opened.label(0, 0)
    found = file.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (12345, 23456, 0o640)


def test_any_thread_may_close_it(file: Path) -> None:
    opened = LabelFile(file)
    closing = threading.Thread(target=opened.close)
    closing.start()
    closing.join()
    with LabelFile(file) as again:
        again.label(0, 0)


def test_names_as_long_as_the_disk_takes_are_told_apart(tmp_path: Path) -> None:
    first, second = (write_jsonl(tmp_path / f"{'é' * 123}{end}.jsonl", rows(1)) for end in "ab")
    with LabelFile(first) as one, LabelFile(second) as other:
        one.label(0, 0)
        other.label(0, 1)
    assert answers(first) == ["0"] and answers(second) == ["1"]


class TestForeignChanges:
    def test_labels_of_another_program_are_kept(self, file: Path) -> None:
        with LabelFile(file) as opened:
            made = rows(5)
            made[3] |= {"answer": "none", "note": "by hand"}
            write_jsonl(file, made)
            opened.label(0, 1)
            assert opened.answers == (1, None, None, 2, None)
        made[0]["answer"] = "1"
        assert [json.loads(line) for line in file.read_text().splitlines()] == made

    def test_rows_that_move_are_found_again(self, file: Path) -> None:
        with LabelFile(file) as opened:
            made = rows(7)[::-1]
            write_jsonl(file, made)
            opened.label(1, 0)
            opened.label(4, 2)
        assert answers(file) == [None, None, "none", None, None, "1", None]

    def test_rows_without_ids_are_found_by_what_they_ask(self, tmp_path: Path) -> None:
        made = [{"question": f"Which {place}?", "choices": ["a", "b"], "answer": None} for place in range(3)]
        path = write_jsonl(tmp_path / "mine.jsonl", made)
        with LabelFile(path) as opened:
            write_jsonl(path, [{"question": "New?", "choices": ["c", "d"]}, *made])
            opened.label(2, 1)
        assert [json.loads(line).get("answer") for line in path.read_text().splitlines()] == [None, None, None, "b"]

    @pytest.mark.parametrize(
        ("now", "expected"),
        [
            ("New A A B", [None, None, "b", None]),  # as many as before: in their order
            ("B A A", [None, None, "b"]),
            ("A A A B", None),  # one more: which is which?
            ("A B", None),
            ("A A-with-id B", None),
        ],
    )
    def test_of_equal_rows_without_ids_the_right_one_is_labelled_or_none(
        self, tmp_path: Path, now: str, expected: list[str | None] | None
    ) -> None:
        def made(names: str) -> list[dict[str, Any]]:
            both = {"choices": ["a", "b"], "answer": None}
            ids = {"A-with-id": {"id": "mine"}}
            return [{"question": name.partition("-")[0]} | both | ids.get(name, {}) for name in names.split()]

        path = write_jsonl(tmp_path / "mine.jsonl", made("A A B"))
        with LabelFile(path) as opened:
            before = write_jsonl(path, made(now)).read_bytes()
            if expected is None:
                with pytest.raises(Changed, match="no row is certain"):
                    opened.label(1, 1)
                assert path.read_bytes() == before
            else:
                opened.label(1, 1)
                assert answers(path) == expected

    def test_equal_rows_with_ids_are_told_apart_by_them(self, tmp_path: Path) -> None:
        made = [{"id": f"q{one}", "question": "A", "choices": ["a", "b"], "answer": None} for one in range(3)]
        path = write_jsonl(tmp_path / "mine.jsonl", made)
        with LabelFile(path) as opened:
            write_jsonl(path, [made[2], made[0]])
            opened.label(0, 1)
            opened.label(2, 0)
            assert answers(path) == ["a", "b"]
            with pytest.raises(Changed, match="no row is certain"):
                opened.label(1, 1)

    @pytest.mark.parametrize("change", ["question", "choices"])
    def test_a_question_that_is_another_now_is_not_labelled(self, file: Path, change: str) -> None:
        with LabelFile(file) as opened:
            made = rows(5)
            made[2][change] = ["other", "none"] if change == "choices" else "Another?"
            before = write_jsonl(file, made).read_bytes()
            with pytest.raises(Changed, match="no row is certain to hold this question"):
                opened.label(2, 1)
            assert file.read_bytes() == before
            assert opened.held == (True, True, False, True, True) and opened.left == (0, 1, 3, 4)
            opened.label(3, 0)
        assert answers(file) == [None, None, None, "3", None]

    def test_an_answer_given_meanwhile_is_not_overwritten_unless_asked_again(self, file: Path) -> None:
        with LabelFile(file) as opened:
            made = rows(5)
            made[2]["answer"] = "none"
            write_jsonl(file, made)
            opened.label(0, 0)  # reads the other's label, which nobody has seen yet
            with pytest.raises(Changed, match="line 3: somebody else has given another answer, 'none'"):
                opened.label(2, 1)
            assert answers(file)[2] == "none" and opened.answers[2] == 2
            opened.label(2, 1)
            assert answers(file)[2] == "3"
            write_jsonl(file, rows(5))
            with pytest.raises(Changed, match="taken the answer away"):
                opened.label(2, 0)
            opened.refresh()
            opened.label(2, 0)
        assert answers(file) == [None, None, "2", None, None]

    def test_of_two_who_label_neither_overwrites_what_he_has_not_seen(self, file: Path) -> None:
        with LabelFile(file) as opened:
            opened.label(0, 0, was=None)
            with pytest.raises(Changed, match="given another answer, '0',"):
                opened.label(0, 1, was=None)
            opened.label(0, 1, was=0)
            with pytest.raises(Changed, match="given another answer, '1',"):
                opened.label(0, None, was=0)  # an undo
            made = rows(5)
            made[0]["answer"] = "none"
            write_jsonl(file, made)
            opened.refresh()  # by the one
            with pytest.raises(Changed, match="given another answer, 'none',"):
                opened.label(0, 0, was=1)  # by the other
            opened.label(0, 2, was=1)
        assert answers(file)[0] == "none", "both have chosen the same"

    def test_what_was_given_here_is_counted_and_not_what_others_gave(self, file: Path) -> None:
        made = rows(5)
        made[4]["answer"] = "none"
        write_jsonl(file, made)
        with LabelFile(file) as opened:
            for place in range(1, 4):
                made[place]["answer"] = "none"
            write_jsonl(file, made)
            opened.refresh()
            assert opened.given == 0 and opened.labelled == 4
            opened.label(0, 1)
            opened.label(0, 0)
            assert opened.given == 1
            opened.label(4, 0)
            assert opened.given == 2
            opened.label(4, 2)
            opened.label(0, None)
            assert opened.given == 0

    def test_a_file_that_is_broken_now_is_left_alone(self, file: Path) -> None:
        with LabelFile(file) as opened:
            file.write_text("nonsense\n")
            for act in (opened.refresh, lambda: opened.label(0, 0)):
                with pytest.raises(Changed, match=r"line 1: not JSON.*\n.*nothing was written"):
                    act()
            assert file.read_text() == "nonsense\n"


def test_a_second_labeller_is_refused_until_the_first_ends(file: Path) -> None:
    code = "import sys\nfrom kvorum.labelling import LabelFile\nLabelFile(sys.argv[1])"
    other = [sys.executable, "-c", code, str(file)]
    with LabelFile(file):
        done = subprocess.run(other, capture_output=True, text=True, check=False)
        assert done.returncode == 1 and "another kvorum label has it open" in done.stderr
    assert subprocess.run(other, check=False).returncode == 0
    assert [one.name for one in file.parent.iterdir() if not one.name.startswith(".")] == ["mine.jsonl"]


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_killed_at_any_moment_the_file_is_whole_and_has_what_was_told(tmp_path: Path, suffix: str) -> None:
    """The child tells after each label; what was told is in the file, and at most one more."""
    made = rows(40)
    for trial in range(4):
        path = tmp_path / f"{trial}{suffix}"
        if suffix == ".csv":
            lines = [f"q{place},Which is {place}?,yes,no,,{place / 8}" for place in range(len(made))]
            path.write_text("\n".join(["id,question,choice_0,choice_1,answer,score", *lines, ""]))
        else:
            write_jsonl(path, made)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                with LabelFile(path) as file:
                    for place in range(len(made)):
                        file.label(place, 1)
                        os.write(writing, b".")
            finally:
                os._exit(0)
        os.close(writing)
        told = len(os.read(reading, 1))
        time.sleep(0.002 * trial)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        while part := os.read(reading, 1000):
            told += len(part)
        os.close(reading)
        found = [question.answer for question in load_task(path).test]
        done = len(found) - found.count(None)
        assert found == [1] * done + [None] * (len(made) - done)
        assert told <= done <= told + 1 and told > 0
        with LabelFile(path) as file:  # the lock of the dead is free
            assert file.left == tuple(range(done, len(made)))


def test_a_label_that_the_disk_does_not_take_is_not_told_as_given(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device", str(file) + ".tmp")

    before = file.read_bytes()
    with LabelFile(file) as opened:
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            opened.label(0, 0)
        assert opened.answers[0] is None and file.read_bytes() == before
        monkeypatch.undo()
        opened.label(0, 0)
    assert answers(file)[0] == "0"

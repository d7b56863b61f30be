"""The commands that study and compare what was fitted, as a user types them."""

import json
from pathlib import Path

import pytest

from kvorum import Run, cli
from tests.report.conftest import make

TASKS = {
    "facts_capitals": {"questions": 40, "skill": 0.4, "spread": 0.6},
    "facts_sums": {"questions": 30, "spread": 0.4},
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Two runs on the same questions, the second with members that differ less."""
    folder = tmp_path_factory.mktemp("cli-study")
    calm = {task: settings | {"spread": 0.1} for task, settings in TASKS.items()}
    return str(make(folder / "first", TASKS).path), str(make(folder / "second", calm).path)


def fails(capsys: pytest.CaptureFixture, *arguments: str) -> str:
    """What a command that must fail by a user's mistake says."""
    with pytest.raises(SystemExit) as stop:
        cli.main(list(arguments))
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return said


def test_a_report_shows_what_was_asked_for(runs: tuple[str, str], capsys: pytest.CaptureFixture) -> None:
    cli.main(
        ["report", runs[0], "--mark", "1", "2", "--sizes", "1", "2", "--entropy-cut", "0.7531", "--mi-cut", "0.0137"]
    )
    text = Path(capsys.readouterr().out.strip()).read_text(encoding="utf-8")
    assert "0.753" in text and "0.0137" in text and "given" in text


def test_show_prints_the_study_and_json_holds_it(runs: tuple[str, str], capsys: pytest.CaptureFixture) -> None:
    cli.main(["show", runs[0], "--study", "--mi-cut", "0.02"])
    shown = capsys.readouterr().out
    assert "Fewer members" in shown and "mutual information at 0.02 (given)" in shown
    cli.main(["show", runs[0], "--study", "--json", "--mi-cut", "0.02"])
    found = json.loads(capsys.readouterr().out)
    of = Run.open(runs[0]).predictions(3, "facts_sums")
    numbers = found["tasks"]["facts_sums"]["3"]
    disputed = numbers["quadrants"]["disputed"]["questions"]
    assert disputed == int((of.mutual_information > 0.02).sum())
    assert sum(inside["disputed"] for inside in numbers["crossed"].values()) == disputed
    acquired = of.correct & ~Run.open(runs[0]).predictions(0, "facts_sums").correct
    assert numbers["crossed"]["acquired"]["disputed"] == int((acquired & (of.mutual_information > 0.02)).sum())


def test_show_holds_how_well_doubt_tells_tasks_apart(runs: tuple[str, str], capsys: pytest.CaptureFixture) -> None:
    cli.main(["show", runs[0], "--json"])
    found = json.loads(capsys.readouterr().out)["epochs"]["3"]
    assert found["facts_capitals"]["separation"] is None
    assert found["facts_sums"]["separation"] == Run.open(runs[0]).separation(3, "facts_sums")


def test_a_page_is_written_where_asked(runs: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    cli.main(["report", runs[1], "--out", str(tmp_path / "page")])
    assert capsys.readouterr().out.strip() == str(tmp_path / "page" / "index.html")
    assert (tmp_path / "page" / "figure-1.png").is_file()


def test_the_numbers_of_a_comparison_come_where_no_page_can_be_written(
    runs: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SystemExit):
        cli.main(["compare", *runs, "--out", str(tmp_path / "file" / "page"), "--json"])
    said = capsys.readouterr()
    assert json.loads(said.out)["tasks"] and "--out DIR writes it elsewhere" in " ".join(said.err.split())


def test_questions_lists_those_behind_a_number(runs: tuple[str, str], capsys: pytest.CaptureFixture) -> None:
    cli.main(["questions", runs[0], "--task", "facts_sums", "--epoch", "2", "--outcome", "acquired", "--json"])
    listed = json.loads(capsys.readouterr().out)
    before, now = (Run.open(runs[0]).predictions(epoch, "facts_sums") for epoch in (0, 2))
    votes = now.probs.argmax(axis=2)
    for one in listed:
        row = now.ids.index(one["id"])
        assert (one["task"], one["epoch"], one["votes"]) == ("facts_sums", 2, votes[:, row].tolist())
        assert one["expected_entropy"] == pytest.approx(now.expected_entropy[row])
    assert [one["id"] for one in listed] == [
        now.ids[row] for row in range(len(now)) if now.correct[row] and not before.correct[row]
    ]
    cli.main(["questions", runs[0], "--quadrant", "disputed"])
    shown = capsys.readouterr().out
    assert "since epoch 0" in shown and "questions of facts_capitals, epoch 3" in shown


def test_compare_prints_differences_and_writes_a_page(
    runs: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    cli.main(["compare", *runs, "--out", str(tmp_path / "page"), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["page"] == str(tmp_path / "page" / "index.html") and (tmp_path / "page" / "index.html").is_file()
    sums = next(task for task in found["tasks"] if task["task"] == "facts_sums")
    moment = next(moment for moment in sums["moments"] if moment["at"] == "3")
    first, second = (Run.open(path).predictions(3, "facts_sums") for path in runs)
    assert moment["standings"][1]["difference"]["nll"]["value"] == pytest.approx(second.nll() - first.nll())
    cli.main(["compare", *runs, "--members", "2"])
    assert str(Path(runs[0]) / "report" / "comparison" / "index.html") in capsys.readouterr().out


def test_runs_that_cannot_be_compared_are_refused_with_the_reason(
    runs: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    other = make(tmp_path / "other", {"facts_capitals": TASKS["facts_capitals"] | {"questions": 20}})
    said = fails(capsys, "compare", runs[0], str(other.path)).replace("\n", " ")
    assert "facts_capitals" in said and "20" in said and "40" in said
    assert "nowhere: no such directory" in fails(capsys, "compare", runs[0], "nowhere")
    assert fails(capsys, "compare", runs[0])
    assert "9" in fails(capsys, "compare", *runs, "--members", "9")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["report", "--mark", "9"], "no scores at epoch 9; scored are 0, 1, 2, 3"),
        (["report", "--mi-cut", "-1"], "mi_cut is -1.0"),
        (["show", "--study", "--sizes", "0"], "sizes holds 0"),
        (["show", "--sizes", "2"], "are the study's; add --study"),
        (["report", "--cut-epoch", "9"], "no scores of facts_capitals at epoch 9 to cut at"),
        (["questions", "--task", "facts_sum"], "did you mean 'facts_sums'"),
        (["questions", "--epoch", "8"], "not scored at epoch '8'"),
        (["questions", "--outcome", "lost"], "forgotten"),
    ],
)
def test_a_mistake_is_said_and_changes_nothing(
    runs: tuple[str, str], arguments: list[str], says: str, capsys: pytest.CaptureFixture
) -> None:
    assert says in " ".join(fails(capsys, arguments[0], runs[0], *arguments[1:]).split())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("out: x\n", "settings is missing; runs is missing"),
        ("model: m\n", "no key 'model' in a study"),
        ("- a\n", "expected"),
    ],
)
def test_a_study_file_that_is_none_is_refused(
    text: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "study.yaml").write_text(text)
    assert says in " ".join(fails(capsys, "study", str(tmp_path / "study.yaml")).split())

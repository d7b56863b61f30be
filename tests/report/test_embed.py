import base64
import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kvorum.report.analysis import analyse
from kvorum.report.embed import embed, pack, safe_json

from .conftest import HOSTILE, predictions


def unpack(block) -> np.ndarray:
    integers = np.frombuffer(base64.b64decode(block["data"]), f"<u{block['bytes']}")
    return integers * block["scale"]


@given(st.lists(st.floats(0, 5), max_size=50))
def test_numbers_come_back_to_a_65535th_of_the_largest(numbers):
    back = unpack(pack(np.array(numbers, float)))
    assert np.abs(back - numbers).max(initial=0) <= max(numbers, default=0) / 65535 + 1e-300


@given(st.lists(st.integers(0, 100_000), max_size=20))
def test_whole_numbers_come_back_as_they_are(numbers):
    assert unpack(pack(np.array(numbers, int), whole=True)).tolist() == numbers


@given(st.text())
def test_json_stays_json_and_cannot_leave_its_element(text):
    written = safe_json({"text": text, "more": ["</script>", "<!--", "<script"]})
    assert json.loads(written)["text"] == text
    assert "<" not in written
    assert "\u2028" not in written


def test_everything_of_a_task_at_an_epoch(run):
    blocks = embed(analyse(run).tasks)
    assert [entry["task"] for entry in blocks["index"]][:2] == ["facts_capitals", "facts_elements"]
    texts, answers = blocks["texts-1"], blocks["answers-1-3"]
    expected = run.predictions(3, "facts_elements")
    assert texts["questions"][1] == HOSTILE
    assert texts["choices"] == [list(choices) for choices in expected.choices]
    assert texts["answers"] == expected.answers.tolist()
    assert np.allclose(unpack(answers["entropy"]), expected.predictive_entropy, atol=1e-4)
    assert np.allclose(unpack(answers["information"]), expected.mutual_information, atol=1e-4)
    assert np.allclose(unpack(answers["expected"]), expected.expected_entropy, atol=1e-4)
    assert unpack(answers["predicted"]).tolist() == expected.predicted.tolist()
    assert np.allclose(unpack(answers["rest"]), expected.mean_rest, atol=1e-4)
    votes = unpack(answers["votes"]).reshape(len(expected), expected.members)
    assert (votes == expected.probs.argmax(axis=2).T).all()
    means, each, start = unpack(answers["mean"]), unpack(answers["each"]), 0
    for row, choices in enumerate(expected.choices):
        width = len(choices)
        assert np.allclose(means[start : start + width], expected.mean[row, :width], atol=1e-4)
        alone = each[start * 5 : (start + width) * 5].reshape(5, width)
        assert np.allclose(alone, expected.probs[:, row, :width], atol=1e-4)
        start += width
    assert start == len(means)


def test_quadrants_are_whole_and_kl_is_that_of_unrounded_probabilities(run):
    analysis = analyse(run)
    blocks = embed(analysis.tasks)
    for number, task in enumerate(analysis.tasks):
        assert "kl" not in blocks[f"answers-{number}-0"]
        for of in task:
            block = blocks[f"answers-{number}-{of.epoch}"]
            assert unpack(block["quadrant"]).tolist() == of.quadrant.tolist()
            if of.epoch:
                assert of.change is not None
                assert np.allclose(unpack(block["kl"]), of.change.kl, atol=of.change.kl.max() / 65535)


def test_questions_that_epoch_0_was_not_asked_have_moved_nowhere(make_run):
    run = make_run({"facts_capitals": {"questions": 8}}, epochs=[0, 1])
    run.save_predictions(0, "facts_capitals", predictions("facts_capitals", 0, questions=8).select(examples=[5, 2]))
    moved = unpack(embed(analyse(run).tasks)["answers-0-1"]["kl"])
    assert np.flatnonzero(moved).tolist() == [2, 5]


def test_without_epoch_0_there_is_nothing_to_move_from(make_run):
    run = make_run({"facts_capitals": {"questions": 8}}, epochs=[1, 2])
    assert not any("kl" in block for name, block in embed(analyse(run).tasks).items() if name.startswith("answers"))


def test_members_probabilities_are_kept_for_the_newest_epochs_that_fit(run):
    tasks = analyse(run).tasks
    all_of_them = embed(tasks)
    epoch = sum(len(all_of_them[f"answers-{task}-3"][name]["data"]) for task in range(3) for name in ("each",))
    assert all("each" in all_of_them[f"answers-{task}-{epoch}"] for task in range(3) for epoch in range(4))
    some = embed(tasks, member_bytes=round(epoch * 2.9))
    for number in range(4):
        assert ["each" in some[f"answers-{task}-{number}"] for task in range(3)] == [number >= 2] * 3
    none = embed(tasks, member_bytes=0)
    assert not any("each" in block for name, block in none.items() if name.startswith("answers"))


def test_an_epoch_scored_on_fewer_questions_finds_its_texts(make_run):
    run = make_run({"facts_capitals": {"questions": 8}}, epochs=[0, 1])
    whole = predictions("facts_capitals", 1, questions=8)
    run.save_predictions(1, "facts_capitals", whole.select(examples=[5, 2]))
    blocks = embed(analyse(run).tasks)
    assert len(blocks["texts-0"]["questions"]) == 8
    assert "rows" not in blocks["answers-0-0"]
    assert unpack(blocks["answers-0-1"]["rows"]).tolist() == [5, 2]
    assert np.allclose(unpack(blocks["answers-0-1"]["entropy"]), whole.predictive_entropy[[5, 2]], atol=1e-4)


def test_a_large_run_stays_small():
    """20 members and 7,500 questions of five choices: an epoch without the members' own numbers is under half a MB."""
    members, questions = 20, 7500
    assert len(pack(np.zeros(questions))["data"]) == questions * 8 // 3
    votes = len(pack(np.zeros(questions * members), whole=True)["data"])
    means = len(pack(np.zeros(questions * 5))["data"])
    assert votes + means + 4 * questions * 8 // 3 + questions * 4 // 3 < 500_000

import os
import subprocess
import sys
from collections import Counter

import pytest

from kvorum.tasks import load_task
from kvorum.tasks.facts import FACTS

tasks = pytest.mark.parametrize("name", FACTS)


def right(question) -> str:
    return question.choices[question.answer]


@tasks
def test_every_question_has_four_different_choices(name):
    task = load_task(name)
    for question in task.train + task.test:
        assert len(set(question.choices)) == 4
        assert all(choice and choice == choice.strip() and choice.isascii() for choice in question.choices)
        assert question.question.endswith("?")


@tasks
def test_a_third_is_for_the_test_and_no_entity_is_in_both(name):
    task = load_task(name)
    assert len(task.test) >= 40
    assert len(task.train) / len(task.test) == pytest.approx(2, abs=0.1)
    assert (task.source, task.train_split, task.test_split) == ("built-in", "train", "test")
    assert not {question.question for question in task.train} & {question.question for question in task.test}
    assert not {question.id for question in task.train} & {question.id for question in task.test}


@tasks
def test_the_place_of_the_right_choice_tells_nothing(name):
    task = load_task(name)
    places = Counter(question.answer for question in task.train + task.test)
    expected = places.total() / 4
    chi_square = sum((places[place] - expected) ** 2 / expected for place in range(4))
    assert chi_square < 11.34  # 99% of fair draws with three degrees of freedom


def test_a_task_is_the_same_in_every_process():
    print_all = f"from kvorum.tasks import load_task; print([load_task(name) for name in {list(FACTS)}])"
    printed = {
        subprocess.run(
            [sys.executable, "-c", print_all],
            capture_output=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(printed) == 1


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("facts_capitals", {"Australia": "Canberra", "Turkey": "Ankara", "Brazil": "Brasilia", "Kazakhstan": "Astana"}),
        ("facts_elements", {"gold": "Au", "sodium": "Na", "tungsten": "W", "tin": "Sn", "mercury": "Hg", "iron": "Fe"}),
        ("facts_opposites", {"hot": "cold", "ascend": "descend", "transparent": "opaque"}),
    ],
)
def test_known_facts(name, known):
    task = load_task(name)
    answers = {question.id.split("/")[1]: right(question) for question in task.train + task.test}
    assert {entity: answers[entity] for entity in known} == known


def test_capitals_stand_beside_a_city_of_their_own_country_and_capitals_of_others():
    task = load_task("facts_capitals")
    questions = task.train + task.test
    assert len(questions) >= 120
    capitals = [right(question) for question in questions]
    assert len(set(capitals)) == len(capitals)
    among = [sum(choice in capitals for choice in question.choices) for question in questions]
    # Where a small country has no other city, or shares its name with one, a capital takes its place.
    assert among.count(3) >= 0.95 * len(questions) and set(among) <= {3, 4}


def test_elements_are_all_there_and_wrong_symbols_are_real():
    task = load_task("facts_elements")
    questions = task.train + task.test
    symbols = {right(question) for question in questions}
    assert len(questions) == len(symbols) == 118
    assert all(set(question.choices) <= symbols for question in questions)
    alike = [
        any(choice[0] == right(question)[0] for choice in question.choices if choice != right(question))
        for question in questions
    ]
    assert sum(alike) > 90


def test_no_pair_of_opposites_is_asked_both_ways():
    task = load_task("facts_opposites")
    pairs = [frozenset((q.id.split("/")[1], right(q))) for q in task.train + task.test]
    assert len(set(pairs)) == len(pairs)
    assert all(q.id.split("/")[1] not in q.choices for q in task.train + task.test)


def test_sums_are_right_and_no_rank_among_the_choices_gives_them_away():
    task = load_task("facts_sums")
    ranks: Counter[int] = Counter()
    seen = set()
    for question in task.train + task.test:
        first, second = map(int, question.question.removeprefix("What is ").removesuffix("?").split(" + "))
        assert first + second == int(right(question))
        assert all(
            0 < abs(int(choice) - first - second) <= 20 for choice in question.choices if choice != right(question)
        )
        seen.add(frozenset((first, second)))
        ranks[sorted(question.choices, key=int).index(right(question))] += 1
    assert len(seen) == len(task.train + task.test)
    assert max(ranks.values()) < 0.45 * ranks.total()

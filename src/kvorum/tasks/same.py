"""Whether two questions are the same one."""

from kvorum.tasks.question import Question

Sameness = tuple[str, tuple[str, ...]]


def sameness(question: Question) -> Sameness:
    """What two questions share that differ in case, spaces, the order of their choices, id, subject or label alone."""
    return same(question.question, question.choices)


def same(question: str, choices: tuple[str, ...]) -> Sameness:
    """Of a question's text and its choices."""
    return _plain(question), tuple(sorted(map(_plain, choices)))


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()

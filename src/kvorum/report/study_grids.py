"""The page's tables of the study: quadrants, outcomes, movement, the claim about torn questions, diversity.

Counts lead to the lists of the questions behind them.
"""

from kvorum.report.analysis import Analysis, Change, Studied
from kvorum.report.grid import (
    DASH,
    Body,
    Entry,
    Grid,
    Group,
    Line,
    by_epoch,
    epoch_words,
    heading,
    marked,
    number,
    percent,
    percents,
    questions,
)
from kvorum.report.tables import Cell
from kvorum.report.words import TABLES, count
from kvorum.uncertainty.bootstrap import Interval
from kvorum.uncertainty.plane import QUADRANTS
from kvorum.uncertainty.retention import OUTCOMES

VERDICTS = {"seen": "seen", "partly": "partly", "not seen": "unseen", "not testable": "untested"}
"""Class that colours each verdict."""


def quadrants_grid(analysis: Analysis) -> Grid:
    """Share and accuracy of each quadrant, by epoch."""
    return Grid(
        key="quadrants",
        **TABLES["quadrants"],
        words=(_cuts(analysis),),
        stub="epoch",
        groups=tuple(Group(name=name, columns=("questions", "share", "accuracy"), tone=name) for name in QUADRANTS),
        bodies=by_epoch(analysis, [[(of, _quadrants(of)) for of in task] for task in analysis.tasks]),
    )


def outcomes_grid(analysis: Analysis) -> Grid | None:
    """How many questions were retained, forgotten, acquired, never known, by epoch; None without epoch 0."""
    tasks = [[(of, _outcomes(of, change)) for of in task if (change := known(of))] for task in analysis.tasks]
    if not any(tasks):
        return None
    return Grid(
        key="outcomes",
        **TABLES["outcomes"],
        stub="epoch",
        groups=tuple(Group(name=name, columns=("questions", "share"), tone=slug(name)) for name in OUTCOMES),
        bodies=by_epoch(analysis, filter(None, tasks)),
    )


def crossed_grid(analysis: Analysis) -> Grid | None:
    """Outcomes by quadrant at the marked epochs, side by side; None without epoch 0."""
    found = {(of.task, of.epoch): of for of in marked(analysis) if of.epoch and known(of) is not None}
    epochs = sorted({epoch for _, epoch in found})
    if not epochs:
        return None
    return Grid(
        key="crossed",
        **TABLES["crossed"],
        stub="outcome",
        groups=tuple(Group(name=epoch_words(analysis, epoch), columns=(*QUADRANTS, "all")) for epoch in epochs),
        bodies=tuple(
            Body(
                title=heading(task),
                lines=tuple(
                    Line(
                        head=name,
                        entries=tuple(
                            entry for epoch in epochs for entry in _crossed(found.get((task[0].task, epoch)), name)
                        ),
                    )
                    for name in OUTCOMES
                ),
            )
            for task in analysis.tasks
            if any((task[0].task, epoch) in found for epoch in epochs)
        ),
    )


def movement_grid(analysis: Analysis) -> Grid | None:
    """How far answers have moved since epoch 0, by quadrant and epoch; None without epoch 0 or after it."""
    tasks = [[(of, _movement(change)) for of in task if of.epoch and (change := of.change)] for task in analysis.tasks]
    if not any(tasks):
        return None
    names = ("all", *QUADRANTS)
    return Grid(
        key="movement",
        **TABLES["movement"],
        stub="epoch",
        groups=tuple(
            Group(name=name, columns=("KL", "TV", "same answer"), tone=name if name != "all" else "") for name in names
        ),
        bodies=by_epoch(analysis, filter(None, tasks)),
    )


def claim_grid(analysis: Analysis) -> Grid | None:
    """Whether torn questions still carry the pre-trained answer, at the marked epochs; None without epoch 0."""
    tested = [of for of in marked(analysis) if of.carried]
    if not tested:
        return None
    last = max(of.epoch for of in tested)
    return Grid(
        key="claim",
        **TABLES["claim"],
        words=tuple(_sentence(of) for of in tested if of.epoch == last),
        stub="epoch",
        groups=(
            Group(name="torn questions", columns=("questions",), tone="torn"),
            Group(name="members that give the pre-trained answer", columns=("torn", "other", "difference")),
            Group(name="total variation from", columns=("own before", "others' before", "ratio")),
            Group(name="claim", columns=("",)),
        ),
        bodies=tuple(
            Body(
                title=task[0].evaluation.title,
                lines=tuple(Line(head=str(of.epoch), entries=_claim(of)) for of in task if of in tested),
            )
            for task in analysis.tasks
            if any(of in tested for of in task)
        ),
    )


def diversity_grid(analysis: Analysis) -> Grid | None:
    """How far members differ, by epoch, and the closest two; None for one member."""
    tasks = [[(of, _diversity(of)) for of in task if of.diversity] for task in analysis.tasks]
    if not any(tasks):
        return None
    return Grid(
        key="diversity",
        **TABLES["diversity"],
        stub="epoch",
        groups=(
            Group(name="mean of all pairs", columns=("disagreement", "KL")),
            Group(name="closest pair", columns=("members", "disagreement", "KL")),
        ),
        bodies=by_epoch(analysis, filter(None, tasks)),
    )


def known(of: Studied) -> Change | None:
    """What became of the questions, where epoch 0 was asked any whose answer is known."""
    return of.change if of.change is not None and (of.change.outcome >= 0).any() else None


def slug(name: str) -> str:
    """An outcome's name in the palette and in addresses."""
    return name.replace(" ", "-")


def _cuts(analysis: Analysis) -> str:
    cuts = analysis.cuts
    entropy, information = (Cell(value=cut).text for cut in (cuts.entropy, cuts.mutual_information))
    if cuts.entropy_from == cuts.mutual_information_from:
        origin = "given" if cuts.entropy_from == "given" else f"each {cuts.entropy_from}"
        place = f"an entropy of {entropy} and a mutual information of {information} nats ({origin})"
    else:
        place = (
            f"an entropy of {entropy} nats ({cuts.entropy_from}) and a mutual information of {information} nats "
            f"({cuts.mutual_information_from})"
        )
    return (
        f"The plane is cut at {place}, the same for all tasks and epochs. Confident: both at most at their cut. Torn: "
        "entropy above its cut, mutual information not. Disputed: mutual information above its cut."
    )


def _quadrants(of: Studied) -> list[Entry]:
    entries = []
    for name in QUADRANTS:
        found = of.shares[name]
        listed = questions(of, found["questions"], quadrant=name)
        entries += [listed, percent(found["share"]), number(found["accuracy"])]
    return entries


def _outcomes(of: Studied, change: Change) -> list[Entry]:
    entries = []
    for name in OUTCOMES:
        found = change.outcomes[name]
        entries += [questions(of, found["questions"], outcome=slug(name)), percent(found["share"])]
    return entries


def _crossed(found: Studied | None, outcome: str) -> list[Entry]:
    if found is None:
        return [Entry(text=DASH)] * (len(QUADRANTS) + 1)
    assert found.crossed is not None
    inside = found.crossed[outcome]
    cells = [questions(found, inside[name], outcome=slug(outcome), quadrant=name) for name in QUADRANTS]
    return [*cells, questions(found, sum(inside.values()), outcome=slug(outcome))]


def _movement(change: Change) -> list[Entry]:
    return [
        show(change.movement[name][key])
        for name in ("all", *QUADRANTS)
        for key, show in (("kl", number), ("tv", number), ("same_answer", percent))
    ]


def _claim(of: Studied) -> tuple[Entry, ...]:
    assert of.carried is not None
    same, distance = of.carried["same_answer"], of.carried["distance"]
    verdict = of.carried["verdict"]
    return (
        questions(of, of.carried["questions"]["torn"], quadrant="torn")
        if of.change is not None and of.change.asked.all()
        else Entry(text=f"{of.carried['questions']['torn']:,}"),
        percent(same["torn"]),
        percent(same["other"]),
        _points(same["difference"]),
        *(number(distance[key]) for key in ("own", "unrelated", "ratio")),
        Entry(text=verdict, tone=f"verdict {VERDICTS[verdict]}"),
    )


def _points(share: Interval) -> Entry:
    """A difference of shares, in percentage points."""
    value, low, high = (
        None if bound is None else f"{100 * bound:+.0f}".replace("-", "−")
        for bound in (share["value"], share["low"], share["high"])
    )
    return Entry(text=DASH if value is None else f"{value} points", small=f"{low} to {high}" if low else "")


def _sentence(of: Studied) -> str:
    assert of.carried is not None
    where = f"{of.task}, epoch {of.epoch}: "
    asked, verdict = of.carried["questions"], of.carried["verdict"]
    if verdict == "not testable":
        return (
            f"{where}not testable with {count(asked['torn'], 'torn question')} and {count(asked['other'], 'other')}; "
            "it takes 20 of each."
        )
    same, distance = of.carried["same_answer"], of.carried["distance"]
    torn, other = (f"{percent(same[key]).text} ({percents(same[key])})" for key in ("torn", "other"))
    own, unrelated, ratio = (number(distance[key]).text for key in ("own", "unrelated", "ratio"))
    return (
        f"{where}{verdict}. A member gives the pre-trained model's answer to {torn} of the {asked['torn']:,} torn "
        f"questions, and to {other} of the {asked['other']:,} others. A torn question's probabilities lie {own} from "
        f"what they were before fitting, and {unrelated} from what other torn questions' were: a ratio of {ratio}, "
        "where 0 would be untouched and 1 nothing kept."
    )


def _diversity(of: Studied) -> list[Entry]:
    assert of.diversity is not None
    closest = of.diversity["closest"]
    return [
        percent(of.diversity["disagreement"]),
        number(of.diversity["kl"]),
        Entry(text=" and ".join(map(str, closest["members"]))),
        Entry(text=percent({"value": closest["disagreement"], "low": None, "high": None}).text),
        number(Cell(value=closest["kl"])),
    ]

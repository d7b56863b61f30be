"""The tables of what was chosen: from which parts, how doubtful, of which subjects, how much like another function."""

from kvorum.report.grid import Body, Entry, Grid, Group, Line
from kvorum.report.learning.analyse import Learning
from kvorum.report.learning.chosen import Chosen, Doubt
from kvorum.report.learning.numbers import number
from kvorum.report.learning.tables import NOTHING, difference, estimate, heading
from kvorum.report.words import count


def chosen_grid(learning: Learning) -> Grid | None:
    """Parts, repeats and doubt of what each function chose; None where nothing is chosen yet."""
    chosen = _chosen(learning)
    if not chosen:
        return None
    noisy = any(part.noise for part in learning.parts)
    parts = tuple(f"{part.part}{' (noise)' if part.noise else ''}" for part in learning.parts)
    whole = "drawn candidates" if learning.config.candidates else "unlabelled pool"
    pool = "; ".join(f"{name} {number(part.share)}" for name, part in zip(parts, learning.parts, strict=True))
    several = len(parts) > 1
    return Grid(
        key="chosen",
        **heading("chosen"),
        words=(f"Of the {whole} after the start: {pool}.",) if several else (),
        stub="function",
        groups=(
            Group(name="chosen", columns=("",)),
            *((Group(name="share of each part", columns=parts),) if several else ()),
            *((Group(name="noise", columns=("",)),) if noisy else ()),
            Group(name="repeats", columns=("",)),
            Group(name="entropy", columns=("chosen", "minus pool")),
            Group(name="MI", columns=("chosen", "minus pool")),
        ),
        bodies=(
            Body(
                title=f"Over {count(learning.seeds, 'seed')}",
                lines=tuple(
                    Line(
                        head=name,
                        entries=(
                            Entry(text=f"{of.questions:,}"),
                            *((estimate(part.share) for part in of.parts) if several else ()),
                            *((estimate(of.noise),) if noisy else ()),
                            Entry(text=number(of.repeats_share.value), small=f"{of.repeats:,} in all"),
                            *_doubt(of.entropy),
                            *_doubt(of.mutual_information),
                        ),
                    )
                    for name, of in chosen.items()
                ),
            ),
        ),
    )


def subjects_grid(learning: Learning) -> Grid | None:
    """The commonest subjects of each function; None where no question has one."""
    chosen = _chosen(learning)
    if not any(subject.subject for of in chosen.values() for subject in of.subjects):
        return None
    return Grid(
        key="subjects",
        **heading("subjects"),
        stub="subject",
        groups=(Group(name="questions", columns=("",)), Group(name="share", columns=("",))),
        bodies=tuple(
            Body(
                title=name + (f" (and {count(of.other_subjects, 'other subject')})" if of.other_subjects else ""),
                lines=tuple(
                    Line(
                        head=subject.subject or "(none)",
                        entries=(Entry(text=f"{subject.questions:,}"), Entry(text=number(subject.share))),
                    )
                    for subject in of.subjects
                ),
            )
            for name, of in chosen.items()
        ),
    )


def overlaps_grid(learning: Learning) -> Grid | None:
    """What every two functions have in common; None where no two have chosen."""
    if not learning.overlaps:
        return None
    found = {frozenset((of.first, of.second)): of for of in learning.overlaps}
    names = [function.name for function in learning.functions if function.chosen]
    return Grid(
        key="overlaps",
        **heading("overlaps"),
        stub="function",
        groups=tuple(Group(name=name, columns=("",)) for name in names),
        bodies=(
            Body(
                title="Jaccard index",
                lines=tuple(
                    Line(
                        head=first,
                        entries=tuple(
                            NOTHING if first == second else estimate(found[frozenset((first, second))].jaccard)
                            for second in names
                        ),
                    )
                    for first in names
                ),
            ),
        ),
    )


def _chosen(learning: Learning) -> dict[str, Chosen]:
    return {function.name: function.chosen for function in learning.functions if function.chosen}


def _doubt(doubt: Doubt) -> tuple[Entry, Entry]:
    return estimate(doubt.chosen), difference(doubt.difference)

"""What one sees of a run: its figures, its tables of numbers, and one page that holds them all."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from kvorum.active.records import Learned
from kvorum.report.analysis import StudyOptions
from kvorum.run import Run


def write(run: Run, options: StudyOptions | None = None, folder: Path | None = None) -> Path:
    """Write a run's report: `index.html`, which holds everything, and its figures beside it as SVG and PNG, into
    `report/` in the run directory or another folder.

    Returns the path of the page. Raises `KvorumError` for an epoch to mark that is not scored.
    """
    # matplotlib takes long to import, and the tables, which this package has as well, must come at once.
    from kvorum.report.page import write as write_page

    return write_page(run, options, folder)


def write_study(
    runs: Mapping[str, Run],
    folder: Path,
    *,
    comparisons: Sequence[Sequence[str]] = (),
    options: StudyOptions | None = None,
) -> Path:
    """Write a study's page into a folder: its first run as `write` does, and each comparison of runs, by their names.

    Returns the path of the page. Raises `KvorumError` for runs that cannot be compared.
    """
    from kvorum.report.study_page import write as write_page

    return write_page(runs, folder, comparisons=comparisons, options=options)


def write_learning(learned: Learned, folder: Path | None = None) -> Path:
    """Write the page of an experiment in active learning, done or not, and its figures beside it as SVG and PNG, into
    `report/` in its directory or another folder.

    Returns the path of the page. Raises `KvorumError` for damaged files, and where no round is done.
    """
    from kvorum.report.learning.page import write_learning as write_page

    return write_page(learned, folder)

"""The one exception for a user's mistake, and the nearest names to suggest in it."""

import difflib
import itertools
from collections.abc import Iterable

LONGEST_NAME = 60
MOST_OPTIONS = 2000


class KvorumError(ValueError):
    """A mistake in what the user gave: the message says what was found, what was expected and what to do."""


def first_line(error: BaseException) -> str:
    """What an error says first: libraries go on for pages."""
    return str(error).strip().partition("\n")[0]


def nearest(name: str, options: Iterable[str], count: int = 3) -> str:
    """The options nearest to a name, as the end of an error message.

    Returns `"; did you mean 'x'?"`, or the first options when none is near, or an empty string when there are none.
    """
    # What is long or many is somebody else's, and comparing it would take hours.
    name = name[:LONGEST_NAME]
    options = sorted({option[:LONGEST_NAME] for option in itertools.islice(options, MOST_OPTIONS)})
    close = difflib.get_close_matches(name, options, n=count, cutoff=0.5)
    if close:
        return "; did you mean " + " or ".join(f"'{option}'" for option in close) + "?"
    if not options:
        return ""
    shown = ", ".join(options[:12]) + (", ..." if len(options) > 12 else "")
    return f"; there are: {shown}"

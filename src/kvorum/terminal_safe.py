"""A terminal that shows text as text: questions and names from files do not get to steer it."""

import re
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions
from rich.segment import Segment

# All but tab and newline; ESC and the C1 codes begin sequences that move the cursor, set titles or worse.
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class PlainConsole(Console):
    """A console that shows control characters in what it prints as a mark, and none but its own reach the terminal."""

    def render(self, renderable: Any, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The segments of something to print, without control characters in their text."""
        for segment in super().render(renderable, options):
            if segment.control or not CONTROLS.search(segment.text):
                yield segment
            else:
                yield Segment(CONTROLS.sub("\N{REPLACEMENT CHARACTER}", segment.text), segment.style)

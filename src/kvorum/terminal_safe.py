"""A terminal that shows text as text: questions and names from files do not get to steer it."""

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions
from rich.segment import Segment

from kvorum.bounded import CONTROLS


class PlainConsole(Console):
    """A console that shows control characters in what it prints as a mark, and none but its own reach the terminal."""

    def render(self, renderable: Any, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The segments of something to print, without control characters in their text."""
        for segment in super().render(renderable, options):
            if segment.control or not CONTROLS.search(segment.text):
                yield segment
            else:
                yield Segment(CONTROLS.sub("\N{REPLACEMENT CHARACTER}", segment.text), segment.style)

import io

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from kvorum.terminal_safe import PlainConsole

HOSTILE = "what\x1b[2J\x1b]0;title\x07 is \x9b31m this\u202e?\r\tno"


def printed(thing: object, **settings: bool) -> str:
    file = io.StringIO()
    PlainConsole(file=file, width=200, **settings).print(thing)
    return file.getvalue()


def test_control_characters_are_shown_as_a_mark_wherever_they_stand() -> None:
    table = Table()
    table.add_column(HOSTILE)
    table.add_row(Text(HOSTILE))
    for thing in (HOSTILE, escape(HOSTILE), Text(HOSTILE), table):
        said = printed(thing)
        assert not set(said) & set("\x1b\x07\x9b\u202e\r") and "\N{REPLACEMENT CHARACTER}[2J" in said


def test_what_the_console_itself_says_to_the_terminal_is_left() -> None:
    assert "\x1b[1mbold\x1b[0m" in printed("[bold]bold[/]", force_terminal=True, legacy_windows=False)

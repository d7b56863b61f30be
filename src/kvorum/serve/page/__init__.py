"""The page to try it: one HTML file that asks nothing but its own server."""

import functools
from importlib.metadata import version
from pathlib import Path

from kvorum.decisions.words import SCORE_WORDS
from kvorum.serve.sealed import BASE, SHOWN, SealedPage, sealed

HERE = Path(__file__).parent
SCRIPTS = ("server.js", "form.js", "pick.js", "answer.js", "plane.js", "page.js")
"""One script on the page, in this order, after what all pages share."""
DRAWN = ("paper", "panel", "ink", "muted", "grid", "frame", "heat-3", "heat-5", "confident", "torn", "disputed")
"""The palette's colours that the page uses."""


@functools.cache
def page() -> SealedPage:
    """The page, the same of every server: what runs there it asks when it is open, with a token where one is wanted."""
    return sealed(
        HERE / "page.html.jinja",
        scripts=[SHOWN, *(HERE / name for name in SCRIPTS)],
        styles=[BASE, HERE / "page.css"],
        colours=DRAWN,
        scores=SCORE_WORDS,
        version=version("kvorum"),
    )

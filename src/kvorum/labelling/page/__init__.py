"""The page on which labels are given: one HTML file that asks nothing but its own server."""

import functools
from importlib.metadata import version
from pathlib import Path

from kvorum.serve.sealed import BASE, SHOWN, SealedPage, sealed

HERE = Path(__file__).parent
SCRIPTS = ("kept.js", "server.js", "labels.js", "list.js", "label.js")
"""One script on the page, in this order, after what all pages share."""
DRAWN = ("paper", "panel", "ink", "muted")
"""The palette's colours that the page uses."""


@functools.cache
def page() -> SealedPage:
    """The page, the same for every file: what there is to label it asks when it is open."""
    return sealed(
        HERE / "label.html.jinja",
        scripts=[SHOWN, *(HERE / name for name in SCRIPTS)],
        styles=[BASE, HERE / "label.css"],
        colours=DRAWN,
        version=version("kvorum"),
    )

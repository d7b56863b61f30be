"""The page to try it: one HTML file that asks nothing but its own server."""

import base64
import functools
import hashlib
from importlib.metadata import version
from pathlib import Path

from kvorum.decisions.words import SCORE_WORDS
from kvorum.report.figures.palette import DARK, LIGHT, css_variables
from kvorum.report.template import template, text

HERE = Path(__file__).parent
SCRIPTS = ("shown.js", "server.js", "form.js", "pick.js", "answer.js", "plane.js", "page.js")
"""One script on the page, in this order."""
DRAWN = ("paper", "panel", "ink", "muted", "grid", "frame", "heat-3", "heat-5", "confident", "torn", "disputed")
"""The palette's colours that the page uses."""


@functools.cache
def page() -> str:
    """The page, the same of every server: what runs there it asks when it is open, with a token where one is wanted."""
    return template("page.html.jinja", HERE).render(
        style=_style(), script=_script(), scores=SCORE_WORDS, version=version("kvorum")
    )


def _style() -> str:
    light, dark = (css_variables({name: colours[name] for name in DRAWN}) for colours in (LIGHT, DARK))
    root = f":root {{ {light} }}\n@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n"
    return root + text("page.css", HERE)


def _script() -> str:
    return '"use strict";\n' + "".join(text(name, HERE) for name in SCRIPTS)


def _hash(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode('utf-8')).digest()).decode('ascii')}'"


CONTENT_SECURITY = (
    f"default-src 'none'; script-src {_hash(_script())}; style-src {_hash(_style())}; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Its own script and style and no others, and no server but the one that it comes from."""

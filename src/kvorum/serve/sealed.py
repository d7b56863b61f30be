"""A page in one piece, which may run its own script and style and no others, and ask no server but its own."""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi.responses import HTMLResponse

from kvorum.report.figures.palette import DARK, LIGHT, css_variables
from kvorum.report.template import template, text

SHARED = Path(__file__).parent / "page"
BASE, SHOWN = SHARED / "base.css", SHARED / "shown.js"
"""The look of all pages, and how they show text: as text."""


@dataclass(frozen=True)
class SealedPage:
    """A page, and the policy under which a browser is to show it."""

    html: str
    content_security: str

    def reply(self) -> HTMLResponse:
        """The page as it is sent."""
        headers = {"content-security-policy": self.content_security, "cache-control": "no-cache"}
        return HTMLResponse(self.html, headers=headers)


def sealed(
    page: Path, *, scripts: Sequence[Path], styles: Sequence[Path], colours: Sequence[str], **values: Any
) -> SealedPage:
    """A template with its scripts and styles in it; `colours` are names of the report's palette."""
    light, dark = (css_variables({name: palette[name] for name in colours}) for palette in (LIGHT, DARK))
    root = f":root {{ {light} }}\n@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n"
    style = root + "".join(text(one.name, one.parent) for one in styles)
    script = '"use strict";\n' + "".join(text(one.name, one.parent) for one in scripts)
    return SealedPage(
        html=template(page.name, page.parent).render(style=style, script=script, **values),
        content_security=(
            f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; connect-src 'self'; "
            "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ),
    )


def _hash(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode('utf-8')).digest()).decode('ascii')}'"

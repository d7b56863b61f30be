"""The templates of the pages: what comes from a run is escaped, and a name that is missing is an error."""

from pathlib import Path

import jinja2

PAGES = Path(__file__).parent / "pages"


def template(name: str) -> jinja2.Template:
    """One of the `.jinja` files in pages/."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PAGES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def text(name: str) -> str:
    """A style sheet or script in pages/."""
    return (PAGES / name).read_text(encoding="utf-8")

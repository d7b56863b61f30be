"""The templates of the pages: what comes from a run is escaped, and a name that is missing is an error."""

from pathlib import Path

import jinja2

PAGES = Path(__file__).parent / "pages"


def template(name: str, folder: Path = PAGES) -> jinja2.Template:
    """One of the `.jinja` files in a folder."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def text(name: str, folder: Path = PAGES) -> str:
    """A style sheet or script in a folder."""
    return (folder / name).read_text(encoding="utf-8")

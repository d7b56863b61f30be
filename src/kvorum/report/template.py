"""The templates of the pages: what comes from a run is escaped, and a name that is missing is an error."""

from pathlib import Path

import jinja2

HERE = Path(__file__).parent


def template(name: str) -> jinja2.Template:
    """One of the `.jinja` files beside this one."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def text(name: str) -> str:
    """A style sheet or script beside this one."""
    return (HERE / name).read_text(encoding="utf-8")

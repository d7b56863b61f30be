"""Shape and type annotations of the whole library are checked while the tests run."""

from jaxtyping import install_import_hook

install_import_hook("kvorum", "beartype.beartype")

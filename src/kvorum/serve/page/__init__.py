"""The page to try it: one HTML file that asks nothing but its own server."""

CONTENT_SECURITY = "default-src 'none'"


def page() -> str:
    """The page."""
    return "<!doctype html><title>kvorum</title>"

"""The colours of the report, once for light surroundings and once for dark ones."""

LIGHT = {
    "paper": "#ffffff",
    "panel": "#f5f7f9",
    "ink": "#1b2330",
    "muted": "#586374",
    "grid": "#dde2e8",
    "frame": "#b6bfca",
    "heat-1": "#cfe0f1",
    "heat-2": "#a9c8e4",
    "heat-3": "#7facd5",
    "heat-4": "#578fc2",
    "heat-5": "#3772ab",
    "heat-6": "#20558c",
    "heat-7": "#0d3866",
    "mean": "#d3222a",
    "median": "#17913f",
    "halo": "#fffffe",
    "confident": "#3b8ed0",
    "torn": "#cf7d00",
    "disputed": "#9a1f5c",
    "retained": "#0f6f68",
    "forgotten": "#c8431a",
    "acquired": "#8aa51f",
    "never-known": "#8a94a3",
    "size-1": "#6fbd93",
    "size-2": "#3aa0b4",
    "size-3": "#2f80bf",
    "size-4": "#2858a5",
    "size-5": "#1a2470",
    "run-1": "#1763ad",
    "run-2": "#cb4f16",
    "run-3": "#0e8468",
    "run-4": "#8d3b98",
    "run-5": "#a67c02",
    "run-6": "#4b5663",
}

DARK = {
    "paper": "#161c24",
    "panel": "#1c242e",
    "ink": "#e6ebf1",
    "muted": "#9aa7b6",
    "grid": "#2c3744",
    "frame": "#4a5868",
    "heat-1": "#23415f",
    "heat-2": "#2b5581",
    "heat-3": "#396fa4",
    "heat-4": "#518bc3",
    "heat-5": "#79a9da",
    "heat-6": "#a9c9ea",
    "heat-7": "#dfecf9",
    "mean": "#ff5f57",
    "median": "#3fd67a",
    "halo": "#0b0f14",
    "confident": "#6db6f0",
    "torn": "#e8a51f",
    "disputed": "#d94f96",
    "retained": "#35b5a0",
    "forgotten": "#f0784a",
    "acquired": "#d3e06a",
    "never-known": "#75819a",
    "size-1": "#3d7560",
    "size-2": "#3f93a0",
    "size-3": "#5a9fdf",
    "size-4": "#a3bcf7",
    "size-5": "#f0f1ff",
    "run-1": "#63adf2",
    "run-2": "#f27f3b",
    "run-3": "#3cc3a1",
    "run-4": "#cd8ade",
    "run-5": "#dfbd3f",
    "run-6": "#b6c2cf",
}

HEAT = tuple(f"heat-{step}" for step in range(1, 8))
SIZES = tuple(f"size-{step}" for step in range(1, 6))
"""Of sub-ensembles, from the smallest to the whole ensemble: ever further from the surroundings."""
RUNS = tuple(f"run-{place}" for place in range(1, 7))
"""Of compared runs, the baseline first; figures tell them apart by marker as well."""


def css_variables(colours: dict[str, str]) -> str:
    """CSS declarations `--fig-NAME: COLOUR;` for a palette."""
    return " ".join(f"--fig-{name}: {colour};" for name, colour in colours.items())

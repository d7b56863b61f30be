"""Runs on the same questions, side by side."""

from kvorum.report.comparison.compare import Comparison, compare

__all__ = ["Comparison", "compare"]

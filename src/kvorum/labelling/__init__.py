"""Labelling: the questions of a file are given their answers, one at a time, and each is kept at once."""

from kvorum.labelling.file import Changed, LabelFile

__all__ = ["Changed", "LabelFile"]

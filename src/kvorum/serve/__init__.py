"""Answering over HTTP: one posterior, many clients, and a page to try it."""

"""A run as a model of lm-evaluation-harness.

`model` imports lm_eval and torch; the harness finds it by the entry point of this package, or `command` registers it.
"""

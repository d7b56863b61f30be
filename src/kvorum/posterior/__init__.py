"""How it is learned: priors, the objective, an optimizer in which members never meet, and the fitting loop.

`step` and what it stands on need torch and transformers alone; `fit` needs all that a run does.
"""

"""How it is learned: priors, the objective, an optimizer in which members never meet, and the fitting loop."""

from kvorum.posterior.fit import fit
from kvorum.posterior.job import Job, plan
from kvorum.posterior.posterior import Posterior, load

__all__ = ["Job", "Posterior", "fit", "load", "plan"]

"""Fine-tune a language model as an ensemble of LoRA adapters, and know how sure each answer is and why.

```python
import kvorum

posterior = kvorum.fit("smollm2-135m", kvorum.load_task("facts_capitals"), members=5, epochs=3)
predictions = posterior.predict(kvorum.load_task("facts_elements"))
predictions.mutual_information, predictions.accuracy()
```
"""

import importlib
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from kvorum.config import FitConfig
from kvorum.errors import KvorumError
from kvorum.predictions import Predictions
from kvorum.run import Run
from kvorum.tasks import Question, Task, load_task, task_names

if TYPE_CHECKING:
    from kvorum.posterior import Posterior, fit, load

__version__ = version("kvorum")
__all__ = [
    "FitConfig",
    "KvorumError",
    "Posterior",
    "Predictions",
    "Question",
    "Run",
    "Task",
    "fit",
    "load",
    "load_task",
    "task_names",
]

_NEEDS_TORCH = {"Posterior", "fit", "load"}


def __getattr__(name: str) -> Any:
    # Torch takes seconds to import, and reading a run does not need it.
    if name in _NEEDS_TORCH:
        return getattr(importlib.import_module("kvorum.posterior"), name)
    raise AttributeError(f"module 'kvorum' has no attribute '{name}'")

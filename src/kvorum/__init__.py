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

from kvorum.errors import KvorumError

if TYPE_CHECKING:
    from kvorum.active.acquire import Acquired, acquire
    from kvorum.config import FitConfig
    from kvorum.decisions import Calibration, calibrate
    from kvorum.interchange.peft_export import export_peft
    from kvorum.interchange.peft_load import load_peft
    from kvorum.posterior.fit import fit
    from kvorum.posterior.posterior import Posterior, load
    from kvorum.predictions import Predictions
    from kvorum.run import Run
    from kvorum.tasks import Question, Task, load_task, task_names

__all__ = [
    "Acquired",
    "Calibration",
    "FitConfig",
    "KvorumError",
    "Posterior",
    "Predictions",
    "Question",
    "Run",
    "Task",
    "acquire",
    "calibrate",
    "export_peft",
    "fit",
    "load",
    "load_peft",
    "load_task",
    "task_names",
]

_WHERE = {
    "Acquired": "active.acquire",
    "Calibration": "decisions",
    "FitConfig": "config",
    "Posterior": "posterior.posterior",
    "Predictions": "predictions",
    "Question": "tasks",
    "Run": "run",
    "Task": "tasks",
    "acquire": "active.acquire",
    "calibrate": "decisions",
    "export_peft": "interchange.peft_export",
    "fit": "posterior.fit",
    "load": "posterior.posterior",
    "load_peft": "interchange.peft_load",
    "load_task": "tasks",
    "task_names": "tasks",
}


def __getattr__(name: str) -> Any:
    # Torch takes seconds to import, and reading a run does not need it; nor does the engine need all that a run does.
    if name == "__version__":
        return version("kvorum")
    if name in _WHERE:
        return getattr(importlib.import_module(f"kvorum.{_WHERE[name]}"), name)
    raise AttributeError(f"module 'kvorum' has no attribute '{name}'")

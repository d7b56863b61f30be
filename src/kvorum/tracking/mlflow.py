"""MLflow: a run in the store that MLFLOW_TRACKING_URI names, found again by a tag."""

import importlib
import os
import re
import time
from collections.abc import Mapping
from typing import Any

from kvorum.tracking.tracker import PROJECT, TrackedRun, as_text

TAG = "kvorum.run"
LONGEST = 6000
"""Characters of a parameter's value, for MLflow."""
REFUSED = re.compile(r"[^\w.\- /]")
"""Characters that no name of a metric may hold."""
AT_ONCE = 100
"""Parameters in a request."""


class MLflow:
    """Reports to an MLflow server or a local store."""

    def __init__(self) -> None:
        self.client: Any = None
        self.run = ""
        self.entities: Any = None

    def start(self, run: TrackedRun) -> int:
        """Go on with the run that bears the id as its tag, or begin it."""
        self.entities = importlib.import_module("mlflow.entities")
        self.client = client = importlib.import_module("mlflow").MlflowClient()
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or PROJECT
        there = client.get_experiment_by_name(name)
        experiment = there.experiment_id if there is not None else client.create_experiment(name)
        found = client.search_runs([experiment], filter_string=f"tags.`{TAG}` = '{run.id}'", max_results=1)
        known: Mapping[str, str] = {}
        if found:
            self.run, known = found[0].info.run_id, found[0].data.params
            client.update_run(self.run, status="RUNNING")
        else:
            self.run = client.create_run(experiment, tags={TAG: run.id}, run_name=run.name).info.run_id
        self._log_settings(run.settings, known)
        return run.held if found else -1

    def _log_settings(self, settings: Mapping[str, Any], known: Mapping[str, str]) -> None:
        """As parameters; one that is another by now, which MLflow does not take, as a tag."""
        now = {name: as_text(value)[:LONGEST] for name, value in settings.items()}
        new = [self.entities.Param(name, value) for name, value in now.items() if name not in known]
        for start in range(0, len(new), AT_ONCE):
            self.client.log_batch(self.run, params=new[start : start + AT_ONCE])
        for name in now.keys() & known.keys():
            if now[name] != known[name]:
                self.client.set_tag(self.run, f"kvorum.now.{name}", now[name])

    def log(self, scalars: Mapping[str, float], step: int) -> None:
        """Send them in one request."""
        now = int(time.time() * 1000)
        named = {REFUSED.sub("_", name): value for name, value in scalars.items()}
        items = [self.entities.Metric(name, value, now, step) for name, value in named.items()]
        # As many as a request takes.
        for start in range(0, len(items), 1000):
            self.client.log_batch(self.run, metrics=items[start : start + 1000])

    def finish(self, ok: bool) -> None:
        """Set the run's status."""
        self.client.set_terminated(self.run, "FINISHED" if ok else "KILLED")

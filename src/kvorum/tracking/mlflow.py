"""MLflow: a run in the store that MLFLOW_TRACKING_URI names, found again by a tag."""

import importlib
import importlib.util
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from kvorum.errors import KvorumError
from kvorum.tracking.tracker import PROJECT, TrackedRun, as_text

TAG = "kvorum.run"
LONGEST = 6000
"""Characters of a parameter's value, for MLflow."""
REFUSED = re.compile(r"[^\w.\- /]")
"""Characters that no name of a metric may hold."""
AT_ONCE = 100
"""Parameters in a request."""
STORE_NEEDS = ("sqlalchemy", "alembic")
"""What the default store imports and mlflow-skinny does not bring."""
PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
"""Where the environment says nothing else: with MLflow's own seven retries of two minutes each, a server that is gone
would hold the fit up for a quarter of an hour."""


class MLflow:
    """Reports to an MLflow server or a local store."""

    at_once = 1000
    """Metrics in a request, at most, by MLflow's own rule."""

    def __init__(self) -> None:
        self.client: Any = None
        self.run = ""
        self.entities: Any = None
        self.failed = False

    def start(self, run: TrackedRun) -> int:
        """Go on with the run that bears the id as its tag, or begin it.

        Raises `KvorumError` where the default store lacks its packages.
        """
        with _patience():
            try:
                return self._start(run)
            except Exception as error:
                # What it raises says that the store is unsupported, and not what is missing.
                missing = [name for name in STORE_NEEDS if importlib.util.find_spec(name) is None]
                if not missing or not any(word in str(error) for word in ("sqlite", *missing)):
                    raise
                raise KvorumError(
                    "its default store is a SQLite file, which needs SQLAlchemy and Alembic: pip install sqlalchemy "
                    "alembic, or name a server with MLFLOW_TRACKING_URI, or a folder with "
                    "MLFLOW_TRACKING_URI=file:./mlruns and MLFLOW_ALLOW_FILE_STORE=true"
                ) from error

    def _start(self, run: TrackedRun) -> int:
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
        self.log_steps([(scalars, step)])

    def log_steps(self, steps: Sequence[tuple[Mapping[str, float], int]]) -> None:
        """Send them in one request, or in as few as a step's numbers need."""
        now = int(time.time() * 1000)
        items = [
            self.entities.Metric(name, value, now, step)
            for scalars, step in steps
            for name, value in {REFUSED.sub("_", name): value for name, value in scalars.items()}.items()
        ]
        self.failed = True
        with _patience():
            for start in range(0, len(items), self.at_once):
                self.client.log_batch(self.run, metrics=items[start : start + self.at_once])
        self.failed = False

    def finish(self, ok: bool) -> None:
        """Set the run's status; after a failure it would only be waited for once more."""
        if not self.failed:
            with _patience():
                self.client.set_terminated(self.run, "FINISHED" if ok else "KILLED")


@contextmanager
def _patience() -> Iterator[None]:
    """Shorter waits for a server than MLflow's own; it takes them from the environment alone, at every request."""
    ours = {name: value for name, value in PATIENCE.items() if name not in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            os.environ.pop(name, None)

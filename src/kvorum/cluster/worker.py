"""A worker: a process of the cluster that keeps a base model and does one piece of work after another."""

import contextlib
import dataclasses
import logging
import os
import platform
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import torch

from kvorum.active.directory import facts_of
from kvorum.active.plan import Experiment
from kvorum.cluster.learn_part import LearnPart, learn_part
from kvorum.cluster.learn_rounds import ToldRounds
from kvorum.cluster.news import Said, Teller
from kvorum.cluster.part import Bases, Part, fit_part
from kvorum.cluster.ray_cluster import ray
from kvorum.cluster.score import Shard, score_shard
from kvorum.posterior.scoring import Probabilities
from kvorum.posterior.stop import Stopped, StopRequest

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Hello:
    """What a worker says first."""

    node: str
    host: str
    pid: int
    kvorum: str
    gpus: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Left:
    """A piece of work was stopped before its end, as was asked for; what it had is saved."""

    message: str


class Worker:
    """Lives in a process of its own, as an actor of Ray; every piece of work is a method."""

    def __init__(self, news: Any, threads: int) -> None:
        if not ray().get_gpu_ids():
            # Where a worker asks for none, Ray leaves all of a machine's to be seen.
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        torch.set_num_threads(threads)
        self._bases = Bases()
        self._news = news
        # Only what kvorum itself says; what libraries print stays in Ray's own logs.
        logging.getLogger("kvorum").setLevel(logging.INFO)

    def _tell(self, said: Said) -> int | None:
        try:
            return ray().get(self._news.tell.remote(said))
        except ray().exceptions.RayError as error:
            # What is told is told again soon, and is no reason to lose work.
            log.warning("news did not arrive: %s", error)
            return None

    def hello(self) -> Hello:
        """Who and where it is."""
        return Hello(
            node=ray().get_runtime_context().get_node_id(),
            host=platform.node(),
            pid=os.getpid(),
            kvorum=version("kvorum"),
            gpus=tuple(map(str, ray().get_gpu_ids())),
        )

    def fit(self, work: str, part: Part) -> Left | None:
        """Fit a part to its end, or until a stop is asked for."""
        with self._telling(work) as (teller, stop):
            teller.doing("loading")
            try:
                fit_part(part.fetched(ray().get), self._bases, teller, stop, saved=teller.point)
            except Stopped as stopped:
                return Left(str(stopped))
        return None

    def score(self, work: str, shard: Shard) -> Probabilities | Left:
        """Score a shard; nothing comes of it where a stop is asked for."""
        with self._telling(work) as (teller, stop):
            teller.doing("loading")
            try:
                return score_shard(shard.fetched(ray().get), self._bases, teller, stop)
            except Stopped as stopped:
                return Left(str(stopped))

    def look(self, work: str, experiment: Experiment) -> dict[str, Any]:
        """Load an experiment's base model, check what depends on it, and say what was found."""
        with self._telling(work) as (teller, _):
            teller.doing("loading")
            return facts_of(experiment.plan(self._bases.of(experiment.config.fit)))

    def learn(self, work: str, part: LearnPart) -> Left | None:
        """The rounds of a part of an experiment, or those until a stop is asked for."""
        with self._telling(work) as (teller, stop):
            teller.doing("loading")
            try:
                learn_part(part, self._bases, ToldRounds(teller, stop))
            except Stopped as stopped:
                return Left(str(stopped))
        return None

    @contextlib.contextmanager
    def _telling(self, work: str) -> Iterator[tuple[Teller, StopRequest]]:
        from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()
        transformers_logging.set_verbosity_error()
        stop = StopRequest()
        teller = Teller(work, self._tell, stop)
        logger = logging.getLogger("kvorum")
        logger.addHandler(teller)
        try:
            yield teller, stop
        finally:
            logger.removeHandler(teller)
            teller.flush()

"""What a server counts, for Prometheus."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from kvorum.serve.batcher import Pass

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """The counters of one server; none of them is global."""

    def __init__(self, waiting: Callable[[], float]) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "kvorum_requests", "Requests answered", ["method", "path", "status"], registry=self.registry
        )
        self.request_seconds = Histogram(
            "kvorum_request_seconds", "From a request to its reply", ["path"], buckets=SECONDS, registry=self.registry
        )
        self.questions = Counter(
            "kvorum_questions", "Questions by what was decided", ["decision"], registry=self.registry
        )
        self.pass_questions = Histogram(
            "kvorum_pass_questions",
            "Questions that went through the model together",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128),
            registry=self.registry,
        )
        self.pass_seconds = Histogram(
            "kvorum_pass_seconds", "Time of a pass through the model", buckets=SECONDS, registry=self.registry
        )
        self.tokens = Counter(
            "kvorum_tokens", "Tokens that went through the model, of all members", registry=self.registry
        )
        Gauge("kvorum_waiting_questions", "Questions in the queue", registry=self.registry).set_function(waiting)

    def replied(self, method: str, path: str, status: int, seconds: float) -> None:
        """Count a request; status 0 where its client had gone."""
        self.requests.labels(method, path, str(status)).inc()
        self.request_seconds.labels(path).observe(seconds)

    def passed(self, one: Pass) -> None:
        """Count a pass."""
        self.pass_questions.observe(one.questions)
        self.pass_seconds.observe(one.seconds)
        self.tokens.inc(one.tokens)

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self.registry)

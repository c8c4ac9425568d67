"""Behaviours of the fake RunPod, and its ready scripts."""

from collections.abc import Mapping, Set
from typing import Annotated, ClassVar, Final, Literal, TypeAlias

from pydantic import Field, JsonValue

from gengui_stream.fakes.behaviours import Behaviour, Error, HalfBody, Hang, Html, Reset, Seconds
from gengui_stream.fakes.scripts import Rule, Script, When, by_name

LONG_S: Final = 3_600

Operation: TypeAlias = Literal["run", "status", "cancel", "health"]
Workers: TypeAlias = Literal["ready", "cold", "throttled", "crashing"]
Forgery: TypeAlias = Literal["wrong_token", "unknown_job", "premature", "finished_job", "not_json"]


class JobLife(Behaviour):
    """The life of a job after /run.

    It is queued for `queue_s`, while /health shows `workers`, then runs for `run_s`, reporting the items of `progress`,
    until its `end`: `failed` is reported as JSON in a string, `failed_plainly` as plain text; a `lost` job is deleted,
    as at its ttl; a job that ends `never` runs until the policy ends it. `queued_word` and `running_word`: the states
    in /status meanwhile.

    `output` of a completed job: `image` as in the worker contract, `list` the same in a list; `text` and `none` have no
    image; `not_an_image` and `wrong_type` are declared falsely; of `missing_object` nothing is stored; `wrong_key` is
    stored under another key.

    For `late_progress_s` after its end, /status still reports it as running, as when a progress update is processed
    late. `vanish_s` after its end it is deleted; None: after RunPod's 30 minutes.

    With the `worker` `outside`, a worker of another process takes the job by RunPod's worker API and decides what
    follows: `run_s`, `progress`, `end` and `output` have no effect.

    Its webhook is sent `webhooks` times, `webhook_s` after the end, each with up to three attempts. `forged` webhooks
    are sent as well: when the job starts to run, `wrong_token` to a URL with another last segment, `unknown_job` with
    an id that never existed, `not_json`, and `premature`, which says COMPLETED; after the end, `finished_job`, which
    says FAILED."""

    fits: ClassVar[Set[str]] = frozenset({"run"})

    do: Literal["job"] = "job"
    queue_s: Seconds = 0.02
    run_s: Seconds = 0.05
    workers: Workers = "ready"
    worker: Literal["own", "outside"] = "own"
    queued_word: str = "IN_QUEUE"
    running_word: str = "IN_PROGRESS"
    progress: tuple[JsonValue, ...] = ({"percent": 50, "stage": "painting"},)
    end: Literal["completed", "failed", "failed_plainly", "timed_out", "lost", "never"] = "completed"
    output: Literal["image", "list", "text", "none", "not_an_image", "wrong_type", "missing_object", "wrong_key"] = (
        "image"
    )
    late_progress_s: Seconds = 0
    vanish_s: Seconds | None = None
    webhooks: Annotated[int, Field(ge=0, le=10)] = 1
    webhook_s: Seconds = 0
    forged: tuple[Forgery, ...] = ()


class CancelIgnored(Behaviour):
    """/cancel responds with CANCELLED, and the job continues, as when a cancellation and a result cross."""

    fits: ClassVar[Set[str]] = frozenset({"cancel"})

    do: Literal["cancel_ignored"] = "cancel_ignored"


class Health(Behaviour):
    """/health reports these workers, whatever the jobs do."""

    fits: ClassVar[Set[str]] = frozenset({"health"})

    do: Literal["health"] = "health"
    workers: Mapping[str, int] = {}


_Behaviour: TypeAlias = JobLife | CancelIgnored | Health | Error | Hang | HalfBody | Reset | Html
RunpodBehaviour: TypeAlias = Annotated[_Behaviour, Field(discriminator="do"), by_name(lambda: BEHAVIOURS)]
"""A behaviour, or the name of a ready one."""


class RunpodScript(Script[RunpodBehaviour]):
    """`usual`: the life of a job that no rule matches. `endpoints`: the existing ones; None: any. `limits`: requests in
    ten seconds, for each endpoint and operation. `speed`: the factor by which the provider's own times are shortened:
    ttl, executionTimeout, the retention of results, the pause between attempts of a webhook."""

    operations: ClassVar[tuple[str, ...]] = ("run", "status", "cancel", "health")

    usual: JobLife = JobLife()
    endpoints: tuple[str, ...] | None = None
    limits: Mapping[Operation, Annotated[int, Field(ge=0)]] = {"run": 1_000, "status": 2_000, "cancel": 100}
    speed: Annotated[float, Field(gt=0, le=100_000)] = 1


BEHAVIOURS: Final[Mapping[str, _Behaviour]] = {
    "image": JobLife(),
    "outside": JobLife(worker="outside"),
    "slow": JobLife(run_s=3),
    "cold_start": JobLife(queue_s=5, workers="cold"),
    "no_capacity": JobLife(queue_s=LONG_S, workers="throttled"),
    "crash_loop": JobLife(queue_s=LONG_S, workers="crashing"),
    "failed": JobLife(end="failed"),
    "failed_plainly": JobLife(end="failed_plainly"),
    "timed_out": JobLife(end="timed_out"),
    "lost": JobLife(end="lost"),
    "never_ends": JobLife(end="never"),
    "unknown_status": JobLife(running_word="WARMING_UP", run_s=0.5),
    "running": JobLife(running_word="RUNNING", run_s=0.5),
    "no_output": JobLife(output="none"),
    "text_output": JobLife(output="text"),
    "list_output": JobLife(output="list"),
    "not_an_image": JobLife(output="not_an_image"),
    "wrong_type": JobLife(output="wrong_type"),
    "missing_object": JobLife(output="missing_object"),
    "wrong_key": JobLife(output="wrong_key"),
    "late_progress": JobLife(late_progress_s=1),
    "late_progress_for_ever": JobLife(late_progress_s=LONG_S),
    "vanished": JobLife(vanish_s=0, webhooks=0),
    "no_webhook": JobLife(webhooks=0),
    "late_webhook": JobLife(webhook_s=3),
    "duplicate_webhooks": JobLife(webhooks=3),
    "forged_webhooks": JobLife(forged=("wrong_token", "unknown_job", "premature", "finished_job", "not_json")),
    "cancel_ignored": CancelIgnored(),
    "bad_request": Error(status=400, message="bad request"),
    "unauthorized": Error(status=401, body=""),
    "no_credit": Error(status=402, message="insufficient balance"),
    "forbidden": Error(status=403, message="forbidden"),
    "not_found": Error(status=404, message="not found"),
    "rate_limited": Error(status=429, message="too many requests", retry_after=1),
    "rate_limited_silent": Error(status=429, message="too many requests"),
    "internal": Error(status=500, message="internal error"),
    "bad_gateway": Html(status=502, title="502 Bad Gateway"),
    "unavailable": Error(status=503, message="unavailable"),
    "gateway_timeout": Error(status=504, message="gateway timeout"),
    "html": Html(),
    "hang": Hang(),
    "half_body": HalfBody(),
    "reset": Reset(),
    "reset_after_work": Reset(accepted=True),
}

ODDS: Final[Mapping[Operation, Mapping[str, float]]] = {
    "run": {
        "rate_limited_silent": 0.04,
        "internal": 0.03,
        "bad_gateway": 0.02,
        "reset": 0.02,
        "html": 0.01,
        "reset_after_work": 0.01,
        "half_body": 0.01,
        "hang": 0.005,
        "failed": 0.03,
        "failed_plainly": 0.02,
        "timed_out": 0.02,
        "lost": 0.02,
        "vanished": 0.02,
        "no_webhook": 0.05,
        "late_webhook": 0.02,
        "duplicate_webhooks": 0.05,
        "forged_webhooks": 0.03,
        "late_progress": 0.03,
        "unknown_status": 0.02,
        "no_output": 0.01,
        "missing_object": 0.01,
        "not_an_image": 0.01,
    },
    "status": {"rate_limited_silent": 0.02, "internal": 0.02, "reset": 0.01, "html": 0.01, "half_body": 0.01},
    "cancel": {"internal": 0.05, "cancel_ignored": 0.05},
    "health": {"unavailable": 0.05},
}
"""Probabilities of the script `chaos`. Each is drawn if none before it was."""


def _chaos() -> RunpodScript:
    rules = [
        Rule[RunpodBehaviour](when=When(operation=operation, probability=odds), then=BEHAVIOURS[name])
        for operation, named in ODDS.items()
        for name, odds in named.items()
    ]
    return RunpodScript(rules=tuple(rules), image_side_max=128, speed=10)


def _always(behaviour: _Behaviour) -> RunpodScript:
    """For the operations that it applies to; for /run if it applies to all, as the others query what /run started."""
    when = When(operation=next(iter(behaviour.fits), None))
    return RunpodScript(rules=(Rule[RunpodBehaviour](when=when, then=behaviour),))


READY: Final[Mapping[str, RunpodScript]] = {
    "calm": RunpodScript(),
    "chaos": _chaos(),
    **{name: _always(behaviour) for name, behaviour in BEHAVIOURS.items()},
}
"""By name: `calm`, `chaos`, and one for each behaviour, which applies to every /run (or to its own operation)."""

"""What the fake of RunPod can do, and scripts for it that are ready to be played."""

from collections.abc import Mapping, Set
from typing import Annotated, ClassVar, Final, Literal, TypeAlias

from pydantic import Field, JsonValue

from gengui_stream.fakes.behaviours import Behaviour, Error, HalfBody, Hang, Html, Reset, Waiting
from gengui_stream.fakes.scripts import Rule, Script, When, by_name

LONG_S: Final = 3_600

Operation: TypeAlias = Literal["run", "status", "cancel", "health"]
Workers: TypeAlias = Literal["ready", "cold", "throttled", "crashing"]
Forgery: TypeAlias = Literal["wrong_token", "unknown_job", "premature", "finished_job", "not_json"]


class JobLife(Behaviour):
    """What becomes of a job once /run has taken it.

    It waits for `queue_s`, while /health shows `workers`, then runs for `run_s`, saying `progress` item by item, and
    comes to its `end`: `failed` says so in JSON inside a string, `failed_plainly` in a plain one; `lost` is gone
    without a trace, as at its ttl; `never` runs on until the policy ends it. `queued_word` and `running_word` are what
    /status says meanwhile.

    `output`, when it completes: `image` is what the worker contract says, `list` the same in a list; `text` and `none`
    are no image at all; `not_an_image` and `wrong_type` are not what they are said to be; of `missing_object` nothing
    is stored, `wrong_key` is stored under another key than it should be.

    For `late_progress_s` after its end /status goes on to say that it runs, as when a progress update is processed
    late. `vanish_s` after its end it is gone; None: after RunPod's 30 minutes.

    With the `worker` `outside`, a worker of another process takes it by RunPod's worker API, and what follows is up to
    that one: `run_s`, `progress`, `end` and `output` do not count.

    Its webhook is sent `webhooks` times, `webhook_s` after the end; each is tried three times. `forged` ones come on
    top: `wrong_token` to a URL whose last part is another one, `unknown_job` with an id that never was, `not_json`, and
    `premature`, which says COMPLETED, all when it begins to run; `finished_job` says FAILED after the end."""

    fits: ClassVar[Set[str]] = frozenset({"run"})

    do: Literal["job"] = "job"
    queue_s: Waiting = 0.02
    run_s: Waiting = 0.05
    workers: Workers = "ready"
    worker: Literal["own", "outside"] = "own"
    queued_word: str = "IN_QUEUE"
    running_word: str = "IN_PROGRESS"
    progress: tuple[JsonValue, ...] = ({"percent": 50, "stage": "painting"},)
    end: Literal["completed", "failed", "failed_plainly", "timed_out", "lost", "never"] = "completed"
    output: Literal["image", "list", "text", "none", "not_an_image", "wrong_type", "missing_object", "wrong_key"] = (
        "image"
    )
    late_progress_s: Waiting = 0
    vanish_s: Waiting | None = None
    webhooks: Annotated[int, Field(ge=0, le=10)] = 1
    webhook_s: Waiting = 0
    forged: tuple[Forgery, ...] = ()


class CancelIgnored(Behaviour):
    """/cancel says CANCELLED, and the job goes on: a cancel and a result that cross."""

    fits: ClassVar[Set[str]] = frozenset({"cancel"})

    do: Literal["cancel_ignored"] = "cancel_ignored"


class Health(Behaviour):
    """/health says that of the workers, whatever the jobs do."""

    fits: ClassVar[Set[str]] = frozenset({"health"})

    do: Literal["health"] = "health"
    workers: Mapping[str, int] = {}


_Behaviour: TypeAlias = JobLife | CancelIgnored | Health | Error | Hang | HalfBody | Reset | Html
RunpodBehaviour: TypeAlias = Annotated[_Behaviour, Field(discriminator="do"), by_name(lambda: BEHAVIOURS)]
"""Or the name of a ready one."""


class RunpodScript(Script[RunpodBehaviour]):
    """`usual`: the life of a job that no rule is about. `endpoints`: those there are; None: any. `limits`: requests in
    ten seconds, for each endpoint and operation. `speed`: how many times faster the provider's own times pass: ttl,
    executionTimeout, the keeping of results, the pause between tries of a webhook."""

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
"""Of the script `chaos`. Each is drawn when none before it was."""


def _chaos() -> RunpodScript:
    rules = [
        Rule[RunpodBehaviour](when=When(operation=operation, probability=odds), then=BEHAVIOURS[name])
        for operation, named in ODDS.items()
        for name, odds in named.items()
    ]
    return RunpodScript(rules=tuple(rules), image_side_max=128, speed=10)


def _always(behaviour: _Behaviour) -> RunpodScript:
    """To each operation it can be done to; without any of its own, to /run: the others tell of what /run began."""
    when = When(operation=next(iter(behaviour.fits), None))
    return RunpodScript(rules=(Rule[RunpodBehaviour](when=when, then=behaviour),))


READY: Final[Mapping[str, RunpodScript]] = {
    "calm": RunpodScript(),
    "chaos": _chaos(),
    **{name: _always(behaviour) for name, behaviour in BEHAVIOURS.items()},
}
"""By name: besides `calm` and `chaos` one for each behaviour, which is done to every /run (or what it is for)."""

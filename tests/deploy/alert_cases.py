"""For each alert: series with which it fires, and some with which it does not.

Series are written as promtool reads them: `0+1x20` is 0, then 1 more in each of 20 minutes; `_` is no sample.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

Series: TypeAlias = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Evaluated at `minute`. `labels`: of the alert, besides its severity. `summary`: as the operator reads it."""

    alert: str
    fires: Series
    quiet: Series
    summary: str
    labels: Mapping[str, str] = field(default_factory=dict)
    minute: int = 60


FOREVER: Final = " ".join(["+Inf"] * 61)


def burning(alert: str, *, good: str, bad: str, summary: str, budget: float) -> Case:
    """Fires when a fifth goes wrong, and not with a fifth of the budget."""
    return Case(
        alert=alert,
        fires={good: "0+80x120", bad: "0+20x120"},
        quiet={good: "0+10000x120", bad: f"0+{10000 * budget / 5:g}x120"},
        minute=120,
        summary=summary,
    )


def histogram(name: str, *, below: str, above: str, bound: str = "1.0") -> Series:
    """`below`: the observations within the bound, `above`: all."""
    return {f'{name}_bucket{{le="{bound}"}}': below, f'{name}_bucket{{le="+Inf"}}': above, f"{name}_count": above}


CASES: Final = (
    Case(
        alert="GenguiRoleDown",
        fires={'up{job="gengui",role="api",instance="a"}': "1x10 0x50"},
        quiet={
            'up{job="gengui",role="api",instance="a"}': "1x10 0x50",
            'up{job="gengui",role="api",instance="b"}': "1x60",
        },
        labels={"role": "api"},
        summary="No process of api answers; one did within the last day",
    ),
    Case(
        alert="GenguiProcessDown",
        fires={'up{job="gengui",role="api",instance="a:9100"}': "1x50 0x10"},
        quiet={'up{job="gengui",role="api",instance="a:9100"}': "1x58 0x2"},
        labels={"job": "gengui", "role": "api", "instance": "a:9100"},
        summary="api at a:9100 does not answer",
    ),
    Case(
        alert="GenguiServerUnavailable",
        fires={'gengui_retries_total{role="agents",operation="project"}': "0+12x60"},
        quiet={'gengui_retries_total{role="agents",operation="project"}': "0x50 12x10"},
        labels={"role": "agents", "operation": "project"},
        summary="agents repeats project: a server is unavailable or takes no writes",
    ),
    Case(
        alert="GenguiReplicasOutOfSync",
        fires={'gengui_log_replicas_out_of_sync{broker="2",role="dispatch"}': "0x50 4x10"},
        quiet={'gengui_log_replicas_out_of_sync{broker="2",role="dispatch"}': "0x50 4x8 0"},
        labels={"broker": "2"},
        summary="Broker 2 lacks events of 4 partitions: the loss of another one may stop appends",
    ),
    Case(
        alert="GenguiProjectionsStandStill",
        fires={'gengui_oldest_unprocessed_seconds{partition="2"}': "0+60x60"},
        quiet={
            'gengui_oldest_unprocessed_seconds{partition="1"}': "4x60",
            'gengui_oldest_unprocessed_seconds{partition="2"}': "0+60x60",
            'gengui_partition_paused{partition="2"}': "1x60",
        },
        labels={"partition": "2"},
        summary="Partition 2 is 1h 0m 0s behind the log",
    ),
    Case(
        alert="GenguiFreshnessBudget",
        fires=histogram("gengui_freshness_seconds", below="0+80x120", above="0+100x120"),
        quiet=histogram("gengui_freshness_seconds", below="0+9980x120", above="0+10000x120"),
        minute=120,
        summary="20% of the batches became visible later than a second after their events",
    ),
    Case(
        alert="GenguiFallingBehind",
        fires={'gengui_projection_catch_up_seconds{partition="0"}': FOREVER},
        quiet={
            'gengui_projection_catch_up_seconds{partition="0"}': "90x60",
            'gengui_projection_catch_up_seconds{partition="1"}': FOREVER,
            'gengui_partition_paused{partition="1"}': "1x60",
        },
        labels={"partition": "0"},
        summary="More is appended to partition 0 than is projected",
    ),
    Case(
        alert="GenguiPartitionPaused",
        fires={'gengui_partition_paused{partition="3"}': "1x60"},
        quiet={'gengui_partition_paused{partition="3"}': "0x40 1x20"},
        labels={"partition": "3"},
        summary="Partition 3 has been paused for half an hour",
    ),
    Case(
        alert="GenguiDeadLetters",
        fires={'gengui_parked_generations{partition="0"}': "0x50 1x10"},
        quiet={
            'gengui_parked_generations{partition="0"}': "0x60",
            'gengui_events_projected_total{outcome="dead_lettered"}': "1x60",
            'gengui_events_projected_total{outcome="applied"}': "0+9x60",
        },
        summary="Records of the log could not be folded",
    ),
    Case(
        alert="GenguiProjectionDrifted",
        fires={'gengui_generations_checked_total{outcome="drifted"}': "0x50 1x10"},
        quiet={
            'gengui_generations_checked_total{outcome="drifted"}': "0x60",
            'gengui_generations_checked_total{outcome="equal"}': "0+12x60",
        },
        summary="Rows of a generation are not what its events say, or could not be compared",
    ),
    Case(
        alert="GenguiEventsForwarded",
        fires={"gengui_events_forwarded_total": "0x50 1x10"},
        quiet={"gengui_events_forwarded_total": "0x60"},
        summary="A producer puts events on other partitions than those of their generations",
    ),
    burning(
        "GenguiGenerationBudget",
        good='gengui_generations_ended_total{provider="local",outcome="completed"}',
        bad='gengui_generations_ended_total{provider="runpod",outcome="timed_out"}',
        budget=0.01,
        summary="20% of the generations fail or time out",
    ),
    Case(
        alert="GenguiQueueOld",
        fires={'gengui_oldest_due_job_seconds{kind="dispatch",provider="runpod",instance="a"}': "0+60x60"},
        quiet={'gengui_oldest_due_job_seconds{kind="dispatch",provider="runpod",instance="a"}': "299x60"},
        labels={"kind": "dispatch", "provider": "runpod"},
        summary="A dispatch job for runpod has been due for 1h 0m 0s",
    ),
    Case(
        alert="GenguiJobsRetried",
        fires={
            'gengui_jobs_done_total{kind="thumbnail",outcome="retried"}': "0+6x60",
            'gengui_jobs_done_total{kind="thumbnail",outcome="done"}': "0+5x60",
        },
        quiet={
            'gengui_jobs_done_total{kind="thumbnail",outcome="retried"}': "0+4x60",
            'gengui_jobs_done_total{kind="thumbnail",outcome="done"}': "0+5x60",
            'gengui_jobs_done_total{kind="reconcile",outcome="retried"}': "0+9x60",
        },
        labels={"kind": "thumbnail"},
        summary="More thumbnail jobs are retried or fail than succeed",
    ),
    Case(
        alert="GenguiCircuitOpen",
        fires={
            'gengui_circuit_state{provider="gemini",model="m",instance="a"}': "0x60",
            'gengui_circuit_state{provider="gemini",model="m",instance="b"}': "2x60",
        },
        quiet={'gengui_circuit_state{provider="gemini",model="m",instance="b"}': "2x56 1x4"},
        labels={"provider": "gemini", "model": "m"},
        summary="gemini fails: no attempt of m is sent there",
    ),
    Case(
        alert="GenguiAttemptsGivenUp",
        fires={'gengui_reconciled_total{provider="runpod",finding="gave_up"}': "0+1x60"},
        quiet={
            'gengui_reconciled_total{provider="runpod",finding="gave_up"}': "0x40 1x20",
            'gengui_reconciled_total{provider="runpod",finding="recovered"}': "0+5x60",
        },
        labels={"provider": "runpod"},
        summary="Attempts at runpod end without an answer",
    ),
    Case(
        alert="GenguiOutputsMissing",
        fires={"gengui_outputs_missing_total": "0x50 2x10"},
        quiet={"gengui_outputs_missing_total": "2x60"},
        summary="A worker reports images that are not in the object store",
    ),
    Case(
        alert="GenguiStatusesUnreadable",
        fires={"gengui_dead_statuses": "3x60"},
        quiet={"gengui_dead_statuses": "0x60"},
        summary="3 Redis messages of workers could not be read",
    ),
    Case(
        alert="GenguiModelRetires",
        fires={'gengui_model_retirement_timestamp_seconds{provider="gemini",model="m"}': "871200x120"},
        quiet={'gengui_model_retirement_timestamp_seconds{provider="gemini",model="m"}': "2678400x60"},
        labels={"provider": "gemini", "model": "m"},
        minute=120,
        summary="gemini retires m in 10d 0h 0m 0s",
    ),
    Case(
        alert="GenguiCostRising",
        fires={'gengui_cost{provider="runpod",model="m"}': "0+0.01x540 5.5+0.1x60"},
        quiet={'gengui_cost{provider="runpod",model="m"}': "0+0.5x480 240x60 240+0.03x60"},
        minute=600,
        summary="The last hour cost 6, more than three times the average hour of the last week",
    ),
    burning(
        "GenguiApiErrorBudget",
        good='gengui_http_requests_total{method="GET",route="/v1/generations",status="200"}',
        bad='gengui_http_requests_total{method="GET",route="/v1/generations",status="503"}',
        budget=0.001,
        summary="20% of the requests are answered with 5xx",
    ),
    Case(
        alert="GenguiApiSlow",
        fires=histogram("gengui_http_request_seconds", below="0+90x60", above="0+100x60", bound="2.5"),
        quiet=histogram("gengui_http_request_seconds", below="0+995x60", above="0+1000x60", bound="0.5"),
        summary="A hundredth of the requests take longer than 2.5s",
    ),
    Case(
        alert="GenguiRateLimited",
        fires={'gengui_rate_limited_total{policy="requests"}': "0+120x60"},
        quiet={'gengui_rate_limited_total{policy="requests"}': "0+30x60"},
        labels={"policy": "requests"},
        summary="The policy requests refuses 2 requests a second",
    ),
    Case(
        alert="GenguiRateLimitsLocal",
        fires={'gengui_rate_limits_local_total{policy="requests"}': "0+1x60"},
        quiet={'gengui_rate_limits_local_total{policy="requests"}': "7x60"},
        summary="Each API process counts requests by itself: Redis is unavailable",
    ),
    Case(
        alert="GenguiEmailsLate",
        fires={"gengui_oldest_email_seconds": "0+60x60"},
        quiet={"gengui_oldest_email_seconds": "120x60"},
        summary="An e-mail has not been sent for 1h 0m 0s",
    ),
    Case(
        alert="GenguiEmailsRefused",
        fires={'gengui_emails_unsent{state="failed"}': "2x60"},
        quiet={'gengui_emails_unsent{state="open"}': "2x60", 'gengui_emails_unsent{state="failed"}': "0x60"},
        summary="2 e-mails were refused for good",
    ),
)

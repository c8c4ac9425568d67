"""Finds every anomaly of the evidence."""

from tests.oracle.client_checks import check_clients
from tests.oracle.evidence import Anomaly, Evidence
from tests.oracle.log_checks import check_log
from tests.oracle.rules import interpret
from tests.oracle.table_checks import check_tables


def evaluate(evidence: Evidence) -> list[Anomaly]:
    """Empty if every promise was kept."""
    stories = interpret(evidence.log)
    return [
        *check_log(evidence, stories),
        *check_tables(evidence, stories),
        *check_clients(evidence, stories),
    ]

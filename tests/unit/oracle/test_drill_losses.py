"""What a drill counts as lost with the images of a store, and what stays a broken promise."""

from types import SimpleNamespace
from typing import Any

import pytest

from tests.drills.run import DrillReport, conclude
from tests.oracle.evidence import Anomaly

MISSING = Anomaly("thumbnail_failed", "a", "output 0: object_missing")
REFUSED = Anomaly("thumbnail_failed", "a", "output 0: too_large")


@pytest.mark.parametrize(
    ("images_lost", "found", "broken"), [(True, MISSING, []), (False, MISSING, [MISSING]), (True, REFUSED, [REFUSED])]
)
def test_a_thumbnail_of_a_lost_image_is_lost_with_it(images_lost: bool, found: Anomaly, broken: list[Anomaly]) -> None:
    ground: Any = SimpleNamespace(images_lost=images_lost, commands=[], migrations=[])
    report = DrillReport(seed=1)
    conclude(report, [found], ground, ())
    assert report.found == broken
    assert len(report.lost) == 1 - len(broken)

"""The whole system as processes, under load, with parts of it killed."""

import pytest

pytest.register_assert_rewrite("tests.faults.oracle", "tests.faults.load", "tests.faults.system")

"""The API accepts the requests of the demo."""

from itertools import islice

from gengui_stream.dev.demo.prompts import SIZES, request_bodies
from schemas.http import CreateGeneration


def test_every_body_is_a_valid_request_and_every_size_has_its_turn() -> None:
    made = [CreateGeneration.model_validate(body) for body in islice(request_bodies(), 200)]
    assert {(one.width, one.height) for one in made} == set(SIZES)
    assert len({one.prompt for one in made}) == len(made)

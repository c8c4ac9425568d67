"""Scripts of the fake providers: parsed strictly, and with the same choices for the same seed."""

import random
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gengui_stream.fakes.behaviours import Error, Hang
from gengui_stream.fakes.calls import Runs, recordable, recordable_headers
from gengui_stream.fakes.gemini import script as gemini_script
from gengui_stream.fakes.gemini.script import GeminiBehaviour, GeminiScript
from gengui_stream.fakes.pictures import drawn
from gengui_stream.fakes.rules import Chooser, NumberedRequest, Request, choose, draw
from gengui_stream.fakes.runpod import script as runpod_script
from gengui_stream.fakes.runpod.rate_limit import RateLimit
from gengui_stream.fakes.runpod.script import JobLife, RunpodScript
from gengui_stream.fakes.scripts import Rule, ScriptError, When, parse_script, read_script
from gengui_stream.worker.painter.rendering import Sketch

requests = st.builds(
    NumberedRequest,
    st.builds(Request, operation=st.just("generate"), generation=st.text(max_size=9), prompt=st.text(max_size=9)),
    nth=st.integers(1, 5),
    nth_of_generation=st.integers(1, 5),
)


def asked(
    nth: int = 1,
    of_generation: int = 1,
    *,
    operation: str = "generate",
    generation: str = "g",
    prompt: str = "A red Fox",
    attempt: int | None = None,
    job: str | None = None,
) -> NumberedRequest:
    request = Request(operation=operation, generation=generation, prompt=prompt, attempt=attempt, job=job)
    return NumberedRequest(request, nth, of_generation)


def script(**when: object) -> GeminiScript:
    return GeminiScript.model_validate({"rules": [{"when": when, "then": "hang"}]})


def matches(played: GeminiScript, request: NumberedRequest) -> bool:
    return choose(played, 0, request, {}).rule == 0


@pytest.mark.parametrize(
    ("when", "matching", "other"),
    [
        ({}, asked(), asked(operation="model")),
        ({"operation": "model"}, asked(operation="model"), asked()),
        ({"nth": 2}, asked(2), asked(1)),
        ({"nth": [1, 3]}, asked(3), asked(2)),
        ({"nth_of_generation": 2}, asked(7, 2), asked(2, 1)),
        ({"prompt": "FOX"}, asked(), asked(prompt="a dog")),
        ({"generation": "g"}, asked(), asked(generation="h")),
        ({"attempt": 2}, asked(attempt=2), asked(attempt=None)),
        ({"job": "j"}, asked(job="j"), asked()),
        ({"nth": 1, "prompt": "fox"}, asked(1), asked(1, prompt="dog")),
        ({"probability": 1}, asked(), asked(operation="model")),
    ],
)
def test_a_rule_matches_what_has_everything_it_names(
    when: dict[str, object], matching: NumberedRequest, other: NumberedRequest
) -> None:
    played = script(**when)
    assert matches(played, matching)
    assert not matches(played, other)


@given(requests)
def test_a_probability_of_nothing_never_matches(request: NumberedRequest) -> None:
    assert not matches(script(probability=0), request)


@given(requests, st.integers(0, 2**64), st.integers(0, 50))
def test_a_draw_is_a_share_and_always_the_same(request: NumberedRequest, seed: int, rule: int) -> None:
    assert 0 <= draw(seed, rule, request) < 1
    assert draw(seed, rule, request) == draw(seed, rule, request)


def test_draws_are_spread_evenly_and_differ_by_seed_rule_and_attempt() -> None:
    drawn = [draw(1, 0, asked(prompt=f"picture {number}")) for number in range(4_000)]
    assert 0.23 < sum(value < 0.25 for value in drawn) / len(drawn) < 0.27
    others = {draw(2, 0, asked()), draw(1, 1, asked()), draw(1, 0, asked(1, 2)), draw(1, 0, asked())}
    assert len(others) == 4


def test_the_id_of_a_generation_changes_no_draw() -> None:
    assert draw(1, 0, asked(generation="one")) == draw(1, 0, asked(generation="another"))


def test_the_first_rule_that_matches_is_chosen_and_none_leaves_the_usual_answer() -> None:
    played = parse_script(GeminiScript, b'{"rules": [{"when": {"nth": 1}, "then": "hang"}, {"then": "reset"}]}')
    empty = GeminiScript()
    assert choose(played, 0, asked(1), {}).rule == 0
    assert choose(played, 0, asked(2), {}).rule == 1
    assert choose(empty, 0, asked(), {}).behaviour is None


def test_a_rule_is_used_up() -> None:
    played = parse_script(GeminiScript, b'{"rules": [{"times": 2, "then": "hang"}]}')
    chooser = Chooser(played, 0)
    chosen = [chooser.next(Request(operation="generate", generation="g"))[1].rule for _ in range(4)]
    assert chosen == [0, 0, None, None]


def test_requests_are_counted_by_operation_and_by_generation() -> None:
    chooser = Chooser(GeminiScript(), 0)
    pairs = [("generate", "a"), ("model", "a"), ("generate", "b"), ("generate", "a")]
    counted = [chooser.next(Request(operation=operation, generation=name))[0] for operation, name in pairs]
    assert [(one.nth, one.nth_of_generation) for one in counted] == [(1, 1), (1, 1), (2, 1), (3, 2)]


def test_what_chaos_does_is_the_same_in_any_order() -> None:
    prompts = [f"picture {number}" for number in range(300)]
    shuffled = random.Random(5).sample(prompts, len(prompts))

    def done(order: list[str], seed: int) -> dict[str, int | None]:
        chooser = Chooser(gemini_script.READY["chaos"], seed)
        return {
            prompt: chooser.next(Request(operation="generate", generation=prompt, prompt=prompt))[1].rule
            for prompt in order
        }

    assert done(prompts, 1) == done(shuffled, 1)
    assert done(prompts, 1) != done(prompts, 2)
    assert len(set(done(prompts, 1).values())) > 10


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("nope", "not JSON"),
        ('{"rules": [{"then": "moderate"}]}', "rules.0.then: no behaviour is called 'moderate'; there are image,"),
        ('{"rules": [{"then": {"do": "images", "cont": 2}}]}', "rules.0.then.images.cont: unknown field"),
        ('{"rules": [{"then": {"do": "dance"}}]}', "rules.0.then: its 'do' must be one of 'images'"),
        ('{"rules": [{"when": {"nht": 1}, "then": "hang"}]}', "rules.0.when.nht: unknown field"),
        ('{"rules": [{"when": {"nth": 0}, "then": "hang"}]}', "rules.0.when.nth.0: must be at least 1"),
        ('{"rules": [{"when": {"nth": []}, "then": "hang"}]}', "rules.0.when.nth: an empty list would match nothing"),
        ('{"rules": [{"when": {"probability": 2}, "then": "hang"}]}', "rules.0.when.probability: must be at most 1"),
        ('{"rules": [{"when": {"operation": "run"}, "then": "hang"}]}', "'run' is none of generate, model"),
        (
            '{"rules": [{"when": {"operation": "model"}, "then": "image"}]}',
            "rules.0: 'images' can be done to generate, not to 'model'",
        ),
        ('{"rules": [{"then": {"do": "error", "status": 200}}]}', "rules.0.then.error.status"),
    ],
)
def test_faults_of_a_script_are_named_by_their_place(text: str, fault: str) -> None:
    with pytest.raises(ScriptError) as refused:
        parse_script(GeminiScript, text.encode())
    assert fault in str(refused.value)


def test_a_script_is_given_by_name_as_json_or_as_a_file(tmp_path: Path) -> None:
    text = '{"rules": [{"then": {"do": "error", "status": 503}}]}'
    (tmp_path / "script.json").write_text(text)
    expected = GeminiScript(rules=(Rule[GeminiBehaviour](then=Error(status=503)),))
    ready = gemini_script.READY
    assert read_script(GeminiScript, ready, text) == expected
    assert read_script(GeminiScript, ready, str(tmp_path / "script.json")) == expected
    assert read_script(GeminiScript, ready, "chaos") is ready["chaos"]
    assert read_script(GeminiScript, ready, "hell") is ready["chaos"]  # its older name
    with pytest.raises(ScriptError, match=r"'heaven' is no ready script \(calm, chaos, .*No such file"):
        read_script(GeminiScript, ready, "heaven")


@pytest.mark.parametrize("name", gemini_script.READY)
def test_ready_scripts_of_gemini_survive_json(name: str) -> None:
    ready = gemini_script.READY[name]
    assert parse_script(GeminiScript, orjson.dumps(ready.model_dump(mode="json"))) == ready


@pytest.mark.parametrize("name", runpod_script.READY)
def test_ready_scripts_of_runpod_survive_json(name: str) -> None:
    ready = runpod_script.READY[name]
    assert parse_script(RunpodScript, orjson.dumps(ready.model_dump(mode="json"))) == ready


def test_a_ready_script_is_about_the_operation_it_is_for() -> None:
    ready = runpod_script.READY
    assert [rule.when.operation for rule in ready["cancel_ignored"].rules] == ["cancel"]
    assert ready["cold_start"].rules[0].then == JobLife(queue_s=5, workers="cold")
    assert gemini_script.READY["hang"].rules[0].then == Hang()
    assert ready["hang"].operation_of(When()) == "run"


@pytest.mark.parametrize("name", sorted({*gemini_script.READY, *runpod_script.READY}))
def test_the_page_about_them_names_every_ready_script(name: str) -> None:
    page = (Path(__file__).parents[3] / "docs" / "fakes.md").read_text(encoding="utf-8")
    assert f"`{name}`" in page


def test_runs_at_once_are_counted_for_each_generation() -> None:
    runs = Runs()
    first, other = runs.begin("a"), runs.begin("b")
    first.end()
    first.end()
    second = runs.begin("a")
    assert runs.overlaps == {}
    third = runs.begin("a")
    assert (runs.overlaps, runs.now) == ({"a": 2}, {"a": 2, "b": 1})
    for run in (second, third, other):
        run.end()
    assert (runs.overlaps, runs.now) == ({"a": 2}, {})


def test_records_hold_no_credentials_and_no_images() -> None:
    body = {"input": {"parts": ["x" * 3_000, "short"]}, "s3Config": {"accessSecret": "hunter2"}}
    assert recordable(body) == {"input": {"parts": ["<3000 characters>", "short"]}}
    assert recordable_headers({"X-Goog-Api-Key": "k", "Authorization": "k", "X-Request-ID": "1"}) == {
        "x-request-id": "1"
    }


def test_pacing_slides() -> None:
    limit = RateLimit()
    assert [limit.accepts("a", 2, at) for at in (0, 5, 9, 10, 14, 15)] == [True, True, False, True, False, True]
    assert limit.accepts("b", 1, 9)
    assert not limit.accepts("c", 0, 9)


@pytest.mark.parametrize("side_max", [64, 160])
async def test_pictures_differ_by_prompt_and_seed_and_are_the_same_again(side_max: int) -> None:
    sketches = [Sketch(prompt, seed, 320, 640) for prompt in ("a", "b") for seed in (1, 2)]
    pictures = [await drawn(sketch, side_max) for sketch in sketches]
    assert {(picture.width, picture.height) for picture in pictures} == {(side_max // 2, side_max)}
    assert len({picture.sha256 for picture in pictures}) == 4
    assert (await drawn(sketches[0], side_max)).body == pictures[0].body

"""Tokens of webhooks: valid for one attempt at one provider, and invalid after any change."""

import uuid

from hypothesis import given
from hypothesis import strategies as st

from gengui_stream.providers.webhook_tokens import AttemptName, attempt_of, token_of

names = st.builds(AttemptName, st.sampled_from(("runpod", "other")), st.uuids(), st.integers(1, 1_000))
secrets = st.text(min_size=16, max_size=64)


@given(names, secrets)
def test_a_token_names_the_attempt_it_was_made_for(name: AttemptName, secret: str) -> None:
    token = token_of(name, secret)
    assert attempt_of(name.provider, token, secret) == name
    assert secret not in token


@given(names, secrets, st.data())
def test_a_token_that_was_changed_anywhere_is_none(name: AttemptName, secret: str, data: st.DataObject) -> None:
    token = token_of(name, secret)
    place = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.characters(codec="utf-8").filter(lambda c: c != token[place]))
    assert attempt_of(name.provider, token[:place] + other + token[place + 1 :], secret) is None
    assert attempt_of(name.provider, token[:place], secret) is None
    assert attempt_of(name.provider, token + other, secret) is None


@given(names, names, secrets, secrets)
def test_a_token_is_good_for_nothing_else(one: AttemptName, two: AttemptName, secret: str, foreign: str) -> None:
    proof = token_of(one, secret).rpartition(".")[2]
    borrowed = f"{two.generation_id.hex}.{two.attempt}.{proof}"
    assert (attempt_of(two.provider, borrowed, secret) is not None) == (one == two)
    if foreign != secret:
        assert attempt_of(one.provider, token_of(one, foreign), secret) is None


@given(st.text(max_size=200), secrets)
def test_whatever_else_comes_is_none(text: str, secret: str) -> None:
    assert attempt_of("runpod", text, secret) is None


def test_an_attempt_is_written_in_one_way_only() -> None:
    name = AttemptName("runpod", uuid.UUID(int=7), 3)
    gid, attempt, proof = token_of(name, "s" * 16).split(".")
    for other in (f"{gid}.0{attempt}.{proof}", f"{gid}.+{attempt}.{proof}", f"{gid}.３.{proof}", f"{gid.upper()}.3"):
        assert attempt_of("runpod", other, "s" * 16) is None

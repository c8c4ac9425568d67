"""Paths in the bucket."""

import posixpath
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gengui_stream.media.object_keys import is_plain, leased_media_key, media_key, thumbnail_key

OWNER, GENERATION = UUID(int=1), UUID(int=2)


def test_keys_are_the_original_services() -> None:
    assert media_key(OWNER, GENERATION, "image/png") == f"users/{OWNER}/media/{GENERATION}.png"
    assert thumbnail_key(OWNER, GENERATION, "image/webp") == f"users/{OWNER}/media/thumbs/{GENERATION}.webp"


def test_further_outputs_carry_their_id() -> None:
    keys = {media_key(OWNER, GENERATION, "image/jpeg", output_id) for output_id in ("0", "1", "b")}
    assert keys == {f"users/{OWNER}/media/{GENERATION}{suffix}.jpg" for suffix in ("", "-1", "-b")}


@pytest.mark.parametrize(
    "odd",
    [
        *("", "/", "/users/a", "users/a/", "users//a", "./users/a", "users/./a", "users/a/../b/c.png", "..", "a/.."),
        *("users\\a", "users/a\nb", "a\x00", "a\x7f"),
    ],
)
def test_a_key_that_stores_read_differently_is_not_plain(odd: str) -> None:
    assert not is_plain(odd)


@pytest.mark.parametrize(
    "plain", ["t.webp", "users/a/media/b.png", "outputs/..a/b..png", "...", ".hidden/x", "a b/%2e%2e/c"]
)
def test_dots_within_a_name_are_plain(plain: str) -> None:
    assert is_plain(plain)


@given(st.text())
def test_every_key_is_plain_or_not_and_a_plain_one_stays_under_its_owner(text: str) -> None:
    key = f"users/{OWNER}/{text}"
    assert not is_plain(key) or posixpath.normpath(key).startswith(f"users/{OWNER}/")


def test_our_own_keys_are_plain() -> None:
    assert is_plain(media_key(OWNER, GENERATION, "image/png"))
    assert is_plain(leased_media_key(OWNER, GENERATION, "lease", "image/png", "b"))


def test_an_unknown_type_still_has_a_key() -> None:
    assert media_key(OWNER, GENERATION, "image/x-new").endswith(".bin")

"""Paths in the bucket."""

from uuid import UUID

from gengui_stream.media.object_keys import media_key, thumbnail_key

OWNER, GENERATION = UUID(int=1), UUID(int=2)


def test_keys_are_the_original_services() -> None:
    assert media_key(OWNER, GENERATION, "image/png") == f"users/{OWNER}/media/{GENERATION}.png"
    assert thumbnail_key(OWNER, GENERATION, "image/webp") == f"users/{OWNER}/media/thumbs/{GENERATION}.webp"


def test_further_outputs_carry_their_id() -> None:
    keys = {media_key(OWNER, GENERATION, "image/jpeg", output_id) for output_id in ("0", "1", "b")}
    assert keys == {f"users/{OWNER}/media/{GENERATION}{suffix}.jpg" for suffix in ("", "-1", "-b")}


def test_an_unknown_type_still_has_a_key() -> None:
    assert media_key(OWNER, GENERATION, "image/x-new").endswith(".bin")

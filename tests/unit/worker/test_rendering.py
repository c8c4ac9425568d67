"""The reference painter: the same sketch gives the same image, another sketch another image."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gengui_stream.worker.painter.palettes import STOPS, palette_name
from gengui_stream.worker.painter.rendering import Canvas, Sketch, _scene, blank, encode_png, paint, render
from gengui_stream.worker.painter.scenes import Land, Silk

PROMPTS = ["a sunset over mountains", "ocean", "starry night", "fire", "a cup of tea", "Ünïcödé 🐉", " "]


@pytest.mark.parametrize("prompt", PROMPTS)
def test_the_same_sketch_gives_the_same_picture(prompt: str) -> None:
    sketch = Sketch(prompt, 7, 192, 128)
    assert np.array_equal(render(sketch), render(sketch))


def test_another_seed_or_prompt_gives_another_picture() -> None:
    def pictures(prompt: str, seed: int) -> Canvas:
        return render(Sketch(prompt, seed, 128, 128))

    first = pictures("a cat", 1)
    for other in (pictures("a cat", 2), pictures("a dog", 1)):
        assert np.abs(first.astype(int) - other.astype(int)).mean() > 2


@given(st.text(min_size=1, max_size=50), st.integers(0, 2**53 - 1), st.integers(1, 90), st.integers(1, 90))
@settings(max_examples=25, deadline=None)
def test_any_sketch_has_exactly_its_size(prompt: str, seed: int, width: int, height: int) -> None:
    assert render(Sketch(prompt, seed, width, height)).shape == (height, width, 3)


@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_picture_is_worth_looking_at(prompt: str) -> None:
    """Neither flat nor overexposed, for any prompt."""
    canvas = render(Sketch(prompt, 3, 256, 256))
    assert canvas.std() > 8
    assert (canvas == 255).all(axis=2).mean() < 0.5


def test_painting_reports_how_far_it_is_and_may_be_stopped() -> None:
    sketch = Sketch("a forest", 1, 128, 256)
    canvas = blank(sketch)
    steps = paint(sketch, canvas)
    assert 0 < next(steps) < 0.2
    assert canvas[:8].any()
    assert not canvas[128:].any()
    rest = list(steps)
    assert rest == sorted(rest)
    assert rest[-1] == 1.0


def test_bands_leave_no_seams() -> None:
    """An image painted in bands equals one painted at once: slopes at the edge of a band include the neighbouring
    band."""
    canvas = render(Sketch("fire", 5, 128, 512)).astype(int)
    steps = np.abs(np.diff(canvas, axis=0)).mean(axis=(1, 2))
    edges = np.linspace(0, 512, 17).astype(int)[1:-1] - 1
    assert steps[edges].mean() < 2 * steps.mean()


def test_the_file_is_a_png_of_the_canvas() -> None:
    canvas = render(Sketch("ice", 1, 96, 64))
    image = Image.open(io.BytesIO(encode_png(canvas)))
    assert (image.format, image.size) == ("PNG", (96, 64))
    assert np.array_equal(np.asarray(image), canvas)


def test_words_choose_the_palette() -> None:
    assert palette_name("A quiet OCEAN at night") == "ocean"
    assert palette_name("xyzzy") is None
    assert {palette_name(name) for name in STOPS} == set(STOPS)


def test_words_choose_between_land_and_cloth() -> None:
    assert isinstance(_scene(Sketch("mountains at night", 1, 64, 64)), Land)
    assert isinstance(_scene(Sketch("Silk at night", 1, 64, 64)), Silk)

"""The requests of the demo: distinct prompts, and alternating sizes."""

from collections.abc import Iterator
from itertools import count
from typing import Final

SUBJECTS: Final = (
    "a lighthouse",
    "mountains",
    "silk",
    "a quiet harbour",
    "rolling hills",
    "flowing ribbons",
    "a lonely island",
    "a pine valley",
    "high dunes",
    "northern lights",
    "cliffs by the sea",
)
MOODS: Final = (
    "in a storm",
    "at dawn",
    "in neon colours",
    "at night",
    "in a desert sunset",
    "on fire",
    "over the ocean",
    "in winter",
    "in the colours of autumn",
    "under ice",
    "at sunset",
    "in a green forest",
    "in a dream",
)
SIZES: Final = ((576, 384), (384, 384), (384, 576), (640, 384), (512, 384), (384, 512), (448, 448))


def request_bodies() -> Iterator[dict[str, object]]:
    """An endless series of bodies of `POST /v1/generations`."""
    for number in count():
        prompt = f"{SUBJECTS[number % len(SUBJECTS)]} {MOODS[number % len(MOODS)]}"
        again = number // (len(SUBJECTS) * len(MOODS))
        width, height = SIZES[number % len(SIZES)]
        prompt = f"{prompt}, take {again + 1}" if again else prompt
        yield {"prompt": prompt, "width": width, "height": height, "seed": number}

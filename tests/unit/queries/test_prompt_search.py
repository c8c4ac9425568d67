"""The pattern of a search, interpreted by Python's own regular expressions; `test_prompt_search` of the integration
tests has PostgreSQL's."""

import re
import string

from hypothesis import given
from hypothesis import strategies as st

from gengui_stream.queries.prompt_search import pattern_of

SCRIPTS = "aAzZéÉßẞñÑőŐşŞσςΣωΩйЙщЩжЖаАԱաႠⴀ𐐀𐐨ⓐⒶ" + string.digits + string.punctuation + " \n日本語عربי"
texts = st.text(st.sampled_from(SCRIPTS), max_size=12)


@given(texts, texts)
def test_it_finds_what_case_insensitive_search_finds(text: str, prompt: str) -> None:
    found = re.search(pattern_of(text), prompt) is not None
    assert found == (re.search(re.escape(text), prompt, re.IGNORECASE) is not None)


@given(texts, texts, st.text(st.sampled_from(SCRIPTS), min_size=1, max_size=12))
def test_it_finds_the_text_in_either_case_wherever_it_is(before: str, after: str, text: str) -> None:
    swapped = "".join(letter if len(letter.swapcase()) > 1 else letter.swapcase() for letter in text)
    for written in (text, swapped):
        assert re.search(pattern_of(text), before + written + after)

"""A search of prompts in PostgreSQL: the same in every locale, over the rows of one owner."""

import string
import sys
from uuid import UUID

import pytest

from gengui_stream.identifiers import new_id
from gengui_stream.postgres.pool import Pool
from gengui_stream.queries import generations
from gengui_stream.queries.generations import PAGE, Filters
from gengui_stream.queries.prompt_search import pattern_of

pytestmark = pytest.mark.stack

OWNER = UUID(int=7)
OTHERS = """
WITH given AS (SELECT n, gen_random_uuid() AS id,
        CASE WHEN n % 100 = 0 THEN $1::uuid ELSE gen_random_uuid() END AS owner
    FROM generate_series(1, 20000) n),
requests AS (INSERT INTO projections.generation_requests (generation_id, owner_id, prompt, seed, width, height, model,
    provider, max_attempts, requested_at)
    SELECT id, owner, 'Маяк в бурю ' || n, 1, 512, 512, 'm', 'local', 3, now() - n * interval '1 s' FROM given)
INSERT INTO projections.generation_states (generation_id, partition, log_offset, status, version, attempt, provider,
    cancel_requested, provider_model, settled)
SELECT id, 0, n, 'queued', 1, 1, 'local', false, 'm', false FROM given
"""


async def test_every_letter_is_found_in_either_case_and_every_sign_as_itself(emptied: Pool) -> None:
    letters = [letter for letter in map(chr, range(sys.maxunicode + 1)) if letter.swapcase() != letter]
    pairs = [(letter, other) for letter in letters if len(other := letter.swapcase()) == 1]
    assert len(pairs) > 2_000
    signs = [(f"a{sign}b", f"a{sign}b") for sign in string.punctuation + string.whitespace]
    written, patterns = zip(*((text, pattern_of(asked)) for text, asked in pairs + signs), strict=True)
    missed = await emptied.fetch(
        "SELECT text FROM unnest($1::text[], $2::text[]) AS t (text, pattern) WHERE text !~ pattern", written, patterns
    )
    assert [row["text"] for row in missed] == []
    for sign in string.punctuation:
        assert await emptied.fetchval("SELECT 'aab' ~ $1", pattern_of(f"a{sign}b")) is False, sign


async def test_a_search_reads_the_rows_of_its_owner_by_the_index(emptied: Pool) -> None:
    await emptied.execute(OTHERS, OWNER)
    await emptied.execute("ANALYZE projections.generation_requests")
    await emptied.execute("ANALYZE projections.generation_states")
    found = await generations.page(emptied, OWNER, Filters(text="МАЯК В БУРЮ 2"), None, 50)
    assert {one.request.prompt[:13].casefold() for one in found} == {"маяк в бурю 2"}
    assert {one.request.owner_id for one in found} == {OWNER}
    arguments = (OWNER, None, new_id(), None, None, pattern_of("нет такого"), None, None, 51)
    plan = "\n".join(row[0] for row in await emptied.fetch(f"EXPLAIN {PAGE}", *arguments))
    assert "generation_requests_by_owner" in plan, plan
    assert "Seq Scan" not in plan, plan

"""A search of prompts in PostgreSQL: the same in every locale, over the rows of one owner."""

import re
import string
import sys
from uuid import UUID

import pytest

from gengui_stream.postgres.pool import Pool
from gengui_stream.queries import generations
from gengui_stream.queries.generations import PAGE, SCANNED_TO, Filters
from gengui_stream.queries.prompt_search import pattern_of
from gengui_stream.settings import Settings
from tests.databases import connected

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
        "SELECT text FROM unnest($1::text[], $2::text[]) AS t (text, pattern) WHERE text !~ pattern",
        list(written),  # a tuple is refused where a projector has been imported
        list(patterns),
    )
    assert [row["text"] for row in missed] == []
    for sign in string.punctuation:
        assert await emptied.fetchval("SELECT 'aab' ~ $1", pattern_of(f"a{sign}b")) is False, sign


async def test_a_search_reads_the_rows_of_its_owner_by_the_index(emptied: Pool, database: Settings) -> None:
    await emptied.execute(OTHERS, OWNER)
    await emptied.execute("ANALYZE projections.generation_requests")
    await emptied.execute("ANALYZE projections.generation_states")
    found = (await generations.page(emptied, OWNER, Filters(text="МАЯК В БУРЮ 2"), None, 50)).generations
    assert {one.request.prompt[:13].casefold() for one in found} == {"маяк в бурю 2"}
    assert {one.request.owner_id for one in found} == {OWNER}
    async with connected(database.database_dsn) as connection:
        await connection.execute("SET plan_cache_mode = force_generic_plan")  # that of a statement that is run often
        for name, statement, bounds in (("page", PAGE, 4), ("scanned_to", SCANNED_TO, 3)):
            await connection.execute(f"PREPARE {name} AS {statement}")
            given = ", ".join([f"'{OWNER}'", *["NULL"] * (len(set(re.findall(r"\$[0-9]+", statement))) - 1)])
            plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN EXECUTE {name} ({given})"))
            [condition] = re.findall(r"Scan using generation_requests_by_owner.*\n *Index Cond: (.*)", plan)
            assert "owner_id" in condition, plan
            assert condition.count("requested_at") == bounds, plan
            assert "Seq Scan" not in plan, plan


async def test_a_rare_prompt_is_found_in_steps_that_read_a_limited_number_of_rows(
    emptied: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    await emptied.execute(OTHERS, OWNER)
    monkeypatch.setattr(generations, "SCANNED_MAX", 30)
    for text, expected in (("БУРЮ 20000", [20_000]), ("БУРЮ 4", [*range(400, 500, 100), *range(4_000, 5_000, 100)])):
        found: list[int] = []
        sizes: list[int] = []
        after: generations.PageKey | None = None
        while True:
            page = await generations.page(emptied, OWNER, Filters(text=text), after, 4)
            found += [int(one.request.prompt.rpartition(" ")[2]) for one in page.generations]
            sizes.append(len(page.generations))
            if page.after is None:
                break
            assert after is None or page.after < after
            after = page.after
        assert found == expected
        assert len(sizes) >= 200 // 30, "no page reads more"

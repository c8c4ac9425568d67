"""The lines of docs/api.md on accounts work as printed."""

import asyncio
import os
import re
from pathlib import Path

import orjson

from gengui_stream.postgres.pool import Pool
from tests.integration.api.accounts.visitors import token_for
from tests.integration.api.client import Client

PAGE = Path(__file__).parents[4] / "docs" / "api.md"


async def printed(script: str, folder: Path) -> list[bytes]:
    process = await asyncio.create_subprocess_exec(
        *("bash", "-e", "-c", script),
        cwd=folder,
        env=os.environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return output.splitlines()


async def test_the_lines_of_the_page_sign_up_and_log_in(visitor: Client, pool: Pool, tmp_path: Path) -> None:
    section = PAGE.read_text(encoding="utf-8").partition("\n## Accounts\n")[2].partition("\n## ")[0]
    first, second = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    first = first.replace("http://127.0.0.1:3000", visitor.base)
    await printed(first, tmp_path)
    [user] = await pool.fetch("SELECT user_id, email FROM accounts.users")
    token = await token_for(pool, user["user_id"], "verify_email", user["email"])
    lines = first.splitlines()[0] + "\n" + second.replace("TOKEN=gg_once_…", f"TOKEN={token}")
    documents = await printed(lines.replace("curl -sf", "curl -sf -w '\\n'"), tmp_path)
    account, generation, sessions = [orjson.loads(line) for line in documents if line]
    assert (account["user_name"], account["email_verified"]) == ("ada", True)
    assert generation["prompt"] == "a fox"
    assert [session["current"] for session in sessions["data"]] == [True]
    assert await pool.fetchval("SELECT count(*) FROM accounts.sessions") == 0, "logged out"

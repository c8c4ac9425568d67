"""How changes of the flags arrive, and what remains when their server, its answers or the disk fail."""

import asyncio
import socket
import stat
import time
from base64 import b64encode
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gengui_stream.providers.flags import provider_flags as module
from gengui_stream.providers.flags.provider_flags import Flags, open_flags
from gengui_stream.settings import Settings
from tests.integration.providers.flags.conftest import DEFAULT, PROVIDERS, USER, by_flag, forced
from tests.integration.providers.growthbook_server import CLIENT_KEY, GrowthBookServer
from tests.integration.running import eventually

KEY, OTHER_KEY = (b64encode(bytes([number]) * 16).decode() for number in (1, 2))


def chooses(flags: Flags, provider: str) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        return (await flags.choose(USER)).provider == provider

    return look


def replaced(path: Path) -> Callable[[], Awaitable[bool]]:
    """Whether the file has changed since."""
    content = path.read_bytes
    before = content()

    async def look() -> bool:
        return content() != before

    return look


async def test_a_change_is_streamed(server: GrowthBookServer, settings_of: Callable[..., Settings]) -> None:
    server.features, server.streaming = forced("gemini"), True
    async with open_flags(settings_of(), PROVIDERS) as flags:
        await eventually(_streaming(server))
        server.features = forced("runpod")
        server.send("features", server.payload().decode())
        await eventually(chooses(flags, "runpod"))
        server.features = forced("local")
        server.send("ping")
        server.send("features-updated")
        await eventually(chooses(flags, "local"))


def _streaming(server: GrowthBookServer, opened: int = 1) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        return server.streams == 1 and server.streams_opened >= opened

    return look


async def test_a_payload_far_longer_than_a_buffer_is_streamed(
    server: GrowthBookServer, settings_of: Callable[..., Settings]
) -> None:
    server.features, server.streaming = forced("gemini"), True
    async with open_flags(settings_of(), PROVIDERS) as flags:
        await eventually(_streaming(server))
        filling = {f"other-{number}": {"defaultValue": "x" * 200} for number in range(5_000)}
        server.features = forced("runpod") | filling
        server.send("features", server.payload().decode())
        await eventually(chooses(flags, "runpod"))


async def test_nothing_is_missed_between_two_streams(
    server: GrowthBookServer, settings_of: Callable[..., Settings]
) -> None:
    server.features, server.streaming = forced("gemini"), True
    async with open_flags(settings_of(), PROVIDERS) as flags:
        await eventually(_streaming(server))
        server.end_streams()
        server.features = forced("runpod")
        await eventually(_streaming(server, opened=2))
        await eventually(chooses(flags, "runpod"))


async def test_a_stream_that_ends_without_events_is_reopened_with_growing_pauses(
    server: GrowthBookServer, settings_of: Callable[..., Settings]
) -> None:
    server.streaming = True
    async with open_flags(settings_of(), PROVIDERS):
        await eventually(_streaming(server))
        before = time.monotonic()
        for opened in range(2, 4):
            server.end_streams()
            await eventually(_streaming(server, opened=opened))
        assert time.monotonic() - before > 2.1  # a pause of 1 s, then one of 2 s, each less a quarter at most


async def test_a_server_without_streams_is_polled_and_sends_only_what_changed(
    server: GrowthBookServer, settings_of: Callable[..., Settings]
) -> None:
    server.features = forced("gemini")
    async with open_flags(settings_of(GROWTHBOOK_REFRESH_S="0.02"), PROVIDERS) as flags:
        await eventually(_asked(server, times=4))
        assert server.requests[:4] == [200, 304, 304, 304]
        server.features = forced("runpod")
        await eventually(chooses(flags, "runpod"))
    assert server.requests.count(200) == 2
    assert server.streams_opened == 0


def _asked(server: GrowthBookServer, *, times: int) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        return len(server.requests) >= times

    return look


@pytest.mark.parametrize("streaming", [False, True])
async def test_a_server_that_dies_and_returns_is_followed_again(
    server: GrowthBookServer, settings_of: Callable[..., Settings], streaming: bool
) -> None:
    server.features, server.streaming = forced("gemini"), streaming
    with capture_logs() as logs:
        async with open_flags(settings_of(GROWTHBOOK_REFRESH_S="0.05"), PROVIDERS) as flags:
            if streaming:
                await eventually(_streaming(server))
            await server.stop()
            await eventually(_logged(logs, "flags_not_refreshed"))
            assert await flags.choose(USER) == by_flag("gemini")
            server.features = forced("runpod")
            await server.start()
            await eventually(chooses(flags, "runpod"))
            if streaming:
                await eventually(_streaming(server, opened=2))
            await eventually(_logged(logs, "flags_refreshed_again"))
    assert len([log for log in logs if log["event"] == "flags_not_refreshed"]) <= 3  # not one for each try


def _logged(logs: Sequence[object], event: str) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        return any(isinstance(log, dict) and log["event"] == event for log in logs)

    return look


async def test_a_start_without_the_server_uses_the_disk_and_finds_the_server_later(
    server: GrowthBookServer, settings_of: Callable[..., Settings]
) -> None:
    server.features = forced("gemini")
    settings = settings_of(GROWTHBOOK_REFRESH_S="0.05")
    async with open_flags(settings, PROVIDERS):
        await eventually(_asked(server, times=1))
    await server.stop()
    async with open_flags(settings, PROVIDERS) as flags:
        assert await flags.choose(USER) == by_flag("gemini")
        assert flags.origin == "disk"
        server.features = forced("runpod")
        await server.start()
        await eventually(chooses(flags, "runpod"))


async def test_a_start_without_server_and_disk_is_the_default(
    server: GrowthBookServer, settings_of: Callable[..., Settings]
) -> None:
    await server.stop()
    async with open_flags(settings_of(), PROVIDERS) as flags:
        assert await flags.choose(USER) == DEFAULT
        assert flags.origin == "none"


async def test_a_server_that_never_answers_holds_a_start_up_for_a_bounded_time(
    server: GrowthBookServer, settings_of: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "START_S", 0.2)
    server.silent = True
    async with asyncio.timeout(5), open_flags(settings_of(), PROVIDERS) as flags:
        assert await flags.choose(USER) == DEFAULT


async def test_the_file_is_private_whole_and_of_this_connection_alone(
    server: GrowthBookServer, settings_of: Callable[..., Settings], tmp_path: Path
) -> None:
    server.features, path = forced("gemini"), tmp_path / "cache" / "flags"
    async with open_flags(settings_of(), PROVIDERS):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert [found.name for found in path.parent.iterdir()] == ["flags"]
    await server.stop()
    async with open_flags(settings_of(GROWTHBOOK_CLIENT_KEY="sdk-other"), PROVIDERS) as flags:
        assert flags.origin == "none"
    path.write_bytes(path.read_bytes()[:-1])
    async with open_flags(settings_of(), PROVIDERS) as flags:
        assert flags.origin == "none"


async def test_a_disk_that_cannot_be_written_changes_nothing_else(
    server: GrowthBookServer, settings_of: Callable[..., Settings], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    server.features = forced("gemini")
    with capture_logs() as logs:
        async with open_flags(settings_of(GROWTHBOOK_CACHE_FILE=str(tmp_path / "file" / "flags")), PROVIDERS) as flags:
            assert await flags.choose(USER) == by_flag("gemini")
    assert "flags_cache_not_written" in [log["event"] for log in logs]


async def test_encrypted_payloads_are_read_streamed_and_kept_encrypted(
    server: GrowthBookServer, settings_of: Callable[..., Settings], tmp_path: Path
) -> None:
    server.features, server.encryption_key, server.streaming = forced("gemini"), KEY, True
    settings = settings_of(GROWTHBOOK_DECRYPTION_KEY=KEY)
    async with open_flags(settings, PROVIDERS) as flags:
        assert await flags.choose(USER) == by_flag("gemini")
        await eventually(_streaming(server))
        server.features, kept = forced("runpod"), replaced(tmp_path / "cache" / "flags")
        server.send("features", server.payload().decode())
        await eventually(chooses(flags, "runpod"))
        await eventually(kept)
    assert b"image_provider" not in (tmp_path / "cache" / "flags").read_bytes()
    await server.stop()
    async with open_flags(settings, PROVIDERS) as flags:
        assert await flags.choose(USER) == by_flag("runpod")


@pytest.mark.parametrize("key", [OTHER_KEY, ""])
async def test_with_a_wrong_key_or_none_it_is_the_default_and_the_log_names_the_setting_only(
    server: GrowthBookServer, settings_of: Callable[..., Settings], key: str
) -> None:
    server.features, server.encryption_key = forced("gemini"), KEY
    with capture_logs() as logs:
        async with open_flags(settings_of(GROWTHBOOK_DECRYPTION_KEY=key), PROVIDERS) as flags:
            assert await flags.choose(USER) == DEFAULT
    assert "GROWTHBOOK_DECRYPTION_KEY" in str(logs)
    assert OTHER_KEY not in str(logs)
    assert CLIENT_KEY not in str(logs)


GARBAGE = [
    b"",
    b"<html>502</html>",
    b"[]",
    b"null",
    b"{}",
    b"\xff\xfe",
    b'{"features": []}',
    b'{"features": {"image_provider": 1}}',
    b'{"features": {"image_provider": {"rules": 3}}}',
    b'{"encryptedFeatures": "x"}',
    b'{"features": {"image_provider": {"rules": [1]}}}',
]


@pytest.mark.parametrize("body", GARBAGE)
async def test_garbage_changes_nothing_and_is_not_kept(
    server: GrowthBookServer, settings_of: Callable[..., Settings], tmp_path: Path, body: bytes
) -> None:
    server.features, server.streaming = forced("gemini"), True
    settings = settings_of(GROWTHBOOK_DECRYPTION_KEY=KEY, GROWTHBOOK_REFRESH_S="0.02")
    async with open_flags(settings, PROVIDERS) as flags:
        await eventually(_streaming(server))
        kept = replaced(tmp_path / "cache" / "flags")
        server.body = body
        server.send("features", body.decode(errors="replace"))
        await eventually(_asked(server, times=len(server.requests) + 2))
        assert await flags.choose(USER) == by_flag("gemini")
        assert not await kept()
        server.body, server.features = None, forced("runpod")
        await eventually(chooses(flags, "runpod"))
        await eventually(kept)
    await server.stop()
    async with open_flags(settings, PROVIDERS) as flags:
        assert await flags.choose(USER) == by_flag("runpod")


@pytest.mark.parametrize("status", [401, 404, 429, 500, 503])
async def test_a_refusal_changes_nothing(
    server: GrowthBookServer, settings_of: Callable[..., Settings], status: int
) -> None:
    server.features = forced("gemini")
    async with open_flags(settings_of(GROWTHBOOK_REFRESH_S="0.02"), PROVIDERS) as flags:
        server.status = status
        await eventually(_asked(server, times=3))
        assert await flags.choose(USER) == by_flag("gemini")
        server.status, server.features = 200, forced("runpod")
        await eventually(chooses(flags, "runpod"))


async def test_a_closed_port_does_not_delay_the_start(settings_of: Callable[..., Settings]) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        async with asyncio.timeout(5), open_flags(settings_of(GROWTHBOOK_API_HOST=url), PROVIDERS) as flags:
            assert await flags.choose(USER) == DEFAULT

from gengui_stream.fakes.gemini.script import READY, GeminiScript
from gengui_stream.fakes.gemini.server import fake_gemini
from gengui_stream.fakes.scripts import read_script


async def test_something() -> None:
    script = read_script(GeminiScript, READY, '{"rules": [{"when": {"nth": 1}, "then": "unavailable"}]}')
    async with fake_gemini(script, seed=7) as server:
        # requests to server.url
        server.play(READY["moderated"])  # from here on
        # more requests
        assert [call.status for call in server.calls_of("generate")] == []
        assert server.overlaps == {}

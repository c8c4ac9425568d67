"""Reading the log outside a consumer group."""

from gengui_stream.log.reader import open_reader
from gengui_stream.settings import Settings


async def test_a_reader_may_be_closed_as_soon_as_it_is_open(settings: Settings) -> None:
    """Nothing to read: `verify` opens one and leaves at once. aiokafka would cancel whoever does so."""
    for _ in range(3):
        async with open_reader(settings) as reader:
            assert reader.offsets == dict.fromkeys(range(settings.events_partitions), 0)

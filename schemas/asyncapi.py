"""The AsyncAPI 3.0 document of the log, generated from the event classes."""

from typing import Final

from schemas.events import EVENT_CLASSES

TOPIC: Final = "generation.events"


def asyncapi_document() -> dict[str, object]:
    types = {event.model_fields["type"].default: event for event in EVENT_CLASSES}
    messages = {
        name: {
            "name": name,
            "summary": (event.__doc__ or "").strip().splitlines()[0],
            "contentType": "application/json",
            "payload": {"$ref": f"./events/{name}.json"},
            "bindings": {"kafka": {"key": {"type": "string", "format": "uuid", "description": "generation_id"}}},
        }
        for name, event in types.items()
    }
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "GenGui Stream: the log", "version": "1"},
        "channels": {
            "events": {
                "address": TOPIC,
                "description": "Append-only, keyed by generation id, CloudEvents in Kafka's binary mode.",
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in types},
            }
        },
        "operations": {"append": {"action": "send", "channel": {"$ref": "#/channels/events"}}},
        "components": {"messages": messages},
    }

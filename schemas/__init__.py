"""The language of the system: events on the log, requests and resources over HTTP. Imports nothing of ours."""

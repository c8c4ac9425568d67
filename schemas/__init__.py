"""The contracts of the system: events on the log, requests and resources over HTTP. Imports no other package of it."""

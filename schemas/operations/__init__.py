"""The operations of the HTTP API, with their parameters and response statuses."""

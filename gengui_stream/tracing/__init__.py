"""Traces of OpenTelemetry and errors to Sentry, both off by default: a process that has them off imports neither."""

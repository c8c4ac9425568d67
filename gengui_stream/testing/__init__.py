"""In-memory twins of the ports, for tests without servers: the log, the job queue, the projection, the object store, a
provider, and a system of all of them. Each passes the contract tests of the real one (`tests/contracts`).
"""

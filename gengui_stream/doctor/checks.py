"""All checks, in the order in which they are shown."""

from typing import Final

from gengui_stream.doctor import accounts, backlog, collector, flags, host, providers, role_processes
from gengui_stream.doctor.examination import Check
from gengui_stream.doctor.servers import kafka, object_store, postgresql, redis, tls

POSTGRESQL: Final = frozenset({"postgresql"})
REDIS: Final = frozenset({"redis"})
KAFKA: Final = frozenset({"kafka"})

CHECKS: Final = (
    Check("postgresql", postgresql.check_database),
    Check("redis", redis.check_redis),
    Check("kafka", kafka.check_kafka),
    Check("object_store", object_store.check_object_store),
    Check("tls", tls.check_tls),
    Check("flags", flags.check_flags),
    Check("provider.gemini", providers.check_gemini),
    Check("provider.runpod", providers.check_runpod),
    Check("traces", collector.check_collector),
    Check("host", host.check_disk),
    Check("cookies", accounts.check_cookies),
    Check("provider.local", providers.check_local, needs=REDIS),
    Check("provider.gemini.retirement", providers.check_retirement, after_servers=True),
    Check("roles", role_processes.check_roles, after_servers=True),
    Check("jobs", backlog.check_jobs, needs=POSTGRESQL),
    Check("projections.lag", backlog.check_lag, needs=POSTGRESQL | KAFKA),
    Check("projections.determinism", backlog.check_determinism, needs=POSTGRESQL),
    Check("dead_letters.log", backlog.check_dead_letters, needs=POSTGRESQL),
    Check("emails", accounts.check_emails, needs=POSTGRESQL),
    Check("dead_letters.redis", backlog.check_dead_entries, needs=REDIS),
)

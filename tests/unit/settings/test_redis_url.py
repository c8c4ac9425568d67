"""Redis URLs as hosted services and other clients write them."""

from importlib.resources import files
from pathlib import Path

import pytest
from redis.asyncio.connection import parse_url

from gengui_stream.errors import ConfigurationError
from gengui_stream.settings import load_settings
from gengui_stream.settings.addresses.redis_url import parse_redis_url

USED = {
    "redis://h": {"host": "h"},
    "redis://h:6380/3": {"host": "h", "port": 6380, "db": 3},
    "redis://u:p%40s@h/0?db=2": {"host": "h", "db": 2, "username": "u", "password": "p@s"},
    "redis://:p@[::1]:6379": {"host": "::1", "port": 6379, "password": "p"},
    "valkey://h:6379/1": {"host": "h", "port": 6379, "db": 1},
    "unix:///run/redis.sock?db=1": {"path": "/run/redis.sock", "db": 1},
    "redis://h?socket_timeout=5&max_connections=3&protocol=3&family=6&health_check_interval=30": {"host": "h"},
    "redis://h?client_name=app%20one": {"host": "h", "client_name": "app one"},
    "rediss://h?ssl_cert_reqs=CERT_NONE": {"host": "h", "ssl_cert_reqs": "none"},
    "valkeys://h?ssl_cert_reqs=required&ssl_check_hostname=true": {
        "host": "h",
        "ssl_cert_reqs": "required",
        "ssl_check_hostname": True,
    },
}

REFUSED = {
    "http://h": "redis://",
    "h:6379": "redis://",
    "redis://u:p@ss-s3cret@h": "%40",
    "redis://:s3cret#x@h": "%23",
    "redis://:s3cret@h:99999": "port",
    "redis://:s3cret@h:0": "port",
    "redis://:s3cret@h1:1,h2:2": "port",
    "redis://:s3cret@h1,h2": "one host only",
    "redis://:s3cret@h/main": "number of a database",
    "redis://:s3cret@h?db=x": "number of a database",
    "redis://:s3cret@h?tls=true": "'tls'",
    "redis://:s3cret@h?ssl_cert_reqs=none": "rediss://",
    "rediss://:s3cret@h?ssl_cert_reqs=maybe": "required",
    "rediss://:s3cret@h?ssl_ca_certs=/nowhere/ca.pem": "/nowhere/ca.pem",
}


@pytest.mark.parametrize("url", USED)
def test_these_are_used_and_redis_py_reads_them(url: str) -> None:
    read = dict(parse_url(load_settings({"REDIS_URL": url}, env_files=()).redis_dsn))
    read.pop("connection_class", None)
    assert read == USED[url]


@pytest.mark.parametrize("url", REFUSED)
def test_these_are_refused_at_start_with_a_remedy_and_without_the_password(url: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load_settings({"REDIS_URL": url}, env_files=())
    [fault] = refused.value.faults
    assert fault.startswith("REDIS_URL: ")
    assert REFUSED[url] in fault
    assert "s3cret" not in fault


@pytest.mark.parametrize("url", USED)
def test_reading_twice_changes_nothing(url: str) -> None:
    assert parse_redis_url(parse_redis_url(url)) == parse_redis_url(url)


@pytest.mark.parametrize("name", ["ssl_ca_certs", "ssl_certfile"])
def test_a_file_without_certificates_is_refused_at_start(name: str, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("this is no certificate")
    with pytest.raises(ConfigurationError) as refused:
        load_settings({"REDIS_URL": f"rediss://:s3cret@h?{name}={tmp_path / 'ca.pem'}"}, env_files=())
    [fault] = refused.value.faults
    assert fault.startswith("REDIS_URL: ")
    assert name in fault
    assert "s3cret" not in fault


def test_certificates_of_authorities_are_used() -> None:
    path = str(files("botocore") / "cacert.pem")
    assert dict(parse_url(parse_redis_url(f"rediss://h?ssl_ca_certs={path}")))["ssl_ca_certs"] == path

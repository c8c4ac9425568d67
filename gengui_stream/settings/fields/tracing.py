"""Settings of traces and of reports of errors. Those of OpenTelemetry and of Sentry have the names that they have
there."""

import re
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, FilePath, SecretStr

from gengui_stream.settings.addresses.url_types import HttpAddress
from gengui_stream.settings.fields.accounts import AccountSettings

_PAIRS: Final = re.compile(r"\s*[^=,\s]+\s*=[^,]*(,\s*[^=,\s]+\s*=[^,]*)*,?\s*")


def _check_pairs(text: str) -> str:
    if not _PAIRS.fullmatch(text):
        raise ValueError("must be name=value, comma-separated")
    return text


def _check_secret_pairs(secret: SecretStr) -> SecretStr:
    _check_pairs(secret.get_secret_value())
    return secret


def _check_dsn(secret: SecretStr) -> SecretStr:
    if not re.fullmatch(r"https?://[^/@\s]+@[^/@\s]+/(\S*/)?[0-9]+", secret.get_secret_value()):
        raise ValueError("must be a DSN as Sentry shows it: https://key@host/number")
    return secret


class TracingSettings(AccountSettings):
    """The name of a variable is the name of its field in capitals."""

    otel_exporter_otlp_endpoint: HttpAddress | None = Field(
        None, description="base URL of an OpenTelemetry collector, http://localhost:4318 for example; unset: no traces"
    )
    otel_exporter_otlp_traces_endpoint: HttpAddress | None = Field(
        None, description="URL to which traces are sent; unset: OTEL_EXPORTER_OTLP_ENDPOINT with /v1/traces"
    )
    otel_exporter_otlp_protocol: Literal["http/protobuf"] = Field(
        "http/protobuf", description="protocol of the collector; its port is usually 4318"
    )
    otel_exporter_otlp_headers: Annotated[SecretStr, AfterValidator(_check_secret_pairs)] | None = Field(
        None, description="headers for the collector, its key for example: name=value, comma-separated"
    )
    otel_exporter_otlp_certificate: FilePath | None = Field(
        None, description="PEM file of the CA that signed the collector's certificate"
    )
    otel_service_name: str | None = Field(
        None, description="name of the service in traces; unset: gengui-stream-<role>"
    )
    otel_resource_attributes: Annotated[str, AfterValidator(_check_pairs)] | None = Field(
        None, description="attributes of every span: name=value, comma-separated"
    )
    otel_traces_sampler: Literal[
        "always_on",
        "always_off",
        "traceidratio",
        "parentbased_always_on",
        "parentbased_always_off",
        "parentbased_traceidratio",
    ] = Field(
        "parentbased_always_on", description="which traces are recorded; parentbased: the client decides, if it does"
    )
    otel_traces_sampler_arg: Annotated[float, Field(ge=0, le=1)] = Field(
        1.0, description="share of the traces that a traceidratio sampler records"
    )
    sentry_dsn: Annotated[SecretStr, AfterValidator(_check_dsn)] | None = Field(
        None, description="DSN of a Sentry project for errors; unset: none are reported"
    )
    sentry_environment: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")] | None = Field(
        None, description="environment in Sentry; unset: ENVIRONMENT"
    )

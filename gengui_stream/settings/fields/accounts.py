"""Settings of accounts: sign-up, sessions, e-mail, limits."""

from typing import Annotated, Literal

from pydantic import Field, SecretStr

from gengui_stream.settings.addresses.url_types import HttpAddress
from gengui_stream.settings.field_types import CaFile, Port, Sender
from gengui_stream.settings.fields.service import ServiceSettings


class AccountSettings(ServiceSettings):
    """The name of a variable is the name of its field in capitals."""

    sign_up: Literal["open", "closed"] = Field("open", description="closed: operators create all users")
    frontend_url: HttpAddress | None = Field(
        None, description="URL of the pages to which the links in e-mails lead; unset: the API's own"
    )
    session_ttl_s: Annotated[float, Field(ge=60, le=31_536_000)] = Field(
        604_800, description="seconds for which a log-in is valid"
    )
    account_deletion_grace_s: Annotated[float, Field(gt=0, le=31_536_000)] = Field(
        1_209_600, description="seconds from the request to the deletion of an account, which can be undone until then"
    )
    audit_retention_s: Annotated[float, Field(ge=86_400, le=3_153_600_000)] = Field(
        31_536_000, description="seconds for which security events and acts of admins are kept, with client addresses"
    )
    unverified_accounts_kept_s: Annotated[float, Field(ge=86_400, le=31_536_000)] = Field(
        604_800, description="seconds from a sign-up until its address and name are free again, unless it is verified"
    )
    password_hashes_at_once: Annotated[int, Field(ge=1, le=64)] = Field(
        2, description="passwords hashed concurrently by an API process, 64 MiB each"
    )

    smtp_host: str | None = Field(
        None,
        description="SMTP server for e-mails; unset: printed to the console in development, and kept in production",
    )
    smtp_port: Port = Field(587, description="port of the SMTP server")
    smtp_from: Sender = Field("gengui-stream@localhost", description="sender of e-mails: an address, or Name <address>")
    smtp_user: str | None = Field(None, description="with SMTP_PASSWORD; TLS is then required and verified")
    smtp_password: SecretStr | None = Field(None, description="with SMTP_USER")
    smtp_tls: Literal["auto", "starttls", "implicit", "none"] = Field(
        "auto", description="auto: implicit on port 465, starttls with SMTP_USER, else none"
    )
    smtp_ca_file: CaFile | None = Field(None, description="PEM file of the CA of the SMTP server's certificate")

    rate_limit_user_daily: Annotated[int, Field(ge=0)] = Field(
        20, description="generations that a user may request a day (UTC); 0: no limit"
    )
    rate_limit_admin_daily: Annotated[int, Field(ge=0)] = Field(
        200, description="generations that an admin may request a day (UTC); 0: no limit"
    )
    in_progress_limit: Annotated[int, Field(ge=0)] = Field(
        100, description="generations of one user that have not ended; 0: no limit"
    )
    requests_per_minute: Annotated[int, Field(ge=0)] = Field(
        600, description="requests of one user a minute; 0: no limit"
    )
    rate_limit_log_in: Annotated[int, Field(ge=0)] = Field(
        5, description="log-ins of one client address in 15 minutes; 0: no limit"
    )
    rate_limit_sign_up: Annotated[int, Field(ge=0)] = Field(
        3, description="sign-ups of one client address an hour; 0: no limit"
    )
    rate_limit_password_reset: Annotated[int, Field(ge=0)] = Field(
        3, description="password resets of one client address an hour; 0: no limit"
    )
    rate_limit_verification: Annotated[int, Field(ge=0)] = Field(
        5, description="verifications of e-mail addresses by one client address an hour; 0: no limit"
    )
    rate_limit_unauthenticated: Annotated[int, Field(ge=0)] = Field(
        60, description="requests without a valid key or session of one client address a minute; 0: no limit"
    )
    proxies_trusted: Annotated[int, Field(ge=0, le=10)] = Field(
        0, description="reverse proxies in front of the API, each of which appends to X-Forwarded-For"
    )

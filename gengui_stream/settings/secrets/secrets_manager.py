"""AWS Secrets Manager: one secret, a JSON object of variables and their values.

It is read once, at the start, with the credentials and the region of the AWS SDK's own chain: the environment of the
process, its profile or its role. `.env` is not part of that chain.
"""

from collections.abc import Collection, Mapping
from typing import Final

import boto3.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, NoRegionError
from pydantic_settings import AWSSecretsManagerSettingsSource

from gengui_stream.errors import ConfigurationError
from gengui_stream.settings.model import Settings
from gengui_stream.settings.sources import Variable

SETTING: Final = "AWS_SECRETS_MANAGER_SECRET_ID"
CONNECT_S: Final = 3.0
ANSWER_S: Final = 5.0
TRIES: Final = 3

REMEDIES: Final[Mapping[str, str]] = {
    "AccessDeniedException": "allow secretsmanager:GetSecretValue on the secret, and kms:Decrypt on its key",
    "DecryptionFailure": "allow kms:Decrypt on the key of the secret",
    "ExpiredTokenException": "renew the credentials of the process",
    "InvalidRequestException": "restore the secret, if it is marked for deletion",
    "InvalidSignatureException": "correct the credentials of the process, or its clock",
    "ResourceNotFoundException": "there is no such secret in this region: correct it, or AWS_REGION",
    "UnrecognizedClientException": "correct the credentials of the process",
}
"""By the error code ("Errors" of GetSecretValue, and "Common error types", in the API reference)."""

NO_CREDENTIALS: Final = (
    "no credentials of AWS are found: give the process a role, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in its "
    "environment, where .env does not count"
)
NO_OBJECT: Final = 'must be a text with a JSON object of settings, such as {"DB_PASSWORD": "…"}'


class _Source(AWSSecretsManagerSettingsSource):
    """With time-outs: boto3's own are a minute for each try."""

    def _load_env_vars(self) -> Mapping[str, str | None]:
        client = self._secretsmanager_client
        own = Config(
            connect_timeout=CONNECT_S,
            read_timeout=ANSWER_S,
            retries={"mode": "standard", "total_max_attempts": TRIES},
        )
        self._secretsmanager_client = boto3.session.Session().client(
            "secretsmanager", region_name=client.meta.region_name, config=own
        )
        return super()._load_env_vars()


def secret_variables(secret_id: str, region: str | None, settings: Collection[str]) -> dict[str, Variable]:
    """By name in capitals. `region`: None for that of the AWS SDK. `settings`: the names of all settings. Raises
    ConfigurationError, without a value of the secret."""
    values, source = _values(secret_id, region), f"secret {secret_id}"
    if nested := [name for name, value in values.items() if isinstance(value, dict | list)]:
        raise _fault(secret_id, f"must have a text or a number for {', '.join(sorted(nested))}")
    found = {name.upper(): Variable(name.upper(), _text(value), source) for name, value in values.items()}
    if not found.keys() & set(settings):
        raise _fault(secret_id, f"has no setting: it {NO_OBJECT}")
    return {name: variable for name, variable in found.items() if variable.text}


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def _values(secret_id: str, region: str | None) -> Mapping[str, object]:
    try:
        return _Source(Settings, secret_id, region_name=region).env_vars
    except ClientError as error:
        raise _fault(secret_id, _refusal(error)) from error
    except NoCredentialsError as error:
        raise _fault(secret_id, NO_CREDENTIALS) from error
    except NoRegionError as error:
        raise _fault(secret_id, "set AWS_REGION to the region of the secret") from error
    except BotoCoreError as error:
        unavailable = f"AWS Secrets Manager is unavailable ({type(error).__name__})"
        raise _fault(secret_id, f"{unavailable}: allow connections to it, and start again") from error
    except (AttributeError, KeyError, TypeError, ValueError):  # a binary secret, no JSON, no object
        raise _fault(secret_id, NO_OBJECT) from None


def _refusal(error: ClientError) -> str:
    answer = error.response.get("Error", {})
    code = answer.get("Code", "")
    words = f"{code}: {answer.get('Message', '')}"[:300]
    return f"{words}: {REMEDIES.get(code, 'see what AWS Secrets Manager says')}"


def _fault(secret_id: str, text: str) -> ConfigurationError:
    return ConfigurationError([f"{SETTING}: {secret_id}: {text}"])

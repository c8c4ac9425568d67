"""The client of boto3, and the URL at which others reach the bucket."""

from collections.abc import Callable
from contextlib import closing
from functools import cache
from typing import TYPE_CHECKING, Final

import boto3.session
import botocore.session
from botocore.config import Config
from botocore.loaders import Loader

from gengui_stream.media.signed_urls import BucketUrl
from gengui_stream.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

THREADS: Final = 8
"""Requests of one process at the same time."""


def read_service_description() -> None:
    """What the first client of a process reads, for a process that forks others."""
    session = boto3.session.Session(botocore_session=_botocore_session())
    session.client("s3", region_name="us-east-1").close()


def _botocore_session() -> botocore.session.Session:
    session = botocore.session.get_session()
    session.register_component("data_loader", _loader())
    return session


@cache
def _loader() -> Loader:
    """One for the process: reading the description of S3 is nearly all of the time that a new client takes."""
    loader: Loader = botocore.session.get_session().get_component("data_loader")
    return loader


def new_session(settings: Settings) -> boto3.session.Session:
    secret, token = settings.aws_secret_access_key, settings.aws_session_token
    return boto3.session.Session(
        botocore_session=_botocore_session(),
        aws_access_key_id=settings.aws_access_key_id,
        aws_secret_access_key=secret.get_secret_value() if secret else None,
        aws_session_token=token.get_secret_value() if token else None,
        region_name=settings.aws_region,
    )


def new_client(session: boto3.session.Session, settings: Settings, read_timeout_s: float, tries: int) -> "S3Client":
    """Without S3_CA_FILE boto3 trusts AWS_CA_BUNDLE, else its own CAs."""
    endpoint, ca_file = settings.s3_endpoint, settings.s3_ca_file
    config = Config(
        signature_version="s3v4",
        s3={"addressing_style": "path" if endpoint else "virtual"},
        connect_timeout=3,
        read_timeout=read_timeout_s,
        retries={"mode": "standard", "total_max_attempts": tries},
        max_pool_connections=THREADS,
        request_checksum_calculation="when_required",  # not all other stores support AWS's newer checksums
        response_checksum_validation="when_required",
    )
    verify = None if ca_file is None else str(ca_file)
    return session.client("s3", endpoint_url=endpoint, config=config, verify=verify)


def public_url(settings: Settings, session: boto3.session.Session) -> BucketUrl:
    if endpoint := settings.s3_public_endpoint or settings.s3_endpoint:
        return BucketUrl.of(endpoint, settings.s3_bucket, settings.aws_region)
    return BucketUrl(_url_at_aws(session, settings.s3_bucket), settings.aws_region)


def _url_at_aws(session: boto3.session.Session, bucket: str) -> str:
    """By boto3's rules, which know partitions, regions and buckets whose names no certificate covers. The credentials
    are placeholders: the real ones may not be known yet."""
    config = Config(signature_version="s3v4", s3={"addressing_style": "virtual"})
    none = "-"
    with closing(session.client("s3", config=config, aws_access_key_id=none, aws_secret_access_key=none)) as client:
        signed = client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "-"})
    return signed.partition("?")[0].removesuffix("/-")


def create_bucket_in(client: "S3Client", bucket: str, region: str) -> None:
    # An untyped call: the typed client accepts only the regions of its own release.
    create: Callable[..., object] = client.create_bucket
    create(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": region})

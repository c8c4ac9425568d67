"""Certificates for servers on this machine, as files that every user may read but keys of the server's user."""

import os
import pwd
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import trustme
from cryptography.hazmat.primitives import serialization as pem

HOST: Final = "localhost"
OTHER_HOST: Final = "127.0.0.1"
"""An address of the same servers that no certificate has."""

PASSWORD: Final = "password-of-the-key"


@dataclass(frozen=True, slots=True)
class Pair:
    """`both`: the key and the chain, as Java reads them. `key`: readable by its owner alone."""

    certificate: Path
    key: Path
    both: Path


@dataclass(frozen=True, slots=True)
class Certificates:
    """`ca` signed all of them, `other_ca` none. `encrypted_key`: of `client`, with PASSWORD."""

    ca: Path
    other_ca: Path
    server: Pair
    expired: Pair
    client: Pair
    encrypted_key: Path


def made_in(folder: Path, owner: pwd.struct_passwd | None) -> Certificates:
    """`owner`: of the keys; None: of this process."""
    folder.mkdir()
    folder.chmod(0o755)
    authority, other = trustme.CA(organization_name="Trusted"), trustme.CA(organization_name="Unknown")
    ended = datetime.now(UTC) - timedelta(days=1)
    issued = authority.issue_cert("client", common_name="certified")
    encrypted = folder / "client.encrypted.key"
    encrypted.write_bytes(_key(issued, pem.BestAvailableEncryption(PASSWORD.encode())))
    return Certificates(
        ca=_written(folder / "ca.pem", authority.cert_pem),
        other_ca=_written(folder / "other.pem", other.cert_pem),
        server=_pair(folder, "server", authority.issue_cert(HOST), owner),
        expired=_pair(folder, "expired", authority.issue_cert(HOST, not_after=ended), owner),
        client=_pair(folder, "client", issued, owner),
        encrypted_key=encrypted,
    )


def _pair(folder: Path, name: str, issued: trustme.LeafCert, owner: pwd.struct_passwd | None) -> Pair:
    pair = Pair(folder / f"{name}.pem", folder / f"{name}.key", folder / f"{name}.both.pem")
    chain, key = issued.cert_chain_pems[0].bytes(), _key(issued, pem.NoEncryption())
    pair.certificate.write_bytes(chain)
    pair.both.write_bytes(key + chain)
    pair.key.write_bytes(key)
    pair.key.chmod(0o600)
    if owner is not None:
        os.chown(pair.key, owner.pw_uid, owner.pw_gid)
    return pair


def _key(issued: trustme.LeafCert, encryption: pem.KeySerializationEncryption) -> bytes:
    """In PKCS #8, the only form that Java reads."""
    key = pem.load_pem_private_key(issued.private_key_pem.bytes(), None)
    return key.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, encryption)


def _written(path: Path, blob: trustme.Blob) -> Path:
    blob.write_to_path(str(path))
    return path

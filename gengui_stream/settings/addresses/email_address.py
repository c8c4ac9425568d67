"""E-mail addresses as headers have them."""

from email.errors import MessageError
from email.headerregistry import Address
from typing import Final

FORM: Final = "must be an address, or a name and an address in angle brackets: GenGui <no-reply@example.com>"


def email_address(addr_spec: str, name: str = "") -> Address:
    """Raises ValueError for what is no address, above all for more than one line."""
    if not (addr_spec.isprintable() and name.isprintable()) or any(map(str.isspace, addr_spec)):
        raise ValueError("this is not an e-mail address")
    try:
        found = Address(display_name=name, addr_spec=addr_spec)
    except (ValueError, IndexError, MessageError) as error:
        raise ValueError("this is not an e-mail address") from error
    if not (found.username and found.domain):
        raise ValueError("this is not an e-mail address")
    return found


def sender_address(text: str) -> Address:
    """Of an address, or a name and an address in angle brackets. Raises ValueError for anything else."""
    name, bracket, rest = text.rpartition("<")
    if bracket and (not rest.endswith(">") or "@" in name):
        raise ValueError(FORM)
    try:
        return email_address(rest[:-1] if bracket else text, name.strip().strip('"') if bracket else "")
    except ValueError as error:
        raise ValueError(FORM) from error


def check_sender(text: str) -> str:
    sender_address(text)
    return text

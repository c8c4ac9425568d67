"""`NAME_FILE` of each secret `NAME`: the path of a file with the secret, as Kubernetes and Docker mount them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from gengui_stream.settings.secrets.fields import SECRETS
from gengui_stream.settings.sources import Variable

SUFFIX: Final = "_FILE"
MAX_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class ReadFiles:
    """`variables`: with the contents of the files. `unreadable`: the names of secrets that could not be read, for which
    there are `faults`."""

    variables: Mapping[str, Variable]
    faults: tuple[str, ...]
    unreadable: frozenset[str]


def doubled(layers: Sequence[Mapping[str, Variable]]) -> list[str]:
    """Pure. A fault for each secret that one source gives both ways. Of two sources the later takes precedence."""
    return [
        f"{name}, {name}{SUFFIX} ({layer[name].source}): both are set: leave one of them out"
        for layer in layers
        for name in sorted(SECRETS)
        if name in layer and name + SUFFIX in layer
    ]


def by_secret(layer: Mapping[str, Variable]) -> dict[str, Variable]:
    """Pure. The variables of a layer; a path of a file under the name of its secret."""
    files = {name: layer[name + SUFFIX] for name in SECRETS if name + SUFFIX in layer}
    others = {name: variable for name, variable in layer.items() if name.removesuffix(SUFFIX) not in files}
    return {**others, **files}


def read_files(variables: Mapping[str, Variable]) -> ReadFiles:
    """Reads the files of the secrets that have one."""
    read, faults, unreadable = dict(variables), list[str](), set[str]()
    for name, variable in _files(variables):
        try:
            read[name] = replace(variable, text=_secret(variable.text))
        except ValueError as error:
            faults.append(f"{variable.name}: {error}")
            unreadable.add(name)
            del read[name]
    return ReadFiles(read, tuple(faults), frozenset(unreadable))


def _files(variables: Mapping[str, Variable]) -> Iterator[tuple[str, Variable]]:
    for name in sorted(SECRETS & variables.keys()):
        if variables[name].name == name + SUFFIX:
            yield name, variables[name]


def _secret(path: str) -> str:
    """Raises ValueError for a file that has no secret; never with its content."""
    # A value that is no absolute path may be the secret itself, by mistake.
    shown = path if path.startswith("/") else "its value, a relative path,"
    body = _body(path, shown)
    if len(body) > MAX_BYTES:
        raise ValueError(f"{shown} has more than {MAX_BYTES} bytes: that is no secret")
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise ValueError(f"{shown} is not UTF-8") from None
    secret = text.removesuffix("\n").removesuffix("\r") if text.endswith("\n") else text
    if not secret or "\0" in secret:
        raise ValueError(f"{shown} {'has the character NUL' if secret else 'is empty'}")
    return secret


def _body(path: str, shown: str) -> bytes:
    try:
        if not Path(path).exists():
            raise ValueError(f"{shown} does not exist: it must be the path of a file with the secret")
        if not Path(path).is_file():
            raise ValueError(f"{shown} is not a file")
        with Path(path).open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ValueError(f"{shown} cannot be read: {error.strerror}") from None

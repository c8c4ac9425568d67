"""The pods of an overlay, as Kubernetes would make them of the rendered manifests."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from gengui_stream.roles import ServerName
from tests.deploy.kubernetes.rendering import Document, rendered

MOUNTED: Final = "/run/secrets/gengui"
"""Where a pod has the files of its Secrets."""

SERVERS: Final[Mapping[ServerName, str]] = {
    "Kafka": "kafka",
    "PostgreSQL": "postgresql",
    "Redis": "redis",
    "object store": "objects",
}
"""What the labels, the ConfigMaps and the Secrets of a server are named after."""

OTHERS: Final[Mapping[str, frozenset[str]]] = {
    "api": frozenset({"providers"}),
    "dispatch": frozenset({"providers"}),
    "account-jobs": frozenset({"mail"}),
}
"""What a role reaches besides its servers."""


@dataclass(frozen=True, slots=True)
class Pod:
    """One pod of a Deployment or a Job. `kind`: of its owner. `configured`: the variables of the ConfigMaps."""

    name: str
    kind: str
    owner: Document
    configured: Mapping[str, str]

    @property
    def template(self) -> Document:
        template: Document = self.owner["spec"]["template"]
        return template

    @property
    def spec(self) -> Document:
        spec: Document = self.template["spec"]
        return spec

    @property
    def container(self) -> Document:
        [container] = self.spec["containers"]
        made: Document = container
        return made

    @property
    def environ(self) -> dict[str, str]:
        return {**self.configured, **{each["name"]: each["value"] for each in self.container.get("env", ())}}

    @property
    def reached(self) -> set[str]:
        """By the labels that the network policies select."""
        labels = self.template["metadata"]["labels"]
        return {label.removeprefix("gengui-stream/") for label in labels if label.startswith("gengui-stream/")}

    @property
    def secrets(self) -> set[str]:
        """The names of the Secrets whose files are in MOUNTED."""
        volumes = {volume["name"]: volume for volume in self.spec["volumes"]}
        return {source["secret"]["name"] for source in volumes["secrets"]["projected"]["sources"]}

    def port(self, name: str) -> int:
        return {port["name"]: int(port["containerPort"]) for port in self.container["ports"]}[name]


def of_kind(documents: list[Document], *kinds: str) -> Iterator[Document]:
    return (document for document in documents if document["kind"] in kinds)


@cache
def pods(overlay: str) -> Mapping[str, Pod]:
    """Of the roles and of the migrations, by name."""
    documents = [*rendered(overlay), *rendered(f"{overlay}-migrate")]
    maps: dict[str, dict[str, str]] = {
        each["metadata"]["name"]: each.get("data") or {} for each in of_kind(documents, "ConfigMap")
    }
    return {
        owner["metadata"]["name"]: Pod(
            owner["metadata"]["name"], owner["kind"], owner, _configured(owner["spec"]["template"]["spec"], maps)
        )
        for owner in of_kind(documents, "Deployment", "Job")
    }


def _configured(spec: Mapping[str, Any], maps: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    [container] = spec["containers"]
    names = [source["configMapRef"]["name"] for source in container["envFrom"]]
    return {variable: value for name in names for variable, value in maps[name].items()}

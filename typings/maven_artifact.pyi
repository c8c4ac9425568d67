from requests import Response

class Artifact:
    def __init__(self, group_id: str, artifact_id: str, version: str) -> None: ...

class Requestor:
    def request(self, url: str, onFail: None, *, stream: bool, timeout: tuple[float, float]) -> Response: ...

class Resolver:
    def uri_for_artifact(self, artifact: Artifact) -> str: ...

class Downloader:
    requestor: Requestor
    resolver: Resolver
    def __init__(self, base: str = ...) -> None: ...

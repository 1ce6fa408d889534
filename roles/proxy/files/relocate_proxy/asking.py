"""Questions to the Docker engine over its socket, as plain HTTP requests: importing a client library would
cost more than the whole light survey."""

import json
import socket
from typing import Any

from relocate_proxy.engine import EngineError

ENGINE_SOCKET = "/run/docker.sock"
ENGINE_SECONDS = 5.0


def ask_engine(path: str) -> Any:
    """GET ``path`` from the engine. Raises EngineError when it does not answer, or not with 200 and JSON."""
    request = f"GET {path} HTTP/1.0\r\nHost: docker\r\n\r\n"  # 1.0: the answer ends with the connection
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(ENGINE_SECONDS)
            connection.connect(ENGINE_SOCKET)
            connection.sendall(request.encode())
            with connection.makefile("rb") as stream:
                head, _, body = stream.read().partition(b"\r\n\r\n")
    except OSError as error:
        raise EngineError(f"the Docker engine does not answer: {error}") from None
    if head.split(b" ")[1:2] != [b"200"]:
        raise EngineError(f"the Docker engine answers {path} with {head[:60].decode(errors='replace')!r}")
    try:
        return json.loads(body)
    except ValueError as error:
        raise EngineError(f"the Docker engine answers {path} with no JSON: {error}") from None

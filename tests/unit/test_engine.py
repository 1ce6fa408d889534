"""What we ask of the engine about images: the repository is asked, and no tenant gives names."""

from typing import Any

import pytest
from relocate_proxy import engine
from relocate_proxy.engine import EngineError, NotFoundError

REPOSITORY = "198.18.0.10:5000"
ID = "sha256:" + "a" * 64
NAME = f"{REPOSITORY}/relocate/{'a' * 32}"
PUSHED = f"{NAME}@sha256:{'b' * 64}"
JsonObject = dict[str, Any]


class Engine:
    """What it has, and what the repository has; keeps what was asked for."""

    def __init__(self, images: dict[str, str], repository: set[str]) -> None:
        self.images = images
        self.repository = repository
        self.done: list[str] = []
        self.refusal = "manifest unknown: manifest unknown"

    def ask(self, path: str, method: str = "GET", body: Any = None, **query: Any) -> Any:
        name = path.replace("%3A", ":").replace("%40", "@").removesuffix("/json")
        if name.startswith("/distribution/"):
            if name.removeprefix("/distribution/") not in self.repository:
                raise EngineError(self.refusal)
            return {}
        if method == "POST":
            self.done.append(f"{name.rpartition('/')[2]} {query['repo']}:{query['tag']}")
            return None
        found = self.images.get(name.removeprefix("/images/"))
        if found is None:
            raise NotFoundError("No such image")
        return {"Id": found, "RepoDigests": [n for n, i in self.images.items() if i == found and "@" in n]}

    def follow(self, path: str, method: str = "POST", **query: Any) -> list[JsonObject]:
        if path == "/images/create":
            self.images[f"{query['fromImage']}@{query['tag']}"] = ID
            return []
        self.done.append("push")
        return [{"status": "Pushing"}, {"aux": {"Digest": f"sha256:{'b' * 64}"}}]


def use(
    monkeypatch: pytest.MonkeyPatch, images: dict[str, str], repository: set[str] | None = None
) -> Engine:
    made = Engine(images, repository or set())
    monkeypatch.setattr(engine, "ask", made.ask)
    monkeypatch.setattr(engine, "follow", made.follow)
    return made


def test_what_the_repository_has_is_not_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    used = use(monkeypatch, {ID: ID, PUSHED: ID}, {PUSHED})
    assert engine.push(ID, REPOSITORY) == PUSHED
    assert used.done == []


def test_what_it_has_lost_is_sent_again_whatever_the_engine_remembers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    used = use(monkeypatch, {ID: ID, PUSHED: ID})
    assert engine.push(ID, REPOSITORY) == PUSHED
    assert used.done == [f"tag {NAME}:latest", "push"]


def test_a_repository_that_refuses_is_not_one_that_has_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    used = use(monkeypatch, {ID: ID, PUSHED: ID})
    used.refusal = "remote error: tls: certificate required"
    with pytest.raises(EngineError, match="certificate required"):
        engine.push(ID, REPOSITORY)


@pytest.mark.parametrize(
    ("images", "created_from"),
    [
        ({}, ID),
        ({"debian:13": ID, PUSHED: ID}, "debian:13"),
        ({"debian:13": "sha256:" + "c" * 64}, ID),
        ({PUSHED: ID}, ID),
    ],
    ids=["absent", "the same", "another", "only ours"],
)
def test_no_name_of_a_tenants_is_given_to_an_image(
    images: dict[str, str], created_from: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = use(monkeypatch, images)
    before = used.images.get("debian:13")
    assert engine.pull(PUSHED, "debian:13") == created_from
    assert used.done == []
    assert used.images.get("debian:13") == before


def test_the_tenants_word_for_an_image_goes_along(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it means something else the container is created from an id, and the word is an annotation."""
    sent: list[JsonObject] = []

    def ask(path: str, method: str = "GET", body: Any = None, **query: Any) -> Any:
        sent.append(body)
        return {"Id": "1"}

    monkeypatch.setattr(engine, "ask", ask)
    networks = {"NetworkSettings": {"Networks": {}, "Ports": {}}}
    born = {"Name": "/web", "Config": {"Image": "debian:13"}, "HostConfig": {}, **networks}
    there = engine.specification(born, PUSHED)
    engine.create({**there, "image": ID})
    arrived = {**born, "Config": {"Image": sent[0]["Image"]}, "HostConfig": sent[0]["HostConfig"]}
    assert arrived["Config"]["Image"] == ID
    back = engine.specification(arrived, PUSHED)
    assert back["image_name"] == "debian:13"
    engine.create({**back, "image": "debian:13"})
    assert sent[1]["Image"] == "debian:13"

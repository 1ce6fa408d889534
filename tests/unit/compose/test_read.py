"""What Compose makes of its files: overrides, includes, extensions, variables, paths."""

from collections.abc import Callable
from pathlib import Path

import pytest

from relocate_cli.compose import read
from relocate_cli.compose.document import ComposeError
from relocate_cli.compose.read import Project
from relocate_cli.errors import UsageError

Read = Callable[[str], Project]
Write = Callable[..., Path]


def test_a_directory_is_searched(write: Write, tmp_path: Path) -> None:
    names = ["compose.yaml", "a/docker-compose.yml", "a/docker-compose.yaml", "a/b/compose.yml"]
    for name in [
        *names,
        "a/other.yml",
        "compose.override.yml",
        "docker-compose.prod.yml",
        "compose.yaml.bak",
    ]:
        write("services: {}", name)
    assert {str(each.relative_to(tmp_path / "shop")) for each in read.find(tmp_path)} == set(names)


def test_a_file_is_taken_whatever_its_name(write: Write) -> None:
    path = write("services: {}", "stack.txt")
    assert read.find(path) == [path]


def test_nothing_there_is_a_mistake_of_the_caller(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.yaml"):
        with pytest.raises(UsageError):
            read.find(path)


def test_the_projects_name(write: Write, tmp_path: Path) -> None:
    path = write("services: {a: {image: x}}")
    assert read.read(path).name == "shop"
    (tmp_path / "shop/.env").write_text("COMPOSE_PROJECT_NAME=Their.Shop\n")
    assert read.read(path).name == "theirshop"
    assert read.read(write("name: mine\nservices: {a: {image: x}}")).name == "mine"


def test_variables_come_from_the_file_beside_it(write: Write, tmp_path: Path) -> None:
    write("PLACE=/srv\n", ".env")
    found = read.read(
        write("services: {a: {image: '$NO', volumes: ['$PLACE/x:/x', '${PWD}/y:/y', '${V:-v}:/v']}}")
    )
    assert found.services["a"]["volumes"] == ["/srv/x:/x", f"{tmp_path}/shop/y:/y", "v:/v"]
    assert found.unset == {"NO"}


def test_what_no_rule_reads_lacks_no_variable(project: Read) -> None:
    found = project("services: {a: {environment: ['X=$SECRET'], command: '$X', image: x}}")
    assert found.unset == frozenset()


def test_an_override_beside_it_goes_over_it(write: Write, tmp_path: Path) -> None:
    path = write("""
        services:
          a:
            image: x
            ports: ["80:80", 81:81]
            volumes: ["one:/one", "two:/two"]
            labels: [a=1, b=2]
            tty: true
          b: {image: y}
    """)
    write(
        """
        services:
          a: {ports: ["80:80", "82:82"], volumes: ["./mine:/one"], labels: {a: "3"}, tty: false}
          b: {ports: !override ["1:1"], privileged: true}
        """,
        "compose.override.yml",
    )
    services = read.read(path).services
    assert services["a"] == {
        "image": "x", "ports": ["80:80", "81:81", "82:82"], "labels": {"a": "3", "b": "2"}, "tty": False,
        "volumes": ["two:/two", f"{tmp_path}/shop/mine:/one"],
    }  # fmt: skip
    assert services["b"] == {"image": "y", "ports": ["1:1"], "privileged": True}


def test_what_is_reset_is_gone(write: Write) -> None:
    path = write("services: {a: {image: x, ports: ['80:80']}, b: {image: x}}")
    write("services: {a: {ports: !reset []}, b: !reset null}", "compose.override.yaml")
    assert read.read(path).services == {"a": {"image": "x"}}


def test_a_service_extends_others_of_other_files(write: Write, tmp_path: Path) -> None:
    write(
        """
        services:
          base: {image: x, tty: true, volumes: ["./conf:/conf"], extends: root}
          root: {cap_add: [SYS_TIME], privileged: true}
        """,
        "common/base.yml",
    )
    found = read.read(
        write("services: {a: {extends: {file: common/base.yml, service: base}, privileged: false}}")
    )
    assert found.services == {
        "a": {
            "image": "x", "tty": True, "volumes": [f"{tmp_path}/shop/common/conf:/conf"],
            "cap_add": ["SYS_TIME"], "privileged": False,
        }
    }  # fmt: skip


def test_an_included_file_has_its_own_place_and_variables(write: Write, tmp_path: Path) -> None:
    write("WHAT=theirs\n", "db/.env")
    write(
        """
        services: {db: {image: "x:${WHAT}", volumes: ["./data:/data"], secrets: [key]}}
        secrets: {key: {file: ./key}}
        volumes: {spare: {}}
        """,
        "db/compose.yaml",
    )
    write("services: {more: {image: z}}", "more.yml")
    found = read.read(
        write("include: [db/compose.yaml, {path: [more.yml]}]\nservices: {web: {image: '$WHAT'}}")
    )
    assert found.services == {
        "db": {"image": "x:theirs", "volumes": [f"{tmp_path}/shop/db/data:/data"], "secrets": ["key"]},
        "more": {"image": "z"},
        "web": {"image": ""},
    }
    assert found.secrets == {"key": {"file": f"{tmp_path}/shop/db/key"}}
    assert set(found.volumes) == {"spare"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it has no services"),
        ("web:\n  image: x\n", "it has no services"),
        ("services:\n", "it has no services"),
        ("services: [a]\n", "its services are no mapping"),
        ("services: {a: {image: x}}\nvolumes: [a]\n", "its volumes are no mapping"),
        ("services: {a: x}\n", "its service a is no mapping"),
        ("services: {a: {extends: b}}", "extends b, which is not there"),
        ("services: {a: {extends: b}, b: {extends: a}}", "extends itself"),
        ("services: {a: {extends: {file: no.yml, service: b}}}", "it needs no.yml, which is not here"),
        ("include: [compose.yaml]\nservices: {a: {image: x}}", "it includes itself"),
        ("include: [https://example.org/x.git]\n", "it needs https://example.org/x.git, which is not here"),
        ("include: ['~nobody-of-that-name/x']\n", "which is not here"),
        ("include: [{path: []}]\n", "it includes"),
        (f"include: [{'x' * 5000}]\n", "which is not here"),
        ("a: b: c", "it is no YAML in line 1"),
    ],
)
def test_what_compose_would_refuse_is_one_line(project: Read, text: str, reason: str) -> None:
    with pytest.raises(ComposeError, match=reason) as raised:
        project(text)
    assert "\n" not in raised.value.message
    assert raised.value.hint

"""What every role promises: documented defaults, one prefix, sentences as names."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from relocate_cli import recovery, relocation, survey

ROLES = sorted(path for path in Path(__file__).parents[2].glob("roles/*") if (path / "tasks").is_dir())

KEYWORDS = """
name when register loop loop_control vars notify changed_when failed_when check_mode run_once delegate_to
become block rescue always no_log environment ignore_errors ignore_unreachable until retries
delay async poll tags
"""


def load(path: Path) -> Any:
    """A YAML file, or None where there is none."""
    return yaml.safe_load(path.read_text()) if path.is_file() else None


def specified(role: Path) -> dict[str, dict[str, Any]]:
    """All options of all entry points of ``role``."""
    points = load(role / "meta" / "argument_specs.yml")["argument_specs"]
    return {name: option for point in points.values() for name, option in point.get("options", {}).items()}


def tasks(items: list[dict[str, Any]] | None) -> list[dict[str, Any]]:
    """Tasks and those in their blocks."""
    found = []
    for task in items or []:
        found.append(task)
        for part in ("block", "rescue", "always"):
            found += tasks(task.get(part))
    return found


def all_tasks(role: Path) -> list[dict[str, Any]]:
    """Every task and handler of ``role``."""
    files = [*role.glob("tasks/*.yml"), *role.glob("handlers/*.yml")]
    return [task for path in files for task in tasks(load(path))]


@pytest.fixture(params=ROLES, ids=lambda role: role.name)
def role(request: pytest.FixtureRequest) -> Path:
    """Each role of the checkout."""
    found: Path = request.param
    return found


def test_there_are_roles() -> None:
    """The tests below ran on something."""
    assert {"kernel", "engine", "storage", "repository", "proxy", "gateway"} <= {
        found.name for found in ROLES
    }


def test_specification_and_defaults_agree(role: Path) -> None:
    """What meta/argument_specs.yml says of a default is what defaults/main.yml does."""
    options = specified(role)
    documented = {name: option["default"] for name, option in options.items() if "default" in option}
    assert documented == (load(role / "defaults" / "main.yml") or {})


def test_every_entry_point_is_specified(role: Path) -> None:
    """A file in tasks/ that a playbook can import has a specification; included parts need none."""
    points = set(load(role / "meta" / "argument_specs.yml")["argument_specs"])
    included = {
        Path(str(task[key])).stem
        for task in all_tasks(role)
        for key in ("ansible.builtin.include_tasks", "ansible.builtin.import_tasks")
        if key in task
    }
    assert {path.stem for path in role.glob("tasks/*.yml")} - included == points


def test_variables_bear_the_prefix(role: Path) -> None:
    """Defaults, vars, facts and registers cannot collide with another role's or the operator's."""
    names = set(specified(role)) | set(load(role / "vars" / "main.yml") or {})
    for task in all_tasks(role):
        names |= {task["register"]} if "register" in task else set()
        names |= set(task.get("vars", {})) | set(task.get("ansible.builtin.set_fact", {}))
    assert not [name for name in names if not name.startswith(f"{role.name}__")]


def test_every_variable_used_is_defined_somewhere(role: Path) -> None:
    """A misspelt variable of the role's own prefix is found here and not on the third host."""
    defined = set(specified(role)) | set(load(role / "vars" / "main.yml") or {})
    for task in all_tasks(role):
        defined |= {task["register"]} if "register" in task else set()
        defined |= set(task.get("vars", {})) | set(task.get("ansible.builtin.set_fact", {}))
    text = "\n".join(
        path.read_text()
        for part in ("tasks", "handlers", "vars", "defaults", "templates")
        for path in role.glob(f"{part}/*")
    )
    assert set(re.findall(rf"\b{role.name}__[a-z0-9_]+", text)) <= defined


def test_tasks_are_sentences_and_modules_are_ansibles_own(role: Path) -> None:
    """Names begin with a capital and do not end with a stop; no collection beyond ansible-core is needed."""
    own = {path.stem for path in (role.parents[1] / "playbooks" / "library").glob("*.py")}
    words = set(KEYWORDS.split())
    for task in all_tasks(role):
        assert re.fullmatch(r"[A-Z].*[^.]", task["name"]), task["name"]
        modules = set(task) - words
        assert all(name.startswith("ansible.builtin.") or name in own for name in modules), modules


def test_commands_say_when_they_change_something(role: Path) -> None:
    """A command has changed_when or creates; without, each run would claim a change."""
    for task in all_tasks(role):
        for module in ("ansible.builtin.command", "ansible.builtin.shell"):
            if module in task:
                creates = isinstance(task[module], dict) and "creates" in task[module]
                assert "changed_when" in task or creates, task["name"]


ROOT = Path(__file__).parents[2]
# The answers that relocate_cli reads, with the role whose task registers each.
READ = {
    survey.SURVEYED: "survey",
    survey.PUBLISHED: "relocation",
    **dict.fromkeys(relocation.ARMING, "relocation"),
    relocation.FIRED: "relocation",
    relocation.SETTLED: "relocation",
    recovery.ENDED: "relocation",
}


def test_what_the_command_line_reads_is_registered() -> None:
    """A task is known by the name of its answer; a loop or a block would not answer with a document."""
    for register, role in READ.items():
        found = [task for task in all_tasks(ROOT / "roles" / role) if task.get("register") == register]
        assert found, register
        assert all("ansible.builtin.command" in task and "loop" not in task for task in found)


def test_no_title_of_a_task_is_known_to_the_command_line() -> None:
    """So that whoever words a title better breaks nothing."""
    titles = {task["name"] for role in ROLES for task in all_tasks(role)}
    titles |= {part["name"] for path in ROOT.glob("playbooks/*.yml") for part in load(path)}
    trees = (ast.parse(path.read_text()) for path in ROOT.glob("relocate_cli/**/*.py"))
    said = {node.value for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    assert not titles & said


def test_every_package_of_the_host_program_is_installed() -> None:
    program = ROOT / "roles/proxy/files/relocate_proxy"
    rooms = sorted(path.parent.name for path in program.glob("*/__init__.py"))
    assert load(ROOT / "roles/proxy/vars/main.yml")["proxy__rooms"] == rooms


def test_no_key_of_an_argument_is_a_template(role: Path) -> None:
    """Ansible would take it as it stands: a file by that name was written once."""

    def keys(value: Any) -> list[str]:
        if isinstance(value, dict):
            return [*value, *(key for each in value.values() for key in keys(each))]
        return [key for each in value for key in keys(each)] if isinstance(value, list) else []

    assert not [key for task in all_tasks(role) for key in keys(task) if "{{" in key]

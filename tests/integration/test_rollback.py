"""A move that cannot be finished leaves the container where it was, with its connections, and says why."""

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from harness import CONSOLE, ECHO, JsonObject, Lab
from talk import Console, Conversation
from trials import REFUSED


@dataclass
class Service:
    """A tenant on host1 with a client that talks to it all the time."""

    lab: Lab
    conversation: Conversation
    console: Console
    address: str

    def expect_rolled_back(self, report: JsonObject, *words: str) -> None:
        """It runs on host1 as before, nothing is left of the attempt, and the reason has ``words``."""
        assert report["outcome"] == "rolled_back", report
        assert not report["needs_recover"]
        reason = report["reason"]
        assert "\n" not in reason
        for word in words:
            assert word in reason
        self.expect_untouched()

    def expect_untouched(self) -> None:
        """The same process at the same address, the same connection, no trace of a move on any host."""
        assert self.conversation.flows()
        assert self.console("answer = 6 * 7") == 42
        assert self.lab.where("web") == ["host1"]
        assert self.lab.address("host1", "web") == self.address
        policy = self.lab.docker("host1", "inspect", "--format", "{{.HostConfig.RestartPolicy.Name}}", "web")
        assert policy == "unless-stopped"
        assert self.lab.docker("host2", "ps", "--all", "--format", "{{.Names}}") == ""
        assert self.traces_on_target() == []
        self.lab.await_no_leftovers()
        result = self.conversation.end()
        assert result.clean, result

    def traces_on_target(self) -> list[str]:
        """Addresses, translations, flows and links of this container on host2."""
        vip = self.lab.vips["web"]
        script = f"""
            ip -4 -o address show dev lo | grep -F {vip}/
            nft list map ip relocate vip 2>/dev/null | grep -F {vip}
            conntrack -L 2>/dev/null | grep -F {vip}
            ip -o link show type veth | grep -o ' veth[^:]*:'
            true"""
        return self.lab.shell("host2", script).splitlines()

    def kept_log(self, report: JsonObject, name: str) -> str:
        """CRIU's log of a relocation that failed, as host0 keeps it."""
        path = f"/var/log/relocate/{report['relocation_id']}/{name}"
        return self.lab.ssh("host0", "cat", path, check=False)


@pytest.fixture
def service(lab: Lab) -> Iterator[Service]:
    lab.run("web", "host1", "--restart", "unless-stopped")
    conversation = Conversation(lab.connect("web", ECHO))
    console = lab.console("web")
    assert conversation.flows()
    yield Service(lab, conversation, console, lab.address("host1", "web"))


def facts_of_target(lab: Lab, plan: JsonObject, key: str) -> str:
    """One of the facts that an armed target keeps on its host."""
    record = json.loads(lab.ssh("host2", "cat", f"/var/lib/relocate/open/{plan['id']}.json"))
    return str(record["facts"][key])


def test_a_dump_that_criu_refuses(service: Service) -> None:
    service.console(REFUSED)
    report = service.lab.move("web")
    words = report["reason"].partition("CRIU dump: ")[2]
    assert words in service.kept_log(report, "dump.log")
    service.expect_rolled_back(report, "CRIU dump: ", "orked")


def test_a_restore_that_criu_refuses(service: Service) -> None:
    service.console("held = open('/data/kept')")

    def sabotage(plan: JsonObject) -> None:
        service.lab.ssh("host2", "rm", f"{facts_of_target(service.lab, plan, 'rootfs')}/data/kept")

    report = service.lab.move("web", between=sabotage)
    words = report["reason"].partition("CRIU restore: ")[2]
    assert words in service.kept_log(report, "restore.log")
    service.expect_rolled_back(report, "CRIU restore: ", "data/kept")
    assert service.console("answer = held.read()") == "of the image\n"


# What this host finds on the storage is not what the others do: a layer of its own lies over the images.
ANOTHER_VIEW = """
    images=/var/lib/relocate/storage/{id}/images; mkdir -p /tmp/view/upper /tmp/view/work
    cat $images/descriptors.json - >/tmp/view/upper/descriptors.json <<END

END
    mount -t overlay -o lowerdir=$images,upperdir=/tmp/view/upper,workdir=/tmp/view/work overlay $images
"""


def test_an_image_that_is_not_what_was_dumped(service: Service) -> None:
    def change(plan: JsonObject) -> None:
        service.lab.shell("host2", ANOTHER_VIEW.format_map(plan))

    report = service.lab.move("web", between=change)
    service.lab.shell("host2", "umount /var/lib/relocate/storage/*/images; rm -r /tmp/view", check=False)
    service.expect_rolled_back(report, "an image was changed on the shared storage")


def test_after_a_failure_the_next_attempt_works(service: Service) -> None:
    service.console("held = open('/data/kept')")

    def sabotage(plan: JsonObject) -> None:
        service.lab.ssh("host2", "rm", f"{facts_of_target(service.lab, plan, 'rootfs')}/data/kept")

    assert service.lab.move("web", between=sabotage)["outcome"] == "rolled_back"
    service.lab.expect_moved("web")
    assert service.conversation.flows()
    assert service.conversation.end().clean


def test_a_published_port_that_is_taken_on_the_target(service: Service) -> None:
    service.lab.shell(
        "host2", "systemd-run --quiet --collect --unit=squatter python3 -m http.server 7001; sleep 0.5"
    )
    try:
        service.expect_rolled_back(service.lab.move("web"), "host2", "7001")
    finally:
        service.lab.shell("host2", "systemctl stop squatter", check=False)


def test_the_shared_storage_takes_no_image(service: Service) -> None:
    remount = "mount -o remount,bind,nosymfollow,{} /var/lib/relocate/storage"
    plan = service.lab.plan("web")
    armed = service.lab.arm(plan)
    service.lab.shell("host1", remount.format("ro"))
    try:
        report = service.lab.fire(plan, armed)
    finally:
        service.lab.shell("host1", remount.format("rw"))
    service.lab.settle(plan, report)
    service.expect_rolled_back(report, "CRIU dump: ", "Read-only file system")


def test_a_dump_that_takes_too_long(service: Service) -> None:
    """CRIU stands still: the deadline ends the attempt, and the hold with it."""

    waker = threading.Timer(6, lambda: service.lab.shell("host1", "pkill -CONT -x criu", check=False))

    def hang(_: JsonObject) -> None:
        service.lab.shell("host1", "pkill -STOP -x criu")
        waker.start()

    report = service.lab.move("web", between=hang, deadline=2)
    waker.join()
    service.expect_rolled_back(report, "dump")


def test_a_restore_that_hears_no_abort(service: Service) -> None:
    """CRIU stands still for ever on the target: what it has begun there is ended without its help."""

    def hang(_: JsonObject) -> None:
        service.lab.shell("host2", "pkill -STOP -x criu")

    report = service.lab.move("web", between=hang, deadline=3)
    service.expect_rolled_back(report, "restor")


def test_a_target_that_is_cut_off_before_the_window_only_delays_it(service: Service) -> None:
    plan = service.lab.plan("web")
    armed = service.lab.arm(plan)
    service.lab.bed.cut("host2")
    reports: list[JsonObject] = []
    firing = threading.Thread(target=lambda: reports.append(service.lab.fire(plan, armed)), daemon=True)
    firing.start()
    time.sleep(5)
    assert service.conversation.flows()
    assert service.lab.running("host1") == ["web"]
    service.lab.bed.join("host2")
    firing.join(60)
    service.lab.settle(plan, reports[0])
    assert reports[0]["outcome"] == "moved"
    assert service.conversation.flows()
    result = service.conversation.end()
    assert result.clean and result.longest_gap < 3, result


def test_the_command_line_says_so_in_one_line_and_ends_with_1(service: Service) -> None:
    service.console(REFUSED)
    ended = service.lab.relocate("move", "web", "--to", "host2", "--json")
    assert ended.code == 1, ended.err
    report = ended.document()
    assert report["outcome"] == "rolled_back"
    (line,) = [line for line in ended.err.splitlines() if "rolled back" in line]
    assert "CRIU dump: " in line
    assert report["reason"] in line
    service.expect_untouched()


def test_a_container_of_that_name_on_the_target_is_left_alone(service: Service) -> None:
    service.lab.make_image("host2", "somebody:else")
    service.lab.docker(
        "host2", "run", "--detach", "--name", "web", "--publish", f"9000:{CONSOLE}", "somebody:else"
    )
    report = service.lab.move("web")
    assert report["outcome"] == "rolled_back"
    assert "web" in report["reason"]
    assert service.lab.where("web") == ["host1", "host2"]
    service.lab.docker("host2", "rm", "--force", "web")
    service.expect_untouched()

"""What grows: a container with more of something than most."""

from crowd import SERVER, Crowd
from harness import ECHO, Lab


def test_more_connections_than_a_process_may_have_files(lab: Lab) -> None:
    lab.run("crowded", "host1", f"--publish={ECHO}:{ECHO}", command=["/usr/bin/python3", "-c", SERVER])
    clients = Crowd(lab, "crowded", 1200)
    clients.ask_all()
    lab.expect_moved("crowded")
    clients.ask_all()
    clients.close()
    assert clients.failures == []

"""Applications that people run, moved under load: threads, several processes, users that are not root."""

import pytest
from catalogue import APPLICATIONS
from harness import Lab


@pytest.mark.parametrize("name", ["nginx", "redis"])
def test_an_application_moves_there_and_back_under_load(lab: Lab, name: str) -> None:
    application = APPLICATIONS[name]
    running = application.start(lab)
    clients = application.load(running)
    for source, target in (("host1", "host2"), ("host2", "host1")):
        assert clients.flow()
        lab.expect_moved(name, source, target)
    assert clients.flow()
    assert clients.end() == []
    assert application.judge(running) == []

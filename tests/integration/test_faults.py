"""Faults in the middle of a window: whatever dies, one copy lives on, and its client need not know."""

import pytest
from harness import Lab
from trials import QUICK, Fault, Trial


@pytest.mark.parametrize("fault", QUICK, ids=lambda fault: fault.name.replace(" ", "-"))
def test_one_copy_lives_and_the_client_need_not_know(lab: Lab, fault: Fault) -> None:
    ending = Trial(lab, fault).run()
    assert ending.wrong == [], str(ending)  # whole: pytest shortens what is no string

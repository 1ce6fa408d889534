"""The paper's Section 4 on the testbed: real containers, real attackers, moves by `relocate tick` alone."""

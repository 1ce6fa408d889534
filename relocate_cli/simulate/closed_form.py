"""What is known without simulation: the chance that an attack succeeds, time to compromise, FlipIt.

τ is the gap between relocations, A the attack's length, μ = 1/E[τ]. Derived in docs/simulation.md from
Sections 3 and 4 of the paper. Each function is compared with the engine in tests/unit/test_closed_form.py.
"""

import math

import numpy as np

from relocate_cli.clock import Clock, poisson_pmf
from relocate_cli.errors import UsageError
from relocate_cli.simulate.laws import AttackLaw, Constant, Floats
from relocate_cli.simulate.model import FOREVER


def success_random_phase(clock: Clock, law: AttackLaw, scale: float = 1.0) -> float:
    """P(success) of an attack that begins at a moment unrelated to relocations: E[(τ-A)⁺]/E[τ].

    ``scale`` is the length of one tick of the clock in the law's unit.
    """
    if clock.kind == "static":
        return float(law.cdf(FOREVER))
    if clock.kind == "exponential":
        return law.laplace(1.0 / (clock.mean * scale))
    ticks, chances = clock.pmf()
    return float(chances @ law.excess(ticks * scale)) / (clock.mean * scale)


def success_aligned(clock: Clock, law: AttackLaw, scale: float = 1.0) -> float:
    """P(success) of an attack that begins as the target arrives: P(A ≤ τ) = E[F_A(τ)]."""
    if clock.kind == "exponential":  # memoryless: the moment tells nothing
        return law.laplace(1.0 / (clock.mean * scale))
    ticks, chances = clock.pmf()
    return float(chances @ law.cdf(ticks * scale))


def success_poisson(rate: float, length: float) -> float:
    """P(success), random phase, constant A, for gaps K ~ Poisson(λ) without a threshold: E[(K-A)⁺]/λ.

    >>> [round(1 - success_poisson(10, a), 4) for a in (9, 10, 11)]
    [0.8207, 0.8749, 0.9166]
    """
    k = np.arange(0.0, math.ceil(rate + 40 * math.sqrt(rate) + 40))
    return float(poisson_pmf(k, rate) @ np.maximum(k - length, 0.0)) / rate


def reset_rate(mean_gap: float, hosts: int, attackers: int, carry: float) -> float:
    """Rate at which an exponential clock resets an attack that survives a move onto another captured host.

    ``carry`` is the chance that it survives such a move; q = (m-1)/(n-1) of moves are such moves.
    """
    onto = (attackers - 1) / (hosts - 1) if hosts > 1 else 1.0
    return (1.0 - onto * carry) / mean_gap


def success_spread(law: AttackLaw, mean_gap: float, hosts: int, attackers: int, carry: float = 1.0) -> float:
    """P(success), exponential clock, m captured hosts of n: L_A(μ(1-q·carry))."""
    return law.laplace(reset_rate(mean_gap, hosts, attackers, carry))


def success_chasing(clock: Clock, law: AttackLaw, search_rate: float, scale: float = 1.0) -> float:
    """P(success in one gap) of an attacker who finds the target after Exp(σ), then attacks.

    Exponential clock: σ/(σ+μ)·L_A(μ). Otherwise, for constant A only, E[1-e^{-σ(τ-A)⁺}].
    Raises UsageError for another law with another clock.
    """
    if clock.kind == "exponential":
        mu = 1.0 / (clock.mean * scale)
        return search_rate / (search_rate + mu) * law.laplace(mu)
    if not isinstance(law, Constant):
        raise UsageError("attack: a chasing attacker has a closed form for constant attacks only")
    ticks, chances = clock.pmf()
    return float(chances @ -np.expm1(-search_rate * law.excess(ticks * scale)))


def time_to_compromise(clock: Clock, law: AttackLaw, hosts: int, attackers: int, scale: float = 1.0) -> float:
    """Mean ticks until an attack succeeds; captured and aligned at the start, every move resets the attack.

    E[min(τ,A)]/P(τ≥A) + ((n-m)/m)·E[τ]·P(τ<A)/P(τ≥A); n/(mα) if clock and A are exponential.
    Raises UsageError if the law's mean is infinite and nothing bounds the gap.
    """
    if clock.kind == "static":
        if not math.isfinite(law.mean):
            raise UsageError(
                "attack: its mean is infinite, and a static clock needs a finite one",
                "remove inf from the file",
            )
        return law.mean
    success = success_aligned(clock, law, scale)
    if success == 0.0:
        return math.inf
    if clock.kind == "exponential":
        shorter = clock.mean * scale * (1.0 - success)  # E[min(τ,A)] of a memoryless τ
    else:
        ticks, chances = clock.pmf()
        shorter = float(chances @ (ticks * scale - law.excess(ticks * scale)))
    elsewhere = (hosts - attackers) / attackers * clock.mean * scale
    return (shorter + elsewhere * (1.0 - success)) / success


def compromised_by(horizon: float, length: float, rate: float, keep: float = 0.0) -> float:
    """P(compromised by H): always co-resident, constant A, moves at ``rate``, progress kept with chance ρ.

    Σ_j (-1)^j ν^j e^{-(j+1)νA}[x_j^j/j! + ν x_j^{j+1}/(j+1)!] with ν = μ(1-ρ), x_j = H-(j+1)A ≥ 0.
    """
    nu = rate * (1.0 - keep)
    total = 0.0
    for j in range(math.floor(horizon / length)):
        x = horizon - (j + 1) * length
        log = j * math.log(nu * x) - math.lgamma(j + 1) if j and nu * x > 0 else 0.0 if j == 0 else -math.inf
        total += (-1) ** j * math.exp(log - (j + 1) * nu * length) * (1.0 + nu * x / (j + 1))
    return min(max(total, 0.0), 1.0)


def survival(
    horizon: float,
    law: AttackLaw,
    mean_gap: float,
    hosts: int,
    attackers: int,
    *,
    carry: float = 0.0,
    captured: float | None = None,
    steps: int = 2000,
) -> Floats:
    """P(no attack has succeeded by t) for t on a grid of ``steps``+1 points from 0 to H; exponential clock.

    Not a formula but the renewal equation that the process obeys, solved by the trapezoid rule.
    ``captured`` is the chance to start on a captured host (m/n if None). With G(t) the chance of compromise
    by t since a fresh attack began, ν the reset rate, and U(t) the same for a target on a free host:
    G = ∫e^{-νx}dF(x) + ∫νe^{-νx}(1-F(x))[r·G+(1-r)·U](t-x)dx,  U' = p(G-U),  p = μm/(n-1).
    """
    mu = 1.0 / mean_gap
    nu = reset_rate(mean_gap, hosts, attackers, carry)
    onto = (attackers - 1) / (hosts - 1) if hosts > 1 else 1.0
    again = onto * (1.0 - carry) / (1.0 - onto * carry) if onto * carry < 1 else 0.0
    enter = mu * attackers / (hosts - 1) if hosts > 1 else 0.0
    grid = np.linspace(0.0, horizon, steps + 1)
    width = horizon / steps
    # dF is integrated over each cell with e^{-νx} at the cell's middle, so that a jump of F costs O(width).
    finished = law.cdf(grid)
    cells = np.diff(finished, prepend=0.0)
    inside = np.clip(grid - width / 2, 0.0, None)
    if isinstance(law, Constant):
        inside = np.minimum(np.full_like(grid, law.mean), grid)
    done = np.cumsum(cells * np.exp(-nu * inside))
    kernel = nu * np.exp(-nu * grid) * (1.0 - finished) * width
    kernel[0] /= 2
    fresh, free = np.zeros(steps + 1), np.zeros(steps + 1)
    decay = math.exp(-enter * width)
    for i in range(steps + 1):
        if i:  # what enters within the step meets the mean of G over it; G[i] itself is still unknown
            guess = 2 * fresh[i - 1] - fresh[i - 2] if i > 1 else fresh[0]
            free[i] = free[i - 1] * decay + (1 - decay) * (fresh[i - 1] + guess) / 2
        mixed = again * fresh[:i] + (1 - again) * free[:i]
        known = done[i] + kernel[1 : i + 1] @ mixed[::-1] + kernel[0] * (1 - again) * free[i]
        fresh[i] = known / (1.0 - kernel[0] * again)
    begin = attackers / hosts if captured is None else captured
    return 1.0 - (begin * fresh + (1 - begin) * free)


def mean_gap_for(resisted: float, law: AttackLaw) -> float:
    """Largest mean gap in ticks at which an exponential clock resists this share of attacks.

    >>> from relocate_cli.simulate.laws import make_law
    >>> [round(1 / mean_gap_for(.87, make_law(*law)), 2)
    ...  for law in (("constant", 1.), ("exponential", 1.), ("gamma", 1., 4.))]
    [2.04, 6.69, 2.66]
    """
    if not 0 < resisted < 1:
        raise UsageError(f"risk: a share between 0 and 1, not {1 - resisted:g}")
    low = law.laplace(1e12)
    if low >= 1 - resisted:
        raise UsageError(f"risk: relocation alone cannot resist a share of {resisted:g} of these attacks")
    from scipy import optimize  # slow to import, and needed here alone

    log_mu = optimize.brentq(
        lambda x: law.laplace(math.exp(x)) - (1 - resisted), math.log(1e-12), math.log(1e12)
    )
    return math.exp(-log_mu)


def flipit_gain(rate: float, cost: float, period: float) -> float:
    """Gain a tick of a periodic FlipIt attacker, exponential defender: (1-e^{-λδ})/(λδ) - k/δ."""
    return -math.expm1(-rate * period) / (rate * period) - cost / period


def flipit_quits(rate: float, cost: float) -> bool:
    """Whether no period pays for the attacker: λ ≥ 1/k₁."""
    return rate * cost >= 1.0

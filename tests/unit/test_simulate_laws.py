"""Laws of attack lengths: the sampler, F, its integral and the Laplace transform belong together."""

import numpy as np
import pytest
from scipy import integrate, stats

from relocate_cli.errors import UsageError
from relocate_cli.simulate.laws import make_law
from relocate_cli.simulate.run import generator

LAWS = [("exponential", 5.0, 0.0), ("gamma", 6.0, 0.5), ("gamma", 6.0, 4.0), ("lognormal", 6.0, 0.8)]


@pytest.mark.parametrize("law", LAWS)
def test_samples_follow_the_distribution(law):
    law = make_law(*law)
    assert stats.kstest(law.sample(generator(5), 20_000), law.cdf).pvalue > 1e-3


@pytest.mark.parametrize("law", [*LAWS, ("constant", 3.0, 0.0)])
@pytest.mark.parametrize("t", [0.5, 4.0, 25.0])
def test_excess_is_the_integral_of_the_distribution(law, t):
    law = make_law(*law)
    area = integrate.quad(lambda u: float(law.cdf(u)), 0, t, points=[3.0] if t > 3 else None)[0]
    assert float(law.excess(t)) == pytest.approx(area, rel=1e-6)


@pytest.mark.parametrize("law", [*LAWS, ("constant", 3.0, 0.0)])
def test_laplace_is_the_mean_of_its_exponential(law):
    law = make_law(*law)
    values = np.exp(-0.3 * law.sample(generator(6), 200_000))
    assert abs(law.laplace(0.3) - values.mean()) < 4 * values.std() / np.sqrt(len(values)) + 1e-12
    assert law.laplace(0.0) == pytest.approx(1.0)


def test_lengths_from_a_file(tmp_path):
    file = tmp_path / "lengths.txt"
    file.write_text("# ticks\n4, 2\n\n6  # the longest\n")
    law = make_law("empirical", file=file)
    assert law.mean == 4.0
    assert law.cdf([1.9, 2.0, 5.0, 6.0]).tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert law.excess([5.0]).tolist() == pytest.approx([4 / 3])
    assert set(law.sample(generator(1), 100).tolist()) == {2.0, 4.0, 6.0}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "holds no attack length"),
        ("1\ntwo", r":2: not a length above zero: two"),
        ("-1", ":1: not a length"),
    ],
)
def test_a_bad_file_is_named_with_its_line(tmp_path, content, says):
    file = tmp_path / "lengths.txt"
    file.write_text(content)
    with pytest.raises(UsageError, match=f"^attack-file: .*{says}"):
        make_law("empirical", file=file)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("bernoulli",), "attack: there is no law bernoulli"),
        (("constant", -1.0), "attack-length: "),
        (("gamma", 1.0, -1.0), "attack-shape: "),
        (("empirical",), "attack-file: "),
    ],
)
def test_bad_parameters_are_named(arguments, says):
    with pytest.raises(UsageError, match=f"^{says}"):
        make_law(*arguments)

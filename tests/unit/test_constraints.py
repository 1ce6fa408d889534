"""Each reason for which a host cannot take a container, moved or restored."""

from collections.abc import Callable
from typing import Any

from relocate_cli.constraints import why_not, why_not_restore

Make = Callable[..., Any]


def test_memory_that_an_older_kernel_does_not_know_stays_on_newer_ones(
    build: Make, survey: Make, container: Make
) -> None:
    entries = [container("web", droppable=True), container("born-on-an-old-kernel", ports=[])]
    kernels = {"h1": "6.12.1", "h2": "6.1.0-50-amd64", "h3": "6.11"}
    pool = build(
        *(survey(h, *(entries if h == "h1" else ()), criu={"kernel": k}) for h, k in kernels.items())
    )
    web, older = pool.containers
    said = [why_not(web, pool.host("h1"), pool.host(target), 60) for target in ("h2", "h3")]
    assert "6.1.0-50-amd64 has no MAP_DROPPABLE" in said[0] and said[1] == ""
    assert why_not(older, pool.host("h1"), pool.host("h2"), 60) == ""


def test_a_network_comes_along_unless_its_name_means_something_else_there(
    build: Make, survey: Make, container: Make
) -> None:
    web = container("web", networks=["shop_default"])
    pool = build(
        survey("h1", web),
        survey("h2", no_bridges={"host": "host", "shop_default": "macvlan"}),
        survey("h3", no_bridges={"host": "host"}),
        survey("h4"),  # surveyed by an older version
    )
    said = [why_not(pool.container("web"), pool.host("h1"), pool.host(f"h{n}"), 60) for n in (2, 3, 4)]
    assert said == ["its network shop_default is macvlan, not a bridge: rename one of the two", "", ""]


def test_a_port_that_the_engine_chose_counts_like_any(build: Make, survey: Make, container: Make) -> None:
    pool = build(
        survey("h1", container("web", ports=["tcp/32768"])), survey("h2", published_ports=["tcp/32768"])
    )
    assert why_not(pool.container("web"), pool.host("h1"), pool.host("h2"), 60) == "port tcp/32768 is taken"


def test_aio_contexts_do_not_go_where_the_kernel_makes_larger_ones(
    build: Make, survey: Make, container: Make
) -> None:
    pool = build(
        survey("h1", container("web", aio_events=62)),
        survey("h2", possible_cpus=15),
        survey("h3", possible_cpus=16),
        survey("h4"),
    )
    said = [why_not(pool.container("web"), pool.host("h1"), pool.host(f"h{n}"), 60) for n in (2, 3, 4)]
    assert said[0] == said[2] == "" and "16 possible processors" in said[1]


def test_tenants_of_other_groups_do_not_meet(build: Make, survey: Make, container: Make) -> None:
    labels = {"relocate.enable": "true", "relocate.group": "red"}
    blue = container("db", ports=[], labels={"relocate.group": "blue"})
    pool = build(survey("h1", container("web", labels=labels)), survey("h2", blue), survey("h3"))
    web, source = pool.container("web"), pool.host("h1")
    assert why_not(web, source, pool.host("h2"), 60) == "tenant group blue is there"
    assert why_not(web, source, pool.host("h3"), 60) == ""


def test_an_image_is_held_to_what_a_move_is_held_to(build: Make, survey: Make, container: Make) -> None:
    """But for the storage, where it already is, and the age of the source's facts, which may be gone."""
    labels = {"relocate.enable": "true", "relocate.group": "red"}
    web = container("web", labels=labels, layer_bytes=10 << 20)
    blue = container("db", ports=[], labels={"relocate.group": "blue"})
    targets = {
        "h2": survey("h2", published_ports=["tcp/80"]),
        "h3": survey("h3", memory_free_bytes=1 << 20),
        "h4": survey("h4", blue),
        "h5": survey("h5", criu={"cpu_flags": []}),
        "h6": survey("h6", criu={"arch": "aarch64"}),
        "h7": survey("h7", container("web", ports=[])),
        "h8": survey("h8", disk_free_bytes=1 << 20),
        "h9": survey("h9", storage_free_bytes=1 << 20),
    }
    pool = build(survey("h1", web, age=3600), *targets.values())
    found = pool.host("h1").containers[0]
    said = {name: why_not_restore("web", found, pool.host("h1"), pool.host(name), 60) for name in targets}
    assert said == {
        "h2": "port tcp/80 is taken",
        "h3": "64 MiB of memory do not fit in 1 MiB",
        "h4": "tenant group blue is there",
        "h5": "its CPU lacks avx2",
        "h6": "x86_64 does not restore on aarch64",
        "h7": "it has a container of that name",
        "h8": "10 MiB do not fit in 1 MiB of disk",
        "h9": "",
    }


def test_of_an_image_of_which_nothing_is_known_the_hosts_decide(
    build: Make, survey: Make, container: Make
) -> None:
    blue = container("db", ports=[], labels={"relocate.group": "blue"})
    pool = build(survey("h1", criu={"arch": "x86_64"}), survey("h2", blue), survey("h3", container("web")))
    h1, h2, h3 = pool.hosts
    assert "tenant group blue is there, and its own is not known" in why_not_restore("web", None, h1, h2, 60)
    assert why_not_restore("api", None, h1, h3, 60) == ""
    assert why_not_restore("web", None, h1, h3, 60) == "it has a container of that name"
    assert why_not_restore("api", None, None, h3, 60) == ""

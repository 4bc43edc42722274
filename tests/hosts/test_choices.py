"""What an inventory may choose beside: a firewall, kernel settings, PGDG. There and back again."""

import base64
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from deploy.kernel import ASKED

if TYPE_CHECKING:
    from tests.hosts.conftest import Host, Rehearsal

pytestmark = pytest.mark.hosts


def apply(rehearsal: "Rehearsal", host: "Host", data: dict[str, Any]) -> list[str]:
    """Apply `data` to one host, then again, which must change nothing; return what changed."""
    inventory = rehearsal.inventory(**{host.name: data})
    changes = []
    for _run in range(2):
        code, found = rehearsal.host("apply", "--yes", "--limit", host.name, inventory=inventory)
        (about,) = found["hosts"]
        assert (code, about["error"]) == (0, None)
        changes.append([c["what"] for step in about["steps"] for c in step["changes"]])
    first, second = changes
    assert second == []
    return first


def test_the_firewall_guards_the_servers_port_and_nothing_else(
    host: "Host", rehearsal: "Rehearsal"
) -> None:
    open_to_all = {"listen_addresses": "*", "client_networks": ["10.99.0.0/16"]}
    # A network of its own inside of the host: what comes from it comes from somewhere else.
    host.run(
        "ip netns add outside 2>/dev/null || { mkdir -p /run/netns; ip netns add outside; };"
        " ip link add here type veth peer name there && ip link set there netns outside"
        " && ip addr add 10.98.0.1/24 dev here && ip addr add 10.99.0.1/24 dev here"
        " && ip link set here up && ip netns exec outside ip link set there up"
        " && ip netns exec outside ip addr add 10.98.0.2/24 dev there"
        " && ip netns exec outside ip addr add 10.99.0.2/24 dev there"
    )

    def from_outside(network: int, port: int) -> bool:
        return not host.run(
            "ip netns exec outside timeout 2 bash -c"
            f" 'exec 3<>/dev/tcp/10.{network}.0.1/{port}' >/dev/null 2>&1 || echo no"
        )

    try:
        apply(rehearsal, host, open_to_all)
        unguarded = from_outside(98, 5432)
        changed = apply(rehearsal, host, {**open_to_all, "firewall": True})
        guarded = {(n, p): from_outside(n, p) for n in (98, 99) for p in (22, 5432)}
        # A rule that somebody adds is drift, and goes.
        host.run("nft insert rule inet casedb input accept")
        mended = apply(rehearsal, host, {**open_to_all, "firewall": True})
        still = from_outside(98, 5432)
        host.run("systemctl stop nftables casedb-firewall; systemctl start casedb-firewall")
        after_start = from_outside(98, 5432)
        gone = apply(rehearsal, host, {})
    finally:
        host.run("ip link del here; ip netns del outside", check=False)

    assert unguarded
    assert "rules in table inet casedb" in changed
    assert guarded == {(98, 22): True, (98, 5432): False, (99, 22): True, (99, 5432): True}
    assert mended == ["rules in table inet casedb"]
    assert (still, after_start) == (False, False)
    assert "rules in table inet casedb" in gone
    assert "casedb" not in host.run("nft list tables")


@contextmanager
def kernel_that_listens(host: "Host") -> Iterator[None]:
    """Let the host write kernel settings, into files that stand for a kernel of its own."""
    found = {name: host.run(f"sysctl -n {name}") for name in ASKED}
    host.run("mount -t tmpfs -o mode=755 tmpfs /proc/sys/vm")
    for name, value in found.items():
        host.run(f"echo {value} >/proc/sys/{name.replace('.', '/')}")
    try:
        yield
    finally:
        host.run("umount /proc/sys/vm; rm -f /etc/sysctl.d/60-casedb.conf")


def test_kernel_settings_are_put_in_force_and_mended(host: "Host", rehearsal: "Rehearsal") -> None:
    with kernel_that_listens(host):
        before = host.run("sysctl -n vm.overcommit_memory")
        huge = {"pg_settings": {"huge_pages": "try"}}
        apply(rehearsal, host, huge)
        values = {name: host.run(f"sysctl -n {name}") for name in ASKED}
        needed = host.sql("SHOW shared_memory_size_in_huge_pages")
        host.run("sysctl -qw vm.swappiness=60")
        mended = apply(rehearsal, host, huge)
        swappiness = host.run("sysctl -n vm.swappiness")
        apply(rehearsal, host, {"kernel": False})
        there = host.run("ls /etc/sysctl.d")

    assert before in ("0", "1", "2")
    assert (values["vm.swappiness"], swappiness) == ("1", "1")
    assert int(needed) <= int(values["vm.nr_hugepages"]) <= int(needed) * 1.2
    assert mended == ["kernel"]
    assert "casedb" not in there


def test_a_kernel_that_cannot_be_changed_is_left_alone_and_said(proof: dict[str, Any]) -> None:
    for found in proof["first_run"]:
        (remark,) = found["remarks"]
        assert "kernel settings cannot be changed here" in remark
        assert "vm.swappiness = 1" in remark


def test_the_servers_limits_are_in_force(host: "Host") -> None:
    shown = host.run(f"systemctl show -p LimitNOFILE -p LimitCORE postgresql@{host.major}-main")
    running = host.run(
        f"cat /proc/$(head -1 /var/lib/postgresql/{host.major}/main/postmaster.pid)/limits"
    )

    hard = int(host.run("grep 'Max open files' /proc/1/limits").split()[4])
    # No more than the host can give: beyond that the unit would not start.
    files = min(65536, hard)
    assert sorted(shown.splitlines()) == ["LimitCORE=0", f"LimitNOFILE={files}"]
    assert re.search(rf"^Max open files +{files} ", running, re.M)
    assert re.search("^Max core file size +0 ", running, re.M)


def make_repository(folder: Path, codename: str, major: int) -> None:
    """Make a signed repository of PGDG's layout, with small packages of no content."""
    folder.mkdir()
    home = folder.parent / "gnupg"
    home.mkdir(mode=0o700)
    gpg = ["gpg", "--homedir", str(home), "--batch", "--quiet"]
    making = ["--passphrase", "", "--quick-gen-key", "repository@example.org", "ed25519", "sign"]
    subprocess.run([*gpg, *making], check=True)
    (folder / "key.asc").write_bytes(
        subprocess.run([*gpg, "--armor", "--export"], check=True, capture_output=True).stdout
    )
    place = folder / "dists" / f"{codename}-pgdg"
    binary = place / "main" / "binary-amd64"
    binary.mkdir(parents=True)
    pool = folder / "pool"
    pool.mkdir()
    index = []
    for name, version in ((f"postgresql-{major}-example", "1.0"), ("hello", "99.0")):
        tree = folder.parent / name
        (tree / "DEBIAN").mkdir(parents=True)
        control = (
            f"Package: {name}\nVersion: {version}\nArchitecture: all\n"
            "Maintainer: Nobody <nobody@example.org>\nDescription: of no content\n"
        )
        (tree / "DEBIAN" / "control").write_text(control)
        deb = pool / f"{name}_{version}_all.deb"
        build = ["dpkg-deb", "--root-owner-group", "--build", str(tree), str(deb)]
        subprocess.run(build, check=True, stdout=subprocess.DEVNULL)
        sha256 = _sha256(deb)
        size = deb.stat().st_size
        index.append(f"{control}Filename: pool/{deb.name}\nSize: {size}\nSHA256: {sha256}\n")
    packages = binary / "Packages"
    packages.write_text("\n".join(index))
    release = place / "Release"
    release.write_text(
        f"Origin: apt.postgresql.org\nLabel: PostgreSQL for Debian\nSuite: {codename}-pgdg\n"
        f"Codename: {codename}-pgdg\nArchitectures: amd64\nComponents: main\n"
        "Date: Sat, 01 Jan 2022 00:00:00 UTC\nSHA256:\n"
        f" {_sha256(packages)} {packages.stat().st_size} main/binary-amd64/Packages\n"
    )
    signed = str(place / "InRelease")
    subprocess.run([*gpg, "--clearsign", "--output", signed, str(release)], check=True)
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "gpg-agent"], check=True)


def _sha256(path: Path) -> str:
    done = subprocess.run(["sha256sum", path], check=True, capture_output=True, text=True)
    return done.stdout.split()[0]


@pytest.mark.skipif(shutil.which("gpg") is None, reason="needs gpg")
def test_postgresql_comes_from_a_signed_repository_of_pgdgs_layout_and_nothing_else_does(
    host: "Host", rehearsal: "Rehearsal", tmp_path: Path
) -> None:
    codename, package = host.about.release, f"postgresql-{host.major}-example"
    repository = tmp_path / "pgdg"
    make_repository(repository, codename, host.major)
    archive = subprocess.run(
        ["tar", "-C", str(tmp_path), "-cz", "pgdg"], check=True, capture_output=True
    ).stdout
    host.run("rm -rf /srv/pgdg; base64 -d | tar -C /srv -xz", base64.encodebytes(archive).decode())
    pgdg = {"url": "file:///srv/pgdg", "key": str(repository / "key.asc")}

    try:
        changed = apply(rehearsal, host, {"pgdg": pgdg, "extra_packages": [package]})
        policy = {
            name: host.run(f"apt-cache policy {name}")
            for name in (package, "hello", f"postgresql-{host.major}")
        }
        # A repository that somebody else has signed is not believed.
        host.run("sed -i s/99.0/98.0/ /srv/pgdg/dists/*/main/binary-amd64/Packages")
        host.run("rm -rf /var/lib/apt/lists/_srv_pgdg*")
        forged = host.run("apt-get update 2>&1", check=False)
    finally:
        host.run(f"apt-get -qq -y purge {package} >/dev/null 2>&1", check=False)
        gone = apply(rehearsal, host, {})
        host.run("rm -rf /srv/pgdg")

    assert "packages" in changed
    assert "Installed: 1.0" in policy[package]
    assert "600" in policy[package]
    # Newer there, and still Debian's.
    assert "99.0" in policy["hello"]
    assert "Candidate: 99.0" not in policy["hello"]
    assert f"Installed: {host.major}." in policy[f"postgresql-{host.major}"]
    assert "Hash Sum mismatch" in forged or "unexpected size" in forged or "hash" in forged.lower()
    assert {Path(path).name for path in gone} == {
        "casedb-pgdg.asc", "casedb-pgdg.pref", "casedb-pgdg.sources",
    }  # fmt: skip

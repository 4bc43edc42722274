"""Rehearsal hosts: real systemd Debian hosts in Docker, reached over SSH like any other.

An image is made by mmdebstrap from Debian's own packages, so nothing is pulled from a registry.
What `up` made is found again by its label, and is all that `down` removes.
"""

import hashlib
import json
import secrets
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from casedb.containers import ImageNotFound, docker_client
from casedb.errors import ConfigurationError, ToolFailedError
from casedb.roles import LOGIN_ROLES

RELEASES: dict[str, int] = {"bookworm": 12, "trixie": 13}
"""The Debian releases that can be rehearsed on, and their numbers."""

ADMIN_USER = "admin"
"""Who logs in over SSH; sudo asks this user for no password."""

_LABEL = "casedb.rehearsal"
_REPOSITORY = "casedb-rehearsal"
# What a freshly installed server has, and what systemd needs to boot in a container.
_PACKAGES = (
    "systemd,systemd-sysv,dbus,openssh-server,python3,sudo,ca-certificates,iproute2,procps,curl"
)
# Every host gets its own SSH host keys and machine id at its first boot.
_CUSTOMIZE = 'rm -f "$1"/etc/ssh/ssh_host_*; : > "$1"/etc/machine-id'
_INIT = 'CMD ["/sbin/init"]'
_TRUST = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pip.conf")
_BOOT_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 10
_POLL_S = 0.2

# The public key comes by environment: nothing of it is interpreted by the shell.
_SET_UP_ADMIN = f"""
set -eu
ssh-keygen -A >/dev/null
id {ADMIN_USER} >/dev/null 2>&1 || useradd --create-home --shell /bin/bash {ADMIN_USER}
install -d -m 700 -o {ADMIN_USER} -g {ADMIN_USER} /home/{ADMIN_USER}/.ssh
printf '%s\\n' "$PUBLIC_KEY" > /home/{ADMIN_USER}/.ssh/authorized_keys
chown {ADMIN_USER}: /home/{ADMIN_USER}/.ssh/authorized_keys
printf '{ADMIN_USER} ALL=(ALL) NOPASSWD: ALL\\n' > /etc/sudoers.d/{ADMIN_USER}
chmod 440 /etc/sudoers.d/{ADMIN_USER}
# Without host keys the first starts have failed, and a unit that failed too often refuses.
systemctl reset-failed ssh.service 2>/dev/null || true
systemctl restart ssh
cat /etc/ssh/ssh_host_ed25519_key.pub
"""

Tell = Callable[[str], None]


@dataclass(frozen=True)
class RehearsalHost:
    """One host and how it is reached."""

    name: str
    release: str
    address: str
    port: int
    user: str
    key: str
    """Path of the private SSH key."""
    known_hosts: str
    """Path of the file with the hosts' public keys."""
    running: bool = True


def up(
    home: Path,
    releases: Iterable[str] = tuple(RELEASES),
    *,
    cache: Path | None = None,
    tell: Tell = lambda _step: None,
) -> list[RehearsalHost]:
    """Make sure that one host of each release runs and answers over SSH; return them all.

    Hosts that run already are left as they are. `home` keeps the SSH key and the list of hosts.
    An image that Docker lacks is taken from `cache`, a folder, or made there (minutes).

    Raises:
        ConfigurationError: Docker or mmdebstrap is missing, or a release is unknown.
        ToolFailedError: an image cannot be made or a host does not boot.
    """
    wanted = list(releases)
    unknown = sorted(set(wanted) - set(RELEASES))
    if unknown:
        raise ConfigurationError(
            f"no rehearsal host can be made of {', '.join(unknown)}",
            hint=f"Choose among {', '.join(RELEASES)}.",
        )
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with docker_client() as client:
        for release in wanted:
            _image(client, release, home, cache, tell)
        public_key = _ssh_key(home)
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda r: _boot(client, r, home, public_key, tell), wanted))
        hosts = _found(client, home)
        _write_known_hosts(client, hosts, home)
    _write(home, hosts)
    _make_passwords(home)
    return hosts


def status(home: Path) -> list[RehearsalHost]:
    """Return the hosts that `home` has, running or not.

    Raises:
        ConfigurationError: Docker does not answer.
    """
    with docker_client() as client:
        return _found(client, home)


def down(home: Path) -> list[str]:
    """Remove the hosts of `home` and all that is on them; return their names. Images stay.

    Raises:
        ConfigurationError: Docker does not answer.
    """
    removed = []
    with docker_client() as client:
        for container in _containers(client, home):
            container.remove(force=True, v=True)
            removed.append(str(container.name))
    shutil.rmtree(home, ignore_errors=True)
    return removed


def read_hosts(home: Path) -> list[RehearsalHost]:
    """Return the hosts that the last `up` left in `home`, without asking Docker; maybe none."""
    path = home / "hosts.json"
    if not path.exists():
        return []
    return [RehearsalHost(**found) for found in json.loads(path.read_text("utf-8"))]


def run_on(host: RehearsalHost, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run a command as root on `host`, over SSH like anybody else."""
    argv = [
        "ssh", "-q", "-i", host.key, "-o", f"UserKnownHostsFile={host.known_hosts}",
        "-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes", "-p", str(host.port),
        f"{host.user}@{host.address}", "sudo", shlex.join(words),
    ]  # fmt: skip
    return subprocess.run(
        argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


def _recipe(release: str) -> str:
    return hashlib.sha256(f"{release}|{_PACKAGES}|{_CUSTOMIZE}".encode()).hexdigest()[:12]


def _tag(release: str) -> str:
    return f"{release}-{_recipe(release)}"


def _image(client: Any, release: str, home: Path, cache: Path | None, tell: Tell) -> None:
    try:
        client.images.get(f"{_REPOSITORY}:{_tag(release)}")
        return
    except ImageNotFound:
        pass
    folder = cache or home
    folder.mkdir(parents=True, exist_ok=True)
    base = folder / f"{_tag(release)}.tar"
    if not base.exists():
        tell(f"making an image of Debian {RELEASES[release]} ({release})")
        _mmdebstrap(release, base)
    tell(f"importing the image of {release}")
    client.api.import_image_from_file(
        str(base), repository=_REPOSITORY, tag=_tag(release), changes=[_INIT]
    )
    if cache is None:
        base.unlink()


def _mmdebstrap(release: str, target: Path) -> None:
    program = shutil.which("mmdebstrap")
    if program is None:
        raise ConfigurationError(
            "mmdebstrap is missing",
            detail="It makes the rehearsal hosts' images out of Debian's packages.",
            hint="Install it (Debian: apt install mmdebstrap).",
        )
    making = target.with_suffix(".making.tar")
    # No mirror is named: mmdebstrap then takes main, updates and security by itself.
    argv = [
        program,
        "--quiet",
        "--variant=minbase",
        f"--include={_PACKAGES}",
        f"--customize-hook={_CUSTOMIZE}",
        release,
        str(making),
    ]
    done = subprocess.run(
        argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        making.unlink(missing_ok=True)
        raise ToolFailedError(
            f"mmdebstrap could not make an image of {release}",
            detail="\n".join(done.stderr.strip().splitlines()[-6:]),
            hint="Does the network reach Debian's mirrors? Is the disk full?",
        )
    making.rename(target)


def _ssh_key(home: Path) -> str:
    """Return the public half of the key in `home`, made if need be."""
    private = home / "id_ed25519"
    if not private.exists():
        program = shutil.which("ssh-keygen")
        if program is None:
            raise ConfigurationError(
                "ssh-keygen is missing", hint="Install it (Debian: apt install openssh-client)."
            )
        argv = [program, "-q", "-t", "ed25519", "-N", "", "-C", "casedb rehearsal"]
        subprocess.run([*argv, "-f", str(private)], check=True, stdin=subprocess.DEVNULL)
    return private.with_suffix(".pub").read_text("utf-8").strip()


def _name(home: Path, release: str) -> str:
    # Two checkouts on one machine have hosts of their own.
    owner = hashlib.sha256(str(home.absolute()).encode()).hexdigest()[:6]
    return f"{_REPOSITORY}-{owner}-{release}"


def _boot(client: Any, release: str, home: Path, public_key: str, tell: Tell) -> None:
    name = _name(home, release)
    found = client.containers.list(all=True, filters={"name": f"^{name}$"})
    if found:
        container = found[0]
        if container.status != "running":
            container.start()
    else:
        tell(f"booting {name}")
        container = _create(client, release, name, home)
    _wait_until_booted(container, name)
    code, output = container.exec_run(
        ["sh", "-c", _SET_UP_ADMIN], environment={"PUBLIC_KEY": public_key}
    )
    if code != 0:
        raise ToolFailedError(
            f"{name} could not be prepared for SSH", detail=output.decode(errors="replace").strip()
        )


def _volumes(unified: bool) -> dict[str, dict[str, str]]:
    """Return what a host sees of this machine: control groups, whom to trust, where pip looks."""
    found = {"/sys/fs/cgroup": {"bind": "/sys/fs/cgroup", "mode": "rw" if unified else "ro"}}
    # Behind a proxy of its own authority, a host gets its packages as this machine does.
    for path in _TRUST:
        if Path(path).is_file():
            found[path] = {"bind": path, "mode": "ro"}
    return found


def _create(client: Any, release: str, name: str, home: Path) -> Any:
    unified = str(client.info().get("CgroupVersion", "1")) == "2"
    return client.containers.run(
        f"{_REPOSITORY}:{_tag(release)}",
        detach=True,
        name=name,
        hostname=release,
        labels={_LABEL: str(home.absolute()), f"{_LABEL}.release": release},
        # What systemd calls "halt"; without it Docker's stop ends in a kill.
        stop_signal="SIGRTMIN+3",
        # SYS_ADMIN: unit sandboxing mounts; NET_ADMIN: nftables.
        cap_add=["SYS_ADMIN", "NET_ADMIN"],
        security_opt=["apparmor=unconfined", "seccomp=unconfined"],
        tmpfs={"/run": "", "/run/lock": ""},
        volumes=_volumes(unified),
        cgroupns="host" if unified else None,
        # The first of all free ports, on this machine only.
        ports={"22/tcp": ("127.0.0.1", None)},
        # A limit like that of a small machine: tuning has to see it, and not the whole host.
        mem_limit="2g",
        shm_size="256m",
    )


def _wait_until_booted(container: Any, name: str) -> None:
    deadline = time.monotonic() + _BOOT_TIMEOUT_S
    while time.monotonic() < deadline:
        # Asked with --wait too early, it says "Failed to connect to bus" and is wrong for ever.
        _code, output = container.exec_run(["systemctl", "is-system-running"])
        if output.decode().strip() in ("running", "degraded"):
            return
        time.sleep(_POLL_S)
    raise ToolFailedError(
        f"{name} did not boot within {_BOOT_TIMEOUT_S:g} s",
        detail=container.logs(tail=5).decode(errors="replace").strip() or None,
        hint="A container that runs systemd needs /sys/fs/cgroup; is this Docker rootless?",
    )


def _containers(client: Any, home: Path) -> list[Any]:
    label = f"{_LABEL}={home.absolute()}"
    found = client.containers.list(all=True, filters={"label": label})
    return sorted(found, key=lambda container: str(container.name))


def _found(client: Any, home: Path) -> list[RehearsalHost]:
    hosts = []
    for container in _containers(client, home):
        bound = (container.ports or {}).get("22/tcp") or [{"HostIp": "", "HostPort": "0"}]
        hosts.append(
            RehearsalHost(
                name=str(container.labels[f"{_LABEL}.release"]),
                release=str(container.labels[f"{_LABEL}.release"]),
                address=bound[0]["HostIp"],
                port=int(bound[0]["HostPort"]),
                user=ADMIN_USER,
                key=str((home / "id_ed25519").absolute()),
                known_hosts=str((home / "known_hosts").absolute()),
                running=container.status == "running",
            )
        )
    return hosts


def _write_known_hosts(client: Any, hosts: list[RehearsalHost], home: Path) -> None:
    """Take the hosts' keys by way of Docker, so that SSH never has to trust a first answer."""
    lines = []
    for host in hosts:
        container = client.containers.get(_name(home, host.release))
        kind, key = _host_key(container)
        lines.append(f"[{host.address}]:{host.port} {kind} {key}\n")
    (home / "known_hosts").write_text("".join(lines), "utf-8")


def _host_key(container: Any) -> list[str]:
    """Return the kind and text of a host's public key."""
    deadline = time.monotonic() + _BOOT_TIMEOUT_S
    while time.monotonic() < deadline:
        _code, output = container.exec_run(["cat", "/etc/ssh/ssh_host_ed25519_key.pub"])
        # On a busy machine, Docker was seen to lose the output of a command that ends at once.
        words: list[str] = output.decode().split()
        if len(words) >= 2:
            return words[:2]
        time.sleep(_POLL_S)
    raise ToolFailedError(f"{container.name} has no SSH key of its own")


def _make_passwords(home: Path) -> None:
    """Make up a password for each login role, for the inventory to name; kept between runs."""
    folder = home / "passwords"
    folder.mkdir(exist_ok=True, mode=0o700)
    for role in LOGIN_ROLES:
        path = folder / role
        if not path.exists():
            path.touch(mode=0o600)
            path.write_text(secrets.token_urlsafe(24) + "\n", "ascii")


def _write(home: Path, hosts: list[RehearsalHost]) -> None:
    text = json.dumps([asdict(host) for host in hosts], indent=2)
    (home / "hosts.json").write_text(text + "\n", "utf-8")

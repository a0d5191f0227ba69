#!/usr/bin/env python3
"""Trains by processes on two and three hosts, which are network namespaces of this machine.

    python scripts/mpi_hosts.py PROGRAM [--measure]

Checks that the bytes are those of one process with `--accumulate`; that the job ends with a sentence within a minute when a
process is killed or a host's link goes down; and that the run resumes on fewer hosts to the same bytes. With `--measure`,
also times epochs with links of several rates, beside the bounds of benches/scaling_model.py.

Needs root, Linux with `ip` and `tc` (iproute2), Open MPI's `mpirun`, Pillow, and a program that was built with the feature
`mpi`. The hosts share this machine's processors, memory, and files. They talk by TCP over a bridge of their own; a small
script stands in for ssh. Links with latency are a process that passes packets on later, because few kernels have `netem`.
"""

import argparse
import contextlib
import fcntl
import heapq
import json
import multiprocessing
import os
import re
import select
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benches"))

from scaling_model import exchange  # noqa: E402

MODELS = ROOT / "crates/retune/tests/fixtures/models"
BRIDGE = "retune0"
NETWORK = "10.77.0"
# What the guide recommends: without it, a host that vanishes is noticed after eight minutes.
KEEPALIVE = {"oob_tcp_keepalive_time": 10, "oob_tcp_keepalive_intvl": 5, "oob_tcp_keepalive_probes": 3}
# The seconds within which a job must end: the keepalives', and as much again for the processes.
PATIENCE = 60


def command(*line: object) -> str:
    return subprocess.run([*map(str, line)], check=True, capture_output=True, text=True).stdout


class Hosts:
    """Namespaces `retune1`, `retune2`, and so on. Each has a link `eth0`, whose other end `link1`, `link2` is in a bridge."""

    def __init__(self, count: int, folder: Path):
        self.names = [f"retune{number}" for number in range(1, count + 1)]
        self.folder = folder

    def __enter__(self) -> "Hosts":
        self.remove()
        for name in self.names:
            command("ip", "netns", "add", name)
            command("ip", "-n", name, "link", "set", "lo", "up")
        self.connect()
        self.agent = self.folder / "agent"
        self.agent.write_text('#!/bin/sh\nhost=$1\nshift\nexec ip netns exec "$host" unshare --uts sh -c "hostname $host; $*"\n')
        self.agent.chmod(0o755)
        return self

    def connect(self) -> None:
        command("ip", "link", "add", BRIDGE, "type", "bridge")
        command("ip", "link", "set", BRIDGE, "up")
        for number, name in enumerate(self.names, 1):
            command("ip", "link", "add", f"link{number}", "type", "veth", "peer", "name", "eth0", "netns", name)
            command("ip", "link", "set", f"link{number}", "master", BRIDGE, "up")
            self.begin_link(number)

    def begin_link(self, number: int) -> None:
        command("ip", "-n", self.names[number - 1], "address", "add", f"{NETWORK}.{number}/24", "dev", "eth0")
        command("ip", "-n", self.names[number - 1], "link", "set", "eth0", "up")

    def __exit__(self, *_: object) -> None:
        self.remove()

    def remove(self) -> None:
        for number, name in enumerate(self.names, 1):
            for process in self.processes(name):
                os.kill(process, signal.SIGKILL)
            # A namespace by itself takes its end of a link along only later.
            subprocess.run(["ip", "link", "delete", f"link{number}"], capture_output=True, check=False)
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)
        subprocess.run(["ip", "link", "delete", BRIDGE], capture_output=True, check=False)

    def processes(self, name: str, of: str | None = None) -> list[int]:
        """The processes of a host, or those of one program."""
        listed = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=False)
        found = []
        for pid in map(int, listed.stdout.split()):
            with contextlib.suppress(OSError):
                if of is None or Path(f"/proc/{pid}/comm").read_text().strip() == of:
                    found.append(pid)
        return found

    def link(self, name: str, state: str) -> None:
        """Pulls the cable of a host, or puts it back; the host itself keeps its address."""
        command("ip", "link", "set", f"link{name.removeprefix('retune')}", state)

    def limit(self, gigabits: float) -> None:
        """Limits what each host sends and receives."""
        for number, name in enumerate(self.names, 1):
            for netns, device in [(["-n", name], "eth0"), ([], f"link{number}")]:
                rate = ["rate", f"{gigabits}gbit", "burst", "256kb", "latency", "50ms"]
                command("tc", *netns, "qdisc", "replace", "dev", device, "root", "tbf", *rate)

    def mpirun(self, names: list[str], line: list[object]) -> list[str]:
        """The command that starts a process on each of these hosts, from the first one."""
        hostfile = self.folder / "hosts"
        hostfile.write_text("".join(f"{name} slots=1\n" for name in names))
        of_network = {"btl": "tcp,self", "btl_tcp_if_include": "eth0", "oob_tcp_if_include": "eth0"}
        options = {"plm_rsh_agent": self.agent, "plm": "rsh", **of_network, **KEEPALIVE}
        settings = [str(part) for name, value in options.items() for part in ("--mca", name, value)]
        start = ["mpirun", "--allow-run-as-root", "--hostfile", str(hostfile), "-n", str(len(names)), "--bind-to", "none"]
        inside = ["ip", "netns", "exec", names[0], "unshare", "--uts", "sh", "-c", f'hostname {names[0]}; exec "$@"', "sh"]
        return [*inside, *start, *settings, *map(str, line)]


class DistantHosts(Hosts):
    """Hosts whose packets take a while: a process passes them on, at a rate of their own for each host that sends."""

    def __init__(self, count: int, folder: Path, gigabits: float, latency: float):
        super().__init__(count, folder)
        self.gigabits, self.latency = gigabits, latency

    def connect(self) -> None:
        devices = []
        for number, name in enumerate(self.names, 1):
            device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            # TUNSETIFF with IFF_TUN and IFF_NO_PI: packets as they are.
            fcntl.ioctl(device, 0x400454CA, struct.pack("16sH", f"link{number}".encode(), 0x1001))
            command("ip", "link", "set", f"link{number}", "netns", name, "name", "eth0")
            command("ip", "-n", name, "link", "set", "eth0", "mtu", "16000", "txqueuelen", "1000")
            self.begin_link(number)
            devices.append(device)
        self.network = multiprocessing.Process(target=pass_on, args=(devices, self.gigabits, self.latency), daemon=True)
        self.network.start()
        for device in devices:
            os.close(device)

    def remove(self) -> None:
        if hasattr(self, "network"):
            self.network.kill()
            self.network.join()
        super().remove()


def pass_on(devices: list[int], gigabits: float, latency: float) -> None:
    """Reads the packets of all hosts, and hands each on when its last bit has left its host and traveled for `latency`."""
    free = [0.0] * len(devices)
    under_way: list[tuple[float, int, int, bytes]] = []
    count = 0
    while True:
        now = time.monotonic()
        while under_way and under_way[0][0] <= now:
            _, _, to, packet = heapq.heappop(under_way)
            with contextlib.suppress(OSError):
                os.write(devices[to], packet)
        wait = max(under_way[0][0] - time.monotonic(), 0) if under_way else None
        for device in select.select(devices, [], [], wait)[0]:
            host = devices.index(device)
            with contextlib.suppress(BlockingIOError):
                packet = os.read(device, 65536)
                # The last byte of an IPv4 packet's destination is the host.
                to = packet[19] - 1
                if packet[0] >> 4 == 4 and 0 <= to < len(devices):
                    free[host] = max(free[host], time.monotonic()) + len(packet) / (gigabits / 8 * 1e9)
                    count += 1
                    heapq.heappush(under_way, (free[host] + latency, count, to, packet))


def make_images(folder: Path, count: int, side: int) -> None:
    """Noisy images of two classes, one of them brighter."""
    for number in range(count):
        noise = Image.effect_noise((side, side), 60 + number % 40)
        image = Image.merge("RGB", [noise, noise.rotate(90), noise.point(lambda value: value // (1 + number % 2))])
        target = folder / ("even" if number % 2 == 0 else "odd")
        target.mkdir(parents=True, exist_ok=True)
        image.save(target / f"{number:04}.png")


def results(run: Path) -> tuple[bytes, list[dict]]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        del row["seconds"]
    return (run / "model/model.safetensors").read_bytes(), rows


def wait_for_checkpoint(run: Path, job: subprocess.Popen) -> None:
    while not (run / "checkpoint").exists():
        assert job.poll() is None, "the job ended early"
        time.sleep(0.05)
    time.sleep(0.3)


def check(retune: Path, folder: Path, hosts: Hosts) -> None:
    """The same bytes, and what happens if a process or a host is lost."""
    make_images(folder / "few", 60, 32)
    # Updates of three batches, so that up to three processes have whole ones.
    line = [retune, "fit", "-q", "--model", MODELS / "resnet_basic", "--data", folder / "few", "--method", "lp-ft"]
    line += "--lr 1e-3 --epochs 25 --batch-size 5 --accumulate 3 --threads 1 --no-report --checkpoint-every 1 --out".split()
    subprocess.run([*line, folder / "alone"], check=True, stdout=subprocess.DEVNULL)
    alone = results(folder / "alone")
    for count in (2, 3):
        run = folder / f"by-{count}"
        subprocess.run(hosts.mpirun(hosts.names[:count], [*line, run]), check=True, stdout=subprocess.DEVNULL)
        assert results(run) == alone, f"{count} hosts make other bytes than one process"
        print(f"{count} hosts: the bytes of one process", flush=True)

    run = folder / "outage"
    job = subprocess.Popen(hosts.mpirun(hosts.names, [*line, run]), stdout=subprocess.DEVNULL)
    wait_for_checkpoint(run, job)
    hosts.link("retune2", "down")
    time.sleep(5)
    hosts.link("retune2", "up")
    assert job.wait(timeout=10 * PATIENCE) == 0 and results(run) == alone, "an outage of 5 seconds is not survived"
    print("an outage of 5 seconds: the bytes of one process", flush=True)

    for what, lost in [("process", 2), ("process", 1), ("host", 3), ("host", 2)]:
        run = folder / f"{what}-{lost}"
        name = f"retune{lost}"
        job = subprocess.Popen(hosts.mpirun(hosts.names, [*line, run]), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        wait_for_checkpoint(run, job)
        started = time.monotonic()
        if what == "process":
            for process in hosts.processes(name, of=retune.name):
                os.kill(process, signal.SIGKILL)
        else:
            hosts.link(name, "down")
        told = job.communicate(timeout=PATIENCE)[1].decode(errors="replace")
        ended = time.monotonic() - started
        while any(hosts.processes(name, of=retune.name) for name in hosts.names):
            assert time.monotonic() - started < PATIENCE, "a process goes on without the others"
            time.sleep(0.1)
        all_ended = time.monotonic() - started
        hosts.link(name, "up")
        assert job.returncode != 0 and not (run / "summary.json").exists(), told
        sentence = next((line for line in told.splitlines() if f"on node {name}" in line), None)
        assert sentence, f"nothing names {name}: {told}"
        print(f"{what} {lost} of 3 lost: ended after {ended:.1f} s, all processes after {all_ended:.1f} s: {sentence.strip()}")

        left = [other for other in hosts.names if other != name]
        resume = [retune, "fit", "-q", "--resume", run, "--no-report", "--threads", "1"]
        subprocess.run(hosts.mpirun(left, resume), check=True, stdout=subprocess.DEVNULL)
        assert results(run) == alone, "the resumed run has other bytes"
        print(f"  resumed on {' and '.join(left)}: the bytes of one process", flush=True)


# Trained values of ResNet-18 with two classes.
VALUES = 11.18e6
SIZE, UPDATE, IMAGES = 96, 32, 400
# Gbit/s, and seconds that a packet takes; about 30 microseconds without a distance.
LINKS = [(10, 0), (2, 0), (1, 0), (1, 1e-3)]


def measure(retune: Path, folder: Path) -> None:
    """Seconds of an epoch, and of these in the exchange, for links of several kinds."""
    make_images(folder / "many", IMAGES, SIZE)
    line = [retune, "fit", "-v", "--arch", "resnet18", "--from-scratch", "--data", folder / "many", "--method", "ft"]
    line += f"--lr 1e-4 --epochs 2 --size {SIZE} --batch-size {UPDATE} --threads 1 --no-report --out".split()
    pattern = re.compile(r"([\d.]+) of ([\d.]+) seconds went into exchange")

    def once(hosts: Hosts, count: int) -> tuple[float, str]:
        """Seconds of the second epoch's training, and what the run says of its exchange."""
        run = folder / "run"
        shutil.rmtree(run, ignore_errors=True)
        job = hosts.mpirun(hosts.names[:count], [*line, run])
        told = subprocess.run(job, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True).stderr
        rows = [json.loads(row) for row in (run / "metrics.jsonl").read_text().splitlines()]
        epoch = next(row["seconds"] for row in rows if row["epoch"] == 2 and row["split"] == "train")
        found = pattern.search(told)
        return epoch, f"{found[1]} of {found[2]}" if found else ""

    rounds: dict[tuple, list] = {}
    for _ in range(3):
        with Hosts(3, folder) as hosts:
            for count in (1, 2, 3):
                rounds.setdefault((None, 0, count), []).append(once(hosts, count))
        for gigabits, latency in LINKS:
            with DistantHosts(3, folder, gigabits, latency) if latency else Hosts(3, folder) as hosts:
                if not latency:
                    hosts.limit(gigabits)
                for count in (2, 3):
                    rounds.setdefault((gigabits, latency, count), []).append(once(hosts, count))
    alone = statistics.median(epoch for epoch, _ in rounds[None, 0, 1])
    updates = -(-IMAGES * 0.8 // UPDATE)
    print("| links | hosts | epoch, s | bounds of the model, s | of both epochs in the exchange, s |")
    for (gigabits, latency, count), measured in rounds.items():
        links = "not limited" if gigabits is None else f"{gigabits} Gbit/s{f', {1e3 * latency:g} ms' if latency else ''}"
        bounds = ""
        if gigabits is not None:
            # The hosts share two processors.
            computing = alone / min(count, os.cpu_count())
            exchanging = updates * exchange(VALUES, count, gigabits, latency or 30e-6)
            bounds = f"{computing / 3 + max(2 * computing / 3, exchanging):.1f}–{computing + exchanging:.1f}"
        epochs = ", ".join(f"{epoch:.1f}" for epoch, _ in measured)
        print(f"| {links} | {count} | {epochs} | {bounds} | {', '.join(exchanged for _, exchanged in measured)} |", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("retune", type=Path)
    parser.add_argument("--measure", action="store_true")
    arguments = parser.parse_args()
    if os.geteuid() != 0 or not all(map(shutil.which, ["ip", "tc", "mpirun"])):
        print("needs root, and: apt-get install iproute2 libopenmpi-dev openmpi-bin", file=sys.stderr)
        return 1
    # Hosts must not stay behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory() as name:
        with Hosts(3, Path(name)) as hosts:
            check(arguments.retune.resolve(), Path(name), hosts)
        if arguments.measure:
            measure(arguments.retune.resolve(), Path(name))
    return 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Trains by processes on two and three hosts, which are network namespaces of this machine.

    python scripts/mpi_hosts.py PROGRAM [--measure]

Checks that the bytes are those of one process with `--accumulate`; that the job ends with a sentence within a minute when a
process is killed or a host's link goes down; and that the run resumes on fewer hosts to the same bytes. With `--measure`,
also times epochs with links of several rates, beside the bounds of benches/scaling_model.py.

Needs root, Linux with `ip` and `tc` (iproute2), Open MPI's `mpirun`, Pillow, and a program that was built with the feature
`mpi`. The hosts share this machine's processors, memory, and files. They talk by TCP over a bridge of their own; a small
script stands in for ssh.
"""

import argparse
import json
import os
import re
import shutil
import signal
import statistics
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
    """Namespaces `retune1`, `retune2`, and so on, whose links `link1`, `link2` end in a bridge."""

    def __init__(self, count: int, folder: Path):
        self.names = [f"retune{number}" for number in range(1, count + 1)]
        self.folder = folder

    def __enter__(self) -> "Hosts":
        self.remove()
        command("ip", "link", "add", BRIDGE, "type", "bridge")
        command("ip", "link", "set", BRIDGE, "up")
        for number, name in enumerate(self.names, 1):
            command("ip", "netns", "add", name)
            command("ip", "link", "add", f"link{number}", "type", "veth", "peer", "name", "eth0", "netns", name)
            command("ip", "link", "set", f"link{number}", "master", BRIDGE, "up")
            command("ip", "-n", name, "address", "add", f"{NETWORK}.{number}/24", "dev", "eth0")
            command("ip", "-n", name, "link", "set", "eth0", "up")
            command("ip", "-n", name, "link", "set", "lo", "up")
        self.agent = self.folder / "agent"
        self.agent.write_text('#!/bin/sh\nhost=$1\nshift\nexec ip netns exec "$host" unshare --uts sh -c "hostname $host; $*"\n')
        self.agent.chmod(0o755)
        return self

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
        pids = [int(pid) for pid in listed.stdout.split()]
        name_of = lambda pid: Path(f"/proc/{pid}/comm").read_text().strip() if Path(f"/proc/{pid}").exists() else None
        return [pid for pid in pids if of is None or name_of(pid) == of]

    def link(self, name: str, state: str) -> None:
        """Pulls the cable of a host, or puts it back; the host itself keeps its address."""
        command("ip", "link", "set", f"link{name.removeprefix('retune')}", state)

    def limit(self, gigabits: float | None) -> None:
        """Limits what each host sends and receives."""
        for number, name in enumerate(self.names, 1):
            for netns, device in [(["-n", name], "eth0"), ([], f"link{number}")]:
                subprocess.run(["tc", *netns, "qdisc", "del", "dev", device, "root"], capture_output=True, check=False)
                if gigabits is not None:
                    rate = ["rate", f"{gigabits}gbit", "burst", "256kb", "latency", "50ms"]
                    command("tc", *netns, "qdisc", "add", "dev", device, "root", "tbf", *rate)

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


def check(retune: Path, folder: Path, hosts: Hosts) -> None:
    """The same bytes, and what happens if a process or a host is lost."""
    make_images(folder / "few", 60, 32)
    # Updates of three batches, so that up to three processes have whole ones.
    line = [retune, "fit", "-q", "--model", MODELS / "resnet_basic", "--data", folder / "few", "--method", "lp-ft"]
    line += "--lr 1e-3 --epochs 60 --batch-size 5 --accumulate 3 --threads 1 --no-report --checkpoint-every 1 --out".split()
    subprocess.run([*line, folder / "alone"], check=True, stdout=subprocess.DEVNULL)
    alone = results(folder / "alone")
    for count in (2, 3):
        run = folder / f"by-{count}"
        subprocess.run(hosts.mpirun(hosts.names[:count], [*line, run]), check=True, stdout=subprocess.DEVNULL)
        assert results(run) == alone, f"{count} hosts make other bytes than one process"
        print(f"{count} hosts: the bytes of one process", flush=True)

    for what, lost in [("process", 2), ("process", 1), ("host", 3), ("host", 2)]:
        run = folder / f"{what}-{lost}"
        name = f"retune{lost}"
        job = subprocess.Popen(hosts.mpirun(hosts.names, [*line, run]), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        while not (run / "checkpoint").exists():
            assert job.poll() is None, job.stderr.read().decode()
            time.sleep(0.05)
        time.sleep(0.3)
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
        sentence = next((line for line in told.splitlines() if name in line), None)
        assert sentence, f"nothing names {name}: {told}"
        print(f"{what} {lost} of 3 lost: ended after {ended:.1f} s, all processes after {all_ended:.1f} s: {sentence.strip()}")

        left = [other for other in hosts.names if other != name]
        resume = [retune, "fit", "-q", "--resume", run, "--no-report", "--threads", "1"]
        subprocess.run(hosts.mpirun(left, resume), check=True, stdout=subprocess.DEVNULL)
        assert results(run) == alone, "the resumed run has other bytes"
        print(f"  resumed on {' and '.join(left)}: the bytes of one process", flush=True)


def measure(retune: Path, folder: Path, hosts: Hosts) -> None:
    """Seconds of an epoch, and of these in the exchange, for links of several rates."""
    size, update, images = 96, 32, 400
    make_images(folder / "many", images, size)
    line = [retune, "fit", "-v", "--arch", "resnet18", "--from-scratch", "--data", folder / "many", "--method", "ft"]
    line += f"--lr 1e-4 --epochs 2 --size {size} --batch-size {update} --threads 1 --no-report --out".split()
    pattern = re.compile(r"([\d.]+) of ([\d.]+) seconds went into exchange")

    def once(names: list[str]) -> tuple[float, float, float]:
        """Seconds of the second epoch's training, seconds of the run, and those of it in the exchange."""
        run = folder / "run"
        shutil.rmtree(run, ignore_errors=True)
        job = hosts.mpirun(names, [*line, run])
        told = subprocess.run(job, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True).stderr
        rows = [json.loads(row) for row in (run / "metrics.jsonl").read_text().splitlines()]
        epoch = next(row["seconds"] for row in rows if row["epoch"] == 2 and row["split"] == "train")
        exchanged, whole = pattern.search(told).groups() if len(names) > 1 else (0.0, epoch)
        return epoch, float(whole), float(exchanged)

    values = sum(11.7e6 for _ in [0])
    limits = [(None, "not limited"), (10, "10 Gbit/s"), (2, "2 Gbit/s"), (1, "1 Gbit/s")]
    rounds = {}
    for _ in range(3):
        hosts.limit(None)
        rounds.setdefault(("alone", 1), []).append(once(hosts.names[:1]))
        for gigabits, name in limits:
            hosts.limit(gigabits)
            for count in (2, 3):
                rounds.setdefault((name, count), []).append(once(hosts.names[:count]))
    hosts.limit(None)
    alone = statistics.median(epoch for epoch, _, _ in rounds["alone", 1])
    print("| links | hosts | epoch, s | bounds of the model, s | of the run in the exchange, s |")
    for (name, count), measured in rounds.items():
        gigabits = dict((name, rate) for rate, name in limits).get(name)
        training = images * 0.8
        bounds = ""
        if gigabits is not None:
            computing = alone / count
            exchanging = exchange(values, count, gigabits, 50e-6) * -(-training // update)
            bounds = f"{computing / 3 + max(2 * computing / 3, exchanging):.1f}–{computing + exchanging:.1f}"
        epochs = ", ".join(f"{epoch:.1f}" for epoch, _, _ in measured)
        exchanged = ", ".join(f"{exchanged:.1f} of {whole:.1f}" for _, whole, exchanged in measured)
        print(f"| {name} | {count} | {epochs} | {bounds} | {exchanged if count > 1 else ''} |", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("retune", type=Path)
    parser.add_argument("--measure", action="store_true")
    arguments = parser.parse_args()
    if os.geteuid() != 0 or not all(map(shutil.which, ["ip", "tc", "mpirun"])):
        print("needs root, and: apt-get install iproute2 libopenmpi-dev openmpi-bin", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as name, Hosts(3, Path(name)) as hosts:
        check(arguments.retune.resolve(), Path(name), hosts)
        if arguments.measure:
            measure(arguments.retune.resolve(), Path(name), hosts)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""A Slurm of two nodes on this machine: munge, a controller, and a slurmd for each node.

No accounting database, and GPUs that are device nodes without a GPU behind them. Nodes share this
machine's cores, memory and file system; limits are enforced by polling (`OverMemoryKill`), as
control groups would need the machine for themselves.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

NODES = ("node1", "node2")
GPUS_PER_NODE = 2
_PROGRAMS = (
    *("munged", "slurmctld", "slurmd", "setpriv"),
    *("sbatch", "srun", "squeue", "scancel", "scontrol"),
)
_CONFIG = """\
ClusterName=ws3
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
AuthType=auth/munge
AuthInfo=socket={base}/munge/socket
SlurmUser=root
SlurmdUser=root
StateSaveLocation={base}/state
SlurmdSpoolDir={base}/spool-%n
SlurmctldPidFile={base}/slurmctld.pid
SlurmdPidFile={base}/slurmd-%n.pid
SlurmctldLogFile={base}/slurmctld.log
SlurmdLogFile={base}/slurmd-%n.log
TaskProlog={base}/task-prolog
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
GresTypes=gpu
SlurmdParameters=config_overrides
SlurmdTimeout=10
KillWait=5
MinJobAge=7200
ReturnToService=2
NodeName=node1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} {node}
NodeName=node2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} {node}
PartitionName=cpu Nodes=ALL Default=YES
PartitionName=gpu Nodes=ALL
"""
_NODE = f"CPUs=16 RealMemory=64000 Gres=gpu:{GPUS_PER_NODE}"
_GRES = """\
NodeName=node1 Name=gpu File={base}/gpu[0-1]
NodeName=node2 Name=gpu File={base}/gpu[2-3]
"""
# Snakemake's executor hides SLURM_CONF from the srun within a job, as sites have it in /etc/slurm.
_SRUN = """\
#!/bin/sh
SLURM_CONF={base}/slurm.conf exec {srun} "$@"
"""
# Runs at the start of each step, in its environment.
_TASK_PROLOG = """\
#!/bin/sh
echo "${{CUDA_VISIBLE_DEVICES-none}}" > {base}/devices/"$SLURM_JOB_ID"
"""


def why_not() -> str:
    """Return why no cluster can be brought up here, or an empty string."""
    missing = [program for program in _PROGRAMS if shutil.which(program) is None]
    if missing:
        return f"not installed: {', '.join(missing)} (Debian: apt-get install slurm-wlm munge)"
    if os.geteuid() != 0:
        return "slurmd runs as root only"
    return ""


class SlurmCluster:
    """The cluster, from `with` to the end of the block; all its daemons are ours to stop."""

    def __init__(self) -> None:
        # The socket's path must be short, and every user must be able to reach it.
        self.base = Path(tempfile.mkdtemp(prefix="ws3-slurm-"))
        self.environment = {"SLURM_CONF": str(self.base / "slurm.conf")}
        self.programs = self.base / "bin"
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        self._cleanup = ExitStack()

    def __enter__(self) -> SlurmCluster:
        """Start all daemons and wait until the nodes are idle.

        Raises:
            TimeoutError: with the daemons' logs, if they don't get there.
        """
        self._cleanup.callback(shutil.rmtree, self.base, ignore_errors=True)
        self._cleanup.callback(self._stop)
        try:
            self._write_files()
            munge = self.base / "munge"
            self._start(
                *("munge", "munged", "--foreground", "--force", f"--socket={munge}/socket"),
                *(f"--key-file={munge}/key", f"--pid-file={munge}/pid"),
                *(f"--log-file={munge}/log", f"--seed-file={munge}/seed"),
            )
            wait_for(lambda: (munge / "socket").exists(), 20, "munged's socket")
            self._start("slurmctld", "slurmctld", "-D", "-i")
            for node in NODES:
                self.start_node(node)
            wait_for(self._all_idle, 60, "idle nodes", self.logs)
        except BaseException:
            self._cleanup.close()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        """Stop everything, jobs included."""
        self._cleanup.close()

    def command(self, *line: str) -> str:
        """Run one of Slurm's commands and return what it prints."""
        done = subprocess.run(
            line,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return done.stdout

    def jobs(self) -> list[dict[str, str]]:
        """Return the controller's record of every job, finished ones too, by number."""
        text = self.command("scontrol", "show", "jobs", "--details", "--oneliner")
        records = [
            dict(re.findall(r"(\S+?)=(\S*)", line))
            for line in text.splitlines()
            if "JobId=" in line
        ]
        return sorted(records, key=lambda record: int(record["JobId"]))

    def devices(self, job: str) -> str:
        """Return CUDA_VISIBLE_DEVICES as a job's step saw it; `none` if it was not set."""
        return (self.base / "devices" / job).read_text().strip()

    def pause_controller(self) -> None:
        """Let the controller take connections but answer none."""
        self._daemons["slurmctld"].send_signal(signal.SIGSTOP)

    def resume_controller(self) -> None:
        """Let it go on."""
        self._daemons["slurmctld"].send_signal(signal.SIGCONT)

    def start_node(self, node: str) -> None:
        """Start a node's slurmd."""
        self._start(node, "slurmd", "-D", "-N", node)

    def kill_node(self, node: str) -> None:
        """Kill a node's slurmd without warning; its job steps live on, as on a lost network."""
        self._daemons[node].kill()
        self._daemons[node].wait()

    def node_state(self, node: str) -> str:
        """Return a node's state, such as IDLE or DOWN."""
        text = self.command("scontrol", "show", "node", node, "--oneliner")
        found = re.search(r"State=(\S+)", text)
        assert found is not None, text
        return found[1]

    def settle(self) -> None:
        """Cancel all jobs and bring every node back."""
        self.resume_controller()
        self.command("scancel", "--user=root", "--signal=KILL")
        self.command("scancel", "--user=root")
        for node in NODES:
            if self._daemons[node].poll() is not None:
                self.start_node(node)
        wait_for(self._all_idle, 60, "idle nodes", self.logs)

    def logs(self) -> str:
        """Return the end of every daemon's log."""
        return "\n".join(
            f"--- {path.name}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-15:])
            for path in sorted(self.base.glob("*.log"))
        )

    def _write_files(self) -> None:
        self.base.chmod(0o755)
        for name in ("munge", "state", "devices", "bin"):
            (self.base / name).mkdir()
        key = self.base / "munge/key"
        key.touch(0o600)
        key.write_bytes(secrets.token_bytes(64))
        for number in range(GPUS_PER_NODE * len(NODES)):
            # Any character device will do; this one is /dev/null's.
            os.mknod(self.base / f"gpu{number}", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        scripts = {"task-prolog": _TASK_PROLOG, "bin/srun": _SRUN}
        for name, text in scripts.items():
            script = self.base / name
            script.write_text(text.format(base=self.base, srun=shutil.which("srun")))
            script.chmod(0o755)
        values = {"base": self.base, "host": socket.gethostname().split(".")[0], "node": _NODE}
        ports = _free_ports(1 + len(NODES))
        (self.base / "slurm.conf").write_text(_CONFIG.format(**values, ports=ports))
        (self.base / "gres.conf").write_text(_GRES.format(base=self.base))

    def _start(self, name: str, *line: str) -> None:
        with (self.base / f"{name}-output.log").open("ab") as output:
            self._daemons[name] = subprocess.Popen(
                # Should the tests be killed, their daemons go with them.
                ["setpriv", "--pdeathsig", "KILL", *line],
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def _all_idle(self) -> bool:
        try:
            return all(self.node_state(node) == "IDLE" for node in NODES)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
            return False

    def _stop(self) -> None:
        for daemon in self._daemons.values():
            if daemon.poll() is None:
                # A paused one can't be asked.
                daemon.kill()
                daemon.wait()
        for process in self._survivors():
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)

    def _survivors(self) -> list[int]:
        """Return the job steps and their programs, which outlive their slurmd."""
        ours = f"SLURM_CONF={self.environment['SLURM_CONF']}".encode()
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if ours in (process / "environ").read_bytes().split(b"\0"):
                    found.append(int(process.name))
        return found


def wait_for(
    condition: Callable[[], object],
    seconds: float,
    what: str,
    explain: Callable[[], str] = lambda: "",
) -> None:
    """Wait until something holds.

    Raises:
        TimeoutError: if it doesn't within some seconds.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds} s in vain for {what}\n{explain()}")
        time.sleep(0.2)


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]

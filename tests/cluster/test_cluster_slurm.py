"""The workflow on a real Slurm: whatever befalls its jobs, it ends as a run on one machine does."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest
from slurm_cluster import SlurmCluster, wait_for
from snake import REPOSITORY, command, environment

from ws3.run.folder import Run

# One cluster at a time: it takes both cores.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("slurm")]

PLUGIN = Path(__file__).parent / "plugin"
CONFIG = {
    "run": "tiny",
    "device": "cpu",
    "threads": 1,
    "dataset": {"kind": "synthetic", "train_images": 4, "val_images": 2, "size": 64, "classes": 3},
    "classifier": {"architecture": "resnet18", "input_size": 64, "epochs": 1, "batch_size": 4},
    "recipes": {"held": {"method": "held_gradient", "samples": {"kind": "full"}}},
    "reference_recipe": "held",
    "masks": {"background": {"kind": "tuned", "split": "train"}, "crf": "irn"},
    "segmentation": {
        "recipes": ["held"],
        "architecture": "lraspp_mobilenet_v2",
        "epochs": 1,
        "batch_size": 2,
        "crop_size": 64,
    },
    "images_per_job": 2,
}
BATCHES = ("train-00000", "train-00001", "val-00000")
PATIENCE = 900
# The profile's own pace is for a controller that thousands share.
SLURM = [
    *("--workflow-profile", "profiles/slurm"),
    *("--seconds-between-status-checks", "2", "--max-status-checks-per-second", "2"),
    *("--slurm-init-seconds-before-status-checks", "2", "--latency-wait", "10"),
]
ON_GPU = {"train_classifier", "saliency", "train_segmentation", "predictions"}


class Submission:
    """Snakemake on a folder, with what its saliency jobs are to meet."""

    def __init__(self, folder: Path, cluster: SlurmCluster | None = None) -> None:
        self.folder = folder
        self.fates = folder / "fates"
        self.fates.mkdir()
        paths = (PLUGIN, REPOSITORY, os.environ.get("PYTHONPATH"))
        self._environment = {
            "WS3_TEST_FATES": str(self.fates),
            "PYTHONPATH": os.pathsep.join(str(path) for path in paths if path),
        }
        self._programs = ""
        if cluster is not None:
            self._environment |= cluster.environment
            # As the cluster page says for sites without an accounting database.
            stand_in = REPOSITORY / "profiles/slurm/without-accounting"
            self._programs = f"{cluster.programs}{os.pathsep}{stand_in}{os.pathsep}"

    def run(self, *arguments: str) -> None:
        """Run Snakemake to its end, which must be a good one."""
        with self.start(*arguments) as process:
            assert process.wait(timeout=PATIENCE) == 0, self.said()

    @contextmanager
    def start(self, *arguments: str):
        """Start Snakemake."""
        known = {**environment(), **self._environment}
        known["PATH"] = self._programs + known["PATH"]
        with (self.folder / "said.txt").open("w") as said:
            process = subprocess.Popen(
                command(self.folder, *arguments, config=CONFIG),
                cwd=REPOSITORY,
                env=known,
                stdout=said,
                stderr=subprocess.STDOUT,
            )
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def said(self) -> str:
        return (self.folder / "said.txt").read_text()

    def decree(self, batch: str, fate: str) -> None:
        """Let a batch's saliency job meet a fate at its second image."""
        (self.fates / batch).write_text(fate)

    def release(self, batch: str) -> None:
        (self.fates / batch).unlink()

    def job_that_met(self, batch: str) -> str:
        """Wait until a batch's fate is met, and return the number of the Slurm job."""
        met = self.fates / f"met-{batch}"
        wait_for(lambda: met.exists() and met.read_text(), PATIENCE, f"{batch}'s fate", self.said)
        return met.read_text()


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """Return the folder of a run on this machine without Slurm."""
    folder = tmp_path_factory.mktemp("local")
    Submission(folder).run("--cores", "2")
    return folder


@pytest.fixture
def submission(local, cluster, tmp_path):
    """Return a submission that goes on from the local run's classifier."""
    source, target = local / "results/tiny", tmp_path / "results/tiny"
    target.mkdir(parents=True)
    (target / "receipts").mkdir()
    for name in ("index.csv", "index.json", "classes.txt", "config.yaml", "classifier.pt", "data"):
        path = source / name
        if path.is_dir():
            shutil.copytree(path, target / name)
        elif path.exists():
            shutil.copy2(path, target / name)
    for name in ("index", "train_classifier"):
        shutil.copy2(source / f"receipts/{name}.json", target / f"receipts/{name}.json")
    shutil.copytree(local / ".snakemake/metadata", tmp_path / ".snakemake/metadata")
    return Submission(tmp_path, cluster)


def contents(folder: Path, *patterns: str) -> dict[str, bytes]:
    run = folder / "results/tiny"
    found = {
        str(path.relative_to(run)): path.read_bytes()
        for pattern in patterns
        for path in run.glob(pattern)
        if path.is_file()
    }
    assert found
    return found


def computed(folder: Path, stage: str) -> Counter[str]:
    journal = Run.open(folder / "results/tiny").journal_file(stage)
    entries = map(json.loads, journal.read_text().splitlines())
    return Counter(entry["image"] for entry in entries if entry["event"] == "computed")


def assert_saliency_is_as_if_nothing_happened(
    cluster: SlurmCluster, submission: Submission, local: Path
) -> None:
    """Check bytes, that no image was computed twice, and that the same command submits no job."""
    pattern = "saliency/**/*"
    assert contents(submission.folder, pattern) == contents(local, pattern)
    images = [row.image for row in Run.open(local / "results/tiny").index.rows]
    assert computed(submission.folder, "saliency") == Counter(images)
    before = len(cluster.jobs())
    submission.run(*SLURM, "--until", "saliency")
    assert len(cluster.jobs()) == before


def test_the_whole_chain(cluster, local, tmp_path):
    submission = Submission(tmp_path, cluster)
    before = len(cluster.jobs())
    submission.run(*SLURM)
    patterns = ("saliency/**/*", "maps/**/*", "masks/**/*", "thresholds/*", "evaluation/*")
    assert contents(tmp_path, *patterns) == contents(local, *patterns)
    jobs = cluster.jobs()[before:]
    rules: Counter[str] = Counter()
    for job in jobs:
        rule = job["Comment"].removeprefix("rule_").split("_wildcards_")[0]
        rules[rule] += 1
        assert job["JobState"] == "COMPLETED"
        device = cluster.devices(job["JobId"])
        if rule in ON_GPU:
            assert (job["Partition"], job["JOB_GRES"]) == ("gpu", "gpu:1")
            assert device in {"0", "1"}
        else:
            assert (job["Partition"], job["JOB_GRES"]) == ("cpu", "(null)")
            assert device == "none"
    assert rules.keys() >= ON_GPU
    assert all(rules[rule] == len(BATCHES) for rule in ("saliency", "maps", "masks"))


def test_jobs_that_are_cancelled_or_pass_their_limits(cluster, local, submission):
    cancelled, late, greedy = BATCHES
    submission.decree(cancelled, "hang")
    submission.decree(late, "hang")
    submission.decree(greedy, "hoard")
    memory = ["--set-resources", "saliency:gpu=1", "saliency:mem_mb=2000"]
    before = len(cluster.jobs())
    with submission.start(*SLURM, "--until", "saliency", *memory) as process:
        cluster.command("scancel", submission.job_that_met(cancelled))
        number = submission.job_that_met(late)
        cluster.command("scontrol", "update", f"JobId={number}", "TimeLimit=1")
        submission.job_that_met(greedy)
        assert process.wait(timeout=PATIENCE) == 0, submission.said()
    ends = Counter(job["JobState"] for job in cluster.jobs()[before:])
    assert ends.total() == 2 * len(BATCHES)
    assert (ends["COMPLETED"], ends["CANCELLED"], ends["TIMEOUT"]) == (len(BATCHES), 1, 1), ends
    assert_saliency_is_as_if_nothing_happened(cluster, submission, local)


def test_a_node_that_is_lost_while_its_job_lives_on(cluster, local, submission):
    batch = BATCHES[1]
    submission.decree(batch, "hold")
    with submission.start(*SLURM, "--until", "saliency") as process:
        number = submission.job_that_met(batch)

        def record():
            return next(job for job in cluster.jobs() if job["JobId"] == number)

        node = record()["NodeList"]
        cluster.kill_node(node)
        wait_for(
            lambda: record()["Restarts"] == "1", PATIENCE, "the job's second start", cluster.logs
        )
        wait_for(lambda: record()["JobState"] == "RUNNING", PATIENCE, "the job on the other node")
        assert record()["NodeList"] != node
        # Both are at work now: the second waits for the first one's lease.
        time.sleep(5)
        submission.release(batch)
        assert process.wait(timeout=PATIENCE) == 0, submission.said()
    assert_saliency_is_as_if_nothing_happened(cluster, submission, local)


def test_a_controller_that_does_not_answer_for_a_minute(cluster, local, submission):
    batch = BATCHES[0]
    submission.decree(batch, "hold")
    with submission.start(*SLURM, "--until", "saliency") as process:
        submission.job_that_met(batch)
        cluster.pause_controller()
        time.sleep(60)
        cluster.resume_controller()
        submission.release(batch)
        assert process.wait(timeout=PATIENCE) == 0, submission.said()
    assert_saliency_is_as_if_nothing_happened(cluster, submission, local)


def test_snakemake_is_killed_while_its_jobs_run_on(cluster, local, submission):
    batch = BATCHES[0]
    submission.decree(batch, "hold")
    with submission.start(*SLURM, "--until", "saliency") as process:
        first = submission.job_that_met(batch)
        process.send_signal(signal.SIGKILL)
        process.wait()
    submission.run("--unlock")
    (submission.fates / f"met-{batch}").unlink()
    with submission.start(*SLURM, "--until", "saliency") as process:
        both = f"rule_saliency_wildcards_held_{batch}"

        def running():
            return {
                job["JobId"]
                for job in cluster.jobs()
                if job["JobState"] == "RUNNING" and job.get("Comment") == both
            }

        wait_for(lambda: len(running()) == 2, PATIENCE, "two jobs on one batch", submission.said)
        assert first in running()
        time.sleep(5)
        submission.release(batch)
        assert process.wait(timeout=PATIENCE) == 0, submission.said()
    assert_saliency_is_as_if_nothing_happened(cluster, submission, local)

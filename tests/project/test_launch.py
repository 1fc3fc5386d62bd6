"""Launch files: short, well-formed, the environment and one command, without hyper-parameters."""

import re
import subprocess

import kubernetes_validate
import pytest
import yaml
from support import paths

LAUNCH = paths.ROOT / "launch"
FILES = sorted(LAUNCH.iterdir())


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_launch_file_is_short_and_sets_the_seed_at_most(file):
    text = file.read_text()
    assert len(text.splitlines()) <= 60
    assert set(re.findall(r"--config\.([\w.]+)", text)) <= {"seed"}
    assert re.search(r"\btrain\b", text)


@pytest.mark.parametrize(
    "file", [file for file in FILES if file.suffix in (".sh", ".sbatch")], ids=lambda file: file.name
)
def test_a_script_is_one_that_bash_can_read(file):
    assert file.read_text().startswith("#!/usr/bin/env bash\n")
    found = subprocess.run(["bash", "-n", str(file)], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stderr) == (0, "")


def test_the_job_set_starts_as_many_processes_as_it_says():
    job_set = yaml.safe_load((LAUNCH / "gke_jobset.yaml").read_text())
    (replicated,) = job_set["spec"]["replicatedJobs"]
    job = replicated["template"]["spec"]
    (container,) = job["template"]["spec"]["containers"]
    assert job["completions"] == job["parallelism"]
    assert f"--processes={job['completions']}" in container["args"]
    # The first pod's name, as a JobSet gives it.
    host = f"{job_set['metadata']['name']}-{replicated['name']}-0-0.{job_set['metadata']['name']}"
    port = container["ports"][0]["containerPort"]
    assert f"--coordinator={host}:{port}" in container["args"]


def test_the_jobs_of_the_job_set_are_what_kubernetes_takes():
    """The fields of a JobSet are in no published schema, but those of its jobs are."""
    job_set = yaml.safe_load((LAUNCH / "gke_jobset.yaml").read_text())
    for replicated in job_set["spec"]["replicatedJobs"]:
        job = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": replicated["name"]},
            **replicated["template"],
        }
        kubernetes_validate.validate(job, kubernetes_validate.latest_version(), strict=True)
        job["spec"]["template"]["spec"]["containers"][0]["arg"] = ["--fast"]
        with pytest.raises(kubernetes_validate.ValidationError, match="'arg' was unexpected"):
            kubernetes_validate.validate(job, kubernetes_validate.latest_version(), strict=True)


@pytest.fixture
def fake_bmc(tmp_path):
    """A replacement of `bmc`, which records its arguments and exits as the test requests."""

    def make(body):
        file = tmp_path / "bmc"
        file.write_text(f'#!/usr/bin/env bash\necho "$CUDA_VISIBLE_DEVICES $@" >> {tmp_path}/calls\n{body}\n')
        file.chmod(0o755)
        return file

    return make


def run_local(bmc, count=2):
    command = ["bash", str(LAUNCH / "local.sh"), str(count), "--config=x.py", "--workdir=runs/x"]
    return subprocess.Popen(command, env={"PATH": "/usr/bin:/bin", "BMC": str(bmc), "PORT": "12345"})


def test_local_starts_one_process_a_device(tmp_path, fake_bmc):
    assert run_local(fake_bmc("exit 0"), 3).wait(20) == 0
    calls = sorted((tmp_path / "calls").read_text().splitlines())
    rest = "--config=x.py --workdir=runs/x --coordinator localhost:12345 --processes 3 --process"
    assert calls == [f"{i} train {rest} {i}" for i in range(3)]


def test_locals_exit_status_is_that_of_an_error_if_there_is_one(fake_bmc):
    assert run_local(fake_bmc("exit 75")).wait(20) == 75
    assert run_local(fake_bmc('[ "${@: -1}" = 1 ] && exit 2; exit 75')).wait(20) == 2


def test_local_hands_sigterm_on_and_waits(tmp_path, fake_bmc):
    body = f"trap 'kill $!; exit 75' TERM\ntouch {tmp_path}/up$$\nsleep 60 & wait"
    running = run_local(fake_bmc(body))
    while len(list(tmp_path.glob("up*"))) < 2:
        assert running.poll() is None
    running.terminate()
    assert running.wait(20) == 75


@pytest.mark.parametrize(("status", "requeued"), [(0, False), (75, True), (2, False)])
def test_slurm_queues_again_what_was_interrupted_and_nothing_else(tmp_path, status, requeued):
    for name, body in (("srun", f"exit {status}"), ("scontrol", "exit 0")):
        file = tmp_path / name
        file.write_text(f'#!/usr/bin/env bash\necho "{name} $@" >> {tmp_path}/calls\n{body}\n')
        file.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_JOB_ID": "17", "SLURM_ARRAY_TASK_ID": "3"}
    command = ["bash", str(LAUNCH / "slurm.sbatch"), "x.py", "runs/x"]
    assert subprocess.run(command, env=environment, check=False, timeout=20).returncode == status
    first, *rest = (tmp_path / "calls").read_text().splitlines()
    assert first.endswith("bmc train --config=x.py --workdir=runs/x/seed3 --distributed --config.seed=3")
    assert rest == (["scontrol requeue 17"] if requeued else [])

"""Jobs of the live view: one after the other, with their progress, until they are cancelled."""

import queue
import sys

import pytest

from nerf.errors import InputError
from nerf.viewer.jobs import MOST_JOBS, Jobs

SLEEPER = "import sys, time; print('  7%|', flush=True); time.sleep(60 if sys.argv[1] == 'long' else 0)"


@pytest.fixture
def jobs():
    """Gives jobs whose program sleeps, and what they tell."""
    told = queue.Queue()
    made = Jobs(lambda facts: told.put(facts["job"]), (sys.executable, "-c", SLEEPER))
    yield made, told
    made.close()


def until(told, number, state):
    while True:
        job = told.get(timeout=60)
        if (job["number"], job["state"]) == (number, state):
            return job


def test_jobs_run_one_after_the_other_and_tell_how_far_they_are(jobs, tmp_path):
    made, told = jobs
    (tmp_path / "a.ply").write_bytes(b"points")
    for name in ("a.ply", "b.ply"):
        made.add(["short"], tmp_path / name)
    job = until(told, 1, "done")
    assert job["percent"] == 7 and job["command"] == "nerf short"
    assert made.result(1) == ("a.ply", b"points")
    until(told, 2, "done")
    with pytest.raises(InputError, match="cannot be read"):
        made.result(2)


def test_a_job_takes_no_module_from_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "nerf.py").write_text("print('a stranger was here')")
    monkeypatch.chdir(tmp_path)
    told = queue.Queue()
    jobs = Jobs(lambda facts: told.put(facts["job"]))
    jobs.add(["--version"], tmp_path / "x")
    assert until(told, 1, "done")["line"].startswith("nerf ")
    jobs.close()


def test_a_job_that_cannot_be_started_has_failed_and_the_next_one_is_tried(tmp_path):
    told = queue.Queue()
    jobs = Jobs(lambda facts: told.put(facts["job"]), (str(tmp_path / "nothing"),))
    for _ in range(2):
        jobs.add(["x"], tmp_path / "x")
    assert "cannot be started" in until(told, 1, "failed")["line"]
    until(told, 2, "failed")
    jobs.close()


def test_a_cancelled_job_ends_at_once_and_the_next_one_runs(jobs, tmp_path):
    made, told = jobs
    for word in ("long", "long", "short"):
        made.add([word], tmp_path / "x")
    made.cancel(2)
    made.cancel(1)
    until(told, 3, "done")
    assert [job["state"] for job in made.facts()] == ["cancelled", "cancelled", "done"]
    with pytest.raises(InputError, match="no such result"):
        made.result(1)


def test_too_many_jobs_are_refused(jobs, tmp_path):
    made, _ = jobs
    for _ in range(MOST_JOBS):
        made.add(["long"], tmp_path / "x")
    with pytest.raises(InputError, match="waiting already"):
        made.add(["long"], tmp_path / "x")

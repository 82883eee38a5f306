"""What test_schedule.py runs in the checkout, in a namespace with no network: `SCENARIO` below.

One process, since addresses of the namespace are seen from inside only.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import psutil

from pipelines.services import marked, read_up
from tests.patience import patience

ROOT = Path.cwd()
LONG = patience(200.0)
FLOW = [sys.executable, "-m", "pipelines.run"]


def say(text):
    """A line with the time, seen at once."""
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stdout.flush()


def until(condition, what, seconds=LONG):
    """The first true value of `condition()`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(OSError):  # a server that was killed a moment ago
            if answer := condition():
                say(what)
                return answer
        time.sleep(0.3)
    raise AssertionError(f"waited in vain: {what}")


def ask(path, query):
    """Prefect's answer to a query."""
    url = f"{read_up(ROOT)['services']['prefect']['url']}/api/{path}/filter"
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(query).encode(), headers)
    with urllib.request.urlopen(request, timeout=patience(20)) as answer:
        return json.load(answer)


def nightly(*types, after=""):
    """Runs of the schedule in one of those states that began after that time, oldest first."""
    query = {
        "flows": {"name": {"any_": ["release"]}},
        "flow_runs": {"state": {"type": {"any_": list(types)}}},
        "sort": "EXPECTED_START_TIME_ASC",
    }
    runs = ask("flow_runs", query)
    return [r for r in runs if r["deployment_id"] and (r["start_time"] or "") > after]


def now():
    """As Prefect writes a time."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())


def change(tokens):
    """Give the next run something to do: quantize and manifest, seconds of each."""
    path = ROOT / "params.yaml"
    text = path.read_text()
    path.write_text(re.sub(r"(?m)^( +)logit_tokens: \d+", rf"\1logit_tokens: {tokens}", text))


def up(*arguments):
    """`make up`."""
    return subprocess.run(
        [sys.executable, "-m", "pipelines.up", *arguments],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip


def service(name):
    """The pid of a service that answers."""
    state = read_up(ROOT)
    return state["services"][name]["pid"] if state and state["ready"] else None


def killed(name):
    """SIGKILL a service, and see another take its place."""
    old = service(name)
    os.kill(old, signal.SIGKILL)
    until(lambda: service(name) not in (None, old), f"{name} is up again after SIGKILL")


def flow_process():
    """The process of a scheduled run that is at work on a stage."""
    for process in marked(ROOT):
        with contextlib.suppress(psutil.Error):
            if "lifeline" in " ".join(process.cmdline()) and "dvc" in process.cmdline():
                return process.parent()
    return None


def fires_and_shows_every_stage():
    """It starts by itself; a run by hand beside it is refused, and names it."""
    change(65)
    began = now()
    said = up("--cron", "* * * * *")
    assert "http://127.0.0.1:" in said, said
    assert "is up already" in up(), "twice is once"
    until(flow_process, "a scheduled run is at work")
    beside = subprocess.run(FLOW, capture_output=True, text=True)
    assert beside.returncode == 1, beside
    assert "in use by the deployment nightly of make up" in beside.stderr, beside.stderr
    run = until(lambda: nightly("COMPLETED", after=began), "the scheduled run has ended")[0]
    assert "champion" in run["state"]["message"], run["state"]
    assert re.fullmatch(r"minigpt-tiny · nightly \d{4}-\d\d-\d\d \d\d:\d\d", run["name"]), run
    tasks = ask("task_runs", {"flow_runs": {"id": {"any_": [run["id"]]}}})
    others = {"register", "promote", "report"}
    assert {task["name"] for task in tasks} == {*stages(), *others}, tasks
    assert not any(task["tags"] for task in tasks), tasks
    lines = ask("logs", {"logs": {"flow_run_id": {"any_": [run["id"]]}}})
    told = {line["message"].split(":")[0] for line in lines}
    assert set(stages()) <= told, lines
    assert not any("Traceback" in line["message"] for line in lines)


def stays_paused():
    """What was paused in Prefect is paused after `make down` and `make up`, until it is resumed."""
    prefect = [str(Path(sys.executable).with_name("prefect")), "deployment"]

    def shown(*command):
        own = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}  # a new shell
        done = subprocess.run([*prefect, *command], capture_output=True, text=True, env=own)
        assert done.returncode == 0, done
        return done.stdout

    [schedule] = json.loads(shown("schedule", "ls", "release/nightly", "-o", "json"))
    shown("schedule", "pause", "release/nightly", schedule["id"])
    up("--down")
    said = up("--cron", "*/2 * * * *")  # another time, too
    assert "(paused in Prefect)" in said, said
    [schedule] = json.loads(shown("schedule", "ls", "release/nightly", "-o", "json"))
    assert schedule["active"] is False, schedule
    [command] = re.findall(r"^To run it now: \S+/prefect deployment (.*)", said, re.MULTILINE)
    shown(*command.split(), "--watch")
    run = nightly("COMPLETED")[-1]
    assert run["name"].startswith("minigpt-tiny · nightly by hand "), run
    shown("schedule", "resume", "release/nightly", schedule["id"])
    up("--down")
    assert "paused" not in up("--cron", "* * * * *")


def waits_for_a_run_by_hand():
    """What fires while somebody is at work starts after him."""
    change(66)
    began = now()
    by_hand = subprocess.Popen([*FLOW, "--wait"], stdout=subprocess.PIPE, text=True)
    holder = ROOT / ".work" / "workspace.lock"
    until(lambda: f'"pid": {by_hand.pid},' in holder.read_text(), "a run by hand is at work")
    by_hand.send_signal(signal.SIGSTOP)  # however fast it is, the schedule fires beside it
    until(lambda: nightly("RUNNING", after=began), "the schedule has fired meanwhile")
    assert by_hand.poll() is None
    by_hand.send_signal(signal.SIGCONT)
    out = by_hand.communicate(timeout=LONG)[0]
    assert by_hand.returncode == 0, out
    ended = now()
    done = until(
        lambda: [r for r in nightly("COMPLETED", after=began) if r["end_time"] > ended],
        "and has run after it",
    )
    assert done


def notices_a_new_text():
    """A file more in a source's folder becomes a new version; without one, nothing is built."""
    began, before = now(), versions()
    done = until(lambda: nightly("COMPLETED", after=began), "a run with nothing to do has ended")
    say(f"it took {done[0]['total_run_time']:.0f} s")
    assert versions() == before
    speech = ROOT / "data" / "tiny" / "speeches" / "1823-Monroe-1.txt"
    lines = speech.read_text().splitlines(keepends=True)
    added = speech.with_name("1830-Jackson-2.txt")
    added.write_text("".join(reversed(lines))[:5000])  # validate allows no more
    until(lambda: versions() != before, "the new text has led to a version")
    newest = str(len(versions()))
    [lineage] = json.loads(minigpt("lineage", "--data", str(added), "--json")).values()
    assert lineage["trained"] == [newest], lineage


def versions():
    """The digests of all that is registered."""
    return {version["digest"] for version in json.loads(minigpt("registry", "list", "--json"))}


def minigpt(*arguments):
    """What a command of ours prints."""
    return subprocess.run(
        [sys.executable, "-m", "minigpt.cli.main", *arguments],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip


def goes_on_after_kills():
    """The server, the schedule and the flow are killed in turn: the next run goes through."""
    killed("prefect")
    killed("schedule")
    began = now()
    until(lambda: nightly("COMPLETED", after=began), "a run after both kills")
    change(67)
    victim = until(flow_process, "a run is at work")
    began = now()
    victim.kill()
    until(lambda: nightly("CRASHED"), "Prefect knows of the killed run")
    until(lambda: nightly("COMPLETED", after=began), "the next run goes through")


def ends_zombies():
    """A run that is killed together with what had started it does not stay Running for ever."""
    change(68)
    victim = until(flow_process, "a run is at work")
    began = now()
    os.kill(service("schedule"), signal.SIGKILL)
    victim.kill()
    run = until(
        lambda: [r for r in nightly("CRASHED") if "silent" in r["state"]["message"]],
        "the server has noticed the silence",
    )
    assert len(run) == 1
    until(lambda: nightly("COMPLETED", after=began), "the next run goes through")


def leaves_nothing():
    """`make down` ends all of it, also after the supervisor was killed."""
    children = [service(name) for name in ("prefect", "schedule", "mlflow")]
    os.kill(read_up(ROOT)["pid"], signal.SIGKILL)
    up("--down", "--force")
    assert list(marked(ROOT)) == []
    assert not [pid for pid in children if psutil.pid_exists(pid)]


def stages():
    """The stages of dvc.yaml."""
    from pipelines.dag import read_stages

    return [stage.name for stage in read_stages(ROOT)]


SCENARIO = (
    fires_and_shows_every_stage,
    stays_paused,
    waits_for_a_run_by_hand,
    notices_a_new_text,
    goes_on_after_kills,
    ends_zombies,
    leaves_nothing,
)

if __name__ == "__main__":
    try:
        for part in SCENARIO:
            part()
            say(f"holds: {part.__name__}")
    finally:
        up("--down", "--force")

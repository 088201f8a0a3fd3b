"""A training with restless visitors: ``python benchmarks/visitors.py OUT [--scene FOLDER] [--steps N] [--minutes M]``.

One seed is trained twice, alone and watched. The visitors come and go, drop their connections in the middle of a field,
ask for pictures faster than any can be made, send what is no message, and show wrong tokens. Prints whether both
checkpoints have the same bits, the share of the time that the program says showing took, what came to the visitors,
and its threads and memory at the beginning and at the end of the watching.

Then the run is shown for M minutes to browsers that drag, turn the wheel, reload and are killed, and to visitors who
have films, meshes and points made, download them or cancel them; at times the program itself is killed, and started
again. Prints what came of it, threads and memory of the program's last life, and what was left running.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # nerf and tests of this checkout

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.browser import browser

ENDS_IN = 15.0  # seconds, what a killed program has begun
PAUSE = 0.3  # seconds between two things that a visitor does


def main() -> None:
    """Trains twice and prints what differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--scene", default="lego")
    parser.add_argument("--steps", default="3000")
    parser.add_argument("--minutes", type=float, default=0.0)
    arguments = parser.parse_args()

    words = ["--scene", arguments.scene, "--steps", arguments.steps, "output.video=", "output.mesh="]
    command = [sys.executable, "-m", "nerf", "train", *words, "--out"]
    subprocess.run([*command, str(arguments.out / "alone")], check=True, capture_output=True)
    watched = [*command, str(arguments.out / "watched"), "--view", "--port", "0"]
    process = subprocess.Popen(watched, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if line.startswith("view: http"):
            break
    address = re.search(r"http://([\w.]+:\d+)/#(\S+)", said[-1])
    assert address is not None

    met: Counter[str] = Counter()
    sizes = [burden(process.pid)]
    random.seed(0)
    start = time.perf_counter()
    while process.poll() is None:
        try:
            visit(address[1], address[2], met)
        except (ConnectionClosed, InvalidStatus, OSError, EOFError, TimeoutError) as error:
            met[type(error).__name__] += 1
        sizes.append(burden(process.pid) or sizes[-1])
    said += process.stdout.readlines()

    same = digest(arguments.out / "alone") == digest(arguments.out / "watched")
    print(f"status {process.returncode}, {time.perf_counter() - start:.0f} s watched; same bits: {same}")
    print("".join(line for line in said if "of its time" in line).strip())
    print(f"visitors: {dict(met)}")
    print(f"threads and MiB: {sizes[0]} at first, {sizes[len(sizes) // 2]} half-way, {sizes[-1]} at last")

    if arguments.minutes:
        be_shown(arguments.out / "watched", 60 * arguments.minutes)


def be_shown(run: Path, seconds: float) -> None:
    """Shows a run to visitors of all kinds, and prints what came of it."""
    met: Counter[str] = Counter()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        process, host, token = shown(run)
        sizes = [burden(process.pid)]
        for _ in range(12):
            try:
                random.choice([browse, order, order, visit])(host, token, met)
            except (ConnectionClosed, InvalidStatus, OSError, EOFError, TimeoutError) as error:
                met[type(error).__name__] += 1
            sizes.append(burden(process.pid))
            if process.poll() is not None or time.perf_counter() > end:
                break
        assert process.poll() is None, "the program has ended by itself"
        make(host, token, met, patience=0.0)  # so that something runs when the program is killed
        children = [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
        process.kill()
        process.wait()
        met["killed programs"] += 1
        time.sleep(ENDS_IN)
        met["left running"] += sum(burden(child) is not None for child in children)
    print(f"shown for {seconds / 60:.0f} minutes: {dict(met)}")
    print(f"threads and MiB of its last life: {sizes[0]} at first, {sizes[-1]} at last")


def shown(run: Path) -> tuple[subprocess.Popen[str], str, str]:
    """Returns the program that shows a run, its host and its token."""
    command = [sys.executable, "-m", "nerf", "view", str(run), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if address := re.search(r"view: http://([\w.]+:\d+)/#(\S+)", line):
            return process, address[1], address[2]
    raise OSError("nobody shows the run")


def browse(host: str, token: str, met: Counter[str]) -> None:
    """Drags, turns the wheel and reloads in a browser, which is then killed."""
    with browser(f"http://{host}/#{token}", size=(480, 360)) as page:
        for _ in range(random.randrange(2, 8)):
            x, y = random.randrange(20, 200), random.randrange(60, 300)
            page.mouse("mousePressed", x, y, button="left", buttons=1, clickCount=1)
            page.mouse("mouseMoved", x + 50, y + 20, button="left", buttons=1)
            page.mouse("mouseReleased", x + 50, y + 20, button="left", clickCount=1)
            page.mouse("mouseWheel", x, y, deltaX=0, deltaY=random.choice([-200, 200]))
            time.sleep(random.random())
            met["drags"] += 1
            if random.random() < 0.2:
                page.call("Page.reload")
                met["reloads"] += 1
        assert page.errors == [], page.errors
    met["killed browsers"] += 1


def order(host: str, token: str, met: Counter[str]) -> None:
    """Has something made."""
    make(host, token, met, patience=random.choice([0.5, 3.0, 60.0]))


def make(host: str, token: str, met: Counter[str], patience: float) -> None:
    """Has something made, and cancels it when it takes longer than that; 0: leaves at once."""
    size = {"frames": 4, "fps": 4, "width": 64, "height": 48}
    what = random.choice(
        [{"what": "film", "path": "auto", **size}, {"what": "mesh", "resolution": 48}, {"what": "points"}]
    )
    with connect(f"ws://{host}/socket", origin=f"http://{host}", max_size=2**28, close_timeout=1) as socket:
        socket.send(json.dumps({"token": token}))
        socket.recv(20)
        socket.send(json.dumps({"ask": "job", "id": 1, **what}))
        start = time.perf_counter()
        while patience and time.perf_counter() < start + patience + 30:
            message = socket.recv(patience + 30)
            job = json.loads(message).get("job") if isinstance(message, str) else None
            if job and job["state"] in ("done", "failed", "cancelled"):
                met[f"jobs {job['state']}"] += 1
                if job["state"] == "done":
                    socket.send(json.dumps({"ask": "result", "id": 2, "job": job["number"]}))
                    met["downloads"] += any(isinstance(socket.recv(30), bytes) for _ in range(9))  # news comes between
                return
            if job and time.perf_counter() > start + patience:
                socket.send(json.dumps({"ask": "cancel", "job": job["number"]}))


def visit(host: str, token: str, met: Counter[str]) -> None:
    """Comes, asks for a while, and leaves in some way."""
    with connect(f"ws://{host}/socket", origin=f"http://{host}", max_size=2**28, close_timeout=1) as socket:
        met["visits"] += 1
        socket.send(json.dumps({"token": "wrong" if random.random() < 0.1 else token}))
        socket.recv(20)
        for number in range(random.randrange(1, 12)):
            kind = random.choice(["field", "picture", "photograph", "score", "about", "nonsense", "leave"])
            if kind == "leave":
                socket.send(json.dumps({"ask": "field", "id": 1, "after": -1}))
                socket.socket.close()  # without a word, in the middle of what it is sent
                met["left"] += 1
                return
            if kind == "nonsense":
                socket.send(
                    random.choice(["{", "[]", '{"ask": 7}', "x" * 1000, json.dumps({"ask": "field", "after": []})])
                )
            view = {"view": random.randrange(8), "side": random.choice([64, 300]), "moving": True}
            for _ in range(10 if kind == "picture" else 1):
                socket.send(json.dumps({"ask": kind, "id": number, "after": -1, **view}))
            time.sleep(random.random() * PAUSE)
            while True:
                try:
                    met["fields" if isinstance(socket.recv(0.05), bytes) else "messages"] += 1
                except TimeoutError:
                    break


def burden(process: int) -> tuple[int, int] | None:
    """Returns the threads and the MiB in memory of a process; None when it is gone."""
    try:
        text = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return None
    found = {name: re.search(rf"^{name}:\s+(\d+)", text, re.MULTILINE) for name in ("Threads", "VmRSS")}
    return tuple(int(each[1]) >> (10 * (name == "VmRSS")) for name, each in found.items() if each)  # type: ignore


def digest(run: Path) -> str:
    """Returns the hash of what a run renders."""
    from safetensors import safe_open

    total = hashlib.sha256()
    with safe_open(run / "checkpoint.safetensors", framework="np") as file:
        for name in sorted(file.keys()):
            total.update(name.encode() + file.get_tensor(name).tobytes())
    return total.hexdigest()


if __name__ == "__main__":
    main()

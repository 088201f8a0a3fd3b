"""A training with restless visitors: ``python benchmarks/visitors.py OUT [--scene FOLDER] [--steps 3000]``.

One seed is trained twice, alone and watched. The visitors come and go, drop their connections in the middle of a field,
ask for pictures faster than any can be made, send what is no message, and show wrong tokens. Prints whether both
checkpoints have the same bits, the share of the time that the program says showing took, what came to the visitors,
and its threads and memory at the beginning and at the end of the watching.
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

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

PAUSE = 0.3  # seconds between two things that a visitor does


def main() -> None:
    """Trains twice and prints what differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--scene", default="lego")
    parser.add_argument("--steps", default="3000")
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

"""Writes constraints.txt anew: what pip would install for nerf on this machine, each with its version and its hash.

    pip install --dry-run --ignore-installed --report report.json -r requirements.txt .
    python scripts/constraints.py report.json > constraints.txt

torch and nerf itself are left out: torch has a wheel for every kind of GPU, and the index chooses among them.
"""

import json
import re
import sys
from pathlib import Path

LEFT_OUT = ("torch", "nerf")


def pinned(report: dict) -> list[str]:
    """Returns the lines of the file, by name: a version and the SHA-256 of its wheel."""
    lines = []
    for item in report["install"]:
        name = re.sub(r"[-_.]+", "-", item["metadata"]["name"]).lower()
        if name not in LEFT_OUT:
            hash_ = item["download_info"]["archive_info"]["hashes"]["sha256"]
            lines.append(f"{name}=={item['metadata']['version']} --hash=sha256:{hash_}")
    return sorted(lines)


if __name__ == "__main__":
    found = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    place = found["environment"]
    print(f"# For Python {place['python_version']} on {place['sys_platform']} {place['platform_machine']}.")
    print("# Made by scripts/constraints.py; torch is not in it. CONTRIBUTING.md says how it is used and made anew.")
    print("\n".join(pinned(found)))

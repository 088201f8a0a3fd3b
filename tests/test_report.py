"""What a run says, and who listens."""

import os
import subprocess
import sys

from nerf.report import listen, say, silence


def test_the_console_prints_the_text_and_listeners_get_its_topic_too(capsys):
    heard = []
    with listen(lambda topic, text: heard.append((topic, text))):
        say("bounds", "bounds: none")
    say("mesh", "mesh: m.ply")
    assert heard == [("bounds", "bounds: none")]
    assert capsys.readouterr().out == "bounds: none\nmesh: m.ply\n"


def test_a_silenced_process_prints_nothing_and_still_tells_its_listeners(capsys):
    heard = []
    with silence(), listen(lambda topic, text: heard.append(text)):
        say("scene", "scene: lego")
    say("scene", "heard again")
    assert heard == ["scene: lego"]
    assert capsys.readouterr().out == "heard again\n"


def test_silence_inside_silence_stays_silent_until_the_outer_one_ends(capsys):
    with silence():
        with silence():
            say("scene", "inner")
        say("scene", "outer")
    say("scene", "after")
    assert capsys.readouterr().out == "after\n"


PROGRAM = """
import os, sys
from nerf.report import complain, progress, say
os.close(sys.stdin.fileno())
sys.stdin = None
for number in range(1000):
    say("scene", "x" * 1000)
    complain("x" * 1000)
for _ in progress(range(3), title="filming"):
    pass
open(sys.argv[1], "w").write("written")
"""


def test_a_terminal_that_is_gone_ends_no_work_and_is_not_complained_of(tmp_path):
    done = tmp_path / "done"
    read, write = os.pipe()
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(done)], stdout=write, stderr=write)
    os.close(write)
    os.close(read)
    assert process.wait(timeout=60) == 0 and done.read_text() == "written"


def test_a_terminal_of_an_old_encoding_is_shown_codes(tmp_path):
    program = "from nerf.report import say; say('scene', 'é ✓')"
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, timeout=60)
    assert done.returncode == 0 and done.stdout == b"\\xe9 \\u2713\n"


def test_a_bar_in_a_file_is_seldom_drawn_and_one_in_a_pipe_often(tmp_path):
    program = "import time; from nerf.report import progress; [time.sleep(0.15) for _ in progress(range(6), title='x')]"
    command = [sys.executable, "-c", program]
    with (tmp_path / "log").open("wb") as log:
        subprocess.run(command, stderr=log, check=True, timeout=60)
    in_a_file = (tmp_path / "log").read_bytes()
    in_a_pipe = subprocess.run(command, stderr=subprocess.PIPE, check=True, timeout=60).stderr
    assert in_a_file.count(b"/6 ") <= 3 < in_a_pipe.count(b"/6 ")
    assert b" 6/6 " in in_a_file

"""What a run says, and who listens."""

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

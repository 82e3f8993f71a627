"""What a page can rely on, and what it cannot do. The session is that of a real, tiny world."""

import asyncio
import contextlib
import importlib
import ipaddress
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
from functools import partial
from unittest.mock import Mock
from urllib.error import HTTPError
from urllib.request import urlopen

import cv2
import numpy as np
import pygame
import pytest

pytest.importorskip("websockets")

from browser import MISSING, Browser
from conftest import CAPTIONS, make_tiny_world
from websockets import ConnectionClosed, InvalidStatus
from websockets.asyncio.client import connect

import worldsim
from worldsim.decoding import read_video
from worldsim.spaces import null_action
from worldsim.viewer import PlayConfig, open_stage
from worldsim.viewing.controls import COMMANDS
from worldsim.viewing.session import Session
from worldsim.viewing.stage import Moment
from worldsim.viewing.web_door import names
from worldsim.viewing.web_messages import LONGEST, SUBPROTOCOL, frame_message
from worldsim.web import IN_FLIGHT, Broadcast

needs_chromium = pytest.mark.skipif(
    bool(MISSING), reason=f"there is no {' and no '.join(MISSING)} here"
)
WORLD = make_tiny_world(endless=True, horizon=10**6)


class Page:
    """A viewer without a browser: remembers the newest message of each type."""

    def __init__(self, connection):
        self.connection, self.seen = connection, True
        self.told, self.frames, self.jpeg = {}, [], b""

    @property
    def about(self):
        return self.frames[-1] if self.frames else None

    async def take(self):
        data = await self.connection.recv()
        if isinstance(data, str):
            message = json.loads(data)
            self.told[message["type"]] = message
            return
        (n,) = struct.unpack(">I", data[:4])
        self.frames.append(json.loads(data[4 : 4 + n]))
        self.jpeg = data[4 + n :]
        if self.seen:
            await self.say(type="seen", frame=self.about["frame"])

    async def until(self, condition):
        while not condition():
            await self.take()

    async def say(self, **message):
        await self.connection.send(json.dumps(message))

    async def press(self, key):
        await self.say(type="press", key=key)

    async def tap(self, key):
        await self.press(key)
        await self.say(type="release", key=key)

    def state(self, name):
        return self.told.get("state", {}).get(name)


def join(broadcast, **changed):
    address = broadcast.url.replace("http", "ws").replace("/?", "/ws?")
    chosen = {"uri": address, "subprotocols": [SUBPROTOCOL], "proxy": None} | changed
    return connect(**chosen)


@contextlib.asynccontextmanager
async def page_of(broadcast):
    async with join(broadcast) as connection:
        page = Page(connection)
        await page.until(lambda: page.about and page.state("driver"))
        yield page


def play(tmp_path, scenario, **chosen):
    """Serve the tiny world for as long as a scenario takes; return the broadcast."""
    out = tmp_path / "film.mp4"
    broadcast = Broadcast(
        lambda: Session(lambda: open_stage(PlayConfig(), WORLD), fps=50, out=out), "tiny", **chosen
    )

    async def main():
        serving = asyncio.create_task(broadcast.serve())
        try:
            async with asyncio.timeout(120):
                while not broadcast.url and not serving.done():
                    await asyncio.sleep(0.005)
                await scenario(broadcast)
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)

    try:
        asyncio.run(main())
    finally:
        broadcast.close()
    return broadcast


async def status_of(broadcast, **changed):
    """Return the HTTP status that refuses a WebSocket, or 101."""
    try:
        async with join(broadcast, **changed):
            return 101
    except InvalidStatus as refused:
        return refused.response.status_code


def get(url):
    try:
        with urlopen(url, timeout=20) as answer:
            return answer.status, answer.read().decode(), answer.headers
    except HTTPError as error:
        return error.code, error.read().decode(), error.headers


# the door


def test_the_page_is_one_file_and_only_for_who_has_the_token(tmp_path):
    async def scenario(broadcast):
        status, page, headers = await asyncio.to_thread(get, broadcast.url)
        assert (status, headers.get_content_type()) == (200, "text/html")
        assert not re.search(r"(src|href)=\"(?!data:)|@import|url\(", page)
        assert "connect-src 'self'" in headers["Content-Security-Policy"]
        assert "token" not in headers.get("Location", "")
        base = broadcast.url.split("?")[0]
        wrong = [base, f"{base}?token=", f"{broadcast.url}x", f"{base}?token=%ff%F0%9F%98%80"]
        for url in wrong:
            status, said, _ = await asyncio.to_thread(get, url)
            assert status == 403 and "WebSocket(" not in said
        assert (await asyncio.to_thread(get, broadcast.url.replace("/?", "/etc?")))[0] == 404

    play(tmp_path, scenario)


def test_a_websocket_needs_the_token_the_right_site_and_the_protocol(tmp_path):
    async def scenario(broadcast):
        here = broadcast.url.split("/")[2]
        port = here.split(":")[1]
        assert await status_of(broadcast) == 101
        assert await status_of(broadcast, origin=f"http://{here}") == 101
        for origin in ("http://evil.example", "null", f"http://127.0.0.1.evil.example:{port}"):
            assert await status_of(broadcast, origin=origin) == 403
        for token in ("", "wrong", broadcast.door.token[:-1]):
            assert await status_of(broadcast, uri=f"ws://{here}/ws?token={token}") == 403
        assert await status_of(broadcast, subprotocols=["worldsim.v0"]) == 400
        assert await status_of(broadcast, subprotocols=None) == 400

    play(tmp_path, scenario)


def test_a_name_that_was_made_to_point_here_is_refused(tmp_path):
    """DNS rebinding: host and origin agree, but they are a stranger's."""

    async def scenario(broadcast):
        port = int(broadcast.url.split("/")[2].split(":")[1])
        for name, status in (("evil.example", 403), ("localhost", 101), ("[::1]", 101)):
            uri = f"ws://{name}:{port}/ws?token={broadcast.door.token}"
            origin = f"http://{name}:{port}"
            got = await status_of(broadcast, uri=uri, origin=origin, host="127.0.0.1", port=port)
            assert got == status

    play(tmp_path, scenario)


def test_only_this_machine_is_let_in_unless_told_otherwise(tmp_path):
    cfg = PlayConfig(web=True)
    assert cfg.web_host == "127.0.0.1"
    with pytest.raises(ValueError, match="65535"):
        PlayConfig(web_port=70000)


def test_a_port_that_is_taken_is_an_error_with_a_way_out(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        broadcast = Broadcast(None, "tiny", port=taken.getsockname()[1])
        with pytest.raises(OSError, match="web_port"):
            asyncio.run(broadcast.serve())


def test_without_websockets_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "websockets", None)
    monkeypatch.delitem(sys.modules, "worldsim.web")
    with pytest.raises(ImportError, match=r"worldsim-sdk\[web\]"):
        importlib.import_module("worldsim.web")


# what is told


def test_a_page_is_told_what_it_needs_to_show(tmp_path):
    async def scenario(broadcast):
        async with page_of(broadcast) as page:
            hello, stage = page.told["hello"], page.told["stage"]
            assert (hello["version"], hello["title"]) == (1, "tiny")
            assert hello["you"] == page.state("driver")
            assert (stage["size"], stage["sampler_steps"]) == ([32, 32], 2)
            assert (stage["imagined"], stage["wheel"]) == (True, True)
            assert stage["prompts"] == list(CAPTIONS)
            assert {"left", "d"} <= set(stage["bound"])
            await page.until(lambda: page.about["step"] > 2)
            moment = broadcast.player.latest[1]
            assert page.about["termination"] is not None and page.about["model_ms"] > 0
            assert page.about["seed"] == moment.seed == 0
            assert len(page.about["rewards"]) == page.about["step"]
            assert sum(page.about["rewards"]) == pytest.approx(page.about["return"], abs=0.01)

    play(tmp_path, scenario)


def test_pixels_arrive_as_they_are_but_for_little(tmp_path):
    async def scenario(broadcast):
        async with page_of(broadcast) as page:
            await page.tap("p")
            await page.until(lambda: page.state("paused"))
            await asyncio.sleep(0.05)
            moment = broadcast.player.latest[1]
            await page.until(lambda: page.about["step"] == moment.step)
            got = cv2.imdecode(np.frombuffer(page.jpeg, np.uint8), cv2.IMREAD_COLOR_RGB)
            error = np.mean((got.astype(float) - moment.frame) ** 2)
            assert 10 * np.log10(255**2 / error) > 38

    play(tmp_path, scenario)


def test_numbers_that_json_lacks_are_told_as_null(tmp_path):
    stage = open_stage(PlayConfig(), WORLD)
    action = np.array(null_action(stage.env.action_space))
    moment = Moment(np.zeros((4, 4, 3), np.uint8), 0, reward=np.nan, total=np.inf, action=action)
    data = frame_message(1, stage, moment, b"")
    about = json.loads(data[4:], parse_constant=lambda name: pytest.fail(name))
    assert (about["reward"], about["return"], about["action"]) == (None, None, [0, 0, 0])
    stage.env.close()


def test_every_command_of_the_window_is_the_sessions_or_the_pages(tmp_path):
    """A new command of the session thus reaches the page by itself."""

    async def scenario(broadcast):
        async with page_of(broadcast) as page:
            rows = page.told["hello"]["commands"]
            assert [row["text"] for row in rows] == [text for _, text, _, _ in COMMANDS]
            for row in rows:
                name = row["command"]
                assert name.startswith("_") or callable(getattr(Session, name))
            assert ["p"] in [row["keys"] for row in rows]

    play(tmp_path, scenario)


# what the driver can do


def test_keys_drive_until_they_are_let_go(tmp_path):
    async def scenario(broadcast):
        async with page_of(broadcast) as page:
            for _ in range(20):  # the frame that answers may be one that a slow page misses
                await page.press("left")
                await page.until(lambda: page.about["action"] == [-1, 0, 0])
                assert page.about["keys"] == ["left"]
                await page.say(type="release", key="left")
                await page.until(lambda: page.about["action"] == [0, 0, 0])
                if any(about["answers"] for about in page.frames):
                    break
            assert any(about["answers"] for about in page.frames)
            before = page.about["step"]
            await page.tap("d")  # let go before the next step, and still counted in it
            await page.until(lambda: page.about["action"] == [1, 0, 0])
            await page.press("left")
            await page.until(lambda: page.about["action"] == [-1, 0, 0])
            await page.say(type="release")  # all
            await page.until(lambda: page.about["action"] == [0, 0, 0])
            assert page.about["step"] > before

    play(tmp_path, scenario)


def test_prompts_change_the_scene_or_begin_one(tmp_path):
    async def scenario(broadcast):
        async with page_of(broadcast) as page:
            await page.until(lambda: page.about["step"] > 0)
            assert page.about["prompt"] != CAPTIONS[0]
            encoder = broadcast.player.session.stage.world.encoder
            encoder.preload = Mock()
            await page.say(type="typing")
            await page.say(type="prompt", text=CAPTIONS[0])
            await page.until(lambda: page.about["prompt"] == CAPTIONS[0])
            assert page.about["step"] > 0
            assert encoder.preload.called
            await page.tap("p")
            await page.tap("3")
            await page.until(lambda: page.about["prompt"] == CAPTIONS[2])
            assert page.about["step"] > 0
            await page.say(type="prompt", text=f" {CAPTIONS[1]} ", begin=True)
            await page.until(lambda: page.about["prompt"] == CAPTIONS[1])
            assert page.about["step"] == 0

    play(tmp_path, scenario)


def test_a_key_does_what_another_one_does(tmp_path):
    async def scenario(broadcast):
        async with page_of(broadcast) as page:
            rows = {row["command"]: row["keys"] for row in page.told["hello"]["commands"]}
            assert "x" in rows["next_driver"] and "q" in page.told["stage"]["bound"]
            assert "d" not in page.told["stage"]["bound"]
            await page.tap("x")
            await page.until(lambda: page.state("pilot") == "autopilot")
            await page.press("q")
            await page.until(lambda: page.about["action"] == [-1, 0, 0])

    aliases = {pygame.K_x: pygame.K_o, pygame.K_q: pygame.K_LEFT, pygame.K_d: pygame.K_RETURN}
    play(tmp_path, scenario, aliases=aliases)


def test_keys_command_the_session(tmp_path):
    async def scenario(broadcast):
        async with page_of(broadcast) as page:
            await page.tap("o")
            await page.until(lambda: page.state("pilot") == "autopilot")
            await page.tap("-")
            await page.until(lambda: page.state("speed") == 0.5)
            await page.tap("=")
            await page.until(lambda: page.about["step"] > 5)
            await page.press("backspace")
            await page.until(lambda: page.state("rewinding"))
            await page.until(lambda: page.frames[-1]["step"] < page.frames[-2]["step"])
            await page.say(type="release", key="backspace")
            await page.until(lambda: not page.state("rewinding"))
            await page.tap("return")
            await page.until(lambda: page.about["seed"] == 1)
            await page.tap("m")  # this world has no simulator
            await page.until(lambda: "notice" in page.told)
            assert "only this one" in page.told["notice"]["text"]

    play(tmp_path, scenario)


# several viewers


def test_the_first_drives_and_others_watch_until_it_leaves(tmp_path):
    async def scenario(broadcast):
        async with page_of(broadcast) as first, page_of(broadcast) as second:
            await first.until(lambda: first.state("viewers") == 2)
            assert second.state("driver") == first.told["hello"]["you"]
            await second.press("left")
            await second.until(lambda: "error" in second.told)
            assert "watching" in second.told["error"]["text"]
            other = next(text for text in CAPTIONS if text != second.about["prompt"])
            await second.say(type="prompt", text=other)
            await first.press("d")
            await second.until(lambda: second.about["action"] == [1, 0, 0])
            assert second.about["prompt"] != other
            await first.connection.close()
            await second.until(lambda: second.state("driver") == second.told["hello"]["you"])
            await second.until(lambda: second.about["action"] == [0, 0, 0])  # nothing is held now
            await second.press("left")
            await second.until(lambda: second.about["action"] == [-1, 0, 0])

    play(tmp_path, scenario)


def test_a_driver_who_draws_nothing_any_more_drives_no_more(tmp_path, monkeypatch):
    """A lost link held the wheel, and the key, for as long as TCP believed in it."""
    monkeypatch.setattr("worldsim.web.SILENT", 0.3)

    async def scenario(broadcast):
        async with page_of(broadcast) as first, page_of(broadcast) as second:
            await first.until(lambda: first.state("viewers") == 2)
            await first.press("d")
            await second.until(lambda: second.about["action"] == [1, 0, 0])
            await second.until(lambda: second.state("driver") == second.told["hello"]["you"])
            await second.until(lambda: second.about["action"] == [0, 0, 0])

    play(tmp_path, scenario)


def test_whoever_listens_on_all_addresses_says_one_that_can_be_opened():
    assert names("127.0.0.1") == ["127.0.0.1"] and names("::1") == ["[::1]"]
    assert names("0.0.0.0")[0] == socket.gethostname()
    for address in names("0.0.0.0")[1:]:
        ipaddress.ip_address(address)


def test_a_slow_viewer_skips_frames_and_delays_nobody(tmp_path):
    async def scenario(broadcast):
        async with page_of(broadcast) as quick, join(broadcast) as connection:
            slow = Page(connection)
            slow.seen = False
            await slow.until(lambda: len(slow.frames) == IN_FLIGHT)
            await quick.until(lambda: quick.about["frame"] > slow.about["frame"] + 20)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await slow.until(lambda: len(slow.frames) > IN_FLIGHT)
            await slow.say(type="seen", frame=slow.about["frame"])
            await slow.until(lambda: len(slow.frames) > IN_FLIGHT)
            assert slow.frames[-1]["frame"] >= slow.frames[-2]["frame"] + 20
            numbers = [about["frame"] for about in quick.frames]
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))

    play(tmp_path, scenario)


def test_time_stands_still_while_nobody_watches(tmp_path):
    async def scenario(broadcast):
        async with page_of(broadcast) as page:
            await page.until(lambda: page.about["step"] > 3)
        while not broadcast.player.session.resting:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        left = broadcast.player.latest[1].step
        await asyncio.sleep(0.2)
        assert broadcast.player.latest[1].step == left
        async with page_of(broadcast) as page:
            await page.until(lambda: page.about["step"] > left)

    play(tmp_path, scenario)


# bad input


BAD = [
    b"\x00\x01",
    "left",
    "[]",
    "null",
    "{}",
    "[" * 5000,
    '{"type": ["press"]}',
    '{"type": "close"}',
    '{"type": "press"}',
    '{"type": "press", "key": 7}',
    '{"type": "press", "key": "no such key"}',
    '{"type": "seen", "frame": "1"}',
    '{"type": "seen", "frame": true}',
    '{"type": "prompt", "text": null}',
    '{"type": "prompt", "text": "snow", "begin": 1}',
    '{"type": "prompt", "text": "one\\nline"}',
    '{"type": "prompt", "text": "\\u0000"}',
    '{"type": "prompt", "text": "\\ud800"}',
    json.dumps({"type": "prompt", "text": "a" * 1001}),
]


def test_bad_messages_are_answered_and_the_game_goes_on(tmp_path):
    async def scenario(broadcast):
        async with page_of(broadcast) as page:
            for data in BAD:
                await page.connection.send(data)
                await page.until(lambda: "error" in page.told)
                assert page.told.pop("error")["text"], data
            await page.press("left")
            await page.until(lambda: page.about["action"] == [-1, 0, 0])

    play(tmp_path, scenario)


@pytest.mark.parametrize("data, code", [("x" * (LONGEST + 1), 1009), (b"\xff\xfe", 1007)])
def test_what_cannot_be_read_closes_that_page_alone(tmp_path, data, code):
    async def scenario(broadcast):
        async with page_of(broadcast) as page:
            async with page_of(broadcast) as bad:
                await bad.connection.send(data, text=True)
                with pytest.raises(ConnectionClosed) as closed:
                    await bad.until(lambda: False)
                assert closed.value.rcvd.code == code
            await page.press("left")
            await page.until(lambda: page.about["action"] == [-1, 0, 0])

    play(tmp_path, scenario)


def test_what_is_no_request_at_all_disturbs_nobody(tmp_path, capfd):
    async def scenario(broadcast):
        port = broadcast.url.split("/")[2].split(":")[1]
        for data in (b"\x16\x03\x01garbage\r\n\r\n", b"GET //[x HTTP/1.1\r\n\r\n"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(data)
            await reader.read()
            writer.close()
        async with page_of(broadcast) as page:
            await page.until(lambda: page.about["step"] > 1)

    play(tmp_path, scenario)
    assert "Traceback" not in capfd.readouterr().err


# the end


def test_a_failing_model_is_told_and_the_driver_starts_again(tmp_path):
    async def scenario(broadcast):
        async with page_of(broadcast) as page:
            await page.tap("v")
            await page.until(lambda: page.state("recorded") is not None)

            def fail(*_):
                raise RuntimeError("out of luck")

            broadcast.player.session.stage.env.step = fail
            await page.until(lambda: page.state("error"))
            assert page.state("error") == "RuntimeError: out of luck"
            assert len(read_video(page.state("films")[0])) > 0
            await page.press("left")  # nobody listens
            await page.tap("r")
            await page.until(lambda: page.state("error") is None)
            page.frames.clear()
            await page.until(lambda: page.about and page.about["step"] > 3)

    play(tmp_path, scenario)


def test_a_model_that_never_starts_is_the_callers_error():
    def open_stage():
        raise FileNotFoundError("no such world")

    with pytest.raises(FileNotFoundError, match="no such world"):
        Broadcast(lambda: Session(open_stage), "tiny").run()


@pytest.mark.parametrize("notebook", [False, True])
def test_ctrl_c_finishes_the_film_and_ends_cleanly(tmp_path, capsys, notebook):
    """Played as users do, on the main thread, also where a loop runs; the viewer is on another."""
    out, printed, failed = tmp_path / "film.mp4", "", []

    async def watch():
        nonlocal printed
        while "Ctrl-C" not in printed:
            await asyncio.sleep(0.01)
            printed += capsys.readouterr().out
        broadcast = type("Shown", (), {"url": re.search(r"http\S+", printed)[0]})
        async with page_of(broadcast) as page:
            await page.until(lambda: page.state("recorded") is not None)
            await page.until(lambda: page.about["step"] > 5)
            os.kill(os.getpid(), signal.SIGINT)
            with pytest.raises(ConnectionClosed) as closed:
                await page.until(lambda: False)
            assert closed.value.rcvd.code == 1001

    def run():
        try:
            asyncio.run(asyncio.wait_for(watch(), 60))
        except BaseException as error:
            failed.append(error)
            os.kill(os.getpid(), signal.SIGINT)

    viewer = threading.Thread(target=run)
    viewer.start()
    play = partial(worldsim.play, WORLD, web=True, web_port=0, record=True, fps=50, out=str(out))

    async def cell():
        return play()

    films = asyncio.new_event_loop().run_until_complete(cell()) if notebook else play()
    viewer.join()
    assert not failed
    assert films == [out] and len(read_video(out)) > 5
    assert str(out) in capsys.readouterr().out


# the page, in a browser


@needs_chromium
def test_the_page_drives_watches_and_ends(tmp_path):
    path = WORLD.save(tmp_path / "tiny")
    words = [sys.executable, "-m", "worldsim", "play", f"world={path}", "web=true", "web_port=0"]
    words += [f"out={tmp_path}/film.mp4"]
    game = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        url = game.stdout.readline().split()[-1]
        with Browser(tmp_path / "profile") as browser:
            _play_in(browser, url, game)
        assert game.wait(60) == 0
        assert "of film in" in game.stdout.read()
        assert len(read_video(tmp_path / "film.mp4")) > 1
    finally:
        game.kill()


def _play_in(browser, url, game):
    browser.open(url + "x")
    assert browser.run("return document.title") == ""  # refused
    first = browser.open(url)
    browser.until("about && about.step > 2")
    assert browser.run("return $('frame').width") == 32

    browser.keys("left", up=False)
    browser.until("about.action[0] === -1")
    assert "rotate(-90" in browser.run("return $('turn').getAttribute('transform')")
    browser.keys("left", down=False)
    browser.until("about.action[0] === 0")
    assert "key" in browser.text("pace")

    browser.keys("t")
    assert browser.text("prompt") != CAPTIONS[0]
    browser.type("desert")
    browser.keys("down")  # the suggestion
    browser.keys("enter")
    browser.until(f"about.prompt === '{CAPTIONS[0]}'")
    assert browser.text("prompt") == CAPTIONS[0]

    browser.keys("f1")
    assert "type a prompt" in browser.text("rows") and "quit" not in browser.text("rows")
    browser.keys("escape")

    browser.open(url, new_tab=True)
    browser.until("about && state && state.viewers === 2")
    browser.keys("left", up=False)
    browser.until("!$('notice').hidden")
    assert "watching" in browser.text("notice")
    assert "watching" in browser.text("pills")
    assert browser.run("return about.action[0]") == 0

    browser.turn_to(first)
    browser.close_tab()
    browser.turn_to(browser.tabs()[0])
    browser.until("driving()")
    browser.keys("left", down=False)
    browser.keys("d", up=False)
    browser.until("about.action[0] === 1")
    browser.keys("d", down=False)

    browser.keys("v")
    browser.until("state.recorded >= 1")
    game.send_signal(signal.SIGINT)
    browser.until("ended && !$('message').hidden")
    assert "ended" in browser.text("message")


@needs_chromium
def test_the_page_fits_a_phone_and_is_driven_by_touch(tmp_path):
    async def scenario(broadcast):
        await asyncio.to_thread(touch, broadcast.url)

    def touch(url):
        with Browser(tmp_path / "profile", (360, 740), phone=True) as browser:
            browser.open(url)
            browser.until("about && about.step > 2")
            assert browser.run(
                "return [...document.querySelectorAll('.panel, button, canvas')].every(e =>"
                " e.getBoundingClientRect().right <= innerWidth + 1)"
            )
            browser.run(
                "const draw = drawAbout; drawAbout = () => { draw();"
                " window.turned ||= about.action && about.action[0] === -1; }"
            )
            browser.touch("#pad button", seconds=0.2)
            browser.until("window.turned && about.action[0] === 0")

    play(tmp_path, scenario)

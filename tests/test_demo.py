"""The demo: what it chooses, what it says on real servers, and that it leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import smtplib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path

import pytest
import requests

from detector.catalogue import load_catalogue
from detector.demo.addresses import relaying_to
from detector.demo.board import Announcement, Board, Published, parse_eta
from detector.demo.deliveries import Arrival, Delivered, Deliveries, alerts_at
from detector.demo.play import _watch
from detector.demo.receiver import Message, Receiver, Told
from detector.demo.scene import AGE_OF_LEAD, SEEN_SIGMAS, Scene, choose_scene, moved_sigmas
from detector.demo.stage import alertmanager_of
from detector.serve.server import HttpServer
from detector.servers import Alertmanager
from detector.store import MemoryStore
from tests.waiting import wait_until

ROOT = Path(__file__).parents[1]
NOW = 1_795_489_980
HOUR = 3600


def start(*arguments: str, tmp_path: Path) -> subprocess.Popen[str]:
    """Start `detector demo` in a session of its own, with its temporary files in ``tmp_path``."""
    return subprocess.Popen(
        [sys.executable, "-m", "detector", "demo", *arguments],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def processes_with(text: str) -> list[int]:
    """The processes whose command line has the text in it, this one aside."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if text in command:
                found.append(int(entry.name))
    return found


@pytest.mark.parametrize("seed", range(20))
def test_whatever_the_seed_and_the_hour_both_breaches_are_hours_away_and_under_way(seed: int) -> None:
    now = NOW + seed * 8 * HOUR  # over a week, at every third of a day
    scene = choose_scene(seed, now, load_catalogue("day_trade"))
    assert [victim.query.name for victim in scene.victims] == ["ml_ensemble_accuracy", "node_disk_usage"]
    for victim in scene.victims:
        lead, age = victim.breach_at - now, now - victim.scenario.start
        assert 3 * HOUR <= lead <= 10 * HOUR
        assert age >= max(3 * HOUR, AGE_OF_LEAD * lead)
        assert moved_sigmas(scene.platform, victim, now) >= SEEN_SIGMAS


def test_the_same_seed_gives_the_same_demo() -> None:
    catalogue = load_catalogue("day_trade")
    one, other = (choose_scene(5, NOW, catalogue) for _ in range(2))
    assert [victim.breach_at for victim in one.victims] == [victim.breach_at for victim in other.victims]


def test_nothing_but_the_two_is_about_to_break_its_objective() -> None:
    scene = choose_scene(5, NOW, load_catalogue("day_trade"))
    about_to = {victim.query.name: dict(victim.labels) for victim in scene.victims}
    for query in scene.platform.catalogue.queries.values():
        if query.threshold is None:
            continue
        frame = scene.platform.query(query.name, NOW, NOW + 24 * HOUR, query.step)
        beyond = frame.values > query.threshold if query.breach_above else frame.values < query.threshold
        for labels, row in zip(frame.labels, beyond, strict=True):
            if about_to.get(query.name) != dict(labels):
                in_a_row = row[:-2] & row[1:-1] & row[2:]
                assert not in_a_row.any(), (query.name, labels)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("It is expected above 90% in about 1 d 2 h (median); the probability within 7d is 99%.", 93600.0),
        ("It is expected above 90% in about 45.5 s (median); the probability within 7d is 99%.", 45.5),
        ("It is expected above 90% at a time that cannot be told, the median lies beyond the forecast; the …", None),
    ],
)
def test_the_time_to_the_breach_is_read_from_the_text_of_the_alert(text: str, seconds: float | None) -> None:
    assert parse_eta(text) == seconds


def announced(scene: Scene, off: float = 0.0, stray: bool = False) -> Board:
    """A board on which both alerts arrived, their times off by a part; and a third one about something healthy."""
    board = Board(scene, queries=31)
    for victim in scene.victims:
        labels = {"alertname": victim.alert, "for": victim.query.name, "kind": "prediction", **victim.labels}
        labels["severity"] = "warning"
        came = [Arrival(scene.now, medium, "") for medium in ("slack", "email", "teams")]
        alert = Delivered(True, labels, "", "", came)
        left = victim.breach_at - scene.now
        published = Published(scene.now, left, 0.95)
        board.announcements.append(Announcement(alert, 12.0, victim, left * (1 + off), published))
    if stray:
        labels = {"alertname": "NodeCPUForecast", "for": "node_cpu_usage", "kind": "prediction", "instance": "node-1"}
        board.announcements.append(Announcement(Delivered(True, labels, "", ""), 14.0))
    return board


def test_it_says_which_condition_does_not_hold_what_was_expected_and_what_came() -> None:
    scene = choose_scene(5, NOW, load_catalogue("day_trade"))
    assert announced(scene).problems(complete=True) == []
    assert announced(scene, off=-0.24).problems(complete=True) == []
    late = announced(scene, off=0.5).problems(complete=True)
    assert len(late) == 2
    assert re.search(r"EnsembleAccuracyForecast to tell [\d.]+ h within 25%, got [\d.]+ h \(\+50%\)", late[0])
    [stray] = announced(scene, stray=True).problems(complete=True)
    assert "expected no predictive alert, got NodeCPUForecast" in stray
    assert "instance=node-1" in stray
    [silent, *_] = Board(scene, queries=31).problems(complete=True)
    assert silent == "ensemble accuracy: expected EnsembleAccuracyForecast to be delivered, got none"
    assert "expected all 31 queries in Prometheus" in announced(scene).problems(complete=False)[0]


def test_an_alert_that_did_not_arrive_by_every_medium_of_its_severity_is_no_success() -> None:
    board = announced(choose_scene(5, NOW, load_catalogue("day_trade")))
    assert board.delivered
    board.announcements[0].alert.arrivals.pop()
    assert not board.delivered
    [problem] = board.problems(complete=True)
    assert problem.startswith("ensemble accuracy: expected EnsembleAccuracyForecast by teams as well, got Slack")


def test_any_alert_on_something_healthy_is_a_failure_and_an_event_is_none() -> None:
    scene = choose_scene(5, NOW, load_catalogue("day_trade"))
    board = announced(scene)
    event = {"alertname": "DataRefreshed", "kind": "event", "severity": "info"}
    board.announcements.append(Announcement(Delivered(True, event, "", ""), 14.0))
    assert board.problems(complete=True) == []
    down = {"alertname": "MLServiceDown", "kind": "availability", "severity": "critical"}
    board.announcements.append(Announcement(Delivered(True, down, "", ""), 15.0))
    [problem] = board.problems(complete=True)
    assert "expected no alert, got MLServiceDown" in problem


def test_a_demo_that_is_to_end_by_itself_gives_up_after_three_minutes_and_says_why() -> None:
    board = Board(choose_scene(5, NOW, load_catalogue("day_trade")), queries=31)
    asked: list[float] = []

    class Slow:
        """A performance whose clock jumps, and in which nothing ever arrives."""

        seconds = property(lambda self: asked.append(178.0 + len(asked)) or asked[-1])
        board: Board

        def look(self) -> None: ...

        def complete(self) -> bool:
            return False

    slow = Slow()
    slow.board = board
    problems = _watch(slow, once=True)  # type: ignore[arg-type]
    assert asked == [178.0, 179.0, 180.0, 181.0]
    assert any("expected EnsembleAccuracyForecast to be delivered, got none" in problem for problem in problems)


@contextlib.contextmanager
def routed(tmp_path: Path) -> Iterator[tuple[Alertmanager, Callable[[], Deliveries]]]:
    """The demo's Alertmanager with its receivers and relay, and what has been delivered by it."""
    catalogue = load_catalogue("day_trade")
    with contextlib.ExitStack() as stack:
        receiver = stack.enter_context(Receiver())
        serve = HttpServer(relaying_to(catalogue, receiver), MemoryStore())
        url = stack.enter_context(serve.in_background()).url
        server = stack.enter_context(alertmanager_of(catalogue, receiver, url, tmp_path / "alertmanager"))
        deliveries = Deliveries(lambda: alerts_at(server.url))

        def look() -> Deliveries:
            deliveries.take(receiver.messages, time.time())
            return deliveries

        yield server, look


def post(server: Alertmanager, *alerts: dict[str, dict[str, str]], over: bool = False) -> None:
    end = {"endsAt": datetime.now(UTC).isoformat()} if over else {}
    requests.post(f"{server.url}/api/v2/alerts", json=[one | end for one in alerts], timeout=5).raise_for_status()


def fallen(model: str) -> dict[str, dict[str, str]]:
    labels = {"alertname": "EnsembleAccuracyDegraded", "severity": "critical", "channel": "accuracy", "model": model}
    return {"labels": labels, "annotations": {"summary": f"accuracy of {model} is low", "description": "It is 92%."}}


EVERYWHERE = {
    ("slack", "#day-trade-critical"), ("slack", "#day-trade-accuracy"), ("email", "team@day-trade.example"),
    ("teams", ""), ("sms", ""),
}  # fmt: skip


def places(one: Delivered) -> set[tuple[str, str]]:
    return {(arrival.medium, arrival.to) for arrival in one.arrivals}


def test_an_alert_is_told_once_with_every_place_where_it_arrived_and_its_end_too(tmp_path: Path) -> None:
    with routed(tmp_path) as (server, look):

        def everywhere(count: int) -> bool:
            found = look().delivered
            return len(found) >= count and all(places(one) == EVERYWHERE for one in found)

        watchdog = {"labels": {"alertname": "Watchdog", "kind": "watchdog"}, "annotations": {"summary": "it works"}}
        post(server, fallen("a"), watchdog)
        wait_until(lambda: everywhere(1), within=20, what="the alert at every place")
        wait_until(lambda: look().watchdog_at, within=20, what="the watchdog")
        for _ in range(3):
            post(server, fallen("a"), fallen("b"))
            time.sleep(0.2)
        wait_until(lambda: everywhere(2), within=30, what="the second alert at every place")
        post(server, fallen("a"), over=True)
        wait_until(lambda: everywhere(3), within=30, what="the end of the first at every place")
        told = [(one.labels.get("model"), one.firing, one.description) for one in look().delivered]
    assert told == [("a", True, "It is 92%."), ("b", True, "It is 92%."), ("a", False, "It is 92%.")]
    first = look().delivered[0]
    assert first.is_about("", {"__name__": "x", "model": "a"}) is False  # it has no query
    assert (first.name, first.predictive, first.is_news) == ("EnsembleAccuracyDegraded", False, False)


def test_the_mail_server_takes_what_a_client_sends_to_several_with_points_and_accents() -> None:
    mail = EmailMessage()
    mail["Subject"], mail["From"], mail["To"] = "[FIRING warning] Ä (1)", "a@x.example", "b@x.example, c@x.example"
    mail.set_content("summary é\n.begins with a point\n")
    with Receiver() as receiver:
        host, _, port = receiver.smarthost.partition(":")
        for _ in range(2):
            with smtplib.SMTP(host, int(port), timeout=10) as client:
                client.send_message(mail)
                client.send_message(mail)
        messages = receiver.messages
    assert len(messages) == 4
    assert {(one.medium, one.to, one.title) for one in messages} == {
        ("email", "b@x.example, c@x.example", "[FIRING warning] Ä (1)")
    }
    assert messages[0].told == [Told("summary é", ".begins with a point", firing=True)]


def test_a_message_whose_alert_nobody_knows_is_told_as_it_is() -> None:
    deliveries = Deliveries(list)
    unknown = Message(100.0, "slack", "#x", "[FIRING critical] Strange (1)", "something\nIt is odd.\n")
    deliveries.take([unknown], 101.0)
    assert deliveries.delivered == []
    deliveries.take([unknown], 106.0)
    [one] = deliveries.delivered
    assert (one.name, one.summary, one.description) == ("[FIRING critical] Strange (1)", "something", "It is odd.")


def test_a_short_message_waits_for_the_whole_one_and_a_cut_line_is_recognised() -> None:
    known = [({"alertname": "A"}, "the accuracy of the ensemble is low")]
    deliveries = Deliveries(lambda: known)
    sms = Message(100.0, "sms", "", "FIRING A", "firing: the accuracy of the en…\nand 2 more")
    deliveries.take([sms], 100.1)
    assert deliveries.delivered == []
    mail = Message(100.2, "email", "x@y", "[FIRING] A", "the accuracy of the ensemble is low\nIt is 92%.\n")
    deliveries.take([sms, mail], 100.3)
    [one] = deliveries.delivered
    assert (one.description, one.media) == ("It is 92%.", {"sms", "email"})


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_once_foretells_both_breaches_within_a_minute_and_leaves_nothing_behind(tmp_path: Path) -> None:
    picture = tmp_path / "demo.svg"
    demo = start("--once", "--seed", "7", "--svg", str(picture), tmp_path=tmp_path)
    output, _ = demo.communicate(timeout=280)
    assert demo.returncode == 0, output
    for alert, channel in (("EnsembleAccuracyForecast", "accuracy"), ("NodeDiskForecast", "infra")):
        pattern = rf"{alert}: delivered ([\d.]+) s after the start of the servers \((.*)\); it told .* \(([+-]\d+)%\)"
        told = re.search(pattern, output)
        assert told is not None, output
        assert float(told[1]) < 60
        assert {place.split()[0] for place in told[2].split(", ")} == {"Slack", "mail", "Teams"}
        assert f"Slack #day-trade-{channel}" in told[2]
        assert abs(int(told[3])) <= 25
    assert re.search(r"ensemble accuracy falls under 93 % in about [\d.]+ h \(.*\), P = [01]\.\d\d", output)
    assert "no alert for the healthy rest; 31 queries forecast" in output
    last_picture = output[output.index("detector demo   seed 7") :]
    assert "Ctrl-C ends it" not in last_picture  # it has ended, and there is nothing left to open
    assert "http://" not in last_picture
    assert "The servers are stopped." in last_picture
    drawn = picture.read_text()
    assert drawn.startswith("<svg")
    assert "NodeDiskForecast" in drawn
    assert "url(http" not in drawn  # a picture that fetches nothing
    assert processes_with(str(tmp_path)) == []
    assert [path.name for path in tmp_path.iterdir()] == ["demo.svg"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_every_child_and_leaves_nothing_behind(number: signal.Signals, tmp_path: Path) -> None:
    demo = start("--seed", "7", tmp_path=tmp_path)
    try:
        assert demo.stdout is not None
        for line in demo.stdout:
            if "servers ready" in line:
                break
        assert len(processes_with(str(tmp_path))) == 3
        demo.send_signal(number)
        began = time.monotonic()
        output, _ = demo.communicate(timeout=30)
        assert time.monotonic() - began < 10
    finally:
        demo.kill()
    assert demo.returncode == (0 if number == signal.SIGINT else 128 + number), output
    assert "Traceback" not in output
    assert processes_with(str(tmp_path)) == []
    assert list(tmp_path.iterdir()) == []


OUTSIDE_A_CHECKOUT = """
import sys
import detector.programs
detector.programs.__file__ = "/nowhere/detector/programs.py"
sys.argv = ["detector", "demo", "--once"]
from detector.cli import main
main()
"""


def test_a_missing_server_is_one_sentence() -> None:
    without = {**os.environ, "PATH": "", "DETECTOR_TOOLS": ""}
    command = [sys.executable, "-c", OUTSIDE_A_CHECKOUT]
    done = subprocess.run(command, cwd=ROOT, env=without, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert "prometheus was not found on PATH: run `make setup`" in line

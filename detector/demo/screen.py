"""The demo on a terminal: a picture that changes in place; or, where output is no terminal, a line for each event."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Self

from detector.demo.board import MEDIA, Board
from detector.demo.picture import PICTURE_WIDTH, headline, picture, result_of

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live

    from detector.demo.scene import Scene
    from detector.demo.stage import Stage

PLAIN_WIDTH = 140
REFRESH_PER_SECOND = 4


class Screen:
    """Shows a demo. A context manager around the time in which the picture changes."""

    def __init__(self, console: Console | None = None) -> None:
        from rich.console import Console

        console = console or Console()
        self.live_picture = console.is_terminal
        self.console = console if self.live_picture else Console(width=PLAIN_WIDTH, file=console.file)
        self._live: Live | None = None
        self._last: tuple[Board, Stage, float] | None = None
        self._told = 0
        self._computed = 0
        self._arrived: dict[int, int] = {}

    @property
    def shown(self) -> bool:
        """Whether there was anything to show yet."""
        return self._last is not None

    def begin(self, scene: Scene) -> None:
        """Say which demo it is."""
        self.tell(f"seed {scene.seed} (the same again: detector demo --seed {scene.seed})")
        for victim in scene.victims:
            hours = (scene.now - victim.scenario.start) / 3600
            self.tell(
                f"{victim.scenario.kind} under way for {hours:.1f} h: {victim.subject} breaks its objective in "
                f"{(victim.breach_at - scene.now) / 3600:.1f} h; the worker is not told"
            )

    def tell(self, text: str) -> None:
        """One line, above the picture."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def __enter__(self) -> Self:
        if self.live_picture:
            from rich.live import Live

            self._live = Live(
                console=self.console, refresh_per_second=REFRESH_PER_SECOND, vertical_overflow="crop", transient=True
            )
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live is not None:
            self._live.stop()
        if self._last is not None:
            self.console.print(picture(*self._last, self.console.width, over=True))

    def show(self, board: Board, stage: Stage, seconds: float) -> None:
        """The state of things, `seconds` after the start of the servers."""
        self._last = (board, stage, seconds)
        if self._live is not None:
            self._live.update(picture(board, stage, seconds, self.console.width, self.console.height), refresh=False)
            return
        self._tell_news(board, seconds)

    def _tell_news(self, board: Board, seconds: float) -> None:
        computed = len(board.current())
        if computed != self._computed and (computed % 10 == 0 or computed == board.queries):
            self.tell(f"{seconds:6.1f} s  {computed} of {board.queries} queries forecast")
        self._computed = computed
        for one in board.announcements[self._told :]:
            what = "delivered" if one.alert.firing else "resolved"
            self.tell(f"{one.seconds:6.1f} s  {what}: {one.alert.name}: {one.alert.summary}")
            result = result_of(board, one.victim) if one.victim is not None else None
            if one.victim is not None and result is not None:
                self.tell(f"          {headline(one.victim, result)}")
        self._told = len(board.announcements)
        for one in board.announcements:
            for arrival in one.alert.arrivals[self._arrived.get(id(one), 0) :]:
                where = f"{MEDIA[arrival.medium]} {arrival.to}".strip()
                self.tell(f"{one.after(arrival):6.1f} s  {one.alert.name} arrived: {where}")
            self._arrived[id(one)] = len(one.alert.arrivals)

    def svg(self, title: str) -> str:
        """The last picture as SVG.

        Raises:
            ValueError: nothing was shown yet.
        """
        from rich.console import Console

        if self._last is None:
            raise ValueError("nothing was shown yet")
        canvas = Console(record=True, width=PICTURE_WIDTH, file=io.StringIO(), force_terminal=True)
        canvas.print(picture(*self._last, PICTURE_WIDTH, over=True))
        drawn = canvas.export_svg(title=title, unique_id="demo")
        return re.sub(r"\s*@font-face \{.*?\}", "", drawn, flags=re.DOTALL)

"""The members, by name. A new member is tested by standing here: the contract suite runs over all.

MEMBERS make the ensemble. REFERENCE_MEMBERS wrap the models of other packages, a thousand times slower: they are used
where a caller names them.
"""

from __future__ import annotations

from collections.abc import Sequence

from models.base import Member
from models.intermittent import Intermittent
from models.level import Level
from models.pooled import Pooled
from models.profile_level import ProfileLevel
from models.ridge import Ridge
from models.seasonal_naive import SeasonalNaive
from models.statistical import Decomposed, Ets
from models.window import WindowLevel

MEMBERS: dict[str, Member] = {
    m.name: m
    for m in (
        Level("level_newest", 1.5),
        Level("level_fast", 6.0),
        Level("level_slow", 36.0),
        Level("level_all", 1e9),
        SeasonalNaive(0, "seasonal_naive_short"),
        SeasonalNaive(1, "seasonal_naive_long"),
        ProfileLevel("profile_short_newest", 0, share=0.5, memory=1 / 24, fade=1 / 4, smooth=False),
        ProfileLevel("profile_short_fast", 0, share=0.15, memory=1 / 24, fade=1 / 4),
        ProfileLevel("profile_short_day", 0, share=0.15, memory=1 / 4, fade=1.0),
        ProfileLevel("profile_short_slow", 0, share=0.15, memory=1.0, fade=3.0),
        ProfileLevel("profile_short_level", 0, share=0.5, memory=1 / 4, fade=4.0),
        ProfileLevel("profile_long_fast", 1, share=0.3, memory=1 / 24, fade=1 / 4),
        ProfileLevel("profile_long_day", 1, share=0.3, memory=1 / 4, fade=1.0),
        ProfileLevel("profile_long_slow", 1, share=0.3, memory=1.0, fade=4.0),
        WindowLevel("window_1", 1.0),
        WindowLevel("window_3", 3.0),
        WindowLevel("window_10", 10.0),
        WindowLevel("window_all", None),
        Intermittent("intermittent"),
        Intermittent("intermittent_short", 0),
        Ridge("ridge", "values"),
        Ridge("ridge_log", "logs"),
        Ridge("ridge_seasonal", "seasonal"),
        Ridge("ridge_profile", "deviation"),
    )
}

REFERENCE_MEMBERS: dict[str, Member] = {
    m.name: m for m in (Ets("ets"), Decomposed("arima", "arima"), Decomposed("mstl", "ets"), Pooled("pooled"))
}


def chosen(names: Sequence[str] | None) -> tuple[Member, ...]:
    """The members of these ``names``, of either kind; None: the ensemble.

    Raises:
        ValueError: no name, one twice, or one that there is not.

    >>> [m.name for m in chosen(["ets", "ridge"])]
    ['ets', 'ridge']
    """
    if names is None:
        return tuple(MEMBERS.values())
    known = MEMBERS | REFERENCE_MEMBERS
    if isinstance(names, str) or not names or len(set(names)) < len(names) or not set(names) <= known.keys():
        raise ValueError(f"members: expected different names of {', '.join(known)}; got {names!r}")
    return tuple(known[name] for name in names)

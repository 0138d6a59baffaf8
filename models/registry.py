"""The members of the ensemble, by name. A new member is tested by standing here: the contract suite runs over all."""

from __future__ import annotations

from models.base import Member
from models.grid import DAY, HOUR
from models.level import ProfileLevel
from models.ridge import Ridge
from models.seasonal_naive import SeasonalNaive

MEMBERS: dict[str, Member] = {
    m.name: m
    for m in (
        SeasonalNaive(0, "seasonal_naive_short"),
        SeasonalNaive(1, "seasonal_naive_long"),
        ProfileLevel("level_fast", -1, memory=HOUR // 4, fade=None),
        ProfileLevel("profile_short_fast", 0, memory=HOUR // 4, fade=2 * HOUR),
        ProfileLevel("profile_short_slow", 0, memory=6 * HOUR, fade=2 * DAY),
        ProfileLevel("profile_pooled_fast", None, memory=HOUR // 4, fade=2 * HOUR),
        ProfileLevel("profile_pooled_slow", None, memory=6 * HOUR, fade=2 * DAY),
        Ridge(),
    )
}

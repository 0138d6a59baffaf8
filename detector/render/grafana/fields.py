"""How single fields of a panel are shown: values that have names, and properties that differ from the panel's."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as dash


def value_map(meanings: dict[str, tuple[str, str]]) -> dash.ValueMapping:
    """Values that have a name: ``{"0": ("down", "red")}``."""
    return dash.ValueMap(
        options={
            value: dash.ValueMappingResult(text=text, color=color, index=index)
            for index, (value, (text, color)) in enumerate(meanings.items())
        }
    )


def from_on(value: float, text: str, color: str) -> dash.ValueMapping:
    """Every value from ``value`` on is shown as ``text``."""
    result = dash.ValueMappingResult(text=text, color=color, index=0)
    return dash.RangeMap(options=dash.DashboardRangeMapOptions(from_val=value, to=None, result=result))


def override(matcher: str, options: object, **properties: object) -> dash.DashboardFieldConfigSourceOverrides:
    """Other properties for some fields: ``matcher`` is Grafana's, ``byName`` or ``byFrameRefID``."""
    return dash.DashboardFieldConfigSourceOverrides(
        matcher=dash.MatcherConfig(id_val=matcher, options=options),
        properties=[
            dash.DynamicConfigValue(id_val=name.replace("__", "."), value=value) for name, value in properties.items()
        ],
    )


def color(name: str) -> dict[str, object]:
    """A fixed colour, as a property of an override."""
    return {"mode": "fixed", "fixedColor": name}

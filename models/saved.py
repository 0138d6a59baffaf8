"""A forecaster as bytes and back: plain arrays by name, in an npz file without objects.

What comes back goes on as the original would have, to the last bit. Names of arrays are paths,
`block/3/fitted/0/ridge/lags`; everything that is no array stands in a JSON header.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from models.anomaly import AnomalyScorer, Scores
from models.block import About, Block, Terms
from models.ensemble import Combination
from models.examples import Past
from models.grid import Grid, Segment, within_history
from models.library import PathLibrary
from models.ramp_reference import RampReference
from models.regimes import Regimes
from models.registry import MEMBERS, REFERENCE_MEMBERS

if TYPE_CHECKING:
    from models.forecaster import Forecaster

Arrays = dict[str, NDArray[Any]]

FORMAT, VERSION = "detector-forecaster", 2
NEWEST = 288  # scores that are kept without the history
LIBRARY = ("residuals", "donor", "deviation", "origins", "ends", "restless", "volatile")
REGIMES = ("row", "begin", "end", "back", "times", "add")
REFERENCE = ("low", "high", "noise", "inflation", "bar", "onsets")


def to_bytes(f: Forecaster, values: bool = True) -> bytes:
    """The forecaster ``f``; without ``values``, the history that it stands on must be given back with the bytes, and of
    the scores only the newest are there.
    """
    header: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "step": f.step,
        "horizon": f.horizon,
        "bounds": f.bounds,
        "seasons": f.seasons,
        "seed": f.seed,
        "members": None if f.members is None else list(f.members),
        "grid": [[s.width, s.first, s.last] for s in f.grid.segments],
        "end": f._end,
        "shape": f._values.shape,
        "blocks": [_block_header(block) for _, block in f._blocks],
    }
    arrays: Arrays = {"learned_to": f._learned_to}
    arrays |= {f"regimes/{name}": getattr(f._regimes, name) for name in REGIMES}
    if values:
        arrays["values"] = f._values
    for b, (rows, block) in enumerate(f._blocks):
        moved = bool((f._learned_to[rows] != f._end).any())
        arrays[f"block/{b}/rows"] = rows
        arrays |= _under(f"block/{b}", _block_arrays(block, moved))
    if f._scorer is not None and f._scores is not None:
        arrays |= _under("scorer", f._scorer.to_arrays())
        scores = f._scores if values else f._scores.newest(NEWEST)
        arrays |= {"above": scores.above, "below": scores.below, "kind": scores.kind}
    text = np.frombuffer(json.dumps(header).encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, header=text, **arrays)
    return buffer.getvalue()


def restore(f: Forecaster, header: Mapping[str, Any], arrays: Arrays, values: NDArray[np.float64] | None) -> None:
    """Fill the new forecaster ``f`` with what :func:`read` found; ``values``: the history, where it was left out.

    Raises:
        ValueError: a history of another shape, or arrays that are missing.
    """
    history = arrays.get("values", values)
    if history is None or list(history.shape) != list(header["shape"]):
        got = "none" if history is None else list(history.shape)
        raise ValueError(f"saved forecaster: expected its history, {list(header['shape'])}, got {got}")
    f._values = np.where(np.isfinite(history), history, np.nan)
    f._end, f._learned_to = int(header["end"]), arrays["learned_to"]
    f._regimes = Regimes(**{name: arrays[f"regimes/{name}"] for name in REGIMES})
    past = f._regimes.levelled(f._values)
    for b, head in enumerate(header["blocks"]):
        rows = arrays[f"block/{b}/rows"]
        near = within_history(f.grid, int(head["fitted"]))
        terms = Terms(f.step, f.seasons, f.seed, near, int(head["fitted"]), f.members)
        f._blocks.append((rows, _block(terms, head, _of(f"block/{b}", arrays), past[rows])))
    if "above" in arrays:
        f._scorer = AnomalyScorer.from_arrays(_of("scorer", arrays))
        f._scores = Scores(arrays["above"], arrays["below"], arrays["kind"])


def read(data: bytes) -> tuple[dict[str, Any], Arrays]:
    """Header and arrays of saved bytes.

    Raises:
        ValueError: other bytes, damaged ones, or those of another version.
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        header = json.loads(arrays.pop("header").tobytes())
        kind, version = header["format"], header["version"]
    except Exception as error:  # zipfile, zlib, numpy and json each raise their own
        raise ValueError(f"saved forecaster: expected the bytes of one, got {len(data)} others ({error})") from error
    if (kind, version) != (FORMAT, VERSION):
        raise ValueError(f"saved forecaster: expected {FORMAT} version {VERSION}, got {kind} version {version}")
    return header, arrays


def grid_of(header: Mapping[str, Any]) -> Grid:
    """The grid of a saved forecaster."""
    return Grid(int(header["step"]), tuple(Segment(*map(int, s)) for s in header["grid"]))


def _block_header(block: Block) -> dict[str, Any]:
    return {
        "fitted": block.terms.fitted,
        "members": [[m.name for m in c.members] for c in block.combinations],
    }


def _block_arrays(b: Block, moved: bool) -> Arrays:
    out: Arrays = {"centre": b.about.centre, "history": b.about.history, "found": b.about.found}
    out |= {f"window/{width}": w for width, w in b.about.windows.items()}
    for s, c in enumerate(b.combinations):
        out[f"weights/{s}"] = c.weights
        for member, fitted in zip(c.members, c.fitted, strict=True):
            out |= _under(f"fitted/{s}/{member.name}", fitted)
    out |= {f"library/{name}": getattr(b.library, name) for name in LIBRARY}
    if b.reference is not None:
        out |= {f"reference/{name}": getattr(b.reference, name) for name in REFERENCE}
    out["examples"] = np.array([len(one.at) for one in b.past])
    out["example_at"] = np.concatenate([one.at for one in b.past])
    out["example_centre"] = np.concatenate([one.centre for one in b.past])
    if moved:  # the examples are about the history of the fit
        out["learned"] = np.stack([one.y for one in b.past])
    return out


def _block(terms: Terms, head: Mapping[str, Any], a: Arrays, values: NDArray[np.float64]) -> Block:
    windows = {int(width): w for width, w in _of("window", a).items()}
    about = About(a["centre"], a["history"], a["found"], windows)
    combinations = []
    for s, names in enumerate(head["members"]):
        members = tuple((MEMBERS | REFERENCE_MEMBERS)[name] for name in names)
        fitted = tuple(_of(f"fitted/{s}/{name}", a) for name in names)
        combinations.append(Combination(members, fitted, a[f"weights/{s}"]))
    library = PathLibrary(**{name: a[f"library/{name}"] for name in LIBRARY})
    reference = None
    if f"reference/{REFERENCE[0]}" in a:
        reference = RampReference(**{name: a[f"reference/{name}"] for name in REFERENCE})
    learned = a["learned"] if "learned" in a else values - about.centre
    ends = np.cumsum(a["examples"])
    past = []
    for i, end in enumerate(ends):
        mine = slice(end - a["examples"][i], end)
        level, at, centre = float(about.centre[i, 0]), a["example_at"][mine], a["example_centre"][mine]
        past.append(Past(level, learned[i], centre, at, library.residuals[i], library.origins[i]))
    return Block(terms, about, tuple(combinations), library, reference, tuple(past))


def _under(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> Arrays:
    return {f"{prefix}/{name}": array for name, array in arrays.items()}


def _of(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> Arrays:
    start = len(prefix) + 1
    return {name[start:]: array for name, array in arrays.items() if name.startswith(prefix + "/")}

"""The benchmark in one command: compare, measure scaling, write docs/benchmarks.md and docs/images/scaling.png.

    python -m bench [--quick [--write]]

--quick takes few series and origins and prints instead of writing, unless --write says otherwise.
"""

from __future__ import annotations

import argparse

from bench.compare import LIMIT_SECONDS, ROOT, chosen, compare
from bench.methods.registry import METHODS
from bench.report import report
from bench.scaling import LIMIT_SECONDS as POINT_SECONDS
from bench.scaling import draw, run
from bench.series import panels


def main() -> None:
    """Measure everything and write the document."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="few series and origins; print, write nothing")
    parser.add_argument("--write", action="store_true", help="write the document of a quick run too; it says so")
    parser.add_argument("--methods", default=",".join(METHODS), help="names, separated by commas; default: all")
    parser.add_argument("--limit", type=float, default=LIMIT_SECONDS, help="seconds for one method")
    parser.add_argument("--point-limit", type=float, default=POINT_SECONDS, help="seconds for one point of scaling")
    args = parser.parse_args()
    asked = panels(args.quick)
    found, scores = compare(chosen(args.methods), [b for p in asked for b in p.blocks()], limit=args.limit)
    scaling = run(args.quick, args.point_limit)
    text = report(asked, found, scores, scaling, args.quick)
    if args.quick and not args.write:
        print(text)
        return
    draw(scaling, ROOT / "docs" / "images" / "scaling.png")
    (ROOT / "docs" / "benchmarks.md").write_text(text)
    print("wrote docs/benchmarks.md and docs/images/scaling.png")


if __name__ == "__main__":
    main()

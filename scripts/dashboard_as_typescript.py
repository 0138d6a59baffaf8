"""Print a dashboard as TypeScript that compiles only where it is what Grafana's types say."""

from __future__ import annotations

import sys
from pathlib import Path

text = Path(sys.argv[1]).read_text(encoding="utf-8")
print(f"import type {{ Written }} from './types.js';\nexport const dashboard: Written = {text.rstrip()};")

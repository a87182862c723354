"""Writes src/image/colourmaps_data.ts: the listed values of viridis, magma, inferno and cividis of matplotlib (CC0)."""

import base64
from pathlib import Path

import matplotlib
import numpy as np

NAMES = ("Viridis", "Magma", "Inferno", "Cividis")

lines = [
    "// Made by colourmaps.py: 256 times red, green, blue of matplotlib's maps, which are CC0.",
    "",
    "export const LISTED: Record<string, string> = {",
]
for name in NAMES:
    colours = np.round(np.array(matplotlib.colormaps[name.lower()].colors) * 255).astype(np.uint8)
    text = base64.b64encode(colours.tobytes()).decode()
    lines.append(f"  {name}:")
    parts = [text[at : at + 108] for at in range(0, len(text), 108)]
    lines.extend(f"    '{part}'{' +' if part is not parts[-1] else ','}" for part in parts)
lines.append("};\n")
(Path(__file__).parent / "src/image/colourmaps_data.ts").write_text("\n".join(lines))

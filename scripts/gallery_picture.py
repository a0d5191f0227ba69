"""Writes a picture at half its size with as many colors as 60 kB hold: `python3 gallery_picture.py FROM.png TO.png`."""

import sys
from pathlib import Path

from PIL import Image

MOST_BYTES = 60_000

picture = Image.open(sys.argv[1]).convert("RGB")
picture = picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.LANCZOS)
for colors in [256, 128, 64, 32, 16]:
    picture.quantize(colors, dither=Image.Dither.NONE).save(sys.argv[2], optimize=True)
    if Path(sys.argv[2]).stat().st_size <= MOST_BYTES:
        break
else:
    sys.exit(f"{sys.argv[1]} takes more than {MOST_BYTES} bytes")

"""Makes the fonts beside this file from Inter: Latin, Greek and Cyrillic letters, arrows and signs of mathematics.

    apt-get download fonts-inter && dpkg-deb -x fonts-inter_*.deb inter      (Debian 12: 4.0~beta7+ds-1)
    pip install fonttools                                                    (4.x)
    python subset.py inter/usr/share/fonts/opentype/inter

Kerning and alternate letters are left out, so that a text is as wide as its letters together.
"""

import sys
from pathlib import Path

from fontTools import subset

RANGES = [
    (0x20, 0x7E),  # ASCII
    (0xA0, 0x17F),  # Latin-1, Latin Extended-A
    (0x1CD, 0x1DC),  # Pinyin
    (0x218, 0x21B),  # Romanian
    (0x2BB, 0x2BC),  # apostrophes of Hawaiian, Ukrainian
    (0x2C6, 0x2DD),  # accents that stand alone
    (0x300, 0x30C),  # accents that combine
    (0x323, 0x328),
    (0x384, 0x3CE),  # Greek
    (0x3D5, 0x3D5),
    (0x400, 0x45F),  # Cyrillic
    (0x48A, 0x4FF),  # Cyrillic of Kazakh, Tatar and others
    (0x1E80, 0x1E85),  # Welsh
    (0x1EA0, 0x1EF9),  # Vietnamese
    (0x2010, 0x2027),  # dashes, quotation marks
    (0x2030, 0x203A),
    (0x2044, 0x2044),
    (0x2070, 0x208E),  # superscripts, subscripts
    (0x20AC, 0x20AC),  # euro
    (0x2116, 0x2122),
    (0x2190, 0x2195),  # arrows
    (0x2200, 0x2265),  # mathematics
    (0x25A0, 0x25CF),  # shapes
    (0x2713, 0x2717),
]

here = Path(__file__).parent
source = Path(sys.argv[1])
for name in ["Inter-Regular", "Inter-SemiBold"]:
    options = subset.Options(
        layout_features=["ccmp", "locl", "mark", "mkmk"], hinting=False, desubroutinize=False, notdef_outline=True,
        name_IDs=[1, 2, 3, 4, 5, 6, 13, 14, 16, 17], name_languages=[0x409], glyph_names=False,
    )
    font = subset.load_font(source / f"{name}.otf", options)
    maker = subset.Subsetter(options)
    maker.populate(unicodes=[code for first, last in RANGES for code in range(first, last + 1)])
    maker.subset(font)
    subset.save_font(font, here / f"{name}.otf", options)
    print(name, (here / f"{name}.otf").stat().st_size)

"""A geometry file that several tests read."""

from __future__ import annotations

import pytest

TWO_PANELS = """\
; a detector of two panels
clen = 80 mm
photon_energy = 9.5 keV      ; as set
adu_per_photon = 2
res = 10000
data = /entry/data/data
dim0 = %
dim1 = ss
dim2 = fs
mask = /entry/instrument/detector/pixel_mask
mask_good = 0x0
mask_bad = 0xffff
group_all = p0,p1
rigid_group_q = p0, p1
flag_equal = 65535
flag_equal = -1
flag_morethan = 60000

p0/min_fs = 0
p0/max_fs = 9
p0/min_ss = 0
p0/max_ss = 4
p0/corner_x = -5.5
p0/corner_y = 6.25
p0/fs = +0.999x -0.01y
p0/ss = -0.01x-0.999y + 0.002z
p0/coffset = 0.001

res = 5000
p1/min_fs = 2
p1/max_fs = 8
p1/min_ss = 5
p1/max_ss = 9
p1/corner_x = 1
p1/corner_y = -2
p1/fs = x
p1/ss = -y
p1/no_index = 1

badbeam/min_x = -2
badbeam/max_x = +2
badbeam/min_y = -3.5
badbeam/max_y = 3.5
bad_row/min_fs = 0
bad_row/max_fs = 9
bad_row/min_ss = 3
bad_row/max_ss = 3
bad_row/panel = p0
"""


@pytest.fixture
def two_panels() -> str:
    """A detector of two panels, with everything that a file may say."""
    return TWO_PANELS

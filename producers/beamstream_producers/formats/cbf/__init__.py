"""CBF files as PILATUS detectors write them: bytes in, images out, and back.

| module           | what                                                                       |
|------------------|----------------------------------------------------------------------------|
| `image`          | the layout: header, binary section, pixels in place; MD5                   |
| `binary_section` | the MIME header: sizes, type and packing of the pixels                     |
| `mini_header`    | the detector's own header, by position                                     |
| `times`          | its time stamps                                                            |
| `nexus`          | stream metadata of the first image, message metadata of each               |
| `encoding`       | files, for the simulator and for tests                                     |

References
----------
Crystallographic Binary File, CBFlib manual; DECTRIS, «PILATUS mini-CBF header».
"""

from .encoding import CONVENTIONS, encode
from .errors import (
    CbfDigestError,
    CbfEncodingError,
    CbfError,
    CbfFieldError,
    CbfLimitError,
    CbfSizeError,
    IncompleteCbfError,
    NotCbfError,
)
from .image import CbfImage, decode
from .mini_header import MiniHeader
from .nexus import image_metadata, stream_metadata, timestamp_ns

__all__ = [
    "CONVENTIONS",
    "CbfDigestError",
    "CbfEncodingError",
    "CbfError",
    "CbfFieldError",
    "CbfImage",
    "CbfLimitError",
    "CbfSizeError",
    "IncompleteCbfError",
    "MiniHeader",
    "NotCbfError",
    "decode",
    "encode",
    "image_metadata",
    "stream_metadata",
    "timestamp_ns",
]

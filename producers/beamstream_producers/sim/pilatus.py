"""A PILATUS that takes a scan: CBF files that come into a folder, as a camserver writes them.

Files are written under another name and renamed; with `slow_writer` under their own, piece by piece, so that whoever
watches sees halves of them.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from beamstream import codecs
from beamstream.errors import UsageError
from beamstream.stop import StopFlag
from beamstream_producers.formats import cbf

from .images.pilatus import COUNT_CUTOFF, MODELS, PIXEL_SIZE_M, PilatusImages
from .options import OptionError

POOL_IMAGES = 4
"""Distinct images; they are dealt in turn, as making one takes longer than any detector gives."""

PIECES = 8
"""In how many pieces a slow writer writes."""

SLOW_S = 0.2
"""How long a slow writer takes for a file [s]."""

TEMPORARY = ".part"
"""What a file's name ends with until it is whole."""

DTYPE = np.dtype("<i4")


class FolderWriteError(UsageError):
    """A folder that a simulated detector cannot write to."""

    def __init__(self, folder: Path, reason: str) -> None:
        self.folder = folder
        super().__init__(f"cannot write to {folder}: {reason}; name another folder, or make room")


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedPilatusOptions:
    """A scan.

    Attributes
    ----------
    size : str
        Model: 300k, 1M or 6M.
    base : str
        Name of the scan; files are ``base_00001.cbf``.
    start_number : int
        Number of the first file.
    n_frames : int
        How many files.
    rate_hz : float
        Files per second; 0 for as many as go.
    seed : int
        Pixels follow from it.
    slow_writer : bool
        Write files in place, in pieces.
    start_angle_deg, increment_deg : float
        What the headers say about the rotation [degrees].

    Raises
    ------
    OptionError
        If a number is out of range.
    """

    size: str = "300k"
    base: str = "test"
    start_number: int = 1
    n_frames: int = 100
    rate_hz: float = 10.0
    seed: int = 0
    slow_writer: bool = False
    start_angle_deg: float = 0.0
    increment_deg: float = 0.1

    def __post_init__(self) -> None:
        for name, least in (("start_number", 0), ("n_frames", 1), ("rate_hz", 0), ("seed", 0)):
            if (value := getattr(self, name)) < least:
                raise OptionError(name, value, f"at least {least}")


class SimulatedPilatus:
    """Takes scans.

    Parameters
    ----------
    folder : path
        Where files come; made if it is not there.
    options : SimulatedPilatusOptions
        What they are.

    Raises
    ------
    FolderWriteError
        If the folder cannot be made.
    """

    def __init__(self, folder: Path, options: SimulatedPilatusOptions) -> None:
        self.folder = folder
        self.options = options
        self.model = MODELS[options.size]
        self.n_written = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FolderWriteError(folder, error.strerror or str(error)) from error
        images = PilatusImages(self.model, options.seed)
        self._n_bad = images.n_bad
        n_distinct = min(POOL_IMAGES, options.n_frames)
        self._payloads = [bytes(codecs.encode(images.make(index), "byte-offset")) for index in range(n_distinct)]

    def run(self, stop: StopFlag) -> None:
        """Write the files of one scan, at their rate, until they are written or `stop` is set.

        Raises
        ------
        FolderWriteError
            If a file cannot be written.
        """
        begin_s = time.monotonic()
        for index in range(self.options.n_frames):
            due_s = begin_s + index / self.options.rate_hz if self.options.rate_hz else begin_s
            if stop.is_set() or stop.wait(max(0.0, due_s - time.monotonic())):
                return
            try:
                self._write(self.folder / self.file_name(index), self.file_bytes(index), stop)
            except OSError as error:
                raise FolderWriteError(self.folder, error.strerror or str(error)) from error
            self.n_written += 1

    def file_name(self, index: int) -> str:
        """Return the name of file `index`, from 0."""
        return f"{self.options.base}_{self.options.start_number + index:05d}.cbf"

    def file_bytes(self, index: int) -> bytes:
        """Return the bytes of file `index`, as if it were taken now."""
        name = self.file_name(index)
        return cbf.encode(
            self._payloads[index % len(self._payloads)],
            shape=self.model.shape,
            dtype=DTYPE,
            codec="byte-offset",
            lines=self._header(index),
            block=name.removesuffix(".cbf"),
        )

    def _write(self, path: Path, data: bytes, stop: StopFlag) -> None:
        if not self.options.slow_writer:
            temporary = path.with_name(path.name + TEMPORARY)
            temporary.write_bytes(data)
            temporary.rename(path)
            return
        step = -(-len(data) // PIECES)
        with path.open("wb", buffering=0) as file:
            for at in range(0, len(data), step):
                file.write(data[at : at + step])
                stop.wait(SLOW_S / PIECES)

    def _header(self, index: int) -> list[str]:
        """Return the lines of a camserver's header."""
        options, model = self.options, self.model
        period_s = 1 / (options.rate_hz or 100.0)
        angle_deg = options.start_angle_deg + index * options.increment_deg
        return [
            f"Detector: {model.description}, S/N {model.serial}, simulated",
            datetime.now().isoformat(timespec="milliseconds"),
            f"Pixel_size {PIXEL_SIZE_M * 1e6:.0f}e-6 m x {PIXEL_SIZE_M * 1e6:.0f}e-6 m",
            "Silicon sensor, thickness 0.000450 m",
            f"Exposure_time {period_s * 0.9:.7f} s",
            f"Exposure_period {period_s:.7f} s",
            "Tau = 0 s",
            f"Count_cutoff {COUNT_CUTOFF} counts",
            "Threshold_setting: 6331 eV",
            "Gain_setting: autog (vrf = 1.000)",
            f"N_excluded_pixels = {self._n_bad}",
            "Excluded_pixels: badpix_mask.tif",
            "Flat_field: (nil)",
            "Trim_file: simulated.bin",
            f"Image_path: {self.folder}/",
            "Wavelength 0.97920 A",
            "Energy_range (0, 0) eV",
            "Detector_distance 0.20000 m",
            "Detector_Voffset 0.00000 m",
            f"Beam_xy ({model.beam_center[1]:.2f}, {model.beam_center[0]:.2f}) pixels",
            "Flux 0.000000",
            "Filter_transmission 1.0000",
            f"Start_angle {angle_deg:.4f} deg.",
            f"Angle_increment {options.increment_deg:.4f} deg.",
            "Detector_2theta 0.0000 deg.",
            "Polarization 0.990",
            f"Omega {angle_deg:.4f} deg.",
            f"Omega_increment {options.increment_deg:.4f} deg.",
            "Oscillation_axis OMEGA",
        ]

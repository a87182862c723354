"""What the stream of a series is called.

A template is checked when the service starts, not when the first series arrives. Names that were used before
in this run get a number (`series_00001_2`): a detector that was restarted counts its series from 1 again.

Several channels (v2: thresholds and their difference) become several streams. They share exposure and image
id but neither mask nor threshold energy, each is a complete series of frames of its own, and a reader of one
threshold should not have to fetch the others' bytes; a message holding all of them would be no frame. The
first channel keeps the plain name, so that most people never see this.
"""

from __future__ import annotations

import re
import string

from beamstream.address import check_name
from beamstream.errors import AddressError, UsageError
from beamstream_producers.formats.simplon import Start
from beamstream_producers.formats.simplon.fields import MAX_ID

DEFAULT_TEMPLATE = "series_{series_id:05d}"

MAX_UNIQUE_ID_CHARACTERS = 40
"""How much of a series' unique id goes into a name [characters]; a ULID has 26."""

_FIELDS = ("series_id", "unique_id")
_LONGEST_SUFFIX = "_threshold_1_999999"
_FOREIGN = re.compile(r"\W", re.ASCII)


class StreamTemplate:
    """Names streams after series.

    Parameters
    ----------
    text : str
        With the fields ``{series_id}`` and ``{unique_id}`` of `str.format`; stream v1 has no unique id, there
        the series id stands for it. A text without fields is fine for a single series.

    Raises
    ------
    UsageError
        If it has other fields, is no format at all, or makes names that no stream can have.

    Examples
    --------
    >>> StreamTemplate("run_{series_id:03d}").name(Start(version=1, series_id=7))
    'run_007'
    """

    def __init__(self, text: str = DEFAULT_TEMPLATE) -> None:
        self.text = text
        try:
            fields = [(name, spec) for _, name, spec, _ in string.Formatter().parse(text) if name is not None]
        except ValueError as error:
            raise self._refuse(str(error)) from None
        for name, spec in fields:
            if name not in _FIELDS or "{" in (spec or ""):
                raise self._refuse(f"unknown field {name!r}" if name not in _FIELDS else "a field within a field")
        try:
            longest = self._format(MAX_ID, "0" * MAX_UNIQUE_ID_CHARACTERS)
            check_name(longest, "stream", longest)
            check_name(longest + _LONGEST_SUFFIX, "stream", longest)
        except (ValueError, AddressError) as error:
            raise self._refuse(str(error)) from None

    def name(self, start: Start) -> str:
        """Return the name of a series' first stream."""
        unique_id = start.series_unique_id or str(start.series_id)
        return self._format(start.series_id, _FOREIGN.sub("_", unique_id)[:MAX_UNIQUE_ID_CHARACTERS])

    def _format(self, series_id: int, unique_id: str) -> str:
        return self.text.format(series_id=series_id, unique_id=unique_id)

    def _refuse(self, reason: str) -> UsageError:
        known = f"it may use {{series_id}} and {{unique_id}}, e.g. {DEFAULT_TEMPLATE}"
        return UsageError(f"stream template {self.text!r}: {reason}; {known}")


class StreamNames:
    """Gives each series of a run names that no other has."""

    def __init__(self, template: StreamTemplate) -> None:
        self._template = template
        self._n_uses: dict[str, int] = {}

    def take(self, start: Start) -> dict[str, str]:
        """Return the stream's name of each channel of a series."""
        plain = self._template.name(start)
        self._n_uses[plain] = n_uses = self._n_uses.get(plain, 0) + 1
        number = "" if n_uses == 1 else f"_{n_uses}"
        first, *others = start.channels
        return {first: plain + number} | {channel: f"{plain}_{channel}{number}" for channel in others}

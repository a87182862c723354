"""What a connector does with each message, as a table: (where it is, what came) -> (where it goes, what it does).

Inputs are seen from the open series, so not every one can come in every state; those that can are all here.
What is not used is counted under the name in `ignored`, what is held, if it was held in vain.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


class State(Enum):
    """Where the machine is."""

    IDLE = "no series is open"
    OPEN = "a series is open"
    ENDING = "its end has come, images are missing"


class Input(Enum):
    """What came."""

    HEADER = "header of another series"
    HEADER_AGAIN = "header of the open series, by its unique id, or as no image came in between"
    HEADER_TOO_MANY = "header after the last series that was asked for"
    IMAGE = "image of the open series"
    COMPLETING_IMAGE = "image of the open series, after which none is missing"
    IMAGE_AGAIN = "image that is already here"
    IMAGE_IMPLAUSIBLE = "image with an id far beyond all others"
    IMAGE_OF_NO_CHANNEL = "image without any of the channels that the header names"
    IMAGE_OF_LAST = "image of the series before, which is closed"
    IMAGE_ELSEWHERE = "image of a series whose header never came"
    END = "end of the open series, no image is missing"
    EARLY_END = "end of the open series, images are missing"
    END_AGAIN = "end of a series that has ended"
    END_ELSEWHERE = "end of a series whose header never came"
    GRACE_OVER = "the time for images after the end is over"
    STOP = "the service stops"


class Action(Enum):
    """What is done."""

    NOTHING = "nothing"
    HOLD = "keep the message for a while: its header may come, or be known to another connector"
    OPEN = "open the streams of the series"
    REPLACE = "close the open series, open the next"
    DELIVER = "deliver the image"
    DELIVER_AND_CLOSE = "deliver the image, close the series"
    WAIT = "give the missing images some time"
    CLOSE = "close the series"


@dataclass(frozen=True, slots=True)
class Step:
    """What is done and where it leads; `ignored` names the counter of a message that is not used."""

    state: State
    action: Action = Action.NOTHING
    ignored: str = ""


TRANSITIONS: Mapping[tuple[State, Input], Step] = {
    (State.IDLE, Input.HEADER): Step(State.OPEN, Action.OPEN),
    (State.IDLE, Input.HEADER_TOO_MANY): Step(State.IDLE, ignored="header_too_many"),
    (State.IDLE, Input.IMAGE_OF_LAST): Step(State.IDLE, ignored="image_after_end"),
    (State.IDLE, Input.IMAGE_ELSEWHERE): Step(State.IDLE, Action.HOLD, "image_without_header"),
    (State.IDLE, Input.END_AGAIN): Step(State.IDLE, ignored="end_repeated"),
    (State.IDLE, Input.END_ELSEWHERE): Step(State.IDLE, Action.HOLD, "end_without_header"),
    (State.IDLE, Input.STOP): Step(State.IDLE),
    (State.OPEN, Input.HEADER): Step(State.OPEN, Action.REPLACE),
    (State.OPEN, Input.HEADER_AGAIN): Step(State.OPEN, ignored="header_repeated"),
    (State.OPEN, Input.HEADER_TOO_MANY): Step(State.IDLE, Action.CLOSE, ignored="header_too_many"),
    (State.OPEN, Input.IMAGE): Step(State.OPEN, Action.DELIVER),
    (State.OPEN, Input.COMPLETING_IMAGE): Step(State.OPEN, Action.DELIVER),
    (State.OPEN, Input.IMAGE_AGAIN): Step(State.OPEN, ignored="image_repeated"),
    (State.OPEN, Input.IMAGE_IMPLAUSIBLE): Step(State.OPEN, ignored="image_implausible"),
    (State.OPEN, Input.IMAGE_OF_NO_CHANNEL): Step(State.OPEN, ignored="image_of_no_channel"),
    (State.OPEN, Input.IMAGE_OF_LAST): Step(State.OPEN, ignored="image_after_end"),
    (State.OPEN, Input.IMAGE_ELSEWHERE): Step(State.OPEN, Action.HOLD, "image_without_header"),
    (State.OPEN, Input.END): Step(State.IDLE, Action.CLOSE),
    (State.OPEN, Input.EARLY_END): Step(State.ENDING, Action.WAIT),
    (State.OPEN, Input.END_AGAIN): Step(State.OPEN, ignored="end_repeated"),
    (State.OPEN, Input.END_ELSEWHERE): Step(State.OPEN, Action.HOLD, "end_without_header"),
    (State.OPEN, Input.STOP): Step(State.IDLE, Action.CLOSE),
    (State.ENDING, Input.HEADER): Step(State.OPEN, Action.REPLACE),
    (State.ENDING, Input.HEADER_AGAIN): Step(State.ENDING, ignored="header_repeated"),
    (State.ENDING, Input.HEADER_TOO_MANY): Step(State.IDLE, Action.CLOSE, ignored="header_too_many"),
    (State.ENDING, Input.IMAGE): Step(State.ENDING, Action.DELIVER),
    (State.ENDING, Input.COMPLETING_IMAGE): Step(State.IDLE, Action.DELIVER_AND_CLOSE),
    (State.ENDING, Input.IMAGE_AGAIN): Step(State.ENDING, ignored="image_repeated"),
    (State.ENDING, Input.IMAGE_IMPLAUSIBLE): Step(State.ENDING, ignored="image_implausible"),
    (State.ENDING, Input.IMAGE_OF_NO_CHANNEL): Step(State.ENDING, ignored="image_of_no_channel"),
    (State.ENDING, Input.IMAGE_OF_LAST): Step(State.ENDING, ignored="image_after_end"),
    (State.ENDING, Input.IMAGE_ELSEWHERE): Step(State.ENDING, Action.HOLD, "image_without_header"),
    (State.ENDING, Input.END_AGAIN): Step(State.ENDING, ignored="end_repeated"),
    (State.ENDING, Input.END_ELSEWHERE): Step(State.ENDING, Action.HOLD, "end_without_header"),
    (State.ENDING, Input.GRACE_OVER): Step(State.IDLE, Action.CLOSE),
    (State.ENDING, Input.STOP): Step(State.IDLE, Action.CLOSE),
}

IGNORED_BECAUSE: Mapping[str, str] = {
    "header_too_many": "a series after the last one that was asked for",
    "header_repeated": "the header of the open series came again",
    "image_without_header": (
        "its header never came: the connector was started after arm, or another client of the detector's stream "
        "got the header (each message goes to one client only)"
    ),
    "image_after_end": "its series is closed already",
    "image_repeated": "an image with this id is already here",
    "image_implausible": "its id is far beyond what the series promised",
    "image_of_no_channel": "it has none of the channels that its header names",
    "end_repeated": "its series has ended already",
    "end_without_header": "its header never came",
}
"""Why a message is not used, in words for the log."""

"""The service loop: what every producer and consumer process shares."""

from .consume import run_handler
from .function import FunctionProcessor, outputs
from .handler import Commits, Handler, StreamEnd, StreamStart
from .processing import ProcessorHandler
from .processor import Output, Processor, Result, Results, derived_address
from .produce import run_source
from .progress import Progress
from .reducer import Reducer, run_reducer
from .run import run_processor
from .shell import Shell, service_shell
from .source import Declined, Event, Measured, Produced, Source, StreamClosed, StreamLeft, StreamOpened
from .upkeep import Upkeep, parse_upkeep

__all__ = [
    "Commits",
    "Declined",
    "Event",
    "FunctionProcessor",
    "Handler",
    "Measured",
    "Output",
    "Processor",
    "ProcessorHandler",
    "Produced",
    "Progress",
    "Reducer",
    "Result",
    "Results",
    "Shell",
    "Source",
    "StreamClosed",
    "StreamEnd",
    "StreamLeft",
    "StreamOpened",
    "StreamStart",
    "Upkeep",
    "derived_address",
    "outputs",
    "parse_upkeep",
    "run_handler",
    "run_processor",
    "run_reducer",
    "run_source",
    "service_shell",
]

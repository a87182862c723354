"""The service loop: what every producer and consumer process shares."""

from .consuming.consume import run_handler
from .consuming.handler import Commits, Handler, StreamEnd, StreamStart
from .consuming.intake import Intake
from .processing.function import FunctionProcessor, outputs
from .processing.handler import ProcessorHandler
from .processing.processor import Output, Processor, Result, Results, derived_address
from .processing.run import run_processor
from .producing.produce import run_source
from .producing.source import Declined, Event, Measured, Produced, Source, StreamClosed, StreamLeft, StreamOpened
from .producing.upkeep import Upkeep, parse_upkeep
from .progress import Progress
from .reducing.reducer import Reducer, run_reducer
from .shell import Shell, service_shell

__all__ = [
    "Commits",
    "Declined",
    "Event",
    "FunctionProcessor",
    "Handler",
    "Intake",
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

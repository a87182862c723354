"""An EIGER made by others: the one of `tickit-devices`, on free ports of this machine, as a process of its own.

Started by `test_tickit.py` in an environment of its own. Says where it listens in one line of JSON, and ends with
its standard input, so that it never outlives the tests. Device, stream encoders and REST interface are tickit's,
untouched; only the push sockets are bound here, as tickit's own take no free port.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable

import aiozmq
import zmq
from tickit.adapters.io import HttpIo, ZeroMqPushIo
from tickit.core.adapter import AdapterContainer
from tickit.core.components.device_component import DeviceComponent
from tickit.core.management.event_router import InverseWiring
from tickit.core.management.schedulers.master import MasterScheduler
from tickit.core.simulation import TickitSimulation
from tickit.core.state_interfaces.state_interface import get_interface
from tickit_devices.eiger.eiger import EigerDevice
from tickit_devices.eiger.eiger_adapters import EigerRESTAdapter, EigerZMQAdapter

HOST = "127.0.0.1"
NAME = "eiger"
BACKEND = "internal"
READY_TIMEOUT_S = 30.0  # tickit's own second is short on a busy machine


def push_socket(endpoint: asyncio.Future[str]) -> Callable[[str, int], Awaitable[aiozmq.ZmqStream]]:
    """Return what makes a push socket and tells its endpoint."""

    async def make(host: str, port: int) -> aiozmq.ZmqStream:
        stream = await aiozmq.create_zmq_stream(zmq.PUSH, bind=f"tcp://{host}:{port}")
        stream.transport.setsockopt(zmq.LINGER, 0)  # what nobody took does not keep the process
        endpoint.set_result(next(iter(stream.transport.bindings())))
        return stream

    return make


async def main() -> None:
    """Run the detector until standard input ends."""
    device = EigerDevice()
    loop = asyncio.get_running_loop()
    endpoints: dict[str, asyncio.Future[str]] = {format_: loop.create_future() for format_ in device.streams}
    rest = HttpIo(HOST, 0)
    adapters = [AdapterContainer(EigerRESTAdapter(device), rest)]
    for format_, stream in device.streams.items():
        push = ZeroMqPushIo(HOST, 0, socket_factory=push_socket(endpoints[format_]))
        adapters.append(AdapterContainer(EigerZMQAdapter(stream), push))
    component = DeviceComponent(name=NAME, device=device, adapters=adapters)
    scheduler = MasterScheduler(InverseWiring({NAME: {}}), *get_interface(BACKEND))
    running = asyncio.create_task(TickitSimulation(BACKEND, scheduler, {NAME: component}).run())
    told = {format_: await endpoint for format_, endpoint in endpoints.items()}
    await rest.wait_until_ready(READY_TIMEOUT_S)
    print(json.dumps({"rest": rest.site.name, **told}), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    running.cancel()


if __name__ == "__main__":
    asyncio.run(main())

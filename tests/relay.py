"""A link in user space between a mirror and its centre: it counts, delays, throttles, stalls and cuts.

    relay = Relay("127.0.0.1:9092")        # listens on relay.port
    relay.rate, relay.delay = 2_500_000, 0.05      # bytes per second and seconds, each way
    relay.stall(True)                      # takes nothing more, says nothing: a black hole
    relay.cut() / relay.mend()             # ends every connection and refuses new ones
    relay.arm("hold")                      # what happens to the next produce request, see ACTIONS

Shaping stands in front of the socket to the receiver: what has left may be in a queue of QUEUE_CHUNKS.
"""

import asyncio
import contextlib
import struct
import threading
import time

from broker_process import free_port

CHUNK_BYTES = 16 << 10
# Enough for 20 Mbit/s with 100 ms on the way; what is more stays in the sender's socket.
QUEUE_CHUNKS = 32
PRODUCE = 0
# Of an armed produce request: its answer is held back; it is lost; only its beginning arrives; it
# arrives and so does its answer; it is kept in `late`, to be sent to the centre later by the test.
# Nothing follows what is lost or kept on its connection.
ACTIONS = ("hold", "drop", "part", "pass", "late")


class Relay:
    """One listening port and the way behind it."""

    def __init__(self, target, rate=None, delay=0.0):
        host, port = target.rsplit(":", 1)
        self.target = (host, int(port))
        self.port = free_port()
        self.rate = rate
        self.delay = delay
        self.to_centre_bytes = 0
        self.from_centre_bytes = 0
        self.connections = 0
        # Requests that a late copy was kept of, as frames with their length prefix.
        self.late = []
        self.seen = threading.Event()
        self.answered = threading.Event()
        self._action = None
        self._is_stalled = False
        self._is_cut = False
        self._free_at = [0.0, 0.0]
        self._writers = set()
        self._tasks = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._call(self._listen())

    @property
    def bootstrap(self):
        return f"127.0.0.1:{self.port}"

    def arm(self, action):
        """The next produce request meets this; `seen` is set then."""
        assert action in ACTIONS, action
        self.seen.clear()
        self.answered.clear()
        self._action = action

    def stall(self, is_stalled):
        self._is_stalled = is_stalled

    def cut(self):
        self._is_cut = True
        self._call(self._drop_all())

    def mend(self):
        self._is_cut = False

    def close(self):
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    def _call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _listen(self):
        # A small receive buffer: what the link cannot carry shall wait at the sender.
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, limit=CHUNK_BYTES)

    async def _end(self):
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _drop_all(self):
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader, writer):
        self._tasks.add(asyncio.current_task())
        asyncio.current_task().add_done_callback(self._tasks.discard)
        if self._is_cut:
            writer.transport.abort()
            return
        self._writers.add(writer)
        there = None
        try:
            back, there = await asyncio.open_connection(*self.target, limit=CHUNK_BYTES)
            self._writers.add(there)
            self.connections += 1
            way = Connection(self)
            tasks = [asyncio.ensure_future(way.carry(0, reader, there)),
                     asyncio.ensure_future(way.carry(1, back, writer))]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            # Cancelled by `close` only; asyncio complains of streams whose task says so.
            pass
        finally:
            for one in (writer, there):
                if one is not None:
                    self._writers.discard(one)
                    one.transport.abort()

    def _take_action(self):
        action, self._action = self._action, None
        return action

    def _departure(self, way, size):
        """When the last of these bytes has left a link of this rate."""
        start = max(time.monotonic(), self._free_at[way])
        self._free_at[way] = start + (size / self.rate if self.rate else 0)
        return self._free_at[way]


class Connection:
    """Both ways of one connection; way 0 leads to the centre."""

    def __init__(self, relay):
        self.relay = relay
        self.is_held = False
        self.is_lost = False

    async def carry(self, way, reader, writer):
        queue = asyncio.Queue(QUEUE_CHUNKS)
        sending = asyncio.ensure_future(self._send(queue, writer))
        requests = Requests(self)
        try:
            while True:
                data = await reader.read(CHUNK_BYTES)
                if not data:
                    return
                while self.relay._is_stalled:
                    await asyncio.sleep(0.01)
                if way == 0:
                    data = requests.filter(data)
                elif self.is_held:
                    self.relay.answered.set()
                    data = b""
                if data:
                    due = self.relay._departure(way, len(data)) + self.relay.delay
                    await queue.put((due, data))
                    self._count(way, len(data))
        except OSError:
            return
        finally:
            with contextlib.suppress(Exception):
                if way == 0 or not self.is_held:
                    await asyncio.wait_for(queue.join(), 1)
            sending.cancel()

    def _count(self, way, size):
        if way == 0:
            self.relay.to_centre_bytes += size
        else:
            self.relay.from_centre_bytes += size

    async def _send(self, queue, writer):
        while True:
            due, data = await queue.get()
            pause = due - time.monotonic()
            if pause > 0:
                await asyncio.sleep(pause)
            while self.relay._is_stalled:
                await asyncio.sleep(0.01)
            with contextlib.suppress(OSError):
                writer.write(data)
                await writer.drain()
            queue.task_done()


class Requests:
    """Finds the produce requests in a stream of frames, and does to an armed one what was asked."""

    def __init__(self, connection):
        self.connection = connection
        self.left = 0
        self.head = b""
        self.kept = None

    def filter(self, data):
        out = b""
        while data:
            if self.left == 0:
                taken = data[:6 - len(self.head)]
                self.head += taken
                data = data[len(taken):]
                if len(self.head) < 6:
                    break
                size, key = struct.unpack(">ih", self.head)
                self.left = size - 2
                out += self._begin(key, size)
                self.head = b""
            piece, data = data[:self.left], data[self.left:]
            self.left -= len(piece)
            out += self._piece(piece)
        return out

    def _begin(self, key, size):
        relay, connection = self.connection.relay, self.connection
        action = relay._take_action() if key == PRODUCE and relay._action else None
        if action in ("drop", "part"):
            connection.is_lost = True
        if action == "part":
            relay.seen.set()
            return self.head
        if action == "hold":
            connection.is_held = True
        if action == "late":
            connection.is_lost = True
            self.kept = bytearray()
        elif action:
            relay.seen.set()
        return self._piece(self.head)

    def _piece(self, piece):
        if self.kept is not None:
            self.kept += piece
            if self.left == 0 and len(self.kept) > 6:
                self.connection.relay.late.append(bytes(self.kept))
                self.kept = None
                self.connection.relay.seen.set()
        return b"" if self.connection.is_lost else piece

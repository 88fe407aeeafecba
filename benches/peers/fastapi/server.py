"""A peer for benchmarks: HMAC token, JSON check, 202, batches to RabbitMQ with confirms, on FastAPI, uvicorn and aio-pika.

    python server.py ADDRESS SIGNING_KEY_FILE AMQP_URL

It does what a careful author would: uvloop and httptools, orjson, no access log, a bound on what waits, batches of 100 events,
64 messages in flight.
"""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import sys
import time
import uuid

import aio_pika
import orjson
import uvicorn
from fastapi import FastAPI, Request, Response

ADDRESS, KEYS, AMQP = sys.argv[1:4]
QUEUE = "peer-fastapi.events"
EVENTS_MAX = 65536
BATCH_EVENTS = 100
WINDOW = 64


def decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


with open(KEYS, "rb") as file:
    KEY = decode(orjson.loads(file.read())["keys"][0]["key"])

waiting: asyncio.Queue[tuple[str, str, bytes]] = asyncio.Queue(EVENTS_MAX)
counts = {"accepted": 0, "confirmed": 0}


def verify(authorization: str | None) -> str | None:
    """The app that a token was made for; none if it is not good."""
    if authorization is None or not authorization.startswith("Bearer "):
        return None
    signed, _, tag = authorization[7:].rpartition(".")
    try:
        if not hmac.compare_digest(hmac.digest(KEY, signed.encode(), hashlib.sha256), decode(tag)):
            return None
        claims = orjson.loads(decode(signed.partition(".")[2]))
    except ValueError:
        return None
    return claims["sub"] if claims["aud"] == "forebay" and claims["exp"] > time.time() else None


async def publish(exchange: aio_pika.abc.AbstractExchange) -> None:
    """Sends what waits, as long as the window is open."""
    window = asyncio.Semaphore(WINDOW)
    in_flight: set[asyncio.Task[None]] = set()

    async def send(body: bytes, events: int) -> None:
        message = aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        await exchange.publish(message, routing_key=QUEUE, mandatory=True)
        counts["confirmed"] += events
        window.release()

    while True:
        events = [await waiting.get()]
        while len(events) < BATCH_EVENTS and not waiting.empty():
            events.append(waiting.get_nowait())
        envelopes = [
            b'{"specversion":"1.0","id":"%b","source":"/apps/%b","type":"forebay.event",'
            b'"datacontenttype":"application/json","data":%b}' % (id.encode(), app.encode(), payload)
            for app, id, payload in events
        ]
        await window.acquire()
        task = asyncio.create_task(send(b"[" + b",".join(envelopes) + b"]", len(events)))
        in_flight.add(task)
        task.add_done_callback(in_flight.discard)


@contextlib.asynccontextmanager
async def lifespan(_: FastAPI):
    connection = await aio_pika.connect(AMQP)
    channel = await connection.channel(publisher_confirms=True)
    await channel.declare_queue(QUEUE, durable=True, arguments={"x-queue-type": "classic"})
    publisher = asyncio.create_task(publish(channel.default_exchange))
    yield
    publisher.cancel()
    await connection.close()


app = FastAPI(lifespan=lifespan, openapi_url=None)


@app.post("/v1/events")
async def accept(request: Request) -> Response:
    sender = verify(request.headers.get("authorization"))
    if sender is None:
        return Response(status_code=401)
    body = await request.body()
    try:
        orjson.loads(body)
    except ValueError:
        return Response(status_code=400)
    id = str(uuid.uuid4())
    try:
        waiting.put_nowait((sender, id, body))
    except asyncio.QueueFull:
        return Response(status_code=503)
    counts["accepted"] += 1
    return Response(b'{"id":"%b"}' % id.encode(), status_code=202, media_type="application/json")


@app.get("/pending")
async def pending() -> Response:
    return Response(str(counts["accepted"] - counts["confirmed"]), media_type="text/plain")


host, _, port = ADDRESS.partition(":")
uvicorn.run(app, host=host, port=int(port), loop="uvloop", http="httptools", access_log=False, log_level="warning", timeout_keep_alive=3600)

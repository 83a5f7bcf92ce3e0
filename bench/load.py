#!/usr/bin/env python3
"""Clients that hammer the comments API and count every request that a person would have lost.

Half of the connections ask for keep-alive and use a connection again for as long as the server offers it; the others
bring a new connection for each request. One request in four is a POST. A server that says `Connection: close` has its
word: opening the next connection is no failure; neither is one that the server has closed before the next request is
sent (a reload of nginx does that): `reopened` counts these. No answer on an open connection is one, also on one used
before.

    bench/load.py http://10.0.0.2:8000 --seconds 10
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import signal
import ssl
import sys
import time
import urllib.parse

CONNECTIONS = 32
TIMEOUT = 10  # seconds for one request, from the first SYN to the last byte
POST_EVERY = 4


class Lost(Exception):
    """A request that was lost; the text is its kind: refused, reset, timeout, status 502, wrong answer ..."""


class Load:
    """The clients and what they saw.

    Args:
        urls: where the service is (list of str). Where the first refuses a connection the next is tried, as a client
            that has two addresses would do; a request is lost when all refuse.
        connections: how many clients at once.
        rate: requests per second of all clients together; 0 is as many as they get.
        at_least: when told to end, go on until so many requests were sent.
    """

    def __init__(self, urls, connections=CONNECTIONS, rate=0, at_least=0):
        self.targets = [_target(url) for url in urls]
        self.connections, self.pause = connections, connections / rate if rate else 0
        self.samples, self.lost, self.reopened = [], [], 0
        self.over, self.at_least = asyncio.Event(), at_least
        self.numbers = itertools.count(1)

    async def run(self):
        """Hammers until `over` is set; requests under way are awaited."""
        await asyncio.gather(*(self._client(number % 2 == 0, number) for number in range(self.connections)))

    async def end(self):
        """Waits for `at_least`, then sets `over`."""
        while len(self.samples) + len(self.lost) < self.at_least:
            await asyncio.sleep(0.05)
        self.over.set()

    async def _client(self, keep, number):
        stream, begun = None, time.monotonic() + self.pause * number / self.connections
        while not self.over.is_set():
            if self.pause:
                await self._sleep(begun - time.monotonic())
                begun = max(begun + self.pause, time.monotonic() - self.pause)
            start = time.monotonic()
            try:
                async with asyncio.timeout(TIMEOUT):
                    stream = await self._request(stream, keep)
            except (Lost, OSError, EOFError, TimeoutError) as error:
                self.lost.append([start, _kind(error)])
                stream = _close(stream)
                await self._sleep(0.02)
            else:
                self.samples.append([start, time.monotonic() - start])
        _close(stream)

    async def _sleep(self, seconds):
        if seconds > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.over.wait(), seconds)

    async def _request(self, stream, keep):
        """One request, on `stream` or on a new connection; returns the stream where it may be used again."""
        if stream and stream[0].at_eof():
            self.reopened += 1
            stream = _close(stream)
        stream = stream or await self._connect()
        try:
            reader, writer = stream
            number = next(self.numbers)
            writer.write(_question(number, keep))
            head = await reader.readuntil(b"\r\n\r\n")
            status = int(head.split(b" ", 2)[1])
            fields = {key.strip().lower(): value.strip() for key, _, value in _fields(head)}
            body = await reader.readexactly(int(fields["content-length"]))
        except BaseException:
            _close(stream)
            raise
        _judge(number, status, body)
        if keep and fields.get("connection", "").lower() != "close":
            return stream
        return _close(stream)

    async def _connect(self):
        for host, port, tls in self.targets[:-1]:
            with contextlib.suppress(ConnectionRefusedError):
                return await asyncio.open_connection(host, port, ssl=tls)
        host, port, tls = self.targets[-1]
        return await asyncio.open_connection(host, port, ssl=tls)

    def report(self):
        """Returns what was seen: `requests`, `failed`, `kinds` ({kind: count}), seconds and latencies in ms."""
        taken = sorted(seconds for _, seconds in self.samples)
        kinds = {}
        for _, kind in self.lost:
            kinds[kind] = kinds.get(kind, 0) + 1
        return {
            "requests": len(self.samples) + len(self.lost),
            "failed": len(self.lost),
            "kinds": kinds,
            "reopened": self.reopened,
            "latency_ms": {
                name: round(taken[min(int(len(taken) * share), len(taken) - 1)] * 1000, 1) if taken else None
                for name, share in (("median", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("slowest", 1))
            },
        }


def _target(url):
    """(host, port, TLS context or None) of a URL. No certificate is looked at: those of a lab sign themselves."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme != "https":
        return parts.hostname, parts.port or 80, None
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return parts.hostname, parts.port or 443, context


def _question(number, keep):
    connection = "keep-alive" if keep else "close"
    if number % POST_EVERY:
        return (
            f"GET /api/comment/list/{number % 50} HTTP/1.1\r\nHost: globoapp\r\nConnection: {connection}\r\n\r\n"
        ).encode()
    # Contents of their own: what GET lists stays short, however long the load lasts.
    body = json.dumps({"email": "ann@example.com", "comment": "hi", "content_id": 1000 + number}).encode()
    head = (
        f"POST /api/comment/new HTTP/1.1\r\nHost: globoapp\r\nConnection: {connection}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _fields(head):
    return (line.partition(":") for line in head.decode("latin-1").split("\r\n")[1:] if line)


def _judge(number, status, body):
    """Raises Lost when the answer is not one that the API gives to this question."""
    if status >= 500:
        raise Lost(f"status {status}")
    answer = json.loads(body)
    if number % POST_EVERY:
        right = (status == 404 and answer["status"] == "NOT-FOUND") or (status == 200 and isinstance(answer, list))
    else:
        right = status == 200 and answer["status"] == "SUCCESS"
    if not right:
        raise Lost(f"wrong answer, status {status}")


def _kind(error):
    if isinstance(error, Lost):
        return str(error)
    kinds = {ConnectionRefusedError: "refused", ConnectionResetError: "reset", BrokenPipeError: "reset"}
    kinds |= {TimeoutError: "timeout", asyncio.IncompleteReadError: "closed without an answer"}
    return kinds.get(type(error), f"{type(error).__name__}: {error}")


def _close(stream):
    if stream:
        stream[1].close()


async def _main(args):
    load, told = Load(args.url, args.connections, args.rate, args.at_least), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    if args.seconds:
        asyncio.get_running_loop().call_later(args.seconds, told.set)
    begun = time.monotonic()
    running = asyncio.create_task(load.run())
    while args.announce and not load.samples and not running.done():
        await asyncio.sleep(0.01)
    if args.announce:
        print("started", flush=True)
    await told.wait()
    await load.end()
    await running
    report = {**load.report(), "seconds": round(time.monotonic() - begun, 1)}
    if args.samples:
        # CLOCK_MONOTONIC is one for the whole system: whoever started this can tell when each request was.
        report.update(samples=load.samples, lost=load.lost)
    print(json.dumps(report))
    return 1 if load.lost else 0


def main():
    """Returns 0 when no request was lost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url", nargs="+", help="http(s)://HOST:PORT; one more is tried where the one before refuses")
    parser.add_argument("--connections", type=int, default=CONNECTIONS)
    parser.add_argument("--rate", type=float, default=0, help="requests per second of all; 0 is as many as possible")
    parser.add_argument("--seconds", type=float, default=0, help="0 is until SIGTERM")
    parser.add_argument("--at-least", type=int, default=0, help="go on at the end until so many requests were sent")
    parser.add_argument("--samples", action="store_true", help="also print each request's start and seconds")
    parser.add_argument("--announce", action="store_true", help="print a line when the first request was answered")
    return asyncio.run(_main(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())

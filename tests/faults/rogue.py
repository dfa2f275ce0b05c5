"""A producer that puts on the commands topic what no gateway would: repeats, late and out of order, and what is no command."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Sequence

from aiokafka import ConsumerRecord
from aiokafka.structs import RecordMetadata

from ops.kafka_clients import Kafka
from schemas import topics

SEND_TIME_OUT = 30.0
COPIES = 60
JUNK = (
    b"",
    b"\x00",
    b"{",
    b"null",
    b"[]",
    b'"text"',
    b"{}",
    b'{"type":"Approve"}',
    b'{"type":"NoSuchCommand","command_id":"x"}',
    b"[" * 5000,
    b'{"command_id":' + b"9" * 4000 + b"}",
    '{"type":"Approve","request_id":"\ud83d\ude00"}'.encode("utf-8", "surrogatepass"),
)


class Rogue:
    """`bad` are the places, (partition, offset), of the records that no worker can decide."""

    def __init__(self, kafka: Kafka, dice: random.Random) -> None:
        self._kafka = kafka
        self._dice = dice
        self.bad: set[tuple[int, int]] = set()

    async def repeat(self, records: Sequence[ConsumerRecord], *, shuffled: bool = False, spaced: float = 0.0) -> None:
        """Send copies, byte for byte, to where the originals are: in their order, or in any order of keys."""
        chosen = (
            list(records)[-COPIES:] if not shuffled else self._dice.sample(list(records), min(COPIES, len(records)))
        )
        await self._send([(one.value, one.key, list(one.headers), one.partition) for one in chosen], spaced)

    async def truncate(self, records: Sequence[ConsumerRecord]) -> None:
        """Send copies that end too early."""
        whole = [one for one in records if one.value and one.value.startswith(b'{"')]  # not what was garbage before
        chosen = self._dice.sample(whole, min(COPIES // 2, len(whole)))
        cut = [
            (one.value[: self._dice.randrange(len(one.value))], one.key, list(one.headers), one.partition)
            for one in chosen
        ]
        self._note(await self._send(cut))

    async def garbage(self, partitions: int) -> None:
        """Send bytes that were never a command, with keys and headers to match."""
        made = [
            *JUNK,
            None,
            os.urandom(20),
            os.urandom(100_000),
            *(os.urandom(self._dice.randrange(300)) for _ in range(10)),
        ]
        keys = (None, b"", b"\xff\xfe", b"not-a-request")
        heads = ([], [("ce_id", b"\xff")], [("ce_id", b"")], [("traceparent", b"x" * 300)])
        self._note(
            await self._send(
                [
                    (
                        value,
                        self._dice.choice(keys if value is not None else keys[1:]),
                        list(self._dice.choice(heads)),
                        self._dice.randrange(partitions),
                    )
                    for value in made
                ]
            )
        )

    def _note(self, sent: list[RecordMetadata]) -> None:
        self.bad |= {(one.partition, one.offset) for one in sent}

    async def _send(self, rows: list[tuple[bytes | None, bytes | None, list[tuple[str, bytes]], int]], spaced: float = 0.0) -> list[RecordMetadata]:  # fmt: skip  # noqa: E501
        producer = self._kafka.producer(acks="all", max_request_size=4 << 20)
        await producer.start()
        try:
            async with asyncio.timeout(SEND_TIME_OUT):
                sent = []
                for value, key, headers, partition in rows:
                    future = await producer.send(topics.COMMANDS, value, key=key, headers=headers, partition=partition)
                    sent.append(await future)
                    await asyncio.sleep(spaced)
                return sent
        finally:
            await producer.stop()

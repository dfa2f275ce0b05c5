"""Faust's Kafka consumer with a short fetch wait.

Faust sets `fetch_max_wait_ms` to 1500, and the broker answers one connection in order: at recovery every offset look-up waited
behind a fetch that had nothing to bring, 1.5 s each time. Wraps `_create_worker_consumer` of faust-streaming 0.15.3.
"""

from __future__ import annotations

from typing import Any

from faust.transport.drivers import aiokafka as driver

FETCH_WAIT_MS = 200


class PromptConsumerThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS
        return consumer


class PromptConsumer(driver.Consumer):  # type: ignore[misc]
    def _new_consumer_thread(self) -> PromptConsumerThread:
        return PromptConsumerThread(self, loop=self.loop, beacon=self.beacon)


class PromptTransport(driver.Transport):  # type: ignore[misc]
    """Faust's Kafka transport with a `PromptConsumer`."""

    Consumer = PromptConsumer

"""aiokafka against the broker at BOOTSTRAP: a client that speaks low versions of every API."""

import asyncio
import os

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.structs import OffsetAndMetadata
from conftest import fresh

CODECS = [None, "gzip", "snappy", "lz4", "zstd"]


def with_deadline(test):
    """Runs an async test; it fails after 40 seconds."""

    async def limited(*arguments):
        async with asyncio.timeout(40):
            await test(*arguments)

    return lambda *arguments: asyncio.run(limited(*arguments))


async def until(look):
    """Waits for look to be true; the deadline of the test ends the wait."""
    while not look():
        await asyncio.sleep(0.02)


async def new_topic(bootstrap, partitions=1):
    topic = fresh("aio")
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(topic, partitions, 1)])
    while topic not in await admin.list_topics():
        await asyncio.sleep(0.02)
    await admin.close()
    return topic


@pytest.mark.parametrize("codec", CODECS)
def test_records_of_every_codec_come_back_unchanged(bootstrap, codec):
    @with_deadline
    async def run():
        topic = await new_topic(bootstrap)
        producer = AIOKafkaProducer(
            bootstrap_servers=bootstrap, compression_type=codec, enable_idempotence=True
        )
        async with producer:
            values = [os.urandom(i) for i in range(300)]
            headers = [("same", b"1"), ("same", b"2")]
            sent = [
                await producer.send(topic, value, key=b"k", headers=headers, timestamp_ms=1000 + i)
                for i, value in enumerate(values)
            ]
            assert [(await future).offset for future in sent] == list(range(300))
        consumer = AIOKafkaConsumer(
            topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest", check_crcs=True
        )
        async with consumer:
            for i in range(300):
                record = await consumer.getone()
                assert (record.offset, record.value, record.timestamp) == (i, values[i], 1000 + i)
                assert list(record.headers) == headers
            partition = TopicPartition(topic, 0)
            found = await consumer.offsets_for_times({partition: 1100})
            assert found[partition].offset == 100
            assert await consumer.end_offsets([partition]) == {partition: 300}
            consumer.seek(partition, 250)
            assert (await consumer.getone()).offset == 250

    run()


def test_members_join_share_and_leave(bootstrap):
    @with_deadline
    async def run():
        topic, group = await new_topic(bootstrap, 4), fresh("group")

        def member():
            return AIOKafkaConsumer(
                topic, bootstrap_servers=bootstrap, group_id=group, session_timeout_ms=6000,
                heartbeat_interval_ms=200, auto_offset_reset="earliest", enable_auto_commit=False,
                metadata_max_age_ms=500,
            )

        first, second = member(), member()
        await first.start()
        await until(lambda: len(first.assignment()) == 4)
        await second.start()
        await until(lambda: len(first.assignment()) == len(second.assignment()) == 2)
        partition = next(iter(second.assignment()))
        commit = {partition: OffsetAndMetadata(0, "note")}
        await second.commit(commit)
        assert await second.committed(partition) == 0
        await second.stop()
        await until(lambda: len(first.assignment()) == 4)
        async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
            for i in range(40):
                await producer.send_and_wait(topic, b"%d" % i, partition=i % 4)
        seen = [int((await first.getone()).value) for _ in range(40)]
        assert sorted(seen) == list(range(40))
        await first.stop()

    run()


def test_produce_to_a_missing_topic_creates_it(bootstrap):
    @with_deadline
    async def run():
        topic = fresh("auto")
        async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
            assert (await producer.send_and_wait(topic, b"hello")).offset == 0

    run()

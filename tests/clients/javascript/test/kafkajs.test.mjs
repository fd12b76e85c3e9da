// kafkajs against the broker at BOOTSTRAP: produce, consume, groups, admin.

import { after, before, test } from 'node:test'
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { fileURLToPath } from 'node:url'
import { once } from 'node:events'
import { spawn } from 'node:child_process'
import kafkajs from 'kafkajs'
import { registerCodecs } from './codecs.mjs'

const { AssignerProtocol, CompressionTypes, ConfigResourceTypes, Kafka, logLevel } = kafkajs

assert.ok(process.env.BOOTSTRAP, 'set BOOTSTRAP=host:port, or use tests/with-broker')
const kafka = new Kafka({
  clientId: 'kafkajs-suite',
  brokers: [process.env.BOOTSTRAP],
  logLevel: logLevel.NOTHING,
  retry: { initialRetryTime: 50, maxRetryTime: 500 },
})
const admin = kafka.admin()
const clients = []
let number = 0

const fresh = (word) => `${word}-${process.pid}-${Date.now() % 1e6}-${++number}`

before(async () => {
  await registerCodecs()
  await admin.connect()
})

after(async () => {
  await Promise.all(clients.map((client) => client.disconnect()))
  await admin.disconnect()
})

async function eventually(what, look, seconds = 20) {
  const deadline = Date.now() + seconds * 1000
  for (;;) {
    const found = await look()
    if (found) return found
    assert.ok(Date.now() < deadline, `${what}: not within ${seconds} s`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

async function newTopic(numPartitions = 1, configs = {}) {
  const topic = fresh('kafkajs')
  const configEntries = Object.entries(configs).map(([name, value]) => ({ name, value }))
  await admin.createTopics({
    topics: [{ topic, numPartitions, replicationFactor: 1, configEntries }],
    waitForLeaders: true,
  })
  return topic
}

async function newProducer(options = {}) {
  const producer = kafka.producer(options)
  clients.push(producer)
  await producer.connect()
  return producer
}

// Starts a consumer whose records gather in `records` and whose partitions are `owned`.
async function startConsumer(topic, options = {}, fromBeginning = true) {
  const consumer = kafka.consumer({
    groupId: fresh('group'), sessionTimeout: 6000, heartbeatInterval: 200, maxWaitTimeInMs: 500,
    ...options,
  })
  clients.push(consumer)
  const member = { consumer, records: [], owned: [], joins: 0, fetches: 0 }
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
    member.owned = payload.memberAssignment[topic] ?? []
    member.joins += 1
  })
  consumer.on(consumer.events.REQUEST, ({ payload }) => {
    if (payload.apiName === 'Fetch') member.fetches += 1
  })
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning })
  await consumer.run({
    autoCommit: false,
    eachMessage: async ({ partition, message }) => member.records.push({ partition, ...message }),
  })
  return member
}

const joined = (member) => eventually('joined', () => member.owned.length > 0)
const values = (member) => member.records.map((record) => record.value?.toString())

async function settle(partitions, ...members) {
  await eventually('members share the partitions', () => {
    const all = members.flatMap((member) => member.owned).sort((a, b) => a - b)
    return members.every((member) => member.owned.length > 0) && all.length === partitions
      && new Set(all).size === partitions
  })
}

// --- records -------------------------------------------------------------------------------------

for (const [name, compression] of Object.entries(CompressionTypes)) {
  test(`records in ${name} come back unchanged`, async () => {
    const topic = await newTopic()
    const producer = await newProducer()
    const messages = Array.from({ length: 200 }, (_, i) => ({
      key: i % 5 === 4 ? null : `key-${i}`,
      value: i % 7 === 3 ? null : randomBytes(i * 3),
      headers: i % 3 === 0 ? { trace: Buffer.from([0, 255]), same: ['1', '2'] } : {},
      timestamp: String(1_700_000_000_000 + i),
    }))
    await producer.send({ topic, messages, compression })
    const member = await startConsumer(topic)
    await eventually('all records', () => member.records.length >= 200)
    member.records.forEach((record, i) => {
      assert.equal(record.offset, String(i))
      assert.equal(record.key?.toString(), messages[i].key ?? undefined)
      assert.deepEqual(record.value, messages[i].value)
      assert.equal(record.timestamp, messages[i].timestamp)
      if (i % 3 === 0) {
        assert.deepEqual(record.headers.trace, Buffer.from([0, 255]))
        assert.deepEqual(record.headers.same.map(String), ['1', '2'])
      }
    })
    await member.consumer.disconnect()
  })

  test(`a batch of nearly a megabyte in ${name} comes back unchanged`, async () => {
    const topic = await newTopic()
    const producer = await newProducer()
    const messages = Array.from({ length: 100 }, () => ({ value: randomBytes(9_000) }))
    await producer.send({ topic, messages, compression })
    const member = await startConsumer(topic)
    await eventually('all records', () => member.records.length >= 100)
    assert.deepEqual(member.records.map((r) => r.value), messages.map((m) => m.value))
    await member.consumer.disconnect()
  })
}

for (const [name, acks, options] of [
  ['0', 0, {}], ['1', 1, {}], ['all', -1, {}],
  ['all and idempotence', -1, { idempotent: true, maxInFlightRequests: 5 }],
]) {
  test(`records sent with acks=${name} are stored in order`, async () => {
    const topic = await newTopic()
    const producer = await newProducer(options)
    for (let i = 0; i < 50; i += 1) {
      const messages = [{ value: `${2 * i}` }, { value: `${2 * i + 1}` }]
      await producer.send({ topic, acks, messages })
    }
    const member = await startConsumer(topic)
    await eventually('all records', () => member.records.length >= 100)
    assert.deepEqual(values(member), Array.from({ length: 100 }, (_, i) => `${i}`))
    await member.consumer.disconnect()
  })
}

// --- reading -------------------------------------------------------------------------------------

test('reading starts at the end unless told otherwise', async () => {
  const topic = await newTopic()
  const producer = await newProducer()
  await producer.send({ topic, messages: [{ value: 'old' }] })
  const member = await startConsumer(topic, {}, false)
  await joined(member)
  // Where the end is gets decided when the consumer first asks: send until something comes.
  await eventually('a new record', async () => {
    await producer.send({ topic, messages: [{ value: 'new' }] })
    return member.records.length > 0
  })
  assert.equal(values(member)[0], 'new')
  await member.consumer.disconnect()
})

test('seek goes to the offset', async () => {
  const topic = await newTopic()
  const producer = await newProducer()
  const messages = Array.from({ length: 20 }, (_, i) => ({ value: `${i}` }))
  await producer.send({ topic, messages })
  const member = await startConsumer(topic)
  await eventually('all records', () => member.records.length >= 20)
  member.records.length = 0
  member.consumer.seek({ topic, partition: 0, offset: '17' })
  await eventually('the last three', () => member.records.length >= 3)
  assert.deepEqual(values(member), ['17', '18', '19'])
  await member.consumer.disconnect()
})

test('offsets by timestamp are exact', async () => {
  const topic = await newTopic()
  const producer = await newProducer()
  const base = 1_700_000_000_000
  const messages = [0, 100, 50, 300].map((t) => ({ value: 'x', timestamp: String(base + t) }))
  await producer.send({ topic, messages, compression: CompressionTypes.GZIP })
  for (const [time, offset] of [[-5, '0'], [0, '0'], [1, '1'], [101, '3'], [301, '4']]) {
    const [found] = await admin.fetchTopicOffsetsByTimestamp(topic, base + time)
    assert.equal(found.offset, offset, `record at or after ${time}`)
  }
  const [offsets] = await admin.fetchTopicOffsets(topic)
  assert.deepEqual(offsets, { partition: 0, offset: '4', high: '4', low: '0' })
})

test('idle consumer waits in long polls and wakes at once', async () => {
  const topic = await newTopic()
  const member = await startConsumer(topic)
  await joined(member)
  await eventually('first fetch', () => member.fetches > 0)
  const start = member.fetches
  await new Promise((resolve) => setTimeout(resolve, 3000))
  const count = member.fetches - start
  assert.ok(count >= 3 && count <= 9, `${count} fetches in 3 s, 500 ms each`)
  const producer = await newProducer()
  const delays = []
  for (let i = 1; i <= 11; i += 1) {
    const sent = Date.now()
    await producer.send({ topic, messages: [{ value: `${i}` }] })
    await eventually('woken', () => member.records.length >= i)
    delays.push(Date.now() - sent)
  }
  delays.sort((a, b) => a - b)
  assert.ok(delays[5] < 200, `median ${delays[5]} ms`)
  await member.consumer.disconnect()
})

// --- groups --------------------------------------------------------------------------------------

test('members join, share and leave', async () => {
  const topic = await newTopic(4)
  const groupId = fresh('group')
  const first = await startConsumer(topic, { groupId })
  await settle(4, first)
  const second = await startConsumer(topic, { groupId })
  await settle(4, first, second)
  assert.equal(second.owned.length, 2)
  const producer = await newProducer()
  const messages = Array.from({ length: 100 }, (_, i) => ({ value: `${i}`, partition: i % 4 }))
  await producer.send({ topic, messages })
  await eventually('all', () => first.records.length + second.records.length >= 100)
  assert.equal(first.records.length, 50)
  assert.equal(new Set([...values(first), ...values(second)]).size, 100)
  await second.consumer.disconnect()
  second.owned = []
  await settle(4, first)
  await first.consumer.disconnect()
})

test('partitions of a crashed member move after its session', async () => {
  const topic = await newTopic(4)
  const groupId = fresh('group')
  const first = await startConsumer(topic, { groupId })
  await settle(4, first)
  const member = fileURLToPath(new URL('./crashing-member.mjs', import.meta.url))
  const child = spawn(process.execPath, [member, groupId, topic], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  await once(child.stdout, 'data')
  await eventually('shared', () => first.owned.length === 2)
  const killed = Date.now()
  child.kill('SIGKILL')
  await settle(4, first)
  const seconds = (Date.now() - killed) / 1000
  assert.ok(seconds > 3 && seconds < 12, `moved after ${seconds} s`)
  await first.consumer.disconnect()
})

test('commits keep metadata and the next member continues there', async () => {
  const topic = await newTopic()
  const groupId = fresh('group')
  const producer = await newProducer()
  const messages = Array.from({ length: 20 }, (_, i) => ({ value: `${i}` }))
  await producer.send({ topic, messages })
  const first = await startConsumer(topic, { groupId })
  await eventually('all records', () => first.records.length >= 20)
  const commit = { partition: 0, offset: '7', metadata: 'état 7 ✓' }
  await first.consumer.commitOffsets([{ topic, ...commit }])
  await first.consumer.disconnect()
  const [found] = await admin.fetchOffsets({ groupId, topics: [topic] })
  assert.deepEqual(found.partitions, [commit])
  const second = await startConsumer(topic, { groupId })
  await eventually('the rest', () => second.records.length >= 13)
  assert.equal(values(second)[0], '7')
  await second.consumer.disconnect()
})

// --- topics that come and go, errors -------------------------------------------------------------

test('produce to a missing topic creates it', async () => {
  const topic = fresh('auto')
  const producer = await newProducer({ allowAutoTopicCreation: true })
  await producer.send({ topic, messages: [{ value: 'hello' }] })
  const member = await startConsumer(topic)
  await eventually('the record', () => member.records.length === 1)
  await member.consumer.disconnect()
})

test('topic made again starts at offset 0 for a running producer', async () => {
  const topic = await newTopic()
  const producer = await newProducer({ metadataMaxAge: 200 })
  await producer.send({ topic, messages: [{ value: 'old' }] })
  await admin.deleteTopics({ topics: [topic] })
  await eventually('gone', async () => !(await admin.listTopics()).includes(topic))
  // false: the name is still taken by the topic that is going away.
  await eventually('made again', () => admin.createTopics({ topics: [{ topic }] }))
  const [stored] = await producer.send({ topic, messages: [{ value: 'new' }] })
  assert.equal(stored.baseOffset, '0')
})

test('too large message is refused, the next accepted', async () => {
  const topic = await newTopic(1, { 'max.message.bytes': '2000' })
  const producer = await newProducer()
  await assert.rejects(
    producer.send({ topic, messages: [{ value: randomBytes(5_000) }] }),
    { type: 'MESSAGE_TOO_LARGE' },
  )
  const [stored] = await producer.send({ topic, messages: [{ value: 'small' }] })
  assert.equal(stored.baseOffset, '0')
})

// --- admin ---------------------------------------------------------------------------------------

test('topics are created, described, extended and deleted', async () => {
  const topic = await newTopic(2)
  assert.equal(await admin.createTopics({ topics: [{ topic }] }), false, 'it exists')
  await admin.createPartitions({ topicPartitions: [{ topic, count: 3 }] })
  const found = await eventually('three partitions', async () => {
    const metadata = await admin.fetchTopicMetadata({ topics: [topic] })
    return metadata.topics[0].partitions.length === 3 && metadata.topics[0]
  })
  for (const partition of found.partitions) {
    assert.deepEqual(partition.replicas, [partition.leader])
    assert.deepEqual(partition.isr, [partition.leader])
  }
  await admin.deleteTopics({ topics: [topic] })
  await eventually('gone', async () => !(await admin.listTopics()).includes(topic))
})

for (const [name, options, type] of [
  ['too many replicas', { replicationFactor: 3 }, 'INVALID_REPLICATION_FACTOR'],
  ['no partitions', { numPartitions: 0 }, 'INVALID_PARTITIONS'],
  ['a bad config', { configEntries: [{ name: 'retention.ms', value: 'x' }] }, 'INVALID_CONFIG'],
]) {
  test(`topic with ${name} is refused`, async () => {
    await assert.rejects(
      admin.createTopics({ topics: [{ topic: fresh('bad'), ...options }] }),
      (error) => (error.errors ?? [error]).some((each) => each.type === type),
    )
  })
}

test('configs are described and altered', async () => {
  const topic = await newTopic(1, { 'segment.ms': '2000000' })
  const resource = { type: ConfigResourceTypes.TOPIC, name: topic }
  const configs = async () => {
    const answer = await admin.describeConfigs({ resources: [resource], includeSynonyms: true })
    return Object.fromEntries(
      answer.resources[0].configEntries.map((entry) => [entry.configName, entry.configValue]),
    )
  }
  assert.equal((await configs())['segment.ms'], '2000000')
  assert.equal((await configs())['cleanup.policy'], 'delete')
  const configEntries = [{ name: 'retention.ms', value: '1234567' }]
  await admin.alterConfigs({ resources: [{ ...resource, configEntries }] })
  await eventually('altered', async () => (await configs())['retention.ms'] === '1234567')
  assert.equal((await configs())['segment.ms'], '604800000', 'what is not named is reset')
})

test('records are deleted up to an offset', async () => {
  const topic = await newTopic()
  const producer = await newProducer()
  const messages = Array.from({ length: 10 }, (_, i) => ({ value: `${i}` }))
  await producer.send({ topic, messages })
  await admin.fetchTopicOffsets(topic) // kafkajs looks the leader up in what it already knows
  await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '4' }] })
  const [offsets] = await admin.fetchTopicOffsets(topic)
  assert.deepEqual(offsets, { partition: 0, offset: '10', high: '10', low: '4' })
})

test('groups are listed, described, reset and deleted', async () => {
  const topic = await newTopic(2)
  const groupId = fresh('group')
  const member = await startConsumer(topic, { groupId })
  await settle(2, member)
  const { groups } = await admin.listGroups()
  assert.deepEqual(
    groups.find((group) => group.groupId === groupId), { groupId, protocolType: 'consumer' },
  )
  const [found] = (await admin.describeGroups([groupId])).groups
  assert.equal(found.state, 'Stable')
  assert.equal(found.protocol, 'RoundRobinAssigner')
  assert.equal(found.members.length, 1)
  assert.equal(found.members[0].clientId, 'kafkajs-suite')
  const { assignment } = AssignerProtocol.MemberAssignment.decode(found.members[0].memberAssignment)
  assert.deepEqual(assignment[topic].sort(), [0, 1])
  await assert.rejects(admin.deleteGroups([groupId]), (error) =>
    error.groups.some((group) => group.error.type === 'NON_EMPTY_GROUP'))
  await member.consumer.disconnect()
  await admin.setOffsets({ groupId, topic, partitions: [{ partition: 1, offset: '0' }] })
  const [offsets] = await admin.fetchOffsets({ groupId, topics: [topic] })
  assert.equal(offsets.partitions.find((each) => each.partition === 1).offset, '0')
  await admin.deleteGroups([groupId])
  const left = (await admin.listGroups()).groups.map((group) => group.groupId)
  assert.ok(!left.includes(groupId))
})

test('cluster has an id, a controller and this broker', async () => {
  const { brokers, controller, clusterId } = await admin.describeCluster()
  assert.deepEqual(brokers.map(({ host, port }) => `${host}:${port}`), [process.env.BOOTSTRAP])
  assert.equal(controller, brokers[0].nodeId)
  assert.ok(clusterId)
})

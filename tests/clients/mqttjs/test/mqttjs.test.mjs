// mqtt.js over TCP and over WebSocket, MQTT 3.1.1 and 5.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import test from 'node:test'

import mqtt from 'mqtt'

const port = process.env.MQTT_PORT
const webSocketPort = process.env.MQTT_WEBSOCKET_PORT
assert.ok(port && webSocketPort, 'set MQTT_PORT and MQTT_WEBSOCKET_PORT, or use tests/with-broker')

const ways = { TCP: `mqtt://127.0.0.1:${port}`, WebSocket: `ws://127.0.0.1:${webSocketPort}/mqtt` }
const versions = { '3.1.1': 4, 5: 5 }

let names = 0
const fresh = (word) => `${word}-${process.pid}-${Date.now()}-${names++}`

const connect = (url, options = {}) =>
  mqtt.connectAsync(url, { clientId: fresh('js'), reconnectPeriod: 0, ...options })

// The messages that come, and a promise of the first so many.
function collect(client) {
  const found = []
  const waiting = []
  client.on('message', (topic, payload, packet) => {
    found.push({ topic, payload, packet })
    for (const one of waiting) if (found.length >= one.count) one.resolve(found)
  })
  const first = (count) => new Promise((resolve, reject) => {
    if (found.length >= count) return resolve(found)
    const late = () => reject(new Error(`${found.length} of ${count} messages`))
    const timer = setTimeout(late, 15000)
    waiting.push({ count, resolve: (all) => { clearTimeout(timer); resolve(all) } })
  })
  return { found, first }
}

// Numbers in order, all at once: mqtt.js keeps to no Receive Maximum of the server. What that server may
// hold against it is QoS 2 that is not released.
async function publishAll(client, topic, count, qos) {
  const window = qos === 2 ? 50 : count
  for (let first = 0; first < count; first += window) {
    const sent = []
    for (let number = first; number < Math.min(count, first + window); number++) {
      sent.push(client.publishAsync(topic, String(number), { qos }))
    }
    await Promise.all(sent)
  }
}

for (const [way, url] of Object.entries(ways)) {
  for (const [name, protocolVersion] of Object.entries(versions)) {
    const title = (what) => `${way}, MQTT ${name}: ${what}`

    for (const qos of [0, 1, 2]) {
      test(title(`messages with QoS ${qos} come in order`), async () => {
        const topic = fresh('order')
        const client = await connect(url, { protocolVersion })
        const messages = collect(client)
        const granted = await client.subscribeAsync(`${topic}/+`, { qos })
        assert.equal(granted[0].qos, Math.min(qos, 1))
        await publishAll(client, `${topic}/a`, 200, qos)
        const found = await messages.first(200)
        const expected = Array.from({ length: 200 }, (_, number) => String(number))
        assert.deepEqual(found.map((one) => one.payload.toString()), expected)
        await client.endAsync()
      })
    }

    test(title('large messages are whole'), async () => {
      const topic = fresh('large')
      const client = await connect(url, { protocolVersion })
      const messages = collect(client)
      await client.subscribeAsync(topic, { qos: 1 })
      const payloads = [0, 1, 125, 126, 65535, 65536, 200000].map((size) => Buffer.alloc(size, 'x'))
      for (const payload of payloads) await client.publishAsync(topic, payload, { qos: 1 })
      const found = await messages.first(payloads.length)
      found.forEach((one, place) => assert.ok(one.payload.equals(payloads[place]), String(place)))
      await client.endAsync()
    })

    test(title('a session goes on'), async () => {
      const topic = fresh('session')
      const options = { clientId: fresh('js'), clean: false, protocolVersion }
      if (protocolVersion === 5) options.properties = { sessionExpiryInterval: 3600 }
      let client = await connect(url, options)
      await client.subscribeAsync(topic, { qos: 1 })
      await client.endAsync()
      const publisher = await connect(url, { protocolVersion })
      await publisher.publishAsync(topic, 'while away', { qos: 1 })
      await publisher.endAsync()
      client = mqtt.connect(url, { reconnectPeriod: 0, ...options })
      const messages = collect(client)
      const [connack] = await once(client, 'connect')
      assert.equal(connack.sessionPresent, true)
      const [message] = await messages.first(1)
      assert.equal(message.payload.toString(), 'while away')
      await client.endAsync()
      await (await connect(url, { clientId: options.clientId, protocolVersion })).endAsync()
    })

    test(title('a last will follows a lost connection'), async () => {
      const topic = fresh('will')
      const watcher = await connect(url, { protocolVersion })
      const messages = collect(watcher)
      await watcher.subscribeAsync(topic, { qos: 1 })
      const polite = await connect(url, { protocolVersion, will: { topic, payload: 'polite', qos: 1 } })
      await polite.endAsync()
      const lost = await connect(url, { protocolVersion, will: { topic, payload: 'lost', qos: 1 } })
      lost.stream.destroy()
      const [message] = await messages.first(1)
      assert.equal(message.payload.toString(), 'lost')
      await watcher.endAsync()
    })

    test(title('what is retained comes first'), async () => {
      const topic = fresh('retained')
      const client = await connect(url, { protocolVersion })
      await client.publishAsync(topic, 'kept', { qos: 1, retain: true })
      const messages = collect(client)
      await client.subscribeAsync(topic, { qos: 1 })
      const [message] = await messages.first(1)
      assert.equal(message.packet.retain, true)
      await client.publishAsync(topic, '', { qos: 1, retain: true })
      await client.endAsync()
    })

    test(title('a shared subscription shares'), async () => {
      const topic = fresh('shared')
      const members = []
      for (let number = 0; number < 3; number++) {
        const client = await connect(url, { protocolVersion })
        members.push({ client, messages: collect(client) })
        await client.subscribeAsync(`$share/${topic}/${topic}/#`, { qos: 1 })
      }
      const publisher = await connect(url, { protocolVersion })
      await publishAll(publisher, `${topic}/x`, 90, 1)
      const all = () => members.flatMap((one) => one.messages.found)
      for (let wait = 0; wait < 100 && all().length < 90; wait++) {
        await new Promise((resolve) => setTimeout(resolve, 50))
      }
      const values = all().map((one) => Number(one.payload)).sort((one, other) => one - other)
      assert.deepEqual(values, Array.from({ length: 90 }, (_, number) => number))
      assert.ok(members.every((one) => one.messages.found.length > 0))
      for (const one of [...members.map((member) => member.client), publisher]) await one.endAsync()
    })
  }

  test(`${way}: properties of MQTT 5 and topic aliases`, async () => {
    const topic = fresh('properties')
    const client = await connect(url, { protocolVersion: 5, autoUseTopicAlias: true, autoAssignTopicAlias: true })
    const messages = collect(client)
    await client.subscribeAsync(topic, { qos: 1 })
    const properties = {
      contentType: 'text/plain', responseTopic: 'back', correlationData: Buffer.from([0, 1]),
      messageExpiryInterval: 100, payloadFormatIndicator: true,
      userProperties: { site: ['7', '8'], unit: 'C' },
    }
    for (let number = 0; number < 3; number++) {
      await client.publishAsync(topic, String(number), { qos: 1, properties: { ...properties } })
    }
    const found = await messages.first(3)
    for (const one of found) {
      const { userProperties, contentType, responseTopic, correlationData } = one.packet.properties
      assert.equal(one.topic, topic)
      assert.deepEqual({ ...userProperties }, { site: ['7', '8'], unit: 'C' })
      assert.deepEqual([contentType, responseTopic], ['text/plain', 'back'])
      assert.ok(correlationData.equals(Buffer.from([0, 1])))
    }
    await client.endAsync()
  })

  test(`${way}: a wrong filter is refused and the broker goes on`, async () => {
    const client = await connect(url, { protocolVersion: 5 })
    client.on('error', () => {})
    // mqtt.js checks filters itself: the bytes are sent as they are.
    client.stream.write(Buffer.from([0x82, 0x08, 0, 9, 0, 0, 2, 0x61, 0x23, 1]))
    await once(client, 'close')
    await (await connect(url)).endAsync()
  })
}

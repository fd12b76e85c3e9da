// A group member that says "joined" and works until it is killed.
// Usage: node crashing-member.mjs GROUP TOPIC

import kafkajs from 'kafkajs'

const [groupId, topic] = process.argv.slice(2)
const kafka = new kafkajs.Kafka({
  brokers: [process.env.BOOTSTRAP], logLevel: kafkajs.logLevel.NOTHING,
})
const consumer = kafka.consumer({ groupId, sessionTimeout: 6000, heartbeatInterval: 200 })
consumer.on(consumer.events.GROUP_JOIN, () => process.stdout.write('joined\n'))
await consumer.connect()
await consumer.subscribe({ topic })
await consumer.run({ eachMessage: async () => {} })

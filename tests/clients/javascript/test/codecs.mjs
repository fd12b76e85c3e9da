// The codecs that kafkajs leaves to its user: Snappy in Xerial's framing, LZ4 and Zstandard.

import kafkajs from 'kafkajs'
import lz4 from 'lz4js'
import snappy from 'snappyjs'
import * as zstd from '@bokuweb/zstd-wasm'

const { CompressionTypes, CompressionCodecs } = kafkajs

const XERIAL_MAGIC = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0x00])
const XERIAL_BLOCK_BYTES = 32 * 1024

function compressXerial(buffer) {
  const parts = [XERIAL_MAGIC, Buffer.from([0, 0, 0, 1, 0, 0, 0, 1])]
  for (let start = 0; start < buffer.length; start += XERIAL_BLOCK_BYTES) {
    const block = Buffer.from(snappy.compress(buffer.subarray(start, start + XERIAL_BLOCK_BYTES)))
    const length = Buffer.alloc(4)
    length.writeUInt32BE(block.length)
    parts.push(length, block)
  }
  return Buffer.concat(parts)
}

function decompressXerial(buffer) {
  if (!buffer.subarray(0, 8).equals(XERIAL_MAGIC)) {
    return Buffer.from(snappy.uncompress(buffer))
  }
  const parts = []
  for (let at = 16; at < buffer.length;) {
    const length = buffer.readUInt32BE(at)
    parts.push(Buffer.from(snappy.uncompress(buffer.subarray(at + 4, at + 4 + length))))
    at += 4 + length
  }
  return Buffer.concat(parts)
}

// Kafka reads frames of independent blocks only. lz4js does not write those: the frame is made here.
const LZ4_FRAME_HEADER = Buffer.from([0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82])
const LZ4_BLOCK_BYTES = 64 * 1024
const LZ4_UNCOMPRESSED = 0x80000000

function compressLz4(buffer) {
  const parts = [LZ4_FRAME_HEADER]
  for (let start = 0; start < buffer.length; start += LZ4_BLOCK_BYTES) {
    const block = buffer.subarray(start, start + LZ4_BLOCK_BYTES)
    const target = Buffer.alloc(lz4.compressBound(block.length))
    const table = new Uint32Array(1 << 16)
    const size = lz4.compressBlock(block, target, 0, block.length, table)
    const stored = size > 0 && size < block.length ? target.subarray(0, size) : block
    const length = Buffer.alloc(4)
    length.writeUInt32LE((stored === block ? LZ4_UNCOMPRESSED : 0) + stored.length)
    parts.push(length, stored)
  }
  return Buffer.concat([...parts, Buffer.alloc(4)])
}

const codec = (compress, decompress) => () => ({
  compress: async (encoder) => compress(encoder.buffer),
  decompress: async (buffer) => decompress(buffer),
})

export async function registerCodecs() {
  await zstd.init()
  CompressionCodecs[CompressionTypes.Snappy] = codec(compressXerial, decompressXerial)
  CompressionCodecs[CompressionTypes.LZ4] = codec(
    compressLz4,
    (buffer) => Buffer.from(lz4.decompress(buffer)),
  )
  CompressionCodecs[CompressionTypes.ZSTD] = codec(
    (buffer) => Buffer.from(zstd.compress(buffer, 3)),
    (buffer) => Buffer.from(zstd.decompress(buffer)),
  )
}

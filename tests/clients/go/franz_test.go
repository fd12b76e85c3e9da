package clients

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"
)

// franz is a client with these options; it goes away with the test.
func franz(t *testing.T, options ...kgo.Opt) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(bootstrap)}, options...)...)
	must(t, err)
	t.Cleanup(client.CloseAllowingRebalance)
	return client
}

func franzAdmin(t *testing.T) *kadm.Client {
	t.Helper()
	return kadm.NewClient(franz(t))
}

// franzTopic makes a topic; configs are name, value, name, value.
func franzTopic(t *testing.T, partitions int32, configs ...string) string {
	t.Helper()
	name := fresh("franz")
	settings := map[string]*string{}
	for i := 0; i < len(configs); i += 2 {
		settings[configs[i]] = &configs[i+1]
	}
	made, err := franzAdmin(t).CreateTopic(within(t), partitions, 1, settings, name)
	must(t, err)
	equal(t, partitions, made.NumPartitions, "partitions that the answer names")
	return name
}

func franzRecord(topic string, partition int32, from sample) *kgo.Record {
	record := &kgo.Record{Topic: topic, Partition: partition, Key: from.key, Value: from.value}
	for _, header := range from.headers {
		record.Headers = append(record.Headers, kgo.RecordHeader{Key: header.key, Value: header.value})
	}
	return record
}

func franzSample(record *kgo.Record) sample {
	found := sample{key: record.Key, value: record.Value}
	for _, header := range record.Headers {
		found.headers = append(found.headers, pair{header.Key, header.Value})
	}
	return found
}

// franzNumbers produces the numbers from first (inclusive) to end (exclusive) as text.
func franzNumbers(t *testing.T, topic string, partition int32, first, end int) {
	t.Helper()
	client := franz(t, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	for i := first; i < end; i++ {
		record := &kgo.Record{Topic: topic, Partition: partition, Value: []byte(fmt.Sprint(i))}
		// Whole seconds since the start of 1970, so that a timestamp finds a number.
		record.Timestamp = time.Unix(int64(1_700_000_000+i), 0)
		client.Produce(within(t), record, func(_ *kgo.Record, err error) {
			if err != nil {
				t.Errorf("produce %d: %v", i, err)
			}
		})
	}
	must(t, client.Flush(within(t)))
}

// take polls exactly this many records.
func take(t *testing.T, client *kgo.Client, count int) []*kgo.Record {
	t.Helper()
	ctx := within(t)
	var records []*kgo.Record
	for len(records) < count {
		fetches := client.PollFetches(ctx)
		must(t, fetches.Err())
		records = append(records, fetches.Records()...)
	}
	equal(t, count, len(records), "number of records")
	return records
}

func franzReader(t *testing.T, topic string, at kgo.Offset, options ...kgo.Opt) *kgo.Client {
	t.Helper()
	places := map[string]map[int32]kgo.Offset{topic: {0: at}}
	return franz(t, append(options, kgo.ConsumePartitions(places))...)
}

func TestFranzCodecs(t *testing.T) {
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(),
		"snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(),
		"zstd": kgo.ZstdCompression(),
	}
	for name, codec := range codecs {
		t.Run(name, func(t *testing.T) {
			topic := franzTopic(t, 1)
			producer := franz(t, kgo.ProducerBatchCompression(codec))
			wanted := samples(500)
			for _, one := range wanted {
				producer.Produce(within(t), franzRecord(topic, 0, one), nil)
			}
			must(t, producer.Flush(within(t)))
			found := take(t, franzReader(t, topic, kgo.NewOffset().AtStart()), len(wanted))
			for i, record := range found {
				equal(t, int64(i), record.Offset, "offset")
				sameSample(t, i, wanted[i], franzSample(record))
			}
		})
	}
}

func TestFranzAcks(t *testing.T) {
	for name, acks := range map[string]kgo.Acks{"0": kgo.NoAck(), "1": kgo.LeaderAck()} {
		t.Run(name, func(t *testing.T) {
			topic := franzTopic(t, 1)
			producer := franz(t, kgo.RequiredAcks(acks), kgo.DisableIdempotentWrite())
			for i := range 100 {
				record := &kgo.Record{Topic: topic, Value: []byte(fmt.Sprint(i))}
				must(t, producer.ProduceSync(within(t), record).FirstErr())
			}
			found := take(t, franzReader(t, topic, kgo.NewOffset().AtStart()), 100)
			for i, record := range found {
				equal(t, fmt.Sprint(i), string(record.Value), "value")
			}
		})
	}
}

func TestFranzLargeRecords(t *testing.T) {
	topic := franzTopic(t, 1)
	producer := franz(t, kgo.ProducerBatchMaxBytes(16<<20), kgo.BrokerMaxWriteBytes(32<<20),
		kgo.ProducerBatchCompression(kgo.NoCompression()))
	fits := &kgo.Record{Topic: topic, Value: []byte(strings.Repeat("x", 1_000_000))}
	must(t, producer.ProduceSync(within(t), fits).FirstErr())
	large := &kgo.Record{Topic: topic, Value: []byte(strings.Repeat("x", 1_100_000))}
	err := producer.ProduceSync(within(t), large).FirstErr()
	if !errors.Is(err, kerr.MessageTooLarge) {
		t.Fatalf("a record above max.message.bytes: %v", err)
	}
	// A limit of the fetch below the batch still gives the batch.
	small := kgo.FetchMaxPartitionBytes(1000)
	found := take(t, franzReader(t, topic, kgo.NewOffset().AtStart(), small), 1)
	equal(t, 1_000_000, len(found[0].Value), "length")
}

func TestFranzStartPositions(t *testing.T) {
	topic := franzTopic(t, 1)
	franzNumbers(t, topic, 0, 0, 100)
	positions := map[string]struct {
		at    kgo.Offset
		first int
	}{
		"start":                  {kgo.NewOffset().AtStart(), 0},
		"number":                 {kgo.NewOffset().At(42), 42},
		"before the end":         {kgo.NewOffset().AtEnd().Relative(-3), 97},
		"timestamp":              {kgo.NewOffset().AfterMilli(1_700_000_037_000), 37},
		"between two timestamps": {kgo.NewOffset().AfterMilli(1_700_000_037_001), 38},
	}
	for name, position := range positions {
		t.Run(name, func(t *testing.T) {
			found := take(t, franzReader(t, topic, position.at), 100-position.first)
			equal(t, fmt.Sprint(position.first), string(found[0].Value), "first value")
		})
	}
	t.Run("end", func(t *testing.T) {
		end := franzTopic(t, 1)
		franzNumbers(t, end, 0, 0, 10)
		reader := franzReader(t, end, kgo.NewOffset().AtEnd())
		brief, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
		defer cancel()
		equal(t, 0, reader.PollFetches(brief).NumRecords(), "records after the end")
		franzNumbers(t, end, 0, 10, 11)
		equal(t, "10", string(take(t, reader, 1)[0].Value), "value")
	})
	t.Run("out of range resets to the start", func(t *testing.T) {
		reset := kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())
		found := take(t, franzReader(t, topic, kgo.NewOffset().At(5000), reset), 100)
		equal(t, "0", string(found[0].Value), "first value")
	})
}

func TestFranzSeek(t *testing.T) {
	topic := franzTopic(t, 1)
	franzNumbers(t, topic, 0, 0, 50)
	reader := franz(t, kgo.ConsumerGroup(fresh("seek")), kgo.ConsumeTopics(topic),
		kgo.DisableAutoCommit(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	take(t, reader, 50)
	reader.SetOffsets(map[string]map[int32]kgo.EpochOffset{topic: {0: {Epoch: -1, Offset: 45}}})
	equal(t, "45", string(take(t, reader, 5)[0].Value), "first value after the seek")
}

func TestFranzTopicMadeByProduce(t *testing.T) {
	topic := fresh("franz-auto")
	producer := franz(t, kgo.AllowAutoTopicCreation())
	record := &kgo.Record{Topic: topic, Value: []byte("first")}
	must(t, producer.ProduceSync(within(t), record).FirstErr())
	absent := franz(t, kgo.UnknownTopicRetries(1))
	record = &kgo.Record{Topic: fresh("absent"), Value: []byte("lost")}
	err := absent.ProduceSync(within(t), record).FirstErr()
	if !errors.Is(err, kerr.UnknownTopicOrPartition) {
		t.Fatalf("produce to a missing topic without auto creation: %v", err)
	}
}

func TestFranzTopicDeletedAndMadeAgain(t *testing.T) {
	topic := franzTopic(t, 1)
	admin := franzAdmin(t)
	producer := franz(t)
	must(t, producer.ProduceSync(within(t), &kgo.Record{Topic: topic, Value: []byte("a")}).FirstErr())
	deleted, err := admin.DeleteTopic(within(t), topic)
	must(t, err)
	must(t, deleted.Err)
	eventually(t, "topic made again", func() bool {
		_, err = admin.CreateTopic(within(t), 1, 1, nil, topic)
		return err == nil
	})
	must(t, franz(t).ProduceSync(within(t), &kgo.Record{Topic: topic, Value: []byte("b")}).FirstErr())
	found := take(t, franzReader(t, topic, kgo.NewOffset().AtStart()), 1)
	equal(t, "b", string(found[0].Value), "value of the new topic")
	equal(t, int64(0), found[0].Offset, "offset in the new topic")
}

func TestFranzRegularExpression(t *testing.T) {
	word := fresh("franz-regex")
	admin := franzAdmin(t)
	_, err := admin.CreateTopics(within(t), 2, 1, nil, word+"-a", word+"-b")
	must(t, err)
	franzNumbers(t, word+"-a", 0, 0, 5)
	franzNumbers(t, word+"-b", 1, 0, 5)
	reader := franz(t, kgo.ConsumeRegex(), kgo.ConsumeTopics("^"+word+"-.*"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	take(t, reader, 10)
}

func TestFranzTransactionsAreRefused(t *testing.T) {
	topic := franzTopic(t, 1)
	producer := franz(t, kgo.TransactionalID(fresh("transaction")))
	call := func() error {
		if err := producer.BeginTransaction(); err != nil {
			return err
		}
		record := &kgo.Record{Topic: topic, Value: []byte("never")}
		return producer.ProduceSync(context.Background(), record).FirstErr()
	}
	if isKafka {
		must(t, call())
		return
	}
	err := refusedSoon(t, "a transaction", call)
	if !errors.Is(err, kerr.TransactionalIDAuthorizationFailed) {
		t.Fatal(err)
	}
}

func TestFranzSaslIsRefused(t *testing.T) {
	mechanism := plain.Auth{User: "user", Pass: "secret"}.AsMechanism()
	client := franz(t, kgo.SASL(mechanism))
	err := refusedSoon(t, "SASL", func() error { return client.Ping(context.Background()) })
	if !errors.Is(err, kerr.IllegalSaslState) {
		t.Fatal(err)
	}
}

func TestFranzShareGroupsAreRefused(t *testing.T) {
	if isKafka {
		return // Served there.
	}
	topic := franzTopic(t, 1)
	client := franz(t, kgo.ShareGroup(fresh("share")), kgo.ConsumeTopics(topic))
	refusedSoon(t, "a share group", func() error {
		return client.PollFetches(context.Background()).Err()
	})
}

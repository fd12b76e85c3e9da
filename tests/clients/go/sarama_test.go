package clients

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
)

// saramaConfig is for the oldest and the newest Kafka whose versions Sarama chooses by.
func saramaConfig(version sarama.KafkaVersion) *sarama.Config {
	config := sarama.NewConfig()
	config.Version = version
	config.Producer.Return.Successes = true
	config.Producer.Partitioner = sarama.NewManualPartitioner
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	config.Consumer.Offsets.AutoCommit.Enable = false
	config.Consumer.Group.Session.Timeout = 6 * time.Second
	config.Consumer.Group.Heartbeat.Interval = 200 * time.Millisecond
	config.Metadata.Retry.Max = 1
	// Sarama waits for these where it closes, leaves and is refused.
	config.Consumer.MaxWaitTime = 20 * time.Millisecond
	config.Consumer.Group.Rebalance.Retry.Backoff = 100 * time.Millisecond
	config.Producer.Transaction.Retry.Max = 1
	return config
}

var saramaVersions = []sarama.KafkaVersion{
	sarama.V0_11_0_0, sarama.V1_0_0_0, sarama.DefaultVersion, sarama.MaxVersion,
}

func saramaAdmin(t *testing.T, config *sarama.Config) sarama.ClusterAdmin {
	t.Helper()
	admin, err := sarama.NewClusterAdmin([]string{bootstrap}, config)
	must(t, err)
	t.Cleanup(func() { admin.Close() })
	return admin
}

func saramaTopic(t *testing.T, config *sarama.Config, partitions int32) string {
	t.Helper()
	name := fresh("sarama")
	detail := &sarama.TopicDetail{NumPartitions: partitions, ReplicationFactor: 1}
	must(t, saramaAdmin(t, config).CreateTopic(name, detail, false))
	return name
}

func saramaSend(t *testing.T, config *sarama.Config, messages []*sarama.ProducerMessage) {
	t.Helper()
	producer, err := sarama.NewSyncProducer([]string{bootstrap}, config)
	must(t, err)
	defer producer.Close()
	must(t, producer.SendMessages(messages))
}

func saramaNumbers(t *testing.T, config *sarama.Config, topic string, partition int32, count int) {
	t.Helper()
	messages := make([]*sarama.ProducerMessage, count)
	for i := range messages {
		messages[i] = &sarama.ProducerMessage{Topic: topic, Partition: partition,
			Value: sarama.StringEncoder(fmt.Sprint(i)), Timestamp: time.Unix(int64(1_700_000_000+i), 0)}
	}
	saramaSend(t, config, messages)
}

func saramaMessage(topic string, from sample) *sarama.ProducerMessage {
	message := &sarama.ProducerMessage{Topic: topic}
	if from.key != nil {
		message.Key = sarama.ByteEncoder(from.key)
	}
	if from.value != nil {
		message.Value = sarama.ByteEncoder(from.value)
	}
	for _, one := range from.headers {
		header := sarama.RecordHeader{Key: []byte(one.key), Value: one.value}
		message.Headers = append(message.Headers, header)
	}
	return message
}

func saramaSample(message *sarama.ConsumerMessage) sample {
	found := sample{key: message.Key, value: message.Value}
	for _, header := range message.Headers {
		found.headers = append(found.headers, pair{string(header.Key), header.Value})
	}
	return found
}

// saramaTake reads exactly this many messages of partition 0 from an offset.
func saramaTake(
	t *testing.T, config *sarama.Config, topic string, offset int64, count int,
) []*sarama.ConsumerMessage {
	t.Helper()
	consumer, err := sarama.NewConsumer([]string{bootstrap}, config)
	must(t, err)
	defer consumer.Close()
	partition, err := consumer.ConsumePartition(topic, 0, offset)
	must(t, err)
	defer partition.Close()
	var found []*sarama.ConsumerMessage
	for len(found) < count {
		select {
		case message := <-partition.Messages():
			found = append(found, message)
		case <-within(t).Done():
			t.Fatalf("%d of %d messages", len(found), count)
		}
	}
	return found
}

func TestSaramaCodecs(t *testing.T) {
	for _, version := range saramaVersions {
		for _, codec := range []sarama.CompressionCodec{
			sarama.CompressionNone, sarama.CompressionGZIP, sarama.CompressionSnappy,
			sarama.CompressionLZ4, sarama.CompressionZSTD,
		} {
			if codec == sarama.CompressionZSTD && !version.IsAtLeast(sarama.V2_1_0_0) {
				continue // Sarama does not offer zstd below Kafka 2.1.
			}
			t.Run(fmt.Sprint(codec, " of ", version), func(t *testing.T) {
				config := saramaConfig(version)
				config.Producer.Compression = codec
				topic := saramaTopic(t, config, 1)
				wanted := samples(300)
				messages := make([]*sarama.ProducerMessage, len(wanted))
				for i, one := range wanted {
					messages[i] = saramaMessage(topic, one)
				}
				saramaSend(t, config, messages)
				found := saramaTake(t, config, topic, sarama.OffsetOldest, len(wanted))
				for i, message := range found {
					equal(t, int64(i), message.Offset, "offset")
					// Sarama makes headers without a value empty.
					one := saramaSample(message)
					for j, header := range wanted[i].headers {
						if header.value == nil && len(one.headers[j].value) == 0 {
							one.headers[j].value = nil
						}
					}
					sameSample(t, i, wanted[i], one)
				}
			})
		}
	}
}

func TestSaramaIdempotentProducer(t *testing.T) {
	config := saramaConfig(sarama.DefaultVersion)
	config.Producer.Idempotent = true
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Net.MaxOpenRequests = 1
	topic := saramaTopic(t, config, 1)
	saramaNumbers(t, config, topic, 0, 1000)
	for i, message := range saramaTake(t, config, topic, sarama.OffsetOldest, 1000) {
		equal(t, fmt.Sprint(i), string(message.Value), "value")
	}
}

func TestSaramaTooLargeMessage(t *testing.T) {
	config := saramaConfig(sarama.DefaultVersion)
	config.Producer.MaxMessageBytes = 4 << 20
	config.Producer.Retry.Max = 0
	topic := saramaTopic(t, config, 1)
	producer, err := sarama.NewSyncProducer([]string{bootstrap}, config)
	must(t, err)
	defer producer.Close()
	large := sarama.StringEncoder(strings.Repeat("x", 2<<20))
	_, _, err = producer.SendMessage(&sarama.ProducerMessage{Topic: topic, Value: large})
	if !errors.Is(err, sarama.ErrMessageSizeTooLarge) {
		t.Fatalf("a message above max.message.bytes: %v", err)
	}
}

func TestSaramaPositions(t *testing.T) {
	config := saramaConfig(sarama.DefaultVersion)
	topic := saramaTopic(t, config, 1)
	saramaNumbers(t, config, topic, 0, 50)
	equal(t, "20", string(saramaTake(t, config, topic, 20, 1)[0].Value), "value at 20")
	client, err := sarama.NewClient([]string{bootstrap}, config)
	must(t, err)
	defer client.Close()
	for at, wanted := range map[int64]int64{
		sarama.OffsetOldest: 0, sarama.OffsetNewest: 50, 1_700_000_030_000: 30,
		1_700_000_030_001: 31, 1_800_000_000_000: -1,
	} {
		offset, err := client.GetOffset(topic, 0, at)
		must(t, err)
		equal(t, wanted, offset, fmt.Sprint("offset of ", at))
	}
	consumer, err := sarama.NewConsumerFromClient(client)
	must(t, err)
	_, err = consumer.ConsumePartition(topic, 0, 500)
	if !errors.Is(err, sarama.ErrOffsetOutOfRange) {
		t.Fatalf("a start after the end: %v", err)
	}
}

// saramaMember is a member of a group that marks and commits what it sees.
type saramaMember struct {
	group      sarama.ConsumerGroup
	topic      string
	lock       sync.Mutex
	claims     []int32
	generation int32
	seen       map[string]int
	stop       context.CancelFunc
	done       chan struct{}
}

func (m *saramaMember) Setup(session sarama.ConsumerGroupSession) error {
	m.lock.Lock()
	defer m.lock.Unlock()
	m.claims = slices.Clone(session.Claims()[m.topic])
	m.generation = session.GenerationID()
	return nil
}

func (m *saramaMember) Cleanup(sarama.ConsumerGroupSession) error {
	m.lock.Lock()
	defer m.lock.Unlock()
	m.claims = nil
	return nil
}

func (m *saramaMember) ConsumeClaim(
	session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim,
) error {
	for {
		select {
		case message, more := <-claim.Messages():
			if !more {
				return nil
			}
			m.lock.Lock()
			m.seen[string(message.Value)]++
			m.lock.Unlock()
			session.MarkMessage(message, "seen")
			session.Commit()
		case <-session.Context().Done():
			return nil
		}
	}
}

func (m *saramaMember) owned() (int, int32) {
	m.lock.Lock()
	defer m.lock.Unlock()
	return len(m.claims), m.generation
}

func newSaramaMember(t *testing.T, config *sarama.Config, topic, group string) *saramaMember {
	t.Helper()
	joined, err := sarama.NewConsumerGroup([]string{bootstrap}, group, config)
	must(t, err)
	ctx, stop := context.WithCancel(context.Background())
	one := &saramaMember{group: joined, topic: topic, seen: map[string]int{}, stop: stop,
		done: make(chan struct{})}
	go func() {
		defer close(one.done)
		for ctx.Err() == nil {
			if err := joined.Consume(ctx, []string{topic}, one); err != nil {
				return
			}
		}
	}()
	t.Cleanup(one.leave)
	return one
}

func (m *saramaMember) leave() {
	m.stop()
	<-m.done
	m.group.Close()
}

func TestSaramaMembersShareAndLeave(t *testing.T) {
	for _, version := range saramaVersions {
		for _, strategy := range []sarama.BalanceStrategy{
			sarama.NewBalanceStrategyRange(), sarama.NewBalanceStrategyRoundRobin(),
			sarama.NewBalanceStrategySticky(),
		} {
			t.Run(fmt.Sprint(strategy.Name(), " of ", version), func(t *testing.T) {
				config := saramaConfig(version)
				config.Consumer.Group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{strategy}
				topic, group := saramaTopic(t, config, 4), fresh("sarama-share")
				has := func(one *saramaMember, wanted int) func() bool {
					return func() bool { count, _ := one.owned(); return count == wanted }
				}
				first := newSaramaMember(t, config, topic, group)
				eventually(t, "one has all", has(first, 4))
				second := newSaramaMember(t, config, topic, group)
				eventually(t, "the second has half", has(second, 2))
				eventually(t, "the first has half", has(first, 2))
				second.leave()
				eventually(t, "the first has all again", has(first, 4))
			})
		}
	}
}

func TestSaramaStaticMemberReturnsWithoutRebalance(t *testing.T) {
	config := saramaConfig(sarama.DefaultVersion)
	topic, group := saramaTopic(t, config, 2), fresh("sarama-static")
	named := func(name string) *sarama.Config {
		copy := *config
		copy.Consumer.Group.InstanceId = name
		return &copy
	}
	first := newSaramaMember(t, named("one"), topic, group)
	second := newSaramaMember(t, named("two"), topic, group)
	one := func(m *saramaMember) bool { count, _ := m.owned(); return count == 1 }
	eventually(t, "two share", func() bool { return one(first) && one(second) })
	_, generation := first.owned()
	second.leave()
	again := newSaramaMember(t, named("two"), topic, group)
	eventually(t, "back", func() bool { return one(again) })
	_, now := again.owned()
	equal(t, generation, now, "generation")
	answer, err := saramaAdmin(t, config).RemoveMemberFromConsumerGroup(group, []string{"two"})
	must(t, err)
	equal(t, sarama.ErrNoError, answer.Err, "removal")
}

func TestSaramaCommitsKeepMetadata(t *testing.T) {
	config := saramaConfig(sarama.DefaultVersion)
	topic, group := saramaTopic(t, config, 1), fresh("sarama-commit")
	saramaNumbers(t, config, topic, 0, 30)
	first := newSaramaMember(t, config, topic, group)
	eventually(t, "all seen", func() bool {
		first.lock.Lock()
		defer first.lock.Unlock()
		return len(first.seen) == 30
	})
	admin := saramaAdmin(t, config)
	eventually(t, "committed", func() bool {
		offsets, err := admin.ListConsumerGroupOffsets(group, map[string][]int32{topic: {0}})
		must(t, err)
		block := offsets.GetBlock(topic, 0)
		return block.Offset == 30 && block.Metadata == "seen"
	})
	described, err := admin.DescribeConsumerGroups([]string{group})
	must(t, err)
	equal(t, "Stable", described[0].State, "state")
	first.leave()
	eventually(t, "deleted", func() bool { return admin.DeleteConsumerGroup(group) == nil })
}

func TestSaramaAdmin(t *testing.T) {
	// Sarama asks for DescribeLogDirs 0 up to Kafka 2.0, which Kafka 4 does not answer either.
	for _, version := range saramaVersions[2:] {
		t.Run(version.String(), func(t *testing.T) {
			config := saramaConfig(version)
			admin := saramaAdmin(t, config)
			topic := saramaTopic(t, config, 1)
			must(t, admin.CreatePartitions(topic, 3, nil, false))
			described, err := admin.DescribeTopics([]string{topic})
			must(t, err)
			equal(t, 3, len(described[0].Partitions), "partitions")
			topics, err := admin.ListTopics()
			must(t, err)
			equal(t, 3, topics[topic].NumPartitions, "partitions in the list")
			value := "70000"
			must(t, admin.AlterConfig(
				sarama.TopicResource, topic, map[string]*string{"retention.ms": &value}, false))
			entries, err := admin.DescribeConfig(sarama.ConfigResource{
				Type: sarama.TopicResource, Name: topic, ConfigNames: []string{"retention.ms"}})
			must(t, err)
			equal(t, value, entries[0].Value, "retention.ms")
			saramaNumbers(t, config, topic, 2, 20)
			must(t, admin.DeleteRecords(topic, map[int32]int64{2: 15}))
			brokers, _, err := admin.DescribeCluster()
			must(t, err)
			logs, err := admin.DescribeLogDirs([]int32{brokers[0].ID()})
			must(t, err)
			equal(t, 1, len(logs), "brokers with log directories")
			must(t, admin.DeleteTopic(topic))
			if err := admin.DeleteTopic(fresh("missing")); !errors.Is(
				err, sarama.ErrUnknownTopicOrPartition) {
				t.Fatalf("delete of a missing topic: %v", err)
			}
		})
	}
}

func TestSaramaTransactionsAreRefused(t *testing.T) {
	config := saramaConfig(sarama.DefaultVersion)
	config.Producer.Idempotent = true
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Net.MaxOpenRequests = 1
	config.Producer.Transaction.ID = fresh("transaction")
	call := func() error {
		producer, err := sarama.NewSyncProducer([]string{bootstrap}, config)
		if err == nil {
			producer.Close()
		}
		return err
	}
	if isKafka {
		must(t, call())
		return
	}
	refusedSoon(t, "a transaction", call)
}

func TestSaramaSaslIsRefused(t *testing.T) {
	for _, version := range []int16{sarama.SASLHandshakeV0, sarama.SASLHandshakeV1} {
		config := saramaConfig(sarama.DefaultVersion)
		config.Net.SASL.Enable = true
		config.Net.SASL.Version = version
		config.Net.SASL.User, config.Net.SASL.Password = "user", "secret"
		config.ApiVersionsRequest = version == sarama.SASLHandshakeV1
		refusedSoon(t, "SASL", func() error {
			client, err := sarama.NewClient([]string{bootstrap}, config)
			if err == nil {
				client.Close()
			}
			return err
		})
	}
}

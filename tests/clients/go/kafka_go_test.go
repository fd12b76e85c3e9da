package clients

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl/plain"
)

func kafkaGo() *kafka.Client {
	return &kafka.Client{Addr: kafka.TCP(bootstrap), Timeout: deadline}
}

func kafkaGoTopic(t *testing.T, partitions int) string {
	t.Helper()
	name := fresh("kafka-go")
	topic := kafka.TopicConfig{Topic: name, NumPartitions: partitions, ReplicationFactor: 1}
	made, err := kafkaGo().CreateTopics(within(t), &kafka.CreateTopicsRequest{
		Topics: []kafka.TopicConfig{topic}})
	must(t, err)
	must(t, made.Errors[name])
	return name
}

func kafkaGoWriter(t *testing.T, topic string, codec kafka.Compression) *kafka.Writer {
	t.Helper()
	writer := &kafka.Writer{Addr: kafka.TCP(bootstrap), Topic: topic, Compression: codec,
		BatchTimeout: 5 * time.Millisecond, RequiredAcks: kafka.RequireAll,
		Balancer: &kafka.RoundRobin{}}
	t.Cleanup(func() { writer.Close() })
	return writer
}

func kafkaGoNumbers(t *testing.T, topic string, count int) {
	t.Helper()
	messages := make([]kafka.Message, count)
	for i := range messages {
		messages[i] = kafka.Message{Value: []byte(fmt.Sprint(i)),
			Time: time.Unix(int64(1_700_000_000+i), 0)}
	}
	must(t, kafkaGoWriter(t, topic, 0).WriteMessages(within(t), messages...))
}

func kafkaGoReader(t *testing.T, config kafka.ReaderConfig) *kafka.Reader {
	t.Helper()
	config.Brokers = []string{bootstrap}
	config.MaxWait = 200 * time.Millisecond
	config.SessionTimeout = 6 * time.Second
	config.HeartbeatInterval = 200 * time.Millisecond
	config.JoinGroupBackoff = 100 * time.Millisecond
	reader := kafka.NewReader(config)
	t.Cleanup(func() { reader.Close() })
	return reader
}

func kafkaGoDial(t *testing.T, topic string) *kafka.Conn {
	t.Helper()
	connection, err := kafka.DialLeader(within(t), "tcp", bootstrap, topic, 0)
	must(t, err)
	t.Cleanup(func() { connection.Close() })
	must(t, connection.SetDeadline(time.Now().Add(deadline)))
	return connection
}

func TestKafkaGoCodecs(t *testing.T) {
	for _, codec := range []kafka.Compression{0, kafka.Gzip, kafka.Snappy, kafka.Lz4, kafka.Zstd} {
		t.Run(codec.String(), func(t *testing.T) {
			topic := kafkaGoTopic(t, 1)
			wanted := samples(300)
			messages := make([]kafka.Message, len(wanted))
			for i, one := range wanted {
				messages[i] = kafka.Message{Key: one.key, Value: one.value}
				for _, header := range one.headers {
					messages[i].Headers = append(messages[i].Headers,
						kafka.Header{Key: header.key, Value: header.value})
				}
			}
			must(t, kafkaGoWriter(t, topic, codec).WriteMessages(within(t), messages...))
			reader := kafkaGoReader(t, kafka.ReaderConfig{Topic: topic})
			for i, one := range wanted {
				message, err := reader.ReadMessage(within(t))
				must(t, err)
				equal(t, int64(i), message.Offset, "offset")
				equal(t, string(one.key), string(message.Key), "key")
				equal(t, string(one.value), string(message.Value), "value")
				equal(t, len(one.headers), len(message.Headers), "headers")
				for j, header := range one.headers {
					equal(t, header.key, message.Headers[j].Key, "key of a header")
					equal(t, string(header.value), string(message.Headers[j].Value), "header")
				}
			}
		})
	}
}

func TestKafkaGoConnection(t *testing.T) {
	topic := kafkaGoTopic(t, 1)
	connection := kafkaGoDial(t, topic)
	for i := range 20 {
		message := kafka.Message{Value: []byte(fmt.Sprint(i)),
			Time: time.Unix(int64(1_700_000_000+i), 0)}
		_, err := connection.WriteMessages(message)
		must(t, err)
	}
	first, last, err := connection.ReadOffsets()
	must(t, err)
	equal(t, int64(0), first, "first offset")
	equal(t, int64(20), last, "end offset")
	offset, err := connection.ReadOffset(time.Unix(1_700_000_012, 0))
	must(t, err)
	equal(t, int64(12), offset, "offset of a timestamp")
	_, err = connection.Seek(15, kafka.SeekAbsolute)
	must(t, err)
	batch := connection.ReadBatch(1, 1<<20)
	for i := 15; i < 20; i++ {
		message, err := batch.ReadMessage()
		must(t, err)
		equal(t, fmt.Sprint(i), string(message.Value), "value")
	}
	if err := batch.Close(); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	partitions, err := connection.ReadPartitions(topic)
	must(t, err)
	equal(t, 1, len(partitions), "partitions")
	controller, err := connection.Controller()
	must(t, err)
	equal(t, bootstrap, net.JoinHostPort(controller.Host, fmt.Sprint(controller.Port)), "controller")
	must(t, connection.CreateTopics(kafka.TopicConfig{
		Topic: topic + "-b", NumPartitions: 2, ReplicationFactor: 1}))
	must(t, connection.DeleteTopics(topic+"-b"))
}

func TestKafkaGoPositions(t *testing.T) {
	topic := kafkaGoTopic(t, 1)
	kafkaGoNumbers(t, topic, 30)
	reader := kafkaGoReader(t, kafka.ReaderConfig{Topic: topic})
	value := func(wanted string) {
		t.Helper()
		message, err := reader.ReadMessage(within(t))
		must(t, err)
		equal(t, wanted, string(message.Value), "value")
	}
	value("0")
	must(t, reader.SetOffset(21))
	value("21")
	must(t, reader.SetOffsetAt(within(t), time.Unix(1_700_000_007, 0)))
	value("7")
	must(t, reader.SetOffset(kafka.FirstOffset))
	value("0")
	lag, err := reader.ReadLag(within(t))
	must(t, err)
	equal(t, int64(29), lag, "lag")
}

func TestKafkaGoTooLargeMessage(t *testing.T) {
	topic := kafkaGoTopic(t, 1)
	writer := kafkaGoWriter(t, topic, 0)
	writer.BatchBytes, writer.MaxAttempts = 8<<20, 1
	large := kafka.Message{Value: []byte(strings.Repeat("x", 2<<20))}
	err := writer.WriteMessages(within(t), large)
	if !errors.Is(err, kafka.MessageSizeTooLarge) {
		var many kafka.WriteErrors
		if !errors.As(err, &many) || !errors.Is(many[0], kafka.MessageSizeTooLarge) {
			t.Fatalf("a message above max.message.bytes: %v", err)
		}
	}
}

func TestKafkaGoGroup(t *testing.T) {
	for _, balancer := range []kafka.GroupBalancer{
		kafka.RangeGroupBalancer{}, kafka.RoundRobinGroupBalancer{},
	} {
		t.Run(balancer.ProtocolName(), func(t *testing.T) {
			topic, group := kafkaGoTopic(t, 4), fresh("kafka-go-group")
			kafkaGoNumbers(t, topic, 40)
			config := kafka.ReaderConfig{GroupID: group, GroupTopics: []string{topic},
				StartOffset: kafka.FirstOffset, GroupBalancers: []kafka.GroupBalancer{balancer}}
			first := kafkaGoReader(t, config)
			seen := map[string]bool{}
			for len(seen) < 40 {
				message, err := first.FetchMessage(within(t))
				must(t, err)
				seen[string(message.Value)] = true
				must(t, first.CommitMessages(within(t), message))
			}
			// A second member gets half; what it reads it has not seen before.
			second := kafkaGoReader(t, config)
			members := func(wanted int) func() bool {
				return func() bool {
					described, err := kafkaGo().DescribeGroups(within(t),
						&kafka.DescribeGroupsRequest{GroupIDs: []string{group}})
					must(t, err)
					one := described.Groups[0]
					return one.GroupState == "Stable" && len(one.Members) == wanted
				}
			}
			eventually(t, "two members", members(2))
			kafkaGoNumbers(t, topic, 40)
			half := 0
			for ; half < 20; half++ {
				message, err := second.ReadMessage(within(t))
				must(t, err)
				equal(t, true, message.Offset >= 10, "a record after the commit")
			}
			must(t, second.Close())
			eventually(t, "one member", members(1))
			offsets, err := kafkaGo().OffsetFetch(within(t), &kafka.OffsetFetchRequest{
				GroupID: group, Topics: map[string][]int{topic: {0, 1, 2, 3}}})
			must(t, err)
			equal(t, 4, len(offsets.Topics[topic]), "partitions with offsets")
			must(t, first.Close())
			eventually(t, "deleted", func() bool {
				gone, err := kafkaGo().DeleteGroups(within(t),
					&kafka.DeleteGroupsRequest{GroupIDs: []string{group}})
				must(t, err)
				return gone.Errors[group] == nil
			})
		})
	}
}

func TestKafkaGoCommitsKeepMetadata(t *testing.T) {
	topic, group := kafkaGoTopic(t, 1), fresh("kafka-go-commit")
	committed, err := kafkaGo().OffsetCommit(within(t), &kafka.OffsetCommitRequest{
		GroupID: group, GenerationID: -1,
		Topics: map[string][]kafka.OffsetCommit{topic: {{Offset: 3, Metadata: "saved"}}},
	})
	must(t, err)
	must(t, committed.Topics[topic][0].Error)
	fetched, err := kafkaGo().OffsetFetch(within(t), &kafka.OffsetFetchRequest{
		GroupID: group, Topics: map[string][]int{topic: {0}}})
	must(t, err)
	equal(t, int64(3), fetched.Topics[topic][0].CommittedOffset, "offset")
	equal(t, "saved", fetched.Topics[topic][0].Metadata, "metadata")
}

func TestKafkaGoAdmin(t *testing.T) {
	topic := kafkaGoTopic(t, 1)
	client := kafkaGo()
	grown, err := client.CreatePartitions(within(t), &kafka.CreatePartitionsRequest{
		Topics: []kafka.TopicPartitionsConfig{{Name: topic, Count: 2}}})
	must(t, err)
	must(t, grown.Errors[topic])
	changed, err := client.IncrementalAlterConfigs(within(t), &kafka.IncrementalAlterConfigsRequest{
		Resources: []kafka.IncrementalAlterConfigsRequestResource{{
			ResourceType: kafka.ResourceTypeTopic, ResourceName: topic,
			Configs: []kafka.IncrementalAlterConfigsRequestConfig{{Name: "retention.ms",
				Value: "80000", ConfigOperation: kafka.ConfigOperationSet}}}}})
	must(t, err)
	must(t, changed.Resources[0].Error)
	described, err := client.DescribeConfigs(within(t), &kafka.DescribeConfigsRequest{
		Resources: []kafka.DescribeConfigRequestResource{{ResourceType: kafka.ResourceTypeTopic,
			ResourceName: topic, ConfigNames: []string{"retention.ms"}}}})
	must(t, err)
	equal(t, "80000", described.Resources[0].ConfigEntries[0].ConfigValue, "retention.ms")
	groups, err := client.ListGroups(within(t), &kafka.ListGroupsRequest{})
	must(t, err)
	must(t, groups.Error)
	elected, err := client.ElectLeaders(within(t), &kafka.ElectLeadersRequest{
		Topic: topic, Partitions: []int{0}, Timeout: deadline})
	must(t, err)
	must(t, elected.Error)
	deleted, err := client.DeleteTopics(within(t),
		&kafka.DeleteTopicsRequest{Topics: []string{topic}})
	must(t, err)
	must(t, deleted.Errors[topic])
}

func TestKafkaGoTransactionsAreRefused(t *testing.T) {
	call := func() error {
		answer, err := kafkaGo().InitProducerID(context.Background(), &kafka.InitProducerIDRequest{
			TransactionalID: fresh("transaction"), TransactionTimeoutMs: 10_000})
		if err == nil {
			err = answer.Error
		}
		return err
	}
	if isKafka {
		eventually(t, "the coordinator is there", func() bool { return call() == nil })
		return
	}
	err := refusedSoon(t, "a transaction", call)
	if !errors.Is(err, kafka.TransactionalIDAuthorizationFailed) {
		t.Fatal(err)
	}
}

func TestKafkaGoSaslIsRefused(t *testing.T) {
	dialer := kafka.Dialer{SASLMechanism: plain.Mechanism{Username: "user", Password: "secret"}}
	err := refusedSoon(t, "SASL", func() error {
		_, err := dialer.Dial("tcp", bootstrap)
		return err
	})
	if !errors.Is(err, kafka.IllegalSASLState) {
		t.Fatal(err)
	}
}

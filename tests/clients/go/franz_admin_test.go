package clients

import (
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestFranzDescribe(t *testing.T) {
	topic := franzTopic(t, 3)
	admin := franzAdmin(t)
	metadata, err := admin.Metadata(within(t), topic)
	must(t, err)
	equal(t, 3, len(metadata.Topics[topic].Partitions), "partitions")
	equal(t, 1, len(metadata.Brokers), "brokers")
	if metadata.Cluster == "" || metadata.Topics[topic].ID == (kadm.TopicID{}) {
		t.Fatal("no cluster id or no topic id")
	}
	versions, err := admin.ApiVersions(within(t))
	must(t, err)
	versions.Each(func(one kadm.BrokerApiVersions) { must(t, one.Err) })
	logs, err := admin.DescribeAllLogDirs(within(t), kadm.TopicsSet{topic: {0: {}, 1: {}, 2: {}}})
	must(t, err)
	logs.Each(func(one kadm.DescribedLogDir) { must(t, one.Err) })
	producers, err := admin.DescribeProducers(within(t), kadm.TopicsSet{topic: {0: {}}})
	must(t, err)
	producers.Each(func(one kadm.DescribedProducersTopic) {
		for _, partition := range one.Partitions {
			must(t, partition.Err)
		}
	})
}

func TestFranzConfigs(t *testing.T) {
	topic := franzTopic(t, 1, "retention.ms", "60000")
	admin := franzAdmin(t)
	wanted := func(key, value string) {
		t.Helper()
		configs, err := admin.DescribeTopicConfigs(within(t), topic)
		must(t, err)
		resource, err := configs.On(topic, nil)
		must(t, err)
		must(t, resource.Err)
		for _, config := range resource.Configs {
			if config.Key == key {
				equal(t, value, config.MaybeValue(), key)
				return
			}
		}
		t.Fatalf("no config %s", key)
	}
	wanted("retention.ms", "60000")
	value := "compact"
	changed, err := admin.AlterTopicConfigs(within(t), []kadm.AlterConfig{
		{Op: kadm.AppendConfig, Name: "cleanup.policy", Value: &value},
		{Op: kadm.DeleteConfig, Name: "retention.ms"},
	}, topic)
	must(t, err)
	must(t, changed[0].Err)
	wanted("cleanup.policy", "delete,compact")
	wanted("retention.ms", "604800000")
	bad := "many"
	changed, err = admin.AlterTopicConfigs(within(t),
		[]kadm.AlterConfig{{Op: kadm.SetConfig, Name: "retention.ms", Value: &bad}}, topic)
	must(t, err)
	if !errors.Is(changed[0].Err, kerr.InvalidConfig) {
		t.Fatalf("retention.ms=many: %v", changed[0].Err)
	}
	changed, err = admin.AlterTopicConfigsState(within(t),
		[]kadm.AlterConfig{{Name: "max.message.bytes", Value: kmsg.StringPtr("5000")}}, topic)
	must(t, err)
	must(t, changed[0].Err)
	wanted("max.message.bytes", "5000")
	wanted("cleanup.policy", "delete")
	brokers, err := admin.DescribeBrokerConfigs(within(t), metadataBroker(t, admin))
	must(t, err)
	must(t, brokers[0].Err)
}

func metadataBroker(t *testing.T, admin *kadm.Client) int32 {
	t.Helper()
	brokers, err := admin.ListBrokers(within(t))
	must(t, err)
	return brokers[0].NodeID
}

func TestFranzPartitionsAndRecords(t *testing.T) {
	topic := franzTopic(t, 1)
	admin := franzAdmin(t)
	grown, err := admin.UpdatePartitions(within(t), 3, topic)
	must(t, err)
	must(t, grown[topic].Err)
	franzNumbers(t, topic, 2, 0, 30)
	var before kadm.Offsets
	before.AddOffset(topic, 2, 12, -1)
	deleted, err := admin.DeleteRecords(within(t), before)
	must(t, err)
	must(t, deleted.Error())
	starts, err := admin.ListStartOffsets(within(t), topic)
	must(t, err)
	start, _ := starts.Lookup(topic, 2)
	equal(t, int64(12), start.Offset, "start offset")
	ends, err := admin.ListEndOffsets(within(t), topic)
	must(t, err)
	end, _ := ends.Lookup(topic, 2)
	equal(t, int64(30), end.Offset, "end offset")
	largest, err := admin.ListMaxTimestampOffsets(within(t), topic)
	must(t, err)
	last, _ := largest.Lookup(topic, 2)
	equal(t, int64(29), last.Offset, "offset of the largest timestamp")
	after, err := admin.ListOffsetsAfterMilli(within(t), 1_700_000_020_000, topic)
	must(t, err)
	found, _ := after.Lookup(topic, 2)
	equal(t, int64(20), found.Offset, "offset of a timestamp")
}

func TestFranzRefusals(t *testing.T) {
	admin := franzAdmin(t)
	topic := franzTopic(t, 1)
	_, err := admin.CreateTopic(within(t), 1, 1, nil, topic)
	if !errors.Is(err, kerr.TopicAlreadyExists) {
		t.Fatalf("the same topic twice: %v", err)
	}
	_, err = admin.CreateTopic(within(t), 1, 3, nil, fresh("copies"))
	if !errors.Is(err, kerr.InvalidReplicationFactor) {
		t.Fatalf("three replicas on one node: %v", err)
	}
	_, err = admin.CreateTopic(within(t), 1, 1, nil, "no/slashes")
	if !errors.Is(err, kerr.InvalidTopicException) {
		t.Fatalf("a bad name: %v", err)
	}
	missing, err := admin.DeleteTopic(within(t), fresh("missing"))
	if err == nil {
		err = missing.Err
	}
	if !errors.Is(err, kerr.UnknownTopicOrPartition) {
		t.Fatalf("delete of a missing topic: %v", err)
	}
	acls := kadm.NewACLs().AnyResource().Operations(kadm.OpAny).Allow().AllowHosts().Deny().DenyHosts()
	described, err := admin.DescribeACLs(within(t), acls)
	if err == nil {
		err = described[0].Err
	}
	if !errors.Is(err, kerr.SecurityDisabled) {
		t.Fatalf("access rules: %v", err)
	}
	if isKafka {
		return // The rest is served there.
	}
	refusedSoon(t, "quotas", func() error {
		_, err := admin.DescribeClientQuotas(within(t), false, nil)
		return err
	})
	refusedSoon(t, "SCRAM", func() error {
		_, err := admin.DescribeUserSCRAMs(within(t))
		return err
	})
}

func TestFranzNothingIsMovedAndNoTransactionIsKnown(t *testing.T) {
	admin := franzAdmin(t)
	moving, err := admin.ListPartitionReassignments(within(t), nil)
	must(t, err)
	equal(t, 0, len(moving), "moving partitions")
	id := fresh("transaction")
	listed, err := admin.ListTransactionsByTxPattern(within(t), nil, []string{"Ongoing"}, id)
	must(t, err)
	equal(t, 0, len(listed), "transactions")
	wanted := error(kerr.TransactionalIDNotFound)
	if !isKafka {
		// Asking for the coordinator comes first, and there is none.
		wanted = kerr.TransactionalIDAuthorizationFailed
	}
	// A new Kafka makes its coordinator first.
	eventually(t, "an unknown transactional id is told", func() bool {
		found, err := admin.DescribeTransactions(within(t), id)
		if err == nil {
			err = found[id].Err
		}
		return errors.Is(err, wanted)
	})
}

package clients

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// member is a consumer in a group that polls by itself and knows what it has.
type member struct {
	client *kgo.Client
	lock   sync.Mutex
	owned  map[int32]bool
	seen   map[string]int
	took   int
	lost   int
	stop   context.CancelFunc
	done   chan struct{}
}

func newMember(t *testing.T, topic, group string, options ...kgo.Opt) *member {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	one := &member{owned: map[int32]bool{}, seen: map[string]int{}, stop: stop,
		done: make(chan struct{})}
	one.client = franz(t, append([]kgo.Opt{
		kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.SessionTimeout(6 * time.Second), kgo.HeartbeatInterval(200 * time.Millisecond),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, places map[string][]int32) {
			one.change(places[topic], true)
		}),
		kgo.OnPartitionsRevoked(func(_ context.Context, _ *kgo.Client, places map[string][]int32) {
			one.change(places[topic], false)
		}),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, places map[string][]int32) {
			one.change(places[topic], false)
		}),
	}, options...)...)
	go one.poll(ctx)
	t.Cleanup(one.halt)
	return one
}

func (m *member) change(partitions []int32, have bool) {
	m.lock.Lock()
	defer m.lock.Unlock()
	for _, partition := range partitions {
		if have {
			m.owned[partition] = true
			m.took++
		} else {
			delete(m.owned, partition)
			m.lost++
		}
	}
}

func (m *member) poll(ctx context.Context) {
	defer close(m.done)
	for ctx.Err() == nil {
		m.client.PollFetches(ctx).EachRecord(func(record *kgo.Record) {
			m.lock.Lock()
			m.seen[string(record.Value)]++
			m.lock.Unlock()
		})
	}
}

// halt ends the polling and leaves the membership as it is.
func (m *member) halt() {
	m.stop()
	<-m.done
}

func (m *member) partitions() []int32 {
	m.lock.Lock()
	defer m.lock.Unlock()
	var owned []int32
	for partition := range m.owned {
		owned = append(owned, partition)
	}
	slices.Sort(owned)
	return owned
}

// counts are how often partitions came and went.
func (m *member) counts() (int, int) {
	m.lock.Lock()
	defer m.lock.Unlock()
	return m.took, m.lost
}

// split says whether these members have all the partitions, none twice, each at least one.
func split(count int, members ...*member) bool {
	var all []int32
	for _, one := range members {
		owned := one.partitions()
		if len(owned) == 0 {
			return false
		}
		all = append(all, owned...)
	}
	slices.Sort(all)
	return len(all) == count && len(slices.Compact(all)) == count
}

func TestFranzMembersShareAndLeave(t *testing.T) {
	balancers := map[string]kgo.GroupBalancer{
		"range": kgo.RangeBalancer(), "round robin": kgo.RoundRobinBalancer(),
		"sticky": kgo.StickyBalancer(), "cooperative sticky": kgo.CooperativeStickyBalancer(),
	}
	for name, balancer := range balancers {
		t.Run(name, func(t *testing.T) {
			topic, group := franzTopic(t, 4), fresh("share")
			for partition := range int32(4) {
				franzNumbers(t, topic, partition, int(partition)*10, int(partition)*10+10)
			}
			first := newMember(t, topic, group, kgo.Balancers(balancer))
			eventually(t, "one has all", func() bool { return split(4, first) })
			second := newMember(t, topic, group, kgo.Balancers(balancer))
			eventually(t, "two share", func() bool { return split(4, first, second) })
			_, lost := first.counts()
			if name == "cooperative sticky" {
				equal(t, 2, lost, "partitions that a cooperative rebalance takes away")
			}
			second.halt()
			second.client.CloseAllowingRebalance()
			eventually(t, "the first has all again", func() bool { return split(4, first) })
			eventually(t, "all records seen", func() bool {
				first.lock.Lock()
				defer first.lock.Unlock()
				return len(first.seen) == 40
			})
		})
	}
}

func TestFranzPartitionsOfACrashedMemberMove(t *testing.T) {
	topic, group := franzTopic(t, 4), fresh("crash")
	cable := &cable{}
	first := newMember(t, topic, group)
	second := newMember(t, topic, group, kgo.Dialer(cable.dial))
	eventually(t, "two share", func() bool { return split(4, first, second) })
	cable.cut()
	eventually(t, "all with the living", func() bool { return split(4, first) })
	described, err := franzAdmin(t).DescribeGroups(within(t), group)
	must(t, err)
	equal(t, "Stable", described[group].State, "state")
	equal(t, 1, len(described[group].Members), "members")
}

func TestFranzStaticMemberReturnsWithoutRebalance(t *testing.T) {
	topic, group := franzTopic(t, 4), fresh("static")
	first := newMember(t, topic, group, kgo.InstanceID("one"))
	second := newMember(t, topic, group, kgo.InstanceID("two"))
	eventually(t, "two share", func() bool { return split(4, first, second) })
	took, lost := first.counts()
	before := second.partitions()
	second.halt()
	second.client.CloseAllowingRebalance()
	again := newMember(t, topic, group, kgo.InstanceID("two"))
	eventually(t, "the same partitions again", func() bool {
		return slices.Equal(before, again.partitions())
	})
	tookNow, lostNow := first.counts()
	equal(t, took, tookNow, "partitions that came to the other member")
	equal(t, lost, lostNow, "partitions that the other member lost")
	again.halt()
	again.client.CloseAllowingRebalance()
	left, err := franzAdmin(t).LeaveGroup(within(t),
		kadm.LeaveGroup(group).InstanceIDs("two").Reason("the test is over"))
	must(t, err)
	must(t, left["two"].Err)
	eventually(t, "the rest for the other", func() bool { return split(4, first) })
}

func TestFranzCommitsKeepMetadata(t *testing.T) {
	topic, group := franzTopic(t, 2), fresh("commit")
	franzNumbers(t, topic, 0, 0, 20)
	admin := franzAdmin(t)
	metadata, err := admin.Metadata(within(t), topic)
	must(t, err)
	epoch := metadata.Topics[topic].Partitions[0].LeaderEpoch
	var offsets kadm.Offsets
	offsets.Add(
		kadm.Offset{Topic: topic, Partition: 0, At: 7, LeaderEpoch: epoch, Metadata: "saved"})
	must(t, admin.CommitAllOffsets(within(t), group, offsets))
	fetched, err := admin.FetchOffsets(within(t), group)
	must(t, err)
	found, _ := fetched.Lookup(topic, 0)
	equal(t, int64(7), found.At, "offset")
	equal(t, "saved", found.Metadata, "metadata")
	equal(t, epoch, found.LeaderEpoch, "leader epoch")
	resumed := franz(t, kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic),
		kgo.FetchMaxWait(100*time.Millisecond))
	equal(t, "7", string(take(t, resumed, 13)[0].Value), "first value after the commit")
	must(t, resumed.CommitUncommittedOffsets(within(t)))
	lags, err := admin.Lag(within(t), group)
	must(t, err)
	must(t, lags.Error())
	equal(t, int64(0), lags[group].Lag.Total(), "lag")
	resumed.CloseAllowingRebalance()
	deleted, err := admin.DeleteOffsets(within(t), group, kadm.TopicsSet{topic: {0: {}}})
	must(t, err)
	must(t, deleted.Error())
	gone, err := admin.DeleteGroup(within(t), group)
	must(t, err)
	must(t, gone.Err)
	described, err := admin.DescribeGroups(within(t), group)
	if err == nil {
		err = described[group].Err
		equal(t, "Dead", described[group].State, "state of a deleted group")
	}
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
		t.Fatal(err)
	}
}

func TestFranzNewGroupProtocol(t *testing.T) {
	topic, group := franzTopic(t, 2), fresh("next")
	franzNumbers(t, topic, 0, 0, 5)
	// Where the broker has no ConsumerGroupHeartbeat, the client takes the classic protocol.
	reader := franz(t, kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.ServerSideBalancer(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	for i, record := range take(t, reader, 5) {
		equal(t, fmt.Sprint(i), string(record.Value), "value")
	}
}

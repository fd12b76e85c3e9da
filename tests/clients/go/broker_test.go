// Clients written in Go against the broker at BOOTSTRAP: franz-go, Sarama and kafka-go.
//
// This file: fresh names, records to send and compare, and waiting with deadlines.
package clients

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const deadline = 30 * time.Second

var (
	bootstrap = os.Getenv("BOOTSTRAP")
	// Whether the broker serves what Sluice refuses.
	isKafka = os.Getenv("BROKER") == "kafka"
	names   atomic.Int64
)

func TestMain(m *testing.M) {
	if bootstrap == "" {
		fmt.Fprintln(os.Stderr, "set BOOTSTRAP=host:port, or use tests/with-broker")
		os.Exit(2)
	}
	os.Exit(m.Run())
}

// fresh is a name that no other test of any run has used.
func fresh(word string) string {
	return fmt.Sprintf("%s-%d-%d-%d", word, os.Getpid(), time.Now().UnixNano()%1e9, names.Add(1))
}

// within is a context that ends at the deadline of one test.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	t.Cleanup(cancel)
	return ctx
}

// must ends the test if a call failed.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually looks until look gives true; the test fails at the deadline.
func eventually(t *testing.T, what string, look func() bool) {
	t.Helper()
	for end := time.Now().Add(deadline); !look(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %s", what, deadline)
		}
	}
}

func equal[T comparable](t *testing.T, wanted, found T, what string) {
	t.Helper()
	if wanted != found {
		t.Fatalf("%s: expected %v, found %v", what, wanted, found)
	}
}

// refusedSoon checks that a call failed by an answer and not because nothing came.
func refusedSoon(t *testing.T, what string, call func() error) error {
	t.Helper()
	result := make(chan error, 1)
	go func() { result <- call() }()
	select {
	case err := <-result:
		if err == nil {
			t.Fatalf("%s was not refused", what)
		}
		if errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("%s was not refused but ran out of time: %v", what, err)
		}
		return err
	case <-time.After(deadline):
		t.Fatalf("%s was not refused within %s", what, deadline)
	}
	return nil
}

// cable is a way to the broker that can be cut: the client cannot even say that it leaves.
type cable struct {
	lock        sync.Mutex
	isCut       bool
	connections []net.Conn
}

func (c *cable) dial(ctx context.Context, network, host string) (net.Conn, error) {
	c.lock.Lock()
	defer c.lock.Unlock()
	if c.isCut {
		return nil, errors.New("the cable is cut")
	}
	connection, err := (&net.Dialer{}).DialContext(ctx, network, host)
	if err == nil {
		c.connections = append(c.connections, connection)
	}
	return connection, err
}

func (c *cable) cut() {
	c.lock.Lock()
	defer c.lock.Unlock()
	c.isCut = true
	for _, connection := range c.connections {
		connection.Close()
	}
}

// pair is a header; the same key may come twice and a value may be null.
type pair struct {
	key   string
	value []byte
}

// sample is a record of any client.
type sample struct {
	key, value []byte
	headers    []pair
}

// samples are records of many kinds: null and empty keys and values, headers, text and noise.
func samples(count int) []sample {
	source := rand.New(rand.NewPCG(7, 11))
	records := make([]sample, count)
	for i := range records {
		value := make([]byte, source.IntN(400))
		for j := range value {
			value[j] = byte(source.IntN(256))
		}
		record := sample{key: []byte(fmt.Sprint("key-", i)), value: value}
		switch i % 5 {
		case 0:
			record.value = bytes.Repeat([]byte("the same again "), 30)
		case 1:
			record.key, record.value = nil, []byte{}
		case 2:
			record.value = nil
		case 3:
			record.headers = []pair{{"one", []byte("1")}, {"one", nil}, {"ключ", []byte{0, 255}}}
		}
		records[i] = record
	}
	return records
}

func sameBytes(t *testing.T, wanted, found []byte, what string) {
	t.Helper()
	if (wanted == nil) != (found == nil) || !bytes.Equal(wanted, found) {
		t.Fatalf("%s: expected %q, found %q", what, wanted, found)
	}
}

func sameSample(t *testing.T, i int, wanted, found sample) {
	t.Helper()
	sameBytes(t, wanted.key, found.key, fmt.Sprint("key ", i))
	sameBytes(t, wanted.value, found.value, fmt.Sprint("value ", i))
	equal(t, len(wanted.headers), len(found.headers), fmt.Sprint("headers of ", i))
	for j, header := range wanted.headers {
		equal(t, header.key, found.headers[j].key, fmt.Sprint("key of a header of ", i))
		sameBytes(t, header.value, found.headers[j].value, fmt.Sprint("header of ", i))
	}
}

package backends_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/beanstalkd/go-beanstalk"

	"qsuper/health"
	"qsuper/health/healthtest"
	"qsuper/test/servers"
)

func TestBeanstalkd(t *testing.T) {
	server := servers.Beanstalkd(t)
	worker, err := beanstalk.Dial("tcp", server.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer worker.Close()
	var names atomic.Int64
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	put := func(tube, body string, delay time.Duration) {
		_, err := (&beanstalk.Tube{Conn: worker, Name: tube}).Put([]byte(body), 1024, delay, time.Minute)
		must(err)
	}
	reserve := func(tube string) (uint64, string) {
		id, body, err := beanstalk.NewTubeSet(worker, tube).Reserve(time.Second)
		must(err)
		return id, string(body)
	}
	healthtest.Run(t, healthtest.Suite{
		Addr: server.Addr, Row: "beanstalkd",
		Spec: func(t *testing.T, addr, _ string) health.Spec {
			if addr == "" {
				addr = server.Addr
			}
			return spec(t, "beanstalkd", "{type: beanstalkd, address: %q}", addr)
		},
		Queues: &healthtest.Queues{
			New: func(*testing.T) health.Queue { return health.Queue{Name: fmt.Sprint("tube-", names.Add(1))} },
			Publish: func(_ *testing.T, q health.Queue, bodies ...string) {
				for _, b := range bodies {
					put(q.Name, b, 0)
				}
			},
			Take:  func(_ *testing.T, q health.Queue) { reserve(q.Name) },
			Delay: func(_ *testing.T, q health.Queue) { put(q.Name, "later", time.Minute) },
			Content: func(_ *testing.T, q health.Queue) (bodies []string) {
				for range 3 {
					id, body := reserve(q.Name)
					stats, err := worker.StatsJob(id)
					must(err)
					if stats["reserves"] != "1" || stats["kicks"] != "0" || stats["releases"] != "0" || stats["timeouts"] != "0" {
						body += " was touched"
					}
					bodies = append(bodies, body)
				}
				return bodies
			},
			RoundTrips: 1,
		},
	})
	t.Run("rules", func(t *testing.T) {
		s := spec(t, "beanstalkd", "{type: beanstalkd, address: %q}", server.Addr)
		if got := reading(t, s, health.Queue{Name: "nobody"}); got.State != health.OK || got.Ready != 0 || got.InFlight != 0 || got.Oldest != 0 {
			t.Errorf("a tube that nobody uses is empty: %+v", got)
		}
		put("failed", "x", 0)
		id, _ := reserve("failed")
		must(worker.Bury(id, 1))
		if got := reading(t, s, health.Queue{Name: "failed"}); got.Ready != 0 || got.InFlight != 0 || got.Err != "1 jobs are buried: they wait for somebody to kick them" {
			t.Errorf("a buried job: %+v", got)
		}
	})
	t.Run("restart", func(t *testing.T) {
		s := spec(t, "beanstalkd", "{type: beanstalkd, address: %q}", server.Addr)
		p := health.NewProbe("c", s, 5*time.Second)
		defer p.Close(t.Context())
		put("kept", "x", 0)
		q := []health.Queue{{Name: "kept"}}
		if o := p.Look(t.Context(), q); !o.Up || o.Readings[0].Ready != 1 {
			t.Errorf("got %+v", o)
		}
		server.Kill(t)
		if o := p.Look(t.Context(), q); o.Up {
			t.Errorf("killed, but %+v", o)
		}
		server.Start(t)
		if o := p.Look(t.Context(), q); !o.Up || o.Readings[0].Ready != 1 {
			t.Errorf("started again, but %+v", o)
		}
	})
}

func TestBeanstalkdRefuses(t *testing.T) {
	refused(t, "beanstalkd", map[string]string{
		"{type: beanstalkd}": "address is missing", "{type: beanstalkd, address: x}": "host:port",
	})
	refusedQueues(t, "beanstalkd", map[string]health.Queue{"name is missing": {}, "without spaces": {Name: "a b"}})
}

package runner

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"qsuper/config"
	"qsuper/health"
)

// queued gives a consumer a queue on the broker.
func queued(c *config.Consumer) *config.Consumer {
	c.Queue = &config.Queue{Connection: "broker", Queue: health.Queue{Name: c.Name}}
	return c
}

// TestPoisonIsNamed: status says what the crashes have in common, until messages go again.
func TestPoisonIsNamed(t *testing.T) {
	for _, n := range []int{1, 4} {
		synctest.Test(t, func(t *testing.T) {
			f := newFleet(t)
			defer f.end()
			b := &broker{}
			b.ready.Store(812)
			f.k.crashing(2100 * time.Millisecond)
			f.r.Apply(onBroker(f, b, queued(conf("a", n))))
			time.Sleep(3 * time.Minute)
			const hint = "; dies after 2.1 s each time while 812 messages stand still: one message may be poison"
			if s := f.snapshot("a"); !strings.HasSuffix(s.Summary.Reason.Text, hint) {
				t.Errorf("%d instances: %q", n, s.Summary.Reason.Text)
			}
			b.ready.Store(811)
			time.Sleep(1500 * time.Millisecond)
			if s := f.snapshot("a"); strings.Contains(s.Summary.Reason.Text, "poison") {
				t.Errorf("%d instances, one message less: %q", n, s.Summary.Reason.Text)
			}
		})
	}
}

package web

import (
	"errors"
	"strings"
	"testing"

	"qsuper/control"
)

// asked answers with the memory only when it is asked for, as the daemon does.
type asked struct {
	queries []control.StatusQuery
	err     error
}

func (a *asked) Status(q control.StatusQuery) (control.Status, error) {
	a.queries = append(a.queries, q)
	c := control.ConsumerStatus{Name: "orders"}
	if q.Usage {
		n := int64(4711)
		c.RSSBytes = &n
	}
	return control.Status{Consumers: []control.ConsumerStatus{c}}, a.err
}

// TestMemoryOfTheFleet: it is in every message, and looked for in one of five only.
func TestMemoryOfTheFleet(t *testing.T) {
	a := &asked{}
	v := view{source: a}
	for i := range 2 * sweep {
		if event, text := v.look(); event != "status" || !strings.Contains(string(text), `"rss_bytes":4711`) {
			t.Errorf("message %d: %s %s", i, event, text)
		}
		if q := a.queries[i]; q.Usage != (i%sweep == 0) || q.Slots {
			t.Errorf("message %d asks for %+v", i, q)
		}
	}
	a.err = errors.New("the engine is ending")
	if event, text := v.look(); event != "problem" || !strings.Contains(string(text), "the engine is ending") {
		t.Errorf("%s %s", event, text)
	}
	one := view{source: &asked{}, names: []string{"orders"}}
	if _, text := one.look(); !strings.Contains(string(text), "4711") || !one.source.(*asked).queries[0].Slots {
		t.Errorf("one consumer: %s", text)
	}
}

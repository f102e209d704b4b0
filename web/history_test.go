package web

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"qsuper/control"
)

type fakeSource struct {
	st  control.Status
	err error
}

func (f *fakeSource) Status(control.StatusQuery) (control.Status, error) { return f.st, f.err }

// TestHistory goes past the hour, with a reading nobody knew, a consumer that
// goes, and a daemon that does not answer.
func TestHistory(t *testing.T) {
	ready := int64(0)
	c := control.ConsumerStatus{Name: "a", Running: 2, Queue: &control.QueueStatus{State: "ok", Ready: &ready}}
	f := &fakeSource{st: control.Status{Consumers: []control.ConsumerStatus{c, {Name: "b"}}}}
	h := NewHistory(f)
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for i := range points + 3 {
		ready = int64(i)
		f.st.Consumers[0].Queue.State = "ok"
		if i == points+1 {
			f.st.Consumers[0].Queue.State = "unknown"
		}
		h.take(now.Add(time.Duration(i) * every))
	}
	s := h.Of([]string{"a", "nobody"})
	if len(s) != 1 || len(s["a"].Ready) != points || *s["a"].Ready[0] != 3 || s["a"].Ready[points-2] != nil || *s["a"].Ready[points-1] != points+2 || *s["a"].Running[9] != 2 {
		t.Errorf("%d series", len(s))
	}
	if !s["a"].End.Equal(now.Add((points + 2) * every)) {
		t.Error(s["a"].End)
	}
	f.st.Consumers = f.st.Consumers[:1]
	h.take(now)
	f.err = errors.New("ending")
	h.take(now)
	all := h.Of(nil)
	if len(all) != 1 || len(all["a"].Oldest) != points || all["a"].Oldest[0] != nil {
		t.Errorf("%d series", len(all))
	}
	if text, err := json.Marshal(all["a"].Oldest[:2]); string(text) != "[null,null]" {
		t.Error(string(text), err)
	}
}

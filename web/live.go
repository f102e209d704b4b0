package web

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"qsuper/control"
)

// refresh is how often a page that is open hears the status.
const refresh = time.Second

// slowReader is how long one message may stay unread before a page is cut off.
const slowReader = 10 * time.Second

// sweep is how many messages of the fleet share one look at the memory of all
// processes: it costs more than all the rest.
const sweep = 5

// live streams the status as server-sent events: the summary of the fleet, or,
// with ?name=, those consumers and jobs with their slots. Nothing is sent while
// nothing but times of measurement has changed. A heartbeat each 15 s shows a page
// that the daemon is there.
func (d *Door) live(w http.ResponseWriter, req *http.Request) {
	v := view{source: d.opts.Source, names: req.URL.Query()["name"]}
	out := http.NewResponseController(w)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // proxies that would collect it
	tick := time.NewTicker(refresh)
	defer tick.Stop()
	var last []byte
	for quiet := 0; ; quiet++ {
		event, text := v.look()
		if !bytes.Equal(text, last) || quiet == 15 {
			last, quiet = text, 0
			if out.SetWriteDeadline(time.Now().Add(slowReader)) != nil {
				return
			}
			if _, err := fmt.Fprintf(w, "event: %s\ndata: %s\n\n", event, text); err != nil || out.Flush() != nil {
				return
			}
		}
		select {
		case <-req.Context().Done():
			return
		case <-tick.C:
		}
	}
}

// view is what one page looks at.
type view struct {
	source Source
	names  []string // none: the fleet
	looks  int
	memory map[string]*int64 // of consumers, at the last sweep
}

// look is one message: a status, or why there is none, such as a consumer that
// is no longer in the file.
func (v *view) look() (event string, text []byte) {
	few := len(v.names) > 0
	ask := control.StatusQuery{Names: v.names, Slots: few, Usage: few || v.looks%sweep == 0}
	st, err := v.source.Status(ask)
	if err == nil {
		v.looks++
		v.remember(st.Consumers, ask.Usage)
		text, err = json.Marshal(st)
	}
	if err != nil {
		text, _ = json.Marshal(control.Failure{Error: err.Error()})
		return "problem", text
	}
	return "status", text
}

// remember carries the memory from one sweep to the next.
func (v *view) remember(all []control.ConsumerStatus, fresh bool) {
	if fresh {
		v.memory = make(map[string]*int64, len(all))
	}
	for i := range all {
		if c := &all[i]; fresh {
			v.memory[c.Name] = c.RSSBytes
		} else {
			c.RSSBytes = v.memory[c.Name]
		}
	}
}

// history answers with the last hour: ?name=… (repeated), all without.
func (d *Door) history(w http.ResponseWriter, req *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(slowReader))
	_ = json.NewEncoder(w).Encode(d.opts.History.Of(req.URL.Query()["name"]))
}

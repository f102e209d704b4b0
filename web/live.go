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

// live streams the status as server-sent events: the summary of the fleet, or,
// with ?name=, those consumers with their slots. Nothing is sent while nothing
// but times of measurement has changed. A heartbeat each 15 s shows a page that
// the daemon is there.
func (d *Door) live(w http.ResponseWriter, req *http.Request) {
	names := req.URL.Query()["name"]
	ask := control.StatusQuery{Names: names, Slots: len(names) > 0, Usage: len(names) > 0}
	out := http.NewResponseController(w)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // proxies that would collect it
	tick := time.NewTicker(refresh)
	defer tick.Stop()
	var last []byte
	for quiet := 0; ; quiet++ {
		event, text := d.look(ask)
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

// look is one message: a status, or why there is none, such as a consumer that
// is no longer in the file.
func (d *Door) look(ask control.StatusQuery) (event string, text []byte) {
	st, err := d.opts.Source.Status(ask)
	if err == nil {
		text, err = json.Marshal(st)
	}
	if err != nil {
		text, _ = json.Marshal(control.Failure{Error: err.Error()})
		return "problem", text
	}
	return "status", text
}

// history answers with the last hour: ?name=… (repeated), all without.
func (d *Door) history(w http.ResponseWriter, req *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(slowReader))
	_ = json.NewEncoder(w).Encode(d.opts.History.Of(req.URL.Query()["name"]))
}

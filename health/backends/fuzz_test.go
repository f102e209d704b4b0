package backends

import (
	"math"
	"testing"

	"qsuper/health"
)

// What programs, queries and web servers answer is a reading, or an error: never
// a number that nobody has said.
func FuzzAnswers(f *testing.F) {
	f.Add("12", ".queues[0].ready", "orders")
	f.Add(`{"ready": 3, "in_flight": 1, "delayed": null, "oldest_seconds": 2.5, "consumers": 4}`, `["a.b"]`, "x")
	f.Add(`{"ready": 1e400, "ready": -1}`, ".a[99999999999999999999]", "{queue}")
	f.Add(`{"ready": 9223372036854775808, "oldest_seconds": 1e300}`, ".{queue}", "a.b")
	f.Add("0x10", "[", "")
	f.Add("1_000", ".", "\x00")
	f.Add("NaN", "a", "")
	f.Fuzz(func(t *testing.T, answer, path, queue string) {
		if r, err := parseAnswer(answer); err == nil {
			for name, n := range map[string]int64{"ready": r.Ready, "in flight": r.InFlight, "delayed": r.Delayed, "consumers": r.Consumers} {
				if n < 0 && (n != health.NotKnown || name == "ready") {
					t.Errorf("%q: %s is %d", answer, name, n)
				}
			}
			if r.State != health.OK {
				t.Errorf("%q: %+v", answer, r)
			}
			if r.Oldest < 0 && r.Oldest != health.NotKnown {
				t.Errorf("%q: oldest is %s", answer, r.Oldest)
			}
		}
		if n, err := count(answer); err == nil && (n < 0 || n == math.MaxInt64 && len(answer) < 19) {
			t.Errorf("%q counts %d", answer, n)
		}
		q := health.Queue{Name: queue, Path: "/q/{queue}", Value: path}
		if checkHTTPQueue(q) != nil {
			return
		}
		if u, err := relative(q); err == nil && (u.Host != "" || u.RawQuery != "" || u.Fragment != "") {
			t.Errorf("queue %q reaches %v", queue, u)
		}
		if text, err := pick(answer, q); err == nil {
			_, _ = count(text)
		}
	})
}

package runner

import (
	"testing"
	"time"
)

// A deploy that takes a consumer out of the file and puts it back does not start
// what somebody has stopped; one that comes back a day later is a new one.
func TestIntentsOfConsumersThatAreGone(t *testing.T) {
	dir, start := t.TempDir(), time.Unix(1e9, 0)
	file := map[string]bool{"orders": true, "mails": true}
	known := func(name string) bool { return file[name] }
	var s *intents
	reload := func(at time.Duration) {
		t.Helper()
		var err error
		if s, err = loadIntents(dir, start); err != nil {
			t.Fatal(err)
		}
		if err := s.settle(known, start.Add(at)); err != nil {
			t.Fatal(err)
		}
	}
	reload(0)
	stop := func(_ string, i *intent) { i.Stopped = "by anna" }
	if err := s.change([]string{"orders", "mails"}, stop); err != nil {
		t.Fatal(err)
	}
	expect := func(when string, orders, mails bool) {
		t.Helper()
		if o, m := s.get("orders").Stopped != "", s.get("mails").Stopped != ""; o != orders || m != mails {
			t.Errorf("%s: orders stopped %v, mails stopped %v", when, o, m)
		}
	}
	delete(file, "orders")
	reload(time.Hour)
	expect("gone", true, true)
	file["orders"] = true
	reload(2 * time.Hour)
	expect("back", true, true)
	delete(file, "orders")
	reload(30 * time.Hour)
	reload(53 * time.Hour)
	expect("gone for 23 hours, the second time", true, true)
	reload(54*time.Hour + time.Second)
	expect("gone for a day", false, true)
	file["orders"] = true
	reload(100 * time.Hour)
	expect("another of that name", false, true)
}

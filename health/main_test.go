package health_test

import (
	"os"
	"runtime"
	"testing"
)

// TestMain leaves one processor: timers of a bubble share one context of the race
// detector, and with Go 1.26 it crashes when two threads run them at once. Races are
// found all the same, by what happens before what.
func TestMain(m *testing.M) {
	runtime.GOMAXPROCS(1)
	os.Exit(m.Run())
}

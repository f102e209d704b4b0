// Package bubble is for tests that run in testing/synctest.
package bubble

import (
	"os"
	"runtime"
	"testing"
)

// Main is the TestMain of a package with such tests. It leaves one processor: timers of
// a bubble share one context of the race detector, and with Go 1.26 it crashes (in
// __tsan::SlotLock) when two threads run them at once. Races are found all the same, by
// what happens before what.
func Main(m *testing.M) {
	runtime.GOMAXPROCS(1)
	os.Exit(m.Run())
}

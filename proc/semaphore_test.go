package proc

import (
	"sync"
	"sync/atomic"
	"testing"
)

// Each token lets one through, whether somebody sleeps already or not.
func TestSemaphore(t *testing.T) {
	var s semaphore
	var through atomic.Int32
	const threads, each = 4, 500
	var all sync.WaitGroup
	for range threads {
		all.Go(func() {
			for range each {
				s.wait()
				through.Add(1)
			}
		})
	}
	for posted := 0; posted < threads*each; posted++ {
		if n := int(through.Load()); n > posted {
			t.Fatalf("%d through of %d posted", n, posted)
		}
		s.post(1)
	}
	all.Wait()
	if n := through.Load(); n != threads*each || s.tokens.Load() != 0 {
		t.Errorf("%d through, %d tokens left", n, s.tokens.Load())
	}
}

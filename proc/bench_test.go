package proc

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"qsuper/proc/proctest"
)

// BenchmarkStart is start, exit and reap of the smallest program there is.
func BenchmarkStart(b *testing.B) {
	tiny := proctest.Exit(b)
	lock, err := unix.Open(filepath.Join(b.TempDir(), "lock"), unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
	if err != nil {
		b.Fatal(err)
	}
	defer unix.Close(lock)
	umask := uint32(0o22)
	for name, change := range map[string]func(*Spec){
		"plain":  func(*Spec) {},
		"locked": func(s *Spec) { s.Lock = lock },
		"helper": func(s *Spec) { s.Umask = &umask },
	} {
		b.Run(name, func(b *testing.B) {
			s := spec(tiny)
			change(s)
			b.ReportAllocs()
			for b.Loop() {
				p, err := Start(s)
				if err != nil {
					b.Fatal(err)
				}
				p.Wait()
				p.Close()
			}
		})
	}
}

func BenchmarkUsageOf(b *testing.B) {
	for b.Loop() {
		UsageOf([]int{os.Getpid()})
	}
	b.ReportMetric(float64(len(pids())), "processes")
}

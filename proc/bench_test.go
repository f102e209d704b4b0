package proc

import (
	"os"
	"path/filepath"
	"strconv"
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

// BenchmarkStartInCgroup is what the keeper does for a run that has a group of
// its own, from making it to removing it.
func BenchmarkStartInCgroup(b *testing.B) {
	tiny := proctest.Exit(b)
	c, ok := openCgroups(b)
	if !ok {
		b.Fatal("no cgroups to measure")
	}
	s := spec(tiny)
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		g, err := c.New("bench." + strconv.Itoa(n))
		if err != nil {
			b.Fatal(err)
		}
		s.Cgroup = g.FD()
		p, err := Start(s)
		if err != nil {
			b.Fatal(err)
		}
		g.CloseFD()
		p.Wait()
		p.Close()
		if is, err := g.Populated(); is || err != nil {
			b.Fatal(is, err)
		}
		if err := g.Remove(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkUsageOf(b *testing.B) {
	for b.Loop() {
		UsageOf([]int{os.Getpid()})
	}
	b.ReportMetric(float64(len(pids())), "processes")
}

package logs

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// playPump is a process that captures FIFO into PATH until it is killed.
func playPump(fifo, path string, maxSize int) error {
	fd, err := openForPump(fifo)
	if err != nil {
		return err
	}
	p, err := NewPump(nil)
	if err != nil {
		return err
	}
	if _, err := p.Attach(fd, killOptions(path, maxSize)); err != nil {
		return err
	}
	return p.Run(context.Background())
}

func openForPump(fifo string) (int, error) {
	return unix.Open(fifo, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
}

func killOptions(path string, maxSize int) Options {
	return Options{To: ToFile, Prefix: PrefixNone, Path: path, MaxSize: int64(maxSize), Keep: 10000}
}

// The pump's process is killed again and again while a consumer talks as fast as
// it can: every line is there, once, whole and in order.
func TestKilledPumpLosesNothing(t *testing.T) {
	for _, maxSize := range []int{0, 1 << 20} {
		t.Run(fmt.Sprint("max_size ", maxSize), func(t *testing.T) {
			t.Parallel()
			lines := max(60_000, 25**lines) // enough for five kills on any machine
			path := filepath.Join(t.TempDir(), "a.log")
			c := newConsumer(t) // its descriptor keeps the pipe while nobody captures
			c.start("lines", "k", 1, lines)
			c.run()
			seed := rand.Uint64()
			r := rand.New(rand.NewPCG(seed, 0))
			kills := 0
			for over := false; !over; kills++ {
				cmd := exec.Command("/proc/self/exe")
				cmd.Env = append(os.Environ(), roleVar+"=pump "+c.fifo+" "+path+" "+strconv.Itoa(maxSize))
				cmd.Stderr = os.Stderr
				check(t, cmd.Start())
				// It cannot be seen from outside when it begins; most are killed while they work.
				size := func() int64 { st, _ := os.Stat(path); return sizeOf(st) }
				for before, end := size(), time.Now().Add(20*time.Second); size() == before && time.Now().Before(end); {
					if n, err := pending(c.read); err == nil && n == 0 && c.over() {
						break
					}
				}
				<-time.After(time.Duration(r.IntN(8000)) * time.Microsecond)
				check(t, cmd.Process.Kill())
				_ = cmd.Wait()
				over = c.over()
			}
			s, err := startPump(t, nil).Attach(c.read, killOptions(path, maxSize))
			check(t, err)
			endRun(t, s)
			t.Logf("%d kills, seed %d", kills, seed)
			if kills < 5 {
				t.Errorf("only %d kills", kills)
			}
			checkNumbered(t, allOutput(t, path), "k", 1, lines)
		})
	}
}

func sizeOf(st os.FileInfo) int64 {
	if st == nil {
		return 0
	}
	return st.Size()
}

func (c *consumer) over() bool {
	select {
	case <-c.ended:
		return true
	default:
		return false
	}
}

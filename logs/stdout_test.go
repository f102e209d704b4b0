package logs

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// sorted splits lines that begin with an id, and fails on what is no line.
func sorted(t testing.TB, out []byte) map[string][]byte {
	t.Helper()
	by := map[string][]byte{}
	for line := range bytes.Lines(out) {
		id, _, ok := bytes.Cut(line, []byte{' '})
		if !ok {
			t.Fatalf("line %.80q", line)
		}
		by[string(id)] = append(by[string(id)], line...)
	}
	return by
}

// sink is something that may be the daemon's stdout, and its other end.
func sink(t testing.TB, kind string) (r, w *os.File) {
	t.Helper()
	var err error
	switch kind {
	case "socket":
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		check(t, err)
		return os.NewFile(uintptr(fds[0]), "r"), os.NewFile(uintptr(fds[1]), "w")
	case "file":
		path := filepath.Join(t.TempDir(), "out")
		w, err = os.Create(path)
		check(t, err)
		r, err = os.Open(path)
	default:
		r, w, err = os.Pipe()
	}
	check(t, err)
	return r, w
}

func TestStdoutInWholeLines(t *testing.T) {
	for _, kind := range []string{"pipe", "socket", "file", "pipe, old kernel"} {
		t.Run(kind, func(t *testing.T) {
			const writers, lines = 4, 5000
			both := filepath.Join(t.TempDir(), "both.log")
			by := sorted(t, throughStdout(t, kind, both, writers, lines))
			for i := range writers {
				checkNumbered(t, by[fmt.Sprint("w", i)], fmt.Sprint("w", i), 0, lines)
			}
			checkNumbered(t, []byte(contents(t, both)), "w0", 0, lines)
		})
	}
}

// throughStdout returns what comes out when some write at once, the first of
// them into the file both, too.
func throughStdout(t *testing.T, kind, both string, writers, lines int) []byte {
	r, w := sink(t, kind)
	var out bytes.Buffer
	var read sync.WaitGroup
	if kind != "file" {
		read.Go(func() { _, _ = io.Copy(&out, r) })
	}
	p, err := NewPump(w)
	check(t, err)
	p.stdout.nowait = kind != "pipe, old kernel"
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	var streams []*Stream
	var cs []*consumer
	for i := range writers {
		o := Options{To: ToStdout}
		if i == 0 {
			o = Options{To: ToBoth, Path: both}
		}
		s, c := one(t, p, o)
		c.start("lines", fmt.Sprint("w", i), 0, lines)
		c.run()
		streams, cs = append(streams, s), append(cs, c)
	}
	for i, c := range cs {
		c.wait()
		endRun(t, streams[i])
		if st := streams[i].Stats(); st.DroppedBytes > 0 {
			t.Errorf("stats of %d: %+v", i, st)
		}
	}
	cancel()
	check(t, <-ended)
	check(t, w.Close())
	read.Wait()
	if kind == "file" {
		_, err := io.Copy(&out, r)
		check(t, err)
	}
	check(t, r.Close())
	return out.Bytes()
}

func TestStuckStdoutHoldsUpNobody(t *testing.T) {
	r, w, err := os.Pipe()
	check(t, err)
	p := startPump(t, w)
	path := filepath.Join(t.TempDir(), "a.log")
	const lines, tooMany = 20_000, 120_000 // 13 MB: more than the queue and all pipes can hold
	sf, cf := one(t, p, Options{Path: path})
	so, co := one(t, p, Options{To: ToStdout})
	co.start("lines", "o", 0, tooMany)
	co.run()
	co.wait()
	endRun(t, so)
	if st := so.Stats(); st.DroppedLines == 0 || !strings.Contains(st.Degraded, "stdout") {
		t.Fatalf("stats: %+v", st)
	}
	cf.start("lines", "f", 0, lines)
	cf.run()
	cf.wait()
	endRun(t, sf)
	checkNumbered(t, []byte(contents(t, path)), "f", 0, lines)

	// The reader comes back: what was queued, the gap, and then all is well.
	var out []byte
	in := bufio.NewReader(r)
	for !bytes.Contains(out, []byte("qsuper: ")) {
		line, err := in.ReadBytes('\n')
		check(t, err)
		out = append(out, line...)
	}
	eventually(t, "the stream is well", func() bool { return so.Stats().Degraded == "" })
	co.write(string(numbered("o", tooMany)))
	line, err := in.ReadBytes('\n')
	check(t, err)
	if gaps := checkGaps(t, append(out, line...), "o", tooMany+1, "nobody reads stdout"); gaps != 1 {
		t.Errorf("%d gaps", gaps)
	}
	check(t, r.Close())
	check(t, w.Close())
}

func TestClosedStdoutHarmsNobody(t *testing.T) {
	r, w, err := os.Pipe()
	check(t, err)
	check(t, r.Close())
	p := startPump(t, w)
	path := filepath.Join(t.TempDir(), "a.log")
	s, c := one(t, p, Options{To: ToBoth, Path: path})
	c.start("lines", "b", 0, 20000)
	c.run()
	c.wait()
	endRun(t, s)
	checkNumbered(t, []byte(contents(t, path)), "b", 0, 20000)
	if st := s.Stats(); !strings.Contains(st.Degraded, syscall.EPIPE.Error()) {
		t.Errorf("stats: %+v", st)
	}
	check(t, w.Close())
}

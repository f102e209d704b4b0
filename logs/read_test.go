package logs

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// makeLog writes numbered lines into three files, the oldest one compressed.
func makeLog(t testing.TB, lines int) (path string, all [][]byte) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "a.log")
	var parts [3][]byte
	for i := range lines {
		line := numbered("t", i)
		all = append(all, line[:len(line)-1])
		parts[i*3/lines] = append(parts[i*3/lines], line...)
	}
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	_, err := w.Write(parts[0])
	check(t, errors.Join(err, w.Close()))
	check(t, os.WriteFile(path+".2.gz", z.Bytes(), 0o640))
	check(t, os.WriteFile(path+".1", parts[1], 0o640))
	check(t, os.WriteFile(path, parts[2], 0o640))
	return path, all
}

func TestTail(t *testing.T) {
	const lines = 3000
	path, all := makeLog(t, lines)
	for _, n := range []int{0, 1, 10, 999, 1000, 1001, 1999, 2000, 2001, 3000, 5000} {
		x, err := Tail(path, n)
		check(t, err)
		want := all[lines-min(n, lines):]
		if !bytes.Equal(bytes.Join(x.Lines, []byte("\n")), bytes.Join(want, []byte("\n"))) || len(x.Lines) != len(want) {
			t.Errorf("n=%d: %d lines, want %d", n, len(x.Lines), len(want))
		}
		if len(x.Unfinished) != 0 {
			t.Errorf("n=%d: unfinished %q", n, x.Unfinished)
		}
	}
}

func TestTailOfOddFiles(t *testing.T) {
	for _, tt := range []struct{ log, lines, unfinished string }{
		{"", "", ""},
		{"\n", "<>", ""},
		{"a", "", "a"},
		{"a\nb", "<a>", "b"},
		{"a\n\nb\n", "<><b>", ""},
		{"a\r\nb\x00\xff\n", "<a\r><b\x00\xff>", ""},
		{strings.Repeat("x", 200_000) + "\nb\n", "<" + strings.Repeat("x", 200_000) + "><b>", ""},
	} {
		path := filepath.Join(t.TempDir(), "a.log")
		check(t, os.WriteFile(path, []byte(tt.log), 0o640))
		x, err := Tail(path, 2)
		check(t, err)
		var got strings.Builder
		for _, l := range x.Lines {
			fmt.Fprintf(&got, "<%s>", l)
		}
		if got.String() != tt.lines || string(x.Unfinished) != tt.unfinished || x.End.Offset != int64(len(tt.log)-len(tt.unfinished)) {
			t.Errorf("%.20q: lines %.80q, unfinished %q, end %d", tt.log, got.String(), x.Unfinished, x.End.Offset)
		}
	}
	x, err := Tail(filepath.Join(t.TempDir(), "nothing"), 10)
	if err != nil || len(x.Lines) != 0 || x.End != (Position{}) {
		t.Errorf("no log: %+v %v", x, err)
	}
	link := filepath.Join(t.TempDir(), "link")
	check(t, os.Symlink("/etc/passwd", link))
	if _, err := Tail(link, 1); err == nil {
		t.Error("a symbolic link is followed")
	}
}

// A line of 20 MB must not be held whole.
func TestTailIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	check(t, os.WriteFile(path, append(bytes.Repeat([]byte{'x'}, 20<<20), "\nlast\n"...), 0o640))
	x, err := Tail(path, 5)
	check(t, err)
	if len(x.Lines) != 1 || string(x.Lines[0]) != "last" {
		t.Errorf("%d lines", len(x.Lines))
	}
}

// following collects what Follow emits.
type following struct {
	mu   sync.Mutex
	log  []byte
	err  error
	done chan struct{}
	stop context.CancelFunc
}

func follow(t testing.TB, path string, from Position) *following {
	ctx, cancel := context.WithCancel(context.Background())
	f := &following{done: make(chan struct{}), stop: cancel}
	go func() {
		defer close(f.done)
		f.err = Follow(ctx, path, from, func(line []byte, _ Position) error {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.log = append(append(f.log, line...), '\n')
			return nil
		})
	}()
	t.Cleanup(func() {
		cancel()
		<-f.done
		check(t, f.err)
	})
	return f
}

func (f *following) has(suffix string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return bytes.HasSuffix(f.log, []byte(suffix))
}

func (f *following) text() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return string(f.log)
}

func TestFollowAcrossRotations(t *testing.T) {
	for _, compress := range []bool{false, true} {
		t.Run(fmt.Sprint("compress=", compress), func(t *testing.T) {
			t.Parallel()
			const writers = 8
			lines := 2 * *lines
			p, dir := startPump(t, nil), t.TempDir()
			var cs []*consumer
			var fs []*following
			for i := range writers {
				o := Options{
					To: ToFile, Path: filepath.Join(dir, fmt.Sprint(i, ".log")), MaxSize: 16 << 10 << (i % 4),
					Keep: 1000, Compress: compress, Prefix: PrefixNone,
				}
				fs = append(fs, follow(t, o.Path, Position{}))
				s, c := one(t, p, o)
				c.start("lines", fmt.Sprint("w", i), 0, lines)
				cs = append(cs, c)
				defer endRun(t, s)
			}
			for _, c := range cs {
				c.run()
			}
			for i, f := range fs {
				cs[i].wait()
				last := string(numbered(fmt.Sprint("w", i), lines-1))
				eventually(t, "the last line is there", func() bool { return f.has(last) })
				checkNumbered(t, []byte(f.text()), fmt.Sprint("w", i), 0, lines)
			}
		})
	}
}

func TestFollowFromTail(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	o := Options{Path: path, MaxSize: 5000, Keep: 1000, Compress: true}
	s, c := one(t, startPump(t, nil), o)
	for i := range 100 {
		c.write(string(numbered("t", i)))
	}
	half := numbered("t", 100)
	c.write(string(half[:5]))
	eventually(t, "all is there", func() bool { return strings.HasSuffix(contents(t, path), string(half[:5])) })
	x, err := Tail(path, 10)
	check(t, err)
	if string(x.Unfinished) != string(half[:5]) {
		t.Errorf("unfinished: %q", x.Unfinished)
	}
	c.write(string(half[5:]))
	for i := range 400 { // many rotations before anybody follows
		c.write(string(numbered("t", 101+i)))
	}
	endRun(t, s)
	f := follow(t, path, x.End)
	last := string(numbered("t", 500))
	eventually(t, "the last line", func() bool { return f.has(last) })
	all := append(bytes.Join(x.Lines, []byte("\n")), '\n')
	checkNumbered(t, append(all, f.text()...), "t", 90, 411)
}

func TestFollowSaysWhatItMissed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	s, c := one(t, startPump(t, nil), Options{Path: path, MaxSize: 1000, Keep: 2})
	c.write("first\n")
	endRun(t, s)
	hold, held := make(chan struct{}), make(chan struct{})
	var got []string
	var once sync.Once
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() {
		done <- Follow(ctx, path, Position{}, func(line []byte, _ Position) error {
			got = append(got, string(line))
			once.Do(func() { close(held); <-hold })
			if bytes.HasPrefix(line, []byte("f 00000099 ")) {
				return errEnough
			}
			return nil
		})
	}()
	<-held
	for i := range 100 {
		c.write(string(numbered("f", i)))
	}
	endRun(t, s)
	close(hold)
	select {
	case err := <-done:
		if !errors.Is(err, errEnough) {
			t.Fatalf("Follow: %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the last line does not come")
	}
	i := 1
	for i < len(got) && !strings.HasPrefix(got[i], "qsuper: lines may be missing here") {
		i++
	}
	if got[0] != "first" || i == len(got) {
		t.Fatalf("nothing is said in %d lines", len(got))
	}
	from := 99 - (len(got) - i - 2)
	checkNumbered(t, []byte(strings.Join(got[i+1:], "\n")+"\n"), "f", from, 100-from)
}

var errEnough = errors.New("enough")

func TestFollowOfOtherPeoplesRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	p := startPump(t, nil)
	s, c := one(t, p, Options{Path: path})
	f := follow(t, path, Position{})
	c.write("one\n")
	eventually(t, "one", func() bool { return f.has("one\n") })
	check(t, os.Rename(path, path+"-old"))
	check(t, os.WriteFile(path, nil, 0o640)) // as logrotate's create does
	c.write("two\n")                         // still into the old file
	endRun(t, s)
	p.Reopen()
	c.write("three\n")
	eventually(t, "three", func() bool { return f.text() == "one\ntwo\nthree\n" })
	check(t, os.Truncate(path, 0))
	c.write("4\n")
	eventually(t, "four", func() bool { return f.has("three\n4\n") })
	check(t, os.Remove(path))
	p.Reopen()
	c.write("five\n")
	eventually(t, "five", func() bool { return f.has("4\nfive\n") })
	endRun(t, s)
}

func TestFollowGivesWholeLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	s, c := one(t, startPump(t, nil), Options{Path: path})
	f := follow(t, path, Position{})
	long := strings.Repeat("y", 300_000)
	for _, part := range []string{"be", "gun\nne", long[:100_000], long[100_000:], "\nend\n"} {
		c.write(part)
		eventually(t, "it is written", func() bool { return strings.HasSuffix(contents(t, path), part) })
	}
	eventually(t, "all lines", func() bool { return f.text() == "begun\nne"+long+"\nend\n" })
	endRun(t, s)
}

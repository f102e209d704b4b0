package logs

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// allOutput is the whole log, oldest file first, each file checked.
func allOutput(t testing.TB, path string) []byte {
	t.Helper()
	var files [][]byte
	check(t, walk(path, func(g *segment, k int) (bool, error) {
		r, err := g.reader(0)
		if err != nil {
			return false, err
		}
		var b bytes.Buffer
		_, err = b.ReadFrom(r)
		files = append([][]byte{b.Bytes()}, files...)
		return true, err
	}))
	return bytes.Join(files, nil)
}

// checkNumbered finds the lines of numbered(id, from…from+count) once each, in order.
func checkNumbered(t testing.TB, log []byte, id string, from, count int) {
	t.Helper()
	want := from
	for line := range bytes.Lines(log) {
		if exp := numbered(id, want); !bytes.Equal(line, exp) {
			t.Fatalf("line %d: got %.80q, want %.80q", want-from, line, exp)
		}
		want++
	}
	if want != from+count {
		t.Fatalf("%d lines, want %d", want-from, count)
	}
}

// unprefixed takes the prefixes away and checks them.
func unprefixed(t testing.TB, log []byte, prefix, consumer string, slot int) []byte {
	t.Helper()
	var out []byte
	for line := range bytes.Lines(log) {
		switch prefix {
		case PrefixNone:
			out = append(out, line...)
		case PrefixTime:
			stamp, text, ok := strings.Cut(string(line), " ")
			if _, err := time.Parse(stampLayout, stamp); err != nil || !ok {
				t.Fatalf("line %.80q has no time: %v", line, err)
			}
			out = append(out, text...)
		case PrefixJSON:
			var rec struct {
				Time, Consumer, Line string
				Slot                 int
			}
			if err := json.Unmarshal(line, &rec); err != nil {
				t.Fatalf("line %.200q: %v", line, err)
			}
			if _, err := time.Parse(stampLayout, rec.Time); err != nil || rec.Consumer != consumer || rec.Slot != slot {
				t.Fatalf("record %.200q: %v", line, err)
			}
			out = append(append(out, rec.Line...), '\n')
		}
	}
	return out
}

func TestRotationLosesNothing(t *testing.T) {
	for _, prefix := range []string{PrefixNone, PrefixTime, PrefixJSON} {
		for _, compress := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/compress=%v", prefix, compress), func(t *testing.T) {
				t.Parallel()
				rotateUnderWriters(t, prefix, compress)
			})
		}
	}
}

func rotateUnderWriters(t *testing.T, prefix string, compress bool) {
	const writers = 16
	lines := *lines
	p, dir := startPump(t, nil), t.TempDir()
	var cs []*consumer
	var streams []*Stream
	var opts []Options
	for i := range writers {
		c := newConsumer(t)
		o := Options{
			To: ToFile, Path: filepath.Join(dir, fmt.Sprintf("orders.%d.log", i)), MaxSize: int64(lines) * 10 << (i % 4),
			Keep: 100, Compress: compress, Prefix: prefix, Consumer: "orders", Slot: i,
		}
		s, err := p.Attach(c.read, o)
		check(t, err)
		c.start("lines", "w"+strconv.Itoa(i), 0, lines)
		cs, streams, opts = append(cs, c), append(streams, s), append(opts, o)
	}
	for _, c := range cs {
		c.run()
	}
	for i, c := range cs {
		c.wait()
		endRun(t, streams[i])
	}
	for i, o := range opts {
		log := unprefixed(t, allOutput(t, o.Path), prefix, "orders", i)
		checkNumbered(t, log, "w"+strconv.Itoa(i), 0, lines)
		checkFiles(t, o)
		if st := streams[i].Stats(); st.Degraded != "" || st.DroppedBytes > 0 || int(st.Bytes) != len(log) {
			t.Errorf("stats %+v, %d bytes in the log", st, len(log))
		}
	}
	if compress {
		eventually(t, "every rotated file is compressed", func() bool { return packed(t, dir) })
		for i, o := range opts {
			checkNumbered(t, unprefixed(t, allOutput(t, o.Path), prefix, "orders", i), "w"+strconv.Itoa(i), 0, lines)
		}
	}
}

// checkFiles finds at least one rotated file, none too large, none ending inside a line.
func checkFiles(t testing.TB, o Options) {
	t.Helper()
	count := 0
	check(t, walk(o.Path, func(g *segment, k int) (bool, error) {
		r, err := g.reader(0)
		if err != nil {
			return false, err
		}
		var b bytes.Buffer
		_, err = b.ReadFrom(r)
		if log := b.Bytes(); len(log) == 0 || log[len(log)-1] != '\n' || int64(len(log)) > o.MaxSize+500 { // + a line
			t.Errorf("%s.%d has %d bytes and ends with %q", o.Path, k, len(log), log[max(0, len(log)-10):])
		}
		count++
		return true, err
	}))
	if count < 2 {
		t.Errorf("%s was never rotated", o.Path)
	}
}

func packed(t testing.TB, dir string) bool {
	names, err := filepath.Glob(filepath.Join(dir, "*.log.*"))
	check(t, err)
	for _, name := range names {
		if !strings.HasSuffix(name, ".gz") {
			return false
		}
	}
	return len(names) > 0
}

// one attaches a stream without a process; the test itself writes into the FIFO.
func one(t testing.TB, p *Pump, o Options) (*Stream, *consumer) {
	t.Helper()
	if o.Path == "" {
		o.Path = filepath.Join(t.TempDir(), "one.log")
	}
	if o.To == "" {
		o.To = ToFile
	}
	if o.Prefix == "" {
		o.Prefix = PrefixNone
	}
	c := newConsumer(t)
	s, err := p.Attach(c.read, o)
	check(t, err)
	return s, c
}

func contents(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return string(b)
}

func TestUnfinishedLineIsVisibleAndEndedWithItsRun(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "dir", "a.log")
	s, c := one(t, startPump(t, nil), Options{Path: path})
	c.write("one\ntw")
	eventually(t, "the unfinished line is in the file", func() bool { return contents(t, path) == "one\ntw" })
	c.write("o")
	endRun(t, s)
	if got := contents(t, path); got != "one\ntwo\n" {
		t.Errorf("after the run: %q", got)
	}
	c.write("three\n")
	endRun(t, s)
	if got := contents(t, path); got != "one\ntwo\nthree\n" {
		t.Errorf("after the next run: %q", got)
	}
	for name, want := range map[string]os.FileMode{path: 0o640, filepath.Dir(path): os.ModeDir | 0o750} {
		if st, err := os.Stat(name); err != nil || st.Mode()&^0o027 != want&^0o027 || st.Mode()&0o007 != 0 {
			t.Errorf("%s: mode %v, want %v less the umask (%v)", name, st.Mode(), want, err)
		}
	}
}

func TestEndOfRunOfQuietStreamIsImmediate(t *testing.T) {
	s, c := one(t, startPump(t, nil), Options{})
	c.write("line\n")
	endRun(t, s)
	// The pump looks a few more times before it leaves the stream alone.
	eventually(t, "done is called before EndOfRun returns", func() bool {
		var called atomic.Bool
		s.EndOfRun(func() { called.Store(true) })
		return called.Load()
	})
}

func TestEndOfRunDoesNotWaitForGrandchild(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	s, c := one(t, startPump(t, nil), Options{Path: path, MaxSize: 1 << 20, Keep: 1})
	pidFile := filepath.Join(t.TempDir(), "pid")
	out, err := os.Create(pidFile)
	check(t, err)
	stderr := os.Stderr
	os.Stderr = out // the consumer says there what to kill
	c.start("leaves")
	os.Stderr = stderr
	c.run()
	c.wait()
	check(t, out.Close())
	pid, err := strconv.Atoi(strings.TrimSpace(contents(t, pidFile)))
	check(t, err)
	child, err := os.FindProcess(pid)
	check(t, err)
	defer func() { _ = child.Kill() }()
	eventually(t, "the grandchild talks", func() bool { return strings.Contains(contents(t, path), "mumble\n") })
	endRun(t, s)
	size := len(contents(t, path))
	eventually(t, "the grandchild is heard after the run", func() bool { return len(contents(t, path)) > size+10 })
	if got := contents(t, path); !strings.HasPrefix(got, "last words") {
		t.Errorf("the log begins with %.40q", got)
	}
}

func TestHugeLine(t *testing.T) {
	huge := strings.Repeat("0123456789", 350_000) // 3.5 MB
	for _, prefix := range []string{PrefixNone, PrefixTime, PrefixJSON} {
		t.Run(prefix, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "a.log")
			s, c := one(t, startPump(t, nil), Options{Path: path, MaxSize: 64 << 10, Keep: 100, Prefix: prefix})
			c.write("before\n" + huge + "\nafter\n")
			endRun(t, s)
			check(t, walk(path, func(g *segment, _ int) (bool, error) {
				if g.id.Size > 64<<10+maxLine {
					t.Errorf("a file of %d bytes", g.id.Size)
				}
				return true, nil
			}))
			got := string(unprefixed(t, allOutput(t, path), prefix, "", 0))
			if prefix != PrefixNone { // there it is cut into several lines
				body := strings.TrimSuffix(strings.TrimPrefix(got, "before\n"), "after\n")
				got = "before\n" + strings.ReplaceAll(body, "\n", "") + "\nafter\n"
			}
			if got != "before\n"+huge+"\nafter\n" {
				t.Errorf("%d bytes in the log, want %d", len(got), len(huge)+14)
			}
		})
	}
}

// 100 MB of binary output without a newline: every byte is kept, and none of them
// for long in memory.
func TestHundredMegabytesInOneLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	s, c := one(t, startPump(t, nil), Options{Path: path, MaxSize: 50 << 20, Keep: 4})
	block := make([]byte, 1<<20)
	for i := range block {
		if block[i] = byte(i); block[i] == '\n' {
			block[i] = 0
		}
	}
	sent, heap := sha256.New(), uint64(0)
	for i := range 100 {
		block[0] = byte(100 + i)
		sent.Write(block)
		c.write(string(block))
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		heap = max(heap, m.HeapInuse)
	}
	endRun(t, s)
	sent.Write([]byte{'\n'}) // the end of the run ends the line
	kept := sha256.New()
	for k := 10; k >= 0; k-- {
		name := path
		if k > 0 {
			name = rotated(path, k)
		}
		f, err := os.Open(name)
		if os.IsNotExist(err) {
			continue
		}
		check(t, err)
		_, err = io.Copy(kept, f)
		check(t, errors.Join(err, f.Close()))
	}
	if !bytes.Equal(sent.Sum(nil), kept.Sum(nil)) || s.Stats().DroppedBytes != 0 {
		t.Errorf("what is in the files is not what was written: %+v", s.Stats())
	}
	if heap > 64<<20 {
		t.Errorf("%d MiB of memory for it", heap>>20)
	}
}

func TestKeepZeroEmptiesTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	s, c := one(t, startPump(t, nil), Options{Path: path, MaxSize: 1000})
	var want []byte
	for i := range 500 {
		line := numbered("k", i)
		c.write(string(line))
		endRun(t, s)
		if len(want)+len(line) > 1000 {
			want = nil
		}
		want = append(want, line...)
	}
	if got := contents(t, path); got != string(want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if _, err := os.Lstat(path + ".1"); !os.IsNotExist(err) {
		t.Errorf("there is a rotated file: %v", err)
	}
}

func TestKeepIsKept(t *testing.T) {
	dir := t.TempDir()
	o := Options{To: ToFile, Path: filepath.Join(dir, "a.log"), MaxSize: 100, Keep: 5, Prefix: PrefixNone}
	s, c := one(t, startPump(t, nil), o)
	names := func() string {
		list, err := filepath.Glob(filepath.Join(dir, "*"))
		check(t, err)
		for i := range list {
			list[i] = strings.TrimPrefix(filepath.Base(list[i]), "a.log")
		}
		return strings.Join(list, " ")
	}
	write := func(n int) {
		for i := range n {
			c.write(fmt.Sprintf("%090d\n", i))
		}
		endRun(t, s)
	}
	write(20)
	if got := names(); got != " .1 .2 .3 .4 .5" {
		t.Errorf("files %q", got)
	}
	o.Keep = 2
	check(t, s.Configure(o))
	endRun(t, s)
	write(2)
	if got := names(); got != " .1 .2" {
		t.Errorf("after keep was lowered: files %q", got)
	}
}

func TestConfigureTearsNoLine(t *testing.T) {
	dir := t.TempDir()
	o := Options{To: ToFile, Path: filepath.Join(dir, "a.log"), Prefix: PrefixNone}
	s, c := one(t, startPump(t, nil), o)
	c.write("one\nbegun ")
	eventually(t, "it is there", func() bool { return contents(t, o.Path) == "one\nbegun " })
	old := o.Path
	o.Path, o.Prefix = filepath.Join(dir, "b.log"), PrefixJSON
	check(t, s.Configure(o))
	eventually(t, "it is known", func() bool { return s.state.Load()&changed == 0 })
	c.write("and ended\ntwo\n")
	endRun(t, s)
	if got := contents(t, old); got != "one\nbegun and ended\n" {
		t.Errorf("old file: %q", got)
	}
	if got := unprefixed(t, []byte(contents(t, o.Path)), PrefixJSON, "", 0); string(got) != "two\n" {
		t.Errorf("new file: %q", got)
	}
	o.Prefix = "xml"
	if err := s.Configure(o); err == nil {
		t.Error("a prefix that does not exist is accepted")
	}
}

func TestAttachContinuesUnfinishedLine(t *testing.T) {
	for _, tt := range []struct {
		prefix, before, after string
		endFirst              bool
	}{
		{PrefixNone, "old\nbeg", "old\nbegun\n", false},
		{PrefixNone, "old\nbeg", "old\nbeg\nun\n", true},
		{PrefixNone, "old\n", "old\nun\n", false},
		{PrefixTime, "old\nbeg", "old\nbegun\n", false},
		{PrefixJSON, "old\nbeg", "old\nbeg\n{", false},
	} {
		t.Run(fmt.Sprint(tt.prefix, tt.before, tt.endFirst), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "a.log")
			check(t, os.WriteFile(path, []byte(tt.before), 0o640))
			s, c := one(t, startPump(t, nil), Options{Path: path, Prefix: tt.prefix})
			if tt.endFirst {
				endRun(t, s)
			}
			c.write("un\n")
			endRun(t, s)
			if got := contents(t, path); got != tt.after && !(tt.prefix == PrefixJSON && strings.HasPrefix(got, tt.after)) {
				t.Errorf("got %q, want %q", got, tt.after)
			}
		})
	}
}

func TestEndLeavesNothingHalfCompressed(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.log")
	p, err := NewPump(nil)
	check(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	s, c := one(t, p, Options{Path: path, MaxSize: int64(170 * *lines), Keep: 20, Compress: true})
	c.start("lines", "c", 0, 10**lines)
	c.run()
	c.wait()
	endRun(t, s)
	cancel()
	check(t, <-done)
	names, err := filepath.Glob(filepath.Join(dir, "*.tmp"))
	check(t, err)
	if len(names) > 0 {
		t.Errorf("left behind: %q", names)
	}
	checkNumbered(t, allOutput(t, path), "c", 0, 10**lines)
}

package logs

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// feed gives text to a stream in pieces whose lengths are taken from cuts.
func feed(s *Stream, text, cuts []byte) {
	for i := 0; len(text) > 0; i++ {
		n := len(text)
		if len(cuts) > 0 {
			n = min(n, 1+int(cuts[i%len(cuts)]))
		}
		s.give(text[:n])
		text = text[n:]
	}
}

// FuzzFile: whatever the bytes, the pieces and the size of a file, the files
// together are the output, and each but the last ends with a newline.
func FuzzFile(f *testing.F) {
	f.Add([]byte("one\ntwo\nthree\n"), []byte{1}, uint16(5))
	f.Add([]byte("no end"), []byte{0, 200}, uint16(1))
	f.Add([]byte("\n\n\n\n"), []byte{}, uint16(2))
	f.Add(bytes.Repeat([]byte("0123456789\n"), 100), []byte{13, 7, 255}, uint16(64))
	f.Fuzz(func(t *testing.T, text, cuts []byte, size uint16) {
		s := &Stream{p: &Pump{}, o: Options{
			To: ToFile, Path: filepath.Join(t.TempDir(), "a"), MaxSize: int64(size), Keep: 1 << 20, Prefix: PrefixNone,
		}}
		s.file.fd = -1
		feed(s, text, cuts)
		s.file.close()
		if got := allOutput(t, s.o.Path); !bytes.Equal(got, text) {
			t.Errorf("got %q, want %q", got, text)
		}
		check(t, walk(s.o.Path, func(g *segment, k int) (bool, error) {
			b := []byte(contents(t, g.f.Name()))
			before := bytes.LastIndexByte(bytes.TrimSuffix(b, []byte{'\n'}), '\n') + 1
			if size > 0 && before > int(size) {
				t.Errorf("file %d has %d bytes before its last line", k, before)
			}
			if k > 0 && !bytes.HasSuffix(b, []byte{'\n'}) {
				t.Errorf("file %d ends inside a line: %q", k, b)
			}
			return true, nil
		}))
	})
}

// FuzzJSON: whatever the bytes and the pieces, there is one record per line, and
// its text is the line, each byte that is not UTF-8 replaced.
func FuzzJSON(f *testing.F) {
	f.Add([]byte("plain\n\"quoted\" \\ \t\r\x00\x1f\x7f\n"), []byte{0})
	f.Add([]byte("\xe2\x82\xac \xe2\x82 \xe2\"\xff\xf0\x9f\x98\x80\xc0\xaf\xed\xa0\x80\n"), []byte{0, 1, 2})
	f.Add([]byte("\xe2\x82\n\xac\xf0\x9f"), []byte{0})
	f.Fuzz(func(t *testing.T, text, cuts []byte) {
		o := Options{To: ToNone, Prefix: PrefixJSON, Consumer: `a"b`, Slot: 7}
		now := time.Now().UTC().AppendFormat(nil, stampLayout)
		var out []byte
		var r record
		for i, rest := 0, text; len(rest) > 0; i++ {
			n := len(rest)
			if len(cuts) > 0 {
				n = min(n, 1+int(cuts[i%len(cuts)]))
			}
			out = o.append(out, rest[:n], &r, now)
			rest = rest[n:]
		}
		if len(text) > 0 && text[len(text)-1] != '\n' {
			out = o.append(out, []byte{'\n'}, &r, now)
		}
		var want []string
		for line := range bytes.Lines(text) {
			runes := []rune(strings.TrimSuffix(string(line), "\n")) // replaces like the wire must
			want = append(want, string(runes))
		}
		i := 0
		for line := range bytes.Lines(out) {
			var rec struct {
				Time, Consumer, Line string
				Slot                 int
			}
			if err := json.Unmarshal(line, &rec); err != nil {
				t.Fatalf("record %q: %v", line, err)
			}
			if rec.Time != string(now) || rec.Consumer != `a"b` || rec.Slot != 7 || i >= len(want) || rec.Line != want[i] {
				t.Fatalf("record %d: %q of %q", i, line, text)
			}
			i++
		}
		if i != len(want) {
			t.Errorf("%d records, want %d", i, len(want))
		}
	})
}

// FuzzStdout: lines go out whole, whatever the pieces they came in.
func FuzzStdout(f *testing.F) {
	f.Add([]byte("a\nbc\n\nd"), []byte{0, 1})
	f.Add(bytes.Repeat([]byte{'x'}, 200_000), []byte{250})
	f.Fuzz(func(t *testing.T, text, cuts []byte) {
		p := &Pump{}
		p.stdout.p, p.stdout.blocked = p, true // only queue
		s := &Stream{p: p, o: Options{To: ToStdout, Prefix: PrefixNone}}
		feed(s, text, cuts)
		queue := p.stdout.queue
		if len(queue) > 0 && queue[len(queue)-1] != '\n' {
			t.Errorf("queued in the middle of a line: %q", queue)
		}
		got := append(bytes.Clone(queue), s.hold...)
		for line := range bytes.Lines(text) {
			for len(line) > 0 { // only long lines were cut
				part, rest, _ := bytes.Cut(got, []byte{'\n'})
				whole := bytes.TrimSuffix(line, []byte{'\n'})
				if !bytes.HasPrefix(whole, part) || len(part) < len(whole) && len(part) < maxStdoutLine-1 {
					t.Fatalf("%.50q came out as %.50q", whole, part)
				}
				got = rest
				if line = line[len(part):]; len(line) == 1 && line[0] == '\n' {
					line = nil
				}
			}
		}
		if len(got) > 0 {
			t.Errorf("%.50q too much", got)
		}
	})
}

package logs

import (
	"bytes"
	"strconv"
	"time"
	"unicode/utf8"
)

const (
	// maxRecord and maxStdoutRecord are the bytes after which a line with prefix
	// is ended; what follows is a line of its own. Smaller on stdout, where each
	// line is held in memory until its end.
	maxRecord       = 512 << 10
	maxStdoutRecord = 32 << 10

	formatStep  = 4 << 10   // bytes formatted at once: 26 times (time), 100 times (json) as many at worst
	formatFlush = 128 << 10 // bytes of formatted output that are written at once
	stampLayout = "2006-01-02T15:04:05.000Z"
)

// stamp is the time of day as text, made once a millisecond.
type stamp struct {
	ms   int64
	text []byte
}

func (st *stamp) at(t time.Time) []byte {
	if ms := t.UnixMilli(); ms != st.ms || st.text == nil {
		st.ms = ms
		st.text = t.UTC().AppendFormat(st.text[:0], stampLayout)
	}
	return st.text
}

// record is the state of a line with prefix between two reads.
type record struct {
	open bool    // its beginning has been written
	size int     // bytes of it so far
	part [4]byte // json: the first bytes of a character whose last have not come yet
	n    uint8   // how many
}

// format turns b into what the sinks get, without an allocation per line.
func (s *Stream) format(b []byte) {
	if s.o.Prefix == PrefixNone {
		s.emit(b)
		return
	}
	now := s.p.stamp.at(time.Now())
	out := s.p.out[:0]
	for len(b) > 0 {
		n := min(len(b), formatStep)
		out = s.o.append(out, b[:n], &s.rec, now)
		b = b[n:]
		if len(out) >= formatFlush {
			s.emit(out)
			out = out[:0]
		}
	}
	if len(out) > 0 {
		s.emit(out)
	}
	s.p.out = out[:0]
}

// append formats text that may begin and end anywhere in a line.
func (o *Options) append(out, text []byte, r *record, now []byte) []byte {
	limit := maxRecord
	if o.toStdout() {
		limit = maxStdoutRecord
	}
	for len(text) > 0 {
		line, ended := text, false
		if i := bytes.IndexByte(text, '\n'); i >= 0 {
			line, ended = text[:i], true
			text = text[i+1:]
		} else {
			text = nil
		}
		start := len(out)
		if !r.open {
			r.open, r.size = true, 0
			out = o.begin(out, now)
		}
		if o.Prefix == PrefixJSON {
			out = r.escape(out, line)
		} else {
			out = append(out, line...)
		}
		r.size += len(out) - start
		if ended || r.size >= limit {
			out = o.end(out, r)
		}
	}
	return out
}

func (o *Options) begin(out, now []byte) []byte {
	if o.Prefix == PrefixTime {
		return append(append(out, now...), ' ')
	}
	out = append(append(out, `{"time":"`...), now...)
	out = append(out, `","consumer":"`...)
	for i := range len(o.Consumer) {
		out = appendByte(out, o.Consumer[i])
	}
	out = append(out, `","slot":`...)
	out = strconv.AppendInt(out, int64(o.Slot), 10)
	return append(out, `,"line":"`...)
}

func (o *Options) end(out []byte, r *record) []byte {
	r.open = false
	if o.Prefix == PrefixTime {
		return append(out, '\n')
	}
	return append(r.flush(out), "\"}\n"...)
}

// flush gives up on a character that was begun: none of its bytes is one.
func (r *record) flush(out []byte) []byte {
	for range r.n {
		out = append(out, `\ufffd`...)
	}
	r.n = 0
	return out
}

// escape appends text as the inside of a JSON string; each byte that is not
// UTF-8 becomes U+FFFD. A character cut by the end of text waits in r.part.
func (r *record) escape(out, text []byte) []byte {
	for r.n > 0 && len(text) > 0 {
		part := append(r.part[:r.n], text[0])
		if !utf8.FullRune(part) {
			r.n++
			text = text[1:]
			continue
		}
		if utf8.Valid(part) {
			out = append(out, part...)
			text = text[1:]
			r.n = 0
			break
		}
		out = r.flush(out)
	}
	for len(text) > 0 {
		n := plain(text)
		out = append(out, text[:n]...)
		if text = text[n:]; len(text) == 0 {
			break
		}
		if text[0] < utf8.RuneSelf {
			out = appendByte(out, text[0])
			text = text[1:]
			continue
		}
		if !utf8.FullRune(text) {
			r.n = uint8(copy(r.part[:], text))
			break
		}
		var size int
		out, size = appendRune(out, text)
		text = text[size:]
	}
	return out
}

// plain is how many bytes of text stand for themselves in a JSON string.
func plain(text []byte) int {
	for i, c := range text {
		if special[c] {
			return i
		}
	}
	return len(text)
}

// special are the bytes that need more than to be copied.
var special = func() (t [256]bool) {
	for c := range t {
		t[c] = c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf
	}
	return t
}()

func appendRune(out, text []byte) ([]byte, int) {
	r, size := utf8.DecodeRune(text)
	if r == utf8.RuneError && size == 1 {
		return append(out, `\ufffd`...), 1
	}
	return append(out, text[:size]...), size
}

func appendByte(out []byte, c byte) []byte {
	const hex = "0123456789abcdef"
	switch {
	case c == '"' || c == '\\':
		return append(out, '\\', c)
	case c == '\t':
		return append(out, `\t`...)
	case c == '\r':
		return append(out, `\r`...)
	case c == '\n':
		return append(out, `\n`...)
	case c < ' ':
		return append(out, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
	}
	return append(out, c)
}

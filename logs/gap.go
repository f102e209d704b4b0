package logs

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// gap counts what a sink did not take.
type gap struct {
	bytes, lines uint64
	from         time.Time
	why          string // "" = there is no gap
}

func (s *Stream) miss(g *gap, b []byte) {
	lines := uint64(bytes.Count(b, []byte{'\n'}))
	g.bytes += uint64(len(b))
	g.lines += lines
	s.dropped.Add(uint64(len(b)))
	s.lines.Add(lines)
}

func (g *gap) begin(why string) {
	if g.why == "" {
		*g = gap{from: time.Now()}
	}
	g.why = why
}

// gapLine is the line that says what is missing, in the format of the stream.
func (s *Stream) gapLine(g *gap) []byte {
	now := time.Now()
	text := fmt.Appendf(nil, "qsuper: %d bytes (%d lines) of output lost between %s and %s: %s\n",
		g.bytes, g.lines, g.from.UTC().Format(stampLayout), now.UTC().Format(stampLayout), g.why)
	if s.o.Prefix == PrefixNone {
		return text
	}
	var r record
	return s.o.append(nil, text, &r, s.p.stamp.at(now))
}

// lose begins a gap with b, at the beginning of a line where that is possible:
// the part of a line that is already in the file is taken back.
func (s *Stream) lose(b []byte, err error) {
	f := &s.file
	f.gap.begin(plainError(err))
	if f.torn {
		if end := lastLineEnd(f.fd, f.size); end >= 0 && unix.Ftruncate(f.fd, end) == nil {
			f.gap.bytes += uint64(f.size - end)
			s.dropped.Add(uint64(f.size - end))
			f.size, f.torn = end, false
		}
	}
	s.skip(b)
	s.putOff(err)
}

// skip counts b as missing.
func (s *Stream) skip(b []byte) {
	if len(b) > 0 {
		s.consume(len(b))
		s.miss(&s.file.gap, b)
		s.file.inLine = b[len(b)-1] != '\n'
	}
}

// putOff sets the time of the next try.
func (s *Stream) putOff(err error) {
	f, now := &s.file, time.Now()
	if now.Sub(f.failed) > retryForget {
		f.backoff = 0
	}
	f.failed = now
	f.backoff = min(max(2*f.backoff, retryFirst), retryMax)
	f.retryAt = now.Add(f.backoff)
	s.degrade(err)
	if !f.sick {
		f.sick = true
		s.p.sick = append(s.p.sick, s)
	}
}

// resume tries to go on after a gap. It returns what of b is still to be
// written: nothing as long as the sink does not work, or b is inside a line
// whose beginning is lost.
func (s *Stream) resume(b []byte) []byte {
	f := &s.file
	if time.Now().Before(f.retryAt) {
		s.skip(b)
		return nil
	}
	if f.inLine {
		i := bytes.IndexByte(b, '\n')
		if i < 0 {
			s.skip(b)
			return nil
		}
		s.skip(b[:i+1])
		b = b[i+1:]
	}
	if err := s.sayGap(); err != nil {
		s.skip(b)
		s.putOff(err)
		return nil
	}
	f.gap = gap{}
	s.recovered()
	return b
}

// sayGap writes the line about the gap, whole or not at all.
func (s *Stream) sayGap() error {
	if err := s.ready(); err != nil {
		return err
	}
	f := &s.file
	start := f.size
	k, err := s.write(s.gapLine(&f.gap))
	if err != nil && k > 0 && unix.Ftruncate(f.fd, start) == nil {
		f.size, f.torn, f.inLine = start, false, false
	}
	return err
}

// retry lets streams whose gap is due say so, also when their consumers have
// nothing more to say; all of them at once when now is zero.
func (p *Pump) retry(now time.Time) {
	left := p.sick[:0]
	for _, s := range p.sick {
		f := &s.file
		if now.IsZero() {
			f.retryAt, f.inLine = time.Time{}, false
		}
		if f.gap.why != "" && !f.inLine && !now.Before(f.retryAt) {
			s.resume(nil)
		}
		if f.sick = f.gap.why != "" && !s.gone; f.sick {
			left = append(left, s)
		}
	}
	clear(p.sick[len(left):])
	p.sick = left
}

// nextRetry is when something is to be tried again; zero when nothing is.
func (p *Pump) nextRetry() time.Time {
	next := p.stdout.retryAt
	for _, s := range p.sick {
		if at := s.file.retryAt; !s.file.inLine && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	return next
}

// degrade notes what is wrong, for Stats.
func (s *Stream) degrade(err error) {
	t := s.trouble.Load()
	since := time.Now()
	switch {
	case t != nil && t.why == err.Error():
		return
	case t != nil:
		since = t.since
	}
	s.inTrouble(&trouble{why: err.Error(), since: since})
}

func (s *Stream) inTrouble(t *trouble) {
	s.trouble.Store(t)
	if s.p.Trouble != nil {
		s.p.Trouble()
	}
}

// recovered ends that note when nothing is wrong any more.
func (s *Stream) recovered() {
	if s.trouble.Load() != nil && s.file.gap.why == "" && s.gap.why == "" && s.file.stay.IsZero() {
		s.inTrouble(nil)
	}
}

// lastLineEnd is the offset after the last newline of a file of size bytes, 0
// when it has none, -1 when it cannot be read or is too far.
func lastLineEnd(fd int, size int64) int64 {
	block := make([]byte, 64<<10)
	for at := size; at > 0 && size-at < maxLine; {
		n := min(at, int64(len(block)))
		at -= n
		if k, err := unix.Pread(fd, block[:n], at); err != nil || int64(k) != n {
			return -1
		}
		if i := bytes.LastIndexByte(block[:n], '\n'); i >= 0 {
			return at + int64(i) + 1
		}
		if at == 0 {
			return 0
		}
	}
	return -1
}

// plainError is the kernel's word for what went wrong, without path and call.
func plainError(err error) string {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return errno.Error()
	}
	return err.Error()
}

package logs

// Begun is where a stream stands inside a line: what the next pump needs to go on
// as if there had been one. It travels between versions as JSON.
type Begun struct {
	InLine  bool   `json:"in_line,omitempty"` // what was read last had no end
	File    bool   `json:"file,omitempty"`    // a part of the line is in the file
	Open    bool   `json:"open,omitempty"`    // its prefix has been written
	Size    int    `json:"size,omitempty"`    // bytes of it so far
	Part    []byte `json:"part,omitempty"`    // the first bytes of a character
	Held    []byte `json:"held,omitempty"`    // stdout: what has no end yet
	Dropped uint64 `json:"dropped,omitempty"` // bytes, as in Stats
	Lines   uint64 `json:"lines,omitempty"`
}

// Leave makes the end of Run one after which another pump goes on at once: lines
// without an end are not ended, see Stream.Begun.
func (p *Pump) Leave() { p.leaving.Store(true) }

// Begun is to be asked once Run has ended after Leave.
func (s *Stream) Begun() Begun {
	b := Begun{
		InLine: s.state.Load()&inLine != 0, File: s.file.inLine, Open: s.rec.open, Size: s.rec.size,
		Held: s.hold, Dropped: s.dropped.Load(), Lines: s.lines.Load(),
	}
	if s.rec.n > 0 {
		b.Part = s.rec.part[:s.rec.n]
	}
	return b
}

// Resume is Attach where another pump has left off.
func (p *Pump) Resume(fd int, o Options, b Begun) (*Stream, error) {
	s := p.resumed(fd, o, b)
	return p.attach(s, func() { s.know(b) }, s.listen)
}

// ResumeAfter is AttachAfter where another pump has left off.
func (p *Pump) ResumeAfter(fd int, o Options, b Begun) (*Stream, error) {
	s := p.resumed(fd, o, b)
	s.streak = flowing // not in epoll yet
	return p.attach(s, func() { s.know(b) }, s.takeRest)
}

func (p *Pump) resumed(fd int, o Options, b Begun) *Stream {
	s := &Stream{p: p, fd: fd, o: o}
	s.file.fd = -1
	s.file.inLine = b.File
	s.rec = record{open: b.Open, size: b.Size, n: uint8(min(len(b.Part), len(record{}.part)))}
	copy(s.rec.part[:], b.Part)
	s.hold = b.Held
	s.dropped.Store(b.Dropped)
	s.lines.Store(b.Lines)
	return s
}

// know sets what is known: how the file ends.
func (s *Stream) know(b Begun) {
	s.state.Store(0)
	if b.InLine {
		s.state.Store(inLine)
	}
}

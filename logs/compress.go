package logs

import (
	"compress/gzip"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const packBlock = 64 << 10 // bytes compressed between two rests

// compressor gzips rotated files, one after the other, in a goroutine that
// exists only while there are any. Names are the pump's business alone: the
// goroutine reads a file and writes a temporary one; the pump puts that in the
// place where the file has got to by then.
type compressor struct {
	p      *Pump
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex
	jobs    []packing
	running bool
}

type packing struct {
	s    *Stream
	path string // of the current file; the temporary one is path.gz.tmp
	name string // of the rotated file when the job was made
	id   identity
}

func (c *compressor) start(p *Pump) {
	c.p = p
	c.ctx, c.cancel = context.WithCancel(context.Background())
}

// stop gives up what is not done and waits for the goroutine.
func (c *compressor) stop() {
	c.cancel()
	c.wg.Wait()
}

// offer asks for the oldest file of s that is not compressed yet. One file of a
// stream is worked on at a time; the next is offered when it is done.
func (c *compressor) offer(s *Stream) {
	if !s.o.Compress || s.packing || s.gone || c.ctx.Err() != nil {
		return
	}
	var st unix.Stat_t
	for k := s.o.Keep; k >= 1; k-- {
		name := rotated(s.o.Path, k)
		if unix.Lstat(name, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
			continue
		}
		s.packing = true
		c.mu.Lock()
		c.jobs = append(c.jobs, packing{s: s, path: s.o.Path, name: name, id: identify(&st)})
		if !c.running {
			c.running = true
			c.wg.Go(c.work)
		}
		c.mu.Unlock()
		return
	}
}

func (c *compressor) work() {
	for {
		c.mu.Lock()
		if len(c.jobs) == 0 {
			c.running = false
			c.mu.Unlock()
			return
		}
		job := c.jobs[0]
		c.jobs = c.jobs[1:]
		c.mu.Unlock()
		err := job.pack(c.ctx)
		if !c.p.do(func() { c.install(job, err) }) {
			_ = os.Remove(job.tmp()) // too late; the file stays as it is
		}
	}
}

// pack writes the temporary file, marked with the identity of the original for
// readers that meet both.
func (j *packing) pack(ctx context.Context) (err error) {
	src, id, err := openForRead(j.name)
	if errors.Is(err, fs.ErrNotExist) {
		return errMoved
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	if id != j.id {
		return errMoved // by a rotation meanwhile; it is offered again
	}
	tmp := j.tmp()
	if err := os.Remove(tmp); err != nil && !os.IsNotExist(err) {
		return err
	}
	dst, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return err
	}
	z, err := gzip.NewWriterLevel(dst, gzip.BestSpeed)
	if err != nil {
		return errors.Join(err, dst.Close())
	}
	z.Extra = j.id.mark()
	_, err = io.CopyBuffer(struct{ io.Writer }{z}, &idler{ctx: ctx, r: src}, make([]byte, packBlock))
	return errors.Join(err, z.Close(), dst.Close())
}

var errMoved = errors.New("file was moved")

// idler reads for the compressor and makes it rest three times as long as it
// worked on the last block, so that it takes a quarter of a core, and less on a
// busy machine. A niced thread would not do: the runtime has to wait for it, and
// so would everybody else.
type idler struct {
	ctx   context.Context
	r     io.Reader
	since time.Time
}

func (r *idler) Read(b []byte) (int, error) {
	if !r.since.IsZero() {
		rest := time.NewTimer(3 * time.Since(r.since))
		defer rest.Stop()
		select {
		case <-r.ctx.Done():
			return 0, r.ctx.Err()
		case <-rest.C:
		}
	}
	r.since = time.Now()
	return r.r.Read(b)
}

// install puts the result in the place of the file, wherever rotations have
// moved it. Called by the pump.
func (c *compressor) install(j packing, err error) {
	j.s.packing = false
	if err == nil {
		err = j.replace()
	}
	if err != nil {
		_ = os.Remove(j.tmp()) // may be absent
	}
	if err != nil && !errors.Is(err, errMoved) {
		j.s.degrade(err)
		return // offered again at the next rotation
	}
	j.s.recovered()
	c.offer(j.s)
}

func (j *packing) tmp() string { return j.path + ".gz.tmp" }

func (j *packing) replace() error {
	var st unix.Stat_t
	for k := 1; present(rotated(j.path, k)); k++ {
		name := rotated(j.path, k)
		if unix.Lstat(name, &st) != nil || identify(&st) != j.id {
			continue
		}
		if err := os.Rename(j.tmp(), name+".gz"); err != nil {
			return err
		}
		return os.Remove(name)
	}
	return errMoved // rotated away
}

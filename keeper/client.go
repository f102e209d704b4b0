package keeper

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// EngineFD is the descriptor under which the engine finds its end of the socket.
const EngineFD = 3

// maxPending bounds what the keeper has not read yet, in bytes. It reads all
// the time, so this much means that something is broken.
const maxPending = 64 << 20

// ErrGone means that the keeper has gone or has dropped the connection. The
// engine is to exit: whoever comes next starts a new one.
var ErrGone = errors.New("the keeper is gone")

// Client is the engine's side of the socket.
//
// Requests never wait for the keeper. What the socket takes is written by whoever
// asks, for waking somebody else to do it would cost more than the write; the
// rest waits in a buffer for the goroutine that Run has for it. All methods but
// Run may be called from any goroutine.
type Client struct {
	conn net.Conn
	raw  syscall.RawConn // nil: the connection has none

	mu      sync.Mutex
	pending []byte
	writing bool                // the goroutine has taken what was pending
	corks   int                 // see Cork
	stop    StopRequest         // what the stops that are kept back have in common
	runs    []byte              // their runs, not yet in pending
	specs   map[string]sentSpec // by slot
	last    *Spec               // the specification that was sent last; nil: none
	lastID  uint64
	broken  error
	more    chan struct{} // holds a token while pending is not empty
}

type sentSpec struct {
	id   uint64
	spec Spec
}

// Inherited is the engine's end of the socket, as the keeper hands it over.
func Inherited() (net.Conn, error) {
	f := os.NewFile(EngineFD, "keeper")
	if f == nil {
		return nil, fmt.Errorf("find the keeper's socket: no descriptor %d", EngineFD)
	}
	defer f.Close()
	conn, err := net.FileConn(f) // a duplicate, close-on-exec
	if err != nil {
		return nil, fmt.Errorf("find the keeper's socket as descriptor %d (the engine is started by qsuper run only): %w", EngineFD, err)
	}
	return conn, nil
}

// Connect exchanges Hellos. The Client owns conn from now on. The error is ErrGone
// if there is no keeper any more.
func Connect(conn net.Conn) (*Client, Hello, error) {
	c := &Client{conn: conn, raw: rawConn(conn), specs: map[string]sentSpec{}, more: make(chan struct{}, 1)}
	hello, err := c.greet()
	if err != nil {
		conn.Close()
		if errors.Is(err, io.EOF) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
			err = fmt.Errorf("%w: %w", ErrGone, err)
		}
		return nil, Hello{}, fmt.Errorf("greet the keeper: %w", err)
	}
	return c, hello, nil
}

func rawConn(conn net.Conn) syscall.RawConn {
	if s, ok := conn.(syscall.Conn); ok {
		if raw, err := s.SyscallConn(); err == nil {
			return raw
		}
	}
	return nil
}

func (c *Client) greet() (Hello, error) {
	frame, err := appendFrame(nil, frameHello, Hello{Version: Version, PID: os.Getpid(), StartedAt: time.Now()})
	if err != nil {
		return Hello{}, err
	}
	if err := c.conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return Hello{}, err
	}
	if _, err := c.conn.Write(frame); err != nil {
		return Hello{}, err
	}
	head := make([]byte, frameHead)
	if _, err := io.ReadFull(c.conn, head); err != nil {
		return Hello{}, err
	}
	n := binary.BigEndian.Uint32(head)
	if frameType(head[4]) != frameHello || n > 4096 || n < 1 {
		return Hello{}, fmt.Errorf("%w instead of a hello", errFrame)
	}
	body := make([]byte, n-1)
	if _, err := io.ReadFull(c.conn, body); err != nil {
		return Hello{}, err
	}
	hello, err := decode[Hello](body)
	if err == nil && hello.Version != Version {
		err = fmt.Errorf("the keeper speaks version %d, this engine %d: restart qsuper", hello.Version, Version)
	}
	if err != nil {
		return Hello{}, err
	}
	return hello, c.conn.SetDeadline(time.Time{})
}

// Run hands every frame of the keeper to handle, in order and from one
// goroutine: Started, StartFailed, Stopping, Exited, LogTrouble, SlotInfo,
// ListEnd, Ping, Outputs, Terminate and Reload, all as values. It returns ErrGone when the keeper is
// gone, nil when ctx is done, and closes the connection.
func (c *Client) Run(ctx context.Context, handle func(any)) error {
	wctx, cancel := context.WithCancel(ctx)
	var writer sync.WaitGroup
	writer.Go(func() { c.write(wctx) }) // closes the connection when it ends, which ends read
	err := c.read(handle)
	cancel()
	writer.Wait()
	switch {
	case ctx.Err() != nil:
		return nil
	case errors.Is(err, errFrame):
		return fmt.Errorf("read from the keeper: %w", err)
	}
	return ErrGone
}

// write sends what is pending until ctx is done or the keeper is gone. What is
// pending then is tried once more: a last QuitRequest should arrive.
func (c *Client) write(ctx context.Context) {
	defer c.fail(ErrGone)
	var out []byte
	for done := false; !done; {
		select {
		case <-c.more:
		case <-ctx.Done():
			done = true
			_ = c.conn.SetWriteDeadline(time.Now().Add(time.Second)) // a deadline on a socket cannot fail
		}
		c.mu.Lock()
		out, c.pending = c.pending, out[:0]
		c.writing = len(out) > 0
		c.mu.Unlock()
		if len(out) == 0 {
			continue
		}
		if _, err := c.conn.Write(out); err != nil {
			return
		}
		c.mu.Lock()
		c.writing = false
		c.mu.Unlock()
		if cap(out) > 1<<20 { // a burst should not be paid for for ever
			out = nil
		}
	}
}

func (c *Client) fail(err error) {
	c.mu.Lock()
	if c.broken == nil {
		c.broken = err
	}
	c.mu.Unlock()
	c.conn.Close()
}

func (c *Client) read(handle func(any)) error {
	buf, have := make([]byte, 64<<10), 0
	for {
		n, err := c.conn.Read(buf[have:])
		have += n
		rest := buf[:have]
		for {
			t, body, after, ok, ferr := nextFrame(rest)
			if ferr != nil {
				return ferr
			}
			if !ok {
				break
			}
			rest = after
			msg, ferr := message(t, body)
			if ferr != nil {
				return ferr
			}
			handle(msg)
		}
		have = copy(buf, rest)
		if have == len(buf) {
			buf = append(buf, make([]byte, len(buf))...) // MaxFrame bounds this
		}
		if err != nil {
			return err
		}
	}
}

// message decodes a frame of the keeper.
func message(t frameType, body []byte) (any, error) {
	switch t {
	case frameSlot:
		return decoded[SlotInfo](body)
	case frameListEnd:
		return decoded[ListEnd](body)
	case frameStarted:
		return decoded[Started](body)
	case frameStartFailed:
		return decoded[StartFailed](body)
	case frameStopping:
		return decoded[Stopping](body)
	case frameExited:
		return decoded[Exited](body)
	case frameFrozen:
		return decoded[Frozen](body)
	case frameTerminate:
		return decoded[Terminate](body)
	case frameReload:
		return decoded[Reload](body)
	case frameLogTrouble:
		return decoded[LogTrouble](body)
	case framePing:
		return decoded[Ping](body)
	case frameTaken:
		return decoded[Outputs](body)
	case frameUpgrading:
		return decoded[Upgrading](body)
	}
	return nil, fmt.Errorf("%w: type %d", errFrame, t)
}

// Start asks for a process. It fails only when the request cannot be sent: the
// memo or the frame is too long, or the keeper is gone.
func (c *Client) Start(r StartRequest) error {
	if err := checkMemo(r.Slot, r.Memo); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s := start{Slot: r.Slot, Run: r.Run, Memo: r.Memo, Again: r.Again, Lease: r.Lease}
	sent, known := c.specs[r.Slot]
	if !known || !sent.spec.Equal(&r.Spec) {
		sent = sentSpec{c.lastID + 1, r.Spec}
		if s.Own = r.Spec.own(c.last); s.Own == nil {
			s.Spec = &r.Spec
		}
	}
	s.SpecID = sent.id
	if err := c.queue(frameStart, s); err != nil {
		return fmt.Errorf("start %s: %w", r.Slot, err)
	}
	if s.Spec != nil || s.Own != nil {
		c.lastID, c.last = sent.id, &r.Spec
		c.specs[r.Slot] = sent
	}
	return nil
}

func checkMemo(slot string, memo []byte) error {
	if len(memo) > MaxMemo {
		return fmt.Errorf("leave a memo with %s: %d bytes are more than %d", slot, len(memo), MaxMemo)
	}
	return nil
}

// Again gives or withdraws the standing order of a run.
func (c *Client) Again(r AgainRequest) error { return c.send(frameAgain, r) }

// Extend says until when leases are sure now.
func (c *Client) Extend(r ExtendRequest) error { return c.send(frameExtend, r) }

// Adopt says what a process of an earlier keeper is.
func (c *Client) Adopt(r AdoptRequest) error {
	if err := checkMemo(r.Slot, r.Memo); err != nil {
		return err
	}
	return c.send(frameAdopt, r)
}

// Freeze lets the processes of a run stand still, or go on.
func (c *Client) Freeze(r FreezeRequest) error { return c.send(frameFreeze, r) }

// Notify has the keeper tell the service manager.
func (c *Client) Notify(state string) error { return c.send(frameNotify, Notify{state}) }

// Outputs has the keeper send Outputs.
func (c *Client) Outputs() error { return c.send(frameOutputs, struct{}{}) }

// Stop begins the ladder of a run; one that has ended already is no error.
func (c *Client) Stop(r StopRequest) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.runs) > 0 && (c.stop.Now != r.Now || c.stop.Idle != r.Idle || !c.stop.Stop.equal(&r.Stop)) {
		if err := c.gather(); err != nil {
			return err
		}
	}
	c.stop = r
	c.runs = appendRun(c.runs, r.Slot, r.Run)
	if c.corks > 0 && len(c.runs) < maxRuns {
		return c.broken
	}
	err := c.gather()
	c.out()
	return err
}

// Ack says that the exit of a run has been dealt with.
func (c *Client) Ack(r AckRequest) error {
	if err := checkMemo(r.Slot, r.Memo); err != nil {
		return err
	}
	return c.send(frameAck, r)
}

// Drop forgets a slot in which nothing runs.
func (c *Client) Drop(r DropRequest) error {
	c.mu.Lock()
	delete(c.specs, r.Slot)
	c.mu.Unlock()
	return c.send(frameDrop, r)
}

// SetLog changes where the output of a slot goes.
func (c *Client) SetLog(r LogRequest) error { return c.send(frameLog, r) }

// List asks for every slot that the keeper knows: SlotInfo each, then ListEnd.
func (c *Client) List() error { return c.send(frameList, struct{}{}) }

// Quit ends the keeper once nothing runs; what still runs is stopped.
func (c *Client) Quit(r QuitRequest) error { return c.send(frameQuit, r) }

// Terminating answers Terminate: the engine sees to the stop of the whole.
func (c *Client) Terminating() error { return c.send(frameTerminating, struct{}{}) }

// Pong answers Ping: the engine lives.
func (c *Client) Pong() error { return c.send(framePong, struct{}{}) }

func (c *Client) send(t frameType, body any) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.queue(t, body)
}

// queue is called with mu held.
func (c *Client) queue(t frameType, body any) error {
	if err := c.gather(); err != nil {
		return err
	}
	err := c.add(t, body)
	if err == nil && (c.corks == 0 || len(c.pending) >= corkSize) {
		c.out()
	}
	return err
}

// add is called with mu held.
func (c *Client) add(t frameType, body any) error {
	if c.broken != nil {
		return c.broken
	}
	if len(c.pending) > maxPending {
		c.broken = ErrGone
		c.conn.Close()
		return ErrGone
	}
	var err error
	c.pending, err = appendFrame(c.pending, t, body)
	return err
}

// push writes what the socket takes at once. It is called with mu held, and
// never while the goroutine writes: the order of frames is that of the calls.
func (c *Client) push() {
	if c.raw == nil {
		return
	}
	n := 0
	err := c.raw.Write(func(fd uintptr) bool {
		n, _ = syscall.Write(int(fd), c.pending) // an error is seen again, and told, by the goroutine
		return true
	})
	if err == nil && n > 0 {
		c.pending = c.pending[:copy(c.pending, c.pending[n:])]
	}
}

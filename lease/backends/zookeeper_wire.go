package backends

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// The part of ZooKeeper's protocol that leases need: no watches, no session that
// outlives its connection, nothing in the background, and a deadline on everything. A client
// library keeps its session alive by itself, sends what was asked long ago when it is
// connected again, and gives everything back when it is closed; a lease must do none
// of that.

// Operations.
const (
	zkCreate   = 1
	zkDelete   = 2
	zkExists   = 3
	zkGet      = 4
	zkSet      = 5
	zkChildren = 8
	zkSync     = 9
	zkCheck    = 13
	zkMulti    = 14
	zkAuth     = 100
)

// maxZooKeeper bounds an answer, in bytes.
const maxZooKeeper = 64 << 20

// zkError is an error code of the server.
type zkError int32

// Codes that are answers.
const (
	zkNoNode     zkError = -101
	zkNoAuth     zkError = -102
	zkBadVersion zkError = -103
	zkNodeExists zkError = -110
	zkNotEmpty   zkError = -111
	zkExpired    zkError = -112
	zkAuthFailed zkError = -115
	zkRuntime    zkError = -2 // of a part of a transaction: another one has failed
)

func (e zkError) Error() string {
	switch e {
	case zkNoNode:
		return "the node does not exist"
	case zkNoAuth:
		return "the user may not do that on the nodes"
	case zkBadVersion:
		return "the node was changed meanwhile"
	case zkNodeExists:
		return "the node exists already"
	case zkExpired:
		return "the session has expired"
	case zkAuthFailed:
		return "the server does not accept user and password"
	}
	return fmt.Sprintf("the server refuses with code %d", int32(e))
}

// zkOp is one operation; path, version and data are used as far as it has them.
type zkOp struct {
	op        int32
	path      string
	version   int32 // -1: any
	data      []byte
	ephemeral bool
	parts     []zkOp // of a transaction
}

// zkReply is the answer to one operation.
type zkReply struct {
	zxid     int64 // of the transaction that it has made
	err      zkError
	data     []byte
	stat     zkStat
	children []string
	failed   int // of a transaction that was refused: which part is why; -1: not known
}

type zkStat struct {
	created, changed int64 // zxid
	ctime, mtime     int64 // Unix ms, by the server's clock
	version          int32
	session          int64 // 0: the node is not ephemeral
}

// zkSession is one session, which is one connection.
type zkSession struct {
	conn    net.Conn
	id      int64
	timeout time.Duration // after which the servers end it when they hear nothing
	seen    int64         // newest zxid
	xid     int32
	secured bool // nodes are made for the user only
}

// zkDial begins a session with one server. A server that is behind seen is refused
// by itself.
func zkDial(ctx context.Context, address string, secure *tls.Config, timeout time.Duration, seen int64) (*zkSession, error) {
	dialer := net.Dialer{}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	if secure != nil {
		if secure.ServerName == "" {
			secure = secure.Clone()
			secure.ServerName, _, _ = net.SplitHostPort(address)
		}
		conn = tls.Client(conn, secure)
	}
	s := &zkSession{conn: conn, seen: seen}
	defer s.until(ctx)()
	if err := s.begin(timeout); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("%s: %w", address, err)
	}
	return s, nil
}

// until makes a connection follow a context: it is closed with it, as nobody knows
// any more what the next answer belongs to.
func (s *zkSession) until(ctx context.Context) (done func()) {
	if at, ok := ctx.Deadline(); ok {
		_ = s.conn.SetDeadline(at)
	}
	stop := context.AfterFunc(ctx, func() { _ = s.conn.Close() })
	return func() { stop() }
}

func (s *zkSession) begin(timeout time.Duration) error {
	var w zkWriter
	w.int32(0) // of the protocol
	w.int64(s.seen)
	w.int32(int32(timeout.Milliseconds()))
	w.int64(0)
	w.bytes(make([]byte, 16))
	w.bool(false) // no server that may only be read
	if err := s.send(&w); err != nil {
		return err
	}
	r, err := s.receive()
	if err != nil {
		return err
	}
	r.int32()
	s.timeout = time.Duration(r.int32()) * time.Millisecond
	s.id = r.int64()
	if r.bad {
		return errZooKeeperAnswer
	}
	return nil
}

// login adds a user to the session.
func (s *zkSession) login(user, password string) error {
	var w zkWriter
	w.int32(-4)
	w.int32(zkAuth)
	w.int32(0)
	w.string("digest")
	w.bytes([]byte(user + ":" + password))
	if err := s.send(&w); err != nil {
		return err
	}
	s.secured = true
	for {
		xid, reply, _, err := s.next()
		switch {
		case err != nil:
			return err
		case xid == -4 && reply.err != 0:
			return reply.err
		case xid == -4:
			return nil
		}
	}
}

// do makes operations, all in one round trip. Each stands for itself.
func (s *zkSession) do(ops []zkOp) ([]zkReply, error) {
	var all bytes.Buffer
	first := s.xid + 1
	for i := range ops {
		s.xid++
		var w zkWriter
		w.int32(s.xid)
		w.int32(ops[i].op)
		s.write(&w, &ops[i])
		all.Write(w.frame())
	}
	// The server may send before it has read all: a large batch must not wait for it.
	sent := make(chan error, 1)
	go func() {
		_, err := s.conn.Write(all.Bytes())
		sent <- err
	}()
	replies, err := s.collect(ops, first)
	if err != nil {
		_ = s.conn.Close()
	}
	if werr := <-sent; err == nil {
		err = werr
	}
	return replies, err
}

func (s *zkSession) collect(ops []zkOp, first int32) ([]zkReply, error) {
	replies := make([]zkReply, len(ops))
	for i := 0; i < len(ops); {
		xid, reply, r, err := s.next()
		if err != nil {
			return nil, err
		}
		if xid < 0 {
			continue // nothing that was asked for
		}
		if xid != first+int32(i) {
			return nil, errZooKeeperAnswer
		}
		if reply.err == zkExpired {
			return nil, reply.err
		}
		if reply.err == 0 || ops[i].op == zkMulti {
			reply.read(ops[i].op, r)
		}
		if r.bad {
			return nil, errZooKeeperAnswer
		}
		replies[i] = reply
		i++
	}
	return replies, nil
}

var errZooKeeperAnswer = errors.New("the server gave an answer that makes no sense")

// next reads one answer up to its body.
func (s *zkSession) next() (xid int32, reply zkReply, r *zkReader, err error) {
	if r, err = s.receive(); err != nil {
		return 0, reply, nil, err
	}
	xid, reply.zxid, reply.err = r.int32(), r.int64(), zkError(r.int32())
	if r.bad {
		return 0, reply, nil, errZooKeeperAnswer
	}
	if xid >= 0 {
		s.seen = max(s.seen, reply.zxid)
	}
	return xid, reply, r, nil
}

// write puts the body of a request.
func (s *zkSession) write(w *zkWriter, o *zkOp) {
	if o.op == zkMulti {
		for i := range o.parts {
			w.multi(o.parts[i].op, false)
			s.write(w, &o.parts[i])
		}
		w.multi(-1, true)
		return
	}
	w.string(o.path)
	switch o.op {
	case zkCreate:
		w.bytes(o.data)
		w.int32(1)  // entry of the access list
		w.int32(31) // everything
		if s.secured {
			w.string("auth")
			w.string("")
		} else {
			w.string("world")
			w.string("anyone")
		}
		flags := int32(0)
		if o.ephemeral {
			flags = 1
		}
		w.int32(flags)
	case zkSet:
		w.bytes(o.data)
		w.int32(o.version)
	case zkDelete, zkCheck:
		w.int32(o.version)
	case zkSync:
	default:
		w.bool(false) // no watch
	}
}

// read takes the body of an answer.
func (p *zkReply) read(op int32, r *zkReader) {
	switch op {
	case zkGet:
		p.data = bytes.Clone(r.bytes())
		p.stat = r.stat()
	case zkExists, zkSet:
		p.stat = r.stat()
	case zkChildren:
		for n := r.int32(); n > 0 && !r.bad; n-- {
			p.children = append(p.children, string(r.bytes()))
		}
	case zkMulti:
		p.transaction(r)
	}
}

// transaction finds what kept a transaction from being made. A refusal may be said
// of the whole, or of its parts.
func (p *zkReply) transaction(r *zkReader) {
	p.failed = -1
	for part := 0; len(r.rest) > 0; part++ {
		op := r.int32()
		done := r.bool()
		code := zkError(r.int32())
		if done || r.bad {
			return
		}
		switch op {
		case zkCreate:
			r.bytes()
		case zkSet:
			r.stat()
		case -1:
			if code = zkError(r.int32()); code != 0 && code != zkRuntime && p.failed < 0 {
				p.err, p.failed = code, part
			}
		}
	}
}

func (s *zkSession) send(w *zkWriter) error {
	_, err := s.conn.Write(w.frame())
	return zkGone(err)
}

func (s *zkSession) receive() (*zkReader, error) {
	var head [4]byte
	if _, err := io.ReadFull(s.conn, head[:]); err != nil {
		return nil, zkGone(err)
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > maxZooKeeper {
		return nil, errZooKeeperAnswer
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(s.conn, body); err != nil {
		return nil, zkGone(err)
	}
	return &zkReader{rest: body}, nil
}

// zkGone says what the end of a connection means: a server has no other way to
// refuse.
func zkGone(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("the server has closed the connection, as it does when it is behind, or expects something else on this port: %w", err)
	}
	return err
}

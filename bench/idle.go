package main

import (
	"context"
	"fmt"
	"net"
	"time"
)

// idleWindow is the time the figure is named after; shorter windows are scaled to it.
const idleWindow = 30 * time.Second

// idle measures the CPU time that supervisors use while nothing happens. All
// fleets stand side by side: an idle one disturbs nobody, and each has its own
// CPU clocks.
func (b *bench) idle(ctx context.Context) {
	if !b.wants("idle") {
		return
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.fail(ctx, "idle", err)
		return
	}
	defer listener.Close()
	go answer(listener)

	var standing []idler
	defer func() {
		for _, i := range standing {
			i.close()
		}
	}()
	for _, i := range b.idlers(listener.Addr().String()) {
		progress("idle: starting %s, %s", i.peer.name(), i.key)
		s, err := launch(i.peer, workload{program: b.programs.child, n: b.n}, b.dir)
		if err != nil {
			b.fail(ctx, i.key+", "+i.peer.name(), err)
			continue
		}
		i.session = s
		standing = append(standing, i)
		if _, err := s.awaitStarts(ctx, b.n); err != nil {
			b.fail(ctx, i.key+", "+i.peer.name(), err)
		}
	}
	if err := b.watchIdle(ctx, standing); err != nil {
		b.fail(ctx, "idle", err)
	}
	for _, i := range standing {
		if _, err := i.stop(ctx); err != nil {
			b.fail(ctx, "idle", err)
		}
	}
}

// idler is one fleet that stands and does nothing.
type idler struct {
	key  string
	peer peer
	*session
	own  []process
	used int64 // ns of CPU at the beginning
}

func (b *bench) idlers(probe string) []idler {
	var list []idler
	for _, p := range b.peers {
		list = append(list, idler{key: "idle", peer: p})
		if q, ok := p.(qsuperPeer); ok {
			q.probe = probe
			list = append(list, idler{key: "idle-probe", peer: q})
		}
	}
	return list
}

func (b *bench) watchIdle(ctx context.Context, standing []idler) error {
	// runsvdir looks at its directory for some seconds after a change.
	if err := pause(ctx, 6*time.Second); err != nil {
		return err
	}
	progress("idle: %d fleets for %s", len(standing), b.idleTime)
	from := monotonic()
	for i := range standing {
		var err error
		standing[i].own = standing[i].session.own()
		if standing[i].used, err = cpuTimes(standing[i].own); err != nil {
			return err
		}
	}
	if err := pause(ctx, b.idleTime); err != nil {
		return err
	}
	for _, i := range standing {
		used, err := cpuTimes(i.own)
		if err != nil {
			return fmt.Errorf("%s: %w", i.peer.name(), err)
		}
		window := seconds(monotonic() - from)
		b.record(i.key, i.peer, seconds(used-i.used)*idleWindow.Seconds()/window)
	}
	return nil
}

// answer accepts and hangs up until the listener is closed.
func answer(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		_ = conn.Close()
	}
}

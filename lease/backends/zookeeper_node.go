package backends

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"qsuper/health"
)

// A connection of type zookeeper tells which nodes there are. It lies here, as the
// locks are what speaks ZooKeeper's protocol.

func init() {
	health.Register(health.Kind{Type: "zookeeper", Asked: []string{"node"}}, zookeeperConfig{}, openZooKeeperNodes)
}

// nodeSession is how long servers keep a session that they hear nothing of. It is
// renewed by every look, and made anew when that comes too seldom.
const nodeSession = 24 * time.Second

// zkNodes is one session that is kept while it is used.
type zkNodes struct {
	zookeeper
	busy sync.Mutex // held during a call
}

func openZooKeeperNodes(c zookeeperConfig) (health.Conn, error) {
	z := &zkNodes{zookeeper: zookeeper{config: c, base: c.Chroot, ttl: nodeSession * 3 / 4}}
	z.life, z.stop = context.WithCancel(context.Background())
	return z, nil
}

// Secrets implements health.Secretive.
func (z *zkNodes) Secrets() []string { return z.secrets() }

// Close implements health.Conn.
func (z *zkNodes) Close() error {
	z.stop() // which cuts short what runs
	z.busy.Lock()
	defer z.busy.Unlock()
	z.drop()
	return nil
}

// Ping asks a server that knows what the others know.
func (z *zkNodes) Ping(ctx context.Context) error {
	_, err := z.ask(ctx, []string{"/"})
	return err
}

// ask looks at nodes, as they are in all servers and not only in the one that answers.
func (z *zkNodes) ask(ctx context.Context, paths []string) ([]zkReply, error) {
	z.busy.Lock()
	defer z.busy.Unlock()
	ops := []zkOp{{op: zkSync, path: "/"}}
	for _, path := range paths {
		ops = append(ops, zkOp{op: zkExists, path: path})
	}
	r, err := z.do(ctx, ops...)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded): // which is that of ctx, a moment earlier
		<-ctx.Done()
		return nil, ctx.Err()
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case errors.Is(err, zkAuthFailed):
		return nil, &health.Denied{Err: err}
	case err != nil:
		return nil, err
	case r[0].err != 0:
		return nil, r[0].err
	}
	return r[1:], nil
}

// Tell implements health.Teller: whether there is a node.
func (z *zkNodes) Tell(ctx context.Context, questions []health.Question) ([]health.Answer, error) {
	paths := make([]string, len(questions))
	for i, q := range questions {
		paths[i] = z.base + q.Node
	}
	r, err := z.ask(ctx, paths)
	if err != nil {
		return nil, err
	}
	answers := make([]health.Answer, len(questions))
	for i := range answers {
		switch {
		case r[i].err == zkNoNode:
			answers[i] = health.Answer{State: health.Missing}
		case r[i].err != 0:
			answers[i] = health.Answer{State: health.Unknown, Err: r[i].err.Error()}
		case r[i].stat.session != 0:
			answers[i] = health.Answer{State: health.OK, Text: fmt.Sprintf("session 0x%x", r[i].stat.session)}
		default:
			answers[i] = health.Answer{State: health.OK, Text: "whoever has made the node, which stays until it is deleted"}
		}
	}
	return answers, nil
}

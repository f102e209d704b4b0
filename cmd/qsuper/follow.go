package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"syscall"
	"time"

	"qsuper/control"
)

const (
	// rejoinEvery is the pause between two tries to reach an engine again.
	rejoinEvery = 100 * time.Millisecond

	// rejoinFor is how long an engine may take to come back, where nobody can
	// tell whether its keeper lives, as in another namespace of processes.
	rejoinFor = 10 * time.Second

	// maxCursors keeps a request within what a daemon reads of a header.
	maxCursors = 48 << 10 // bytes
)

// cursors are how far each slot has been read.
type cursors map[string]string

func (c cursors) keep(who, cursor string) {
	if cursor != "" {
		c[who] = cursor
	}
}

// list is what to ask for; false: it is too much for one request.
func (c cursors) list() ([]string, bool) {
	size := 0
	for _, text := range c {
		size += len(text) + len("&from=") + 4 // for what is escaped
	}
	return slices.Sorted(maps.Values(c)), size <= maxCursors
}

// follow runs stream and, when its engine is restarted or replaced, goes on where
// it was. It ends with the daemon.
func follow(ctx context.Context, c *control.Client, out *screen, ask control.Stream, stream func(control.Stream, cursors) error) error {
	keeper := 0
	if ask.Follow {
		st, err := c.Status(ctx, control.StatusQuery{})
		if err != nil {
			return err
		}
		keeper = st.Daemon.KeeperPID
	}
	at := cursors{}
	for {
		err := stream(ask, at)
		_, lost := errors.AsType[*control.Lost](err)
		if !ask.Follow || ctx.Err() != nil || err != nil && !lost {
			return err
		}
		if !rejoin(ctx, c, keeper, lost) {
			return err
		}
		fmt.Fprintln(out.stderr, "qsuper: the engine was restarted, following again")
		from, fits := at.list()
		ask.From, ask.Last = from, 0
		if !fits {
			ask.From = nil
			fmt.Fprintln(out.stderr, "qsuper: lines may be missing here: more slots are followed than can be asked for at once")
		}
	}
}

// rejoin waits until an engine answers, and returns false when there will be none:
// the keeper is gone.
func rejoin(ctx context.Context, c *control.Client, keeper int, lost bool) bool {
	for began := time.Now(); ; {
		select {
		case <-ctx.Done():
			return false
		case <-time.After(rejoinEvery):
		}
		st, err := c.Status(ctx, control.StatusQuery{})
		if err == nil && !st.Daemon.Stopping {
			return true
		}
		gone := syscall.Kill(keeper, 0) == syscall.ESRCH
		if gone && (!lost || time.Since(began) > rejoinFor) {
			return false
		}
	}
}

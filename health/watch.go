package health

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// How long a watch waits before it tries to listen again: after an error, longer
// each time, and where the other side does not tell of new messages, which may
// be switched on one day.
const (
	watchAgain  = time.Second
	watchSlower = 30 * time.Second
	watchNever  = 5 * time.Minute
)

// Watch calls wake whenever the connection tells that messages may have come
// into queues, until ctx is done. It keeps a connection of its own for that and
// makes a new one when that breaks; it returns at once when connections of this
// type cannot tell. Nothing depends on it: who does not hear looks an interval
// later.
func (p *Probe) Watch(ctx context.Context, queues []Queue, wake func()) {
	if len(queues) == 0 {
		return
	}
	pause := watchAgain
	for ctx.Err() == nil {
		began := time.Now()
		able, err := p.listen(ctx, queues, wake)
		switch {
		case !able:
			return
		case err == nil:
			pause = watchNever
		case isDenied(err):
			pause = watchSlower
		case time.Since(began) > watchSlower:
			pause = watchAgain
		default:
			pause = min(2*pause, watchSlower)
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

func isDenied(err error) bool {
	_, yes := errors.AsType[*Denied](err)
	return yes
}

// listen is one attempt.
func (p *Probe) listen(ctx context.Context, queues []Queue, wake func()) (able bool, err error) {
	able = true
	err = aside(ctx, p.spec, func(conn Conn) error {
		waker, ok := conn.(Waker)
		if able = ok; !ok {
			return nil
		}
		return waker.Watch(ctx, queues, wake)
	})
	return able, err
}

// aside calls f with a connection of its own. When f does not come back by itself at
// the end of ctx, the connection is closed under it.
func aside(ctx context.Context, s Spec, f func(Conn) error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("backend panicked: %v", v)
		}
	}()
	conn, err := s.Open()
	if err != nil {
		return err
	}
	defer closeQuietly(conn)
	stop := context.AfterFunc(ctx, func() { closeQuietly(conn) })
	defer stop()
	return f(conn)
}

package alert

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"qsuper/config"
)

const (
	// gather is how long a letter waits for others to the same destination.
	gather = 5 * time.Second
	// attemptLimit bounds one attempt, firstRetry and lastRetry the pauses
	// between them, and giveUp all of them together.
	attemptLimit = 15 * time.Second
	firstRetry   = 5 * time.Second
	lastRetry    = 5 * time.Minute
	giveUp       = time.Hour
	// mostNotices is how many one letter holds.
	mostNotices = 100
)

// way is how an alert is told; an alert may have several.
type way string

const (
	byWebhook way = "webhook"
	byCommand way = "command"
	byEmail   way = "email"
)

// ways lists those of an alert.
func ways(a *config.Alert) (list []way) {
	if a.Webhook != nil {
		list = append(list, byWebhook)
	}
	if len(a.Command) > 0 {
		list = append(list, byCommand)
	}
	if a.Email != nil {
		list = append(list, byEmail)
	}
	return list
}

// destination is where a way leads: alerts that share it share letters.
func destination(a *config.Alert, w way) string {
	switch w {
	case byWebhook:
		return "webhook " + a.Webhook.URL.Reveal() + " " + a.Webhook.Format + " " + a.Webhook.RoutingKey.Reveal()
	case byCommand:
		return "command " + strings.Join(a.Command, "\x00")
	}
	return "email " + a.Email.Server.Reveal() + " " + a.Email.From + " " + strings.Join(a.Email.To, ",")
}

// post takes notices to their destinations, each in its own goroutine, which
// lives only while something waits there.
type post struct {
	sender func(context.Context, *config.Alert, way, letter) error
	tell   func(alert string, w way, err error, final bool) // what became of an attempt
	from   letter                                           // daemon and host
	gather time.Duration

	mu    sync.Mutex
	boxes map[string]*box
	wg    sync.WaitGroup
}

type box struct {
	alert   *config.Alert // whose settings lead there
	way     way
	notices []Notice
	left    int
}

// put queues a notice for every way of its alert. It never waits.
func (p *post) put(ctx context.Context, a *config.Alert, n Notice) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range ways(a) {
		where := destination(a, w)
		b := p.boxes[where]
		if b == nil {
			b = &box{alert: a, way: w}
			p.boxes[where] = b
			p.wg.Go(func() { p.deliver(ctx, where, b) })
		}
		if len(b.notices) >= mostNotices {
			b.left++
			continue
		}
		b.notices = append(b.notices, n)
	}
}

// unsent returns what has not arrived anywhere yet, for an engine that follows.
func (p *post) unsent() (list []Notice) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, b := range p.boxes {
		for _, n := range b.notices {
			if !slices.Contains(list, n) {
				list = append(list, n)
			}
		}
	}
	return list
}

// deliver empties one box. What comes while an attempt is under way goes with the
// next; after an hour without success it gives up what it has.
func (p *post) deliver(ctx context.Context, where string, b *box) {
	began, pause := time.Now(), p.gather
	for retry := firstRetry; ; {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		l, n := p.next(b)
		attempt, cancel := context.WithTimeout(ctx, attemptLimit)
		err := p.sender(attempt, b.alert, b.way, l)
		cancel()
		if ctx.Err() != nil {
			return
		}
		final := err == nil || errors.As(err, &permanent{}) || time.Since(began) >= giveUp
		over := final && p.emptied(where, b, n) // before it is told, which writes down what is left
		p.tell(b.alert.Name, b.way, err, final)
		switch {
		case over:
			return
		case final:
			began, pause, retry = time.Now(), p.gather, firstRetry
		default:
			pause, retry = retry, min(3*retry, lastRetry)
		}
	}
}

// next is the letter of this moment, and how many notices it holds.
func (p *post) next(b *box) (letter, int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.from
	l.Notices, l.Left = slices.Clone(b.notices), b.left
	return l, len(b.notices)
}

// emptied takes away what has been dealt with, and the box when nothing is left.
func (p *post) emptied(where string, b *box, n int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	b.notices, b.left = slices.Delete(b.notices, 0, n), 0
	if len(b.notices) > 0 {
		return false
	}
	delete(p.boxes, where)
	return true
}

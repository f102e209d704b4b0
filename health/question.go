package health

import (
	"context"
	"errors"
	"time"
)

// Question asks a connection for one thing that is no queue. Exactly one of its
// fields is set; which ones a type accepts is in its Kind.
type Question struct {
	SQL string `json:",omitempty"` // the one row of this query
	Key string `json:",omitempty"` // redis: the string under this key

	Lock string `json:",omitempty"` // mysql: who has the lock of this name, as of GET_LOCK
	Held string `json:",omitempty"` // redis: whether there is such a key, of any kind
	Node string `json:",omitempty"` // zookeeper: whether there is this node, below the chroot
}

// Answer is what one look has learnt. Its State is Missing where there is no row,
// or nothing but NULL in it, no such key, or where nobody has the lock.
type Answer struct {
	State State
	Text  string // OK: all columns, the string, or who has the lock
	Err   string // why State is Unknown; in words for a user, no secrets
}

// Teller is a Conn that answers questions. Tell returns one Answer for each, in
// the same order, and an error as Measure does.
type Teller interface {
	Conn
	Tell(ctx context.Context, questions []Question) ([]Answer, error)
}

// tell asks each question, once if it is there twice, until deadline at most. A
// connection that does not answer within that is not down for it.
func (p *Probe) tell(ctx context.Context, conn Conn, questions []Question) ([]Answer, error) {
	teller, able := conn.(Teller)
	if !able {
		return unanswered("connections of this type answer no questions", len(questions)), nil
	}
	place := make(map[Question]int, len(questions))
	var different []Question
	for _, q := range questions {
		if _, seen := place[q]; !seen {
			place[q] = len(different)
			different = append(different, q)
		}
	}
	got, err := teller.Tell(ctx, different)
	if err == nil && len(got) != len(different) {
		err = errors.New("backend gave too few answers")
	}
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return unanswered(redact(conn, err.Error()), len(questions)), err
	}
	answers := make([]Answer, len(questions))
	for i, q := range questions {
		a := got[place[q]]
		if a.State == Unknown || a.State == "" {
			a = Answer{State: Unknown, Err: redact(conn, a.Err)}
		}
		answers[i] = a
	}
	return answers, nil
}

// earlier is the context of a part of a look that ends some time before the look does.
func earlier(ctx context.Context, before time.Duration) (context.Context, context.CancelFunc) {
	if end, ok := ctx.Deadline(); ok {
		return context.WithDeadline(ctx, end.Add(-before))
	}
	return context.WithCancel(ctx)
}

func unanswered(why string, n int) []Answer {
	answers := make([]Answer, n)
	for i := range answers {
		answers[i] = Answer{State: Unknown, Err: why}
	}
	return answers
}

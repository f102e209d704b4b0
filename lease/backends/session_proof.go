package backends

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
)

// errPooled is what a session is refused for that is not one with the server.
var errPooled = errors.New("mode: session needs a connection to the server itself, and something in between shares sessions among connections, as poolers do whose mode is transaction or statement")

// pooled says what was seen of a pooler, and what to do.
func pooled(seen string, values ...any) error {
	return fmt.Errorf("%w: %s; connect without it, or have it keep a session for each connection, or write mode: rows", errPooled, fmt.Sprintf(seen, values...))
}

// begin opens a session and has it prove itself, with another one as witness.
func (s *sessions) begin(ctx context.Context) (*session, error) {
	db, err := s.server.dial(ctx)
	if err != nil {
		return nil, err
	}
	c := &session{database: db, locked: map[string]uint64{}}
	witness, err := s.server.dial(ctx)
	if err == nil {
		err = s.prove(ctx, c, &session{database: witness})
		_ = witness.close()
	}
	if err != nil {
		_ = c.close()
		return nil, err
	}
	return c, nil
}

// number is the answer to a statement that has one.
func number(ctx context.Context, db database, text string) (n int64, err error) {
	rows := 0
	err = db.query(ctx, text, nil, func(scan func(...any) error) error {
		rows++
		return scan(&n)
	})
	if err == nil && rows != 1 {
		err = fmt.Errorf("the server gives %d rows for %s", rows, text)
	}
	return n, err
}

// looks is how often two connections are compared. A pooler that has a session to
// spare gives the same to both when they ask in turn; more turns are for one that
// others use as well.
const looks = 5

// prove shows that c is a session of its own, that it ends when nothing is heard of
// it, and that its locks are seen and kept from others.
func (s *sessions) prove(ctx context.Context, c, witness *session) (err error) {
	for i := range looks {
		one, err := number(ctx, c, s.server.id())
		if err != nil {
			return err
		}
		other, err := number(ctx, witness, s.server.id())
		if err != nil {
			return err
		}
		switch {
		case one == other:
			return pooled("two connections are both session %d", one)
		case i > 0 && one != c.id:
			return pooled("session %d is %d now", c.id, one)
		case i > 0 && other != witness.id:
			return pooled("session %d is %d now", witness.id, other)
		}
		c.id, witness.id = one, other
	}
	if err := s.server.fit(ctx, c); err != nil {
		return err
	}
	if err := s.limit(ctx, c); err != nil {
		return err
	}
	var place []byte
	err = c.query(ctx, s.server.scope(), nil, func(scan func(...any) error) error { return scan(&place) })
	if err != nil {
		return err
	}
	c.scope = s.scopeOf(string(place))
	return s.tryLocks(ctx, c, witness)
}

// limit makes the session end when nothing is heard of it, and sees that it does.
func (s *sessions) limit(ctx context.Context, c *session) error {
	statements, check, want := s.server.setup(s.ttl)
	for _, text := range statements {
		if _, err := c.exec(ctx, text, nil); err != nil {
			return fmt.Errorf("%s: %w", text, err)
		}
	}
	got, err := number(ctx, c, check)
	if err != nil {
		return err
	}
	if got != want {
		return pooled("what was set in session %d, %d, is %d now", c.id, want, got)
	}
	return nil
}

// tryLocks takes two locks and has the witness look at them.
func (s *sessions) tryLocks(ctx context.Context, c, witness *session) error {
	a, b := s.server.name(sha256.Sum256([]byte(rand.Text()))), s.server.name(sha256.Sum256([]byte(rand.Text())))
	names := []string{a, b}
	if got, err := c.ask(ctx, s.server.lock, names); err != nil || got[a] != 1 || got[b] != 1 {
		return cmpErr(err, "the server does not give this user locks of a session: write mode: rows")
	}
	for _, look := range []*session{witness, c} {
		who, err := s.holders(ctx, look, names)
		switch {
		case err != nil:
			return err
		case who[a] == 0 && who[b] == c.id:
			return errors.New("the server lets a session have one lock at a time (MySQL before 5.7.5): write mode: rows")
		case who[a] != c.id || who[b] != c.id:
			return pooled("the locks of session %d are seen by session %d as those of %d and %d", c.id, look.id, who[a], who[b])
		}
	}
	if got, err := witness.ask(ctx, s.server.lock, names[:1]); err != nil || got[a] != 0 {
		return cmpErr(err, "two sessions have got the same lock, so that locks of sessions are worth nothing on this server: write mode: rows")
	}
	if got, err := c.ask(ctx, s.server.unlock, names); err != nil || got[a] != 1 || got[b] != 1 {
		return cmpErr(err, "the server does not take locks of a session back: write mode: rows")
	}
	return nil
}

// cmpErr is err, or if there is none, what was found wrong.
func cmpErr(err error, wrong string) error {
	if err != nil {
		return err
	}
	return errors.New(wrong)
}

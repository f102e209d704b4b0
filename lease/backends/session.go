package backends

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"qsuper/lease"
)

// sessions keeps leases as rows does, each together with a lock that belongs to the
// one session this host has with the server (GET_LOCK, pg_advisory_lock). The row
// says whose the lease is, and has its token; the lock says that the session lives.
//
// Who takes a lease needs both: the lock, and a row that has run out, or that its
// owner has not renewed for half a ttl. So a host whose session ends is followed
// sooner than by rows alone, and one that is only connected anew, or whose engine is,
// finds its leases. Sessions end by themselves when the server has heard nothing of
// them for a ttl.
type sessions struct {
	server sessionServer
	rows   *rows
	ttl    time.Duration
	life   context.Context
	stop   context.CancelFunc

	busy   sync.Mutex // held during a call
	now    *session   // nil: none
	former []int64    // sessions of this store that may not have ended yet
}

// sessionServer is what databases do not agree upon. The statements that take names
// of locks return a row for each: the name as text, and a number.
type sessionServer interface {
	dial(ctx context.Context) (database, error)
	close() error

	setup(ttl time.Duration) (statements []string, check string, want int64) // so that a session that is not heard of ends after ttl
	fit(ctx context.Context, db database) error                              // why locks of this server would not do
	id() string                                                              // statement: the number of the session
	scope() string                                                           // statement: what tells tables of the same name apart
	lock(names []string) string                                              // 1: this session has it now
	unlock(names []string) string
	holders(names []string) string // of those that are held: which session has it; and as third column, in which one this was asked
	kill(id int64) string
	name(sum [sha256.Size]byte) string // of a lock
	held(scope, name string) string    // condition: somebody has the lock of a row, which two expressions name
}

// session is a connection that has been shown to be one with the server itself.
type session struct {
	database
	id     int64
	scope  string
	locked map[string]uint64 // key of a lease whose lock it has -> token
}

func newSessions(server sessionServer, r *rows, ttl time.Duration) *sessions {
	s := &sessions{server: server, rows: r, ttl: ttl}
	s.life, s.stop = context.WithCancel(context.Background())
	return s
}

// early is how long before its end a lease may be taken over whose lock is free.
func (s *sessions) early() time.Duration { return s.ttl / 2 }

// lockName names the lock of a lease. Locks of a session know no databases and have
// short names: everything that tells leases apart is in the sum.
func (s *sessions) lockName(scope, key string) string {
	return s.server.name(sha256.Sum256([]byte(scope + key)))
}

// scopeOf is what is in front of the key.
func (s *sessions) scopeOf(place string) string {
	return strings.Join([]string{place, s.rows.table, s.rows.ns, ""}, "\n")
}

// errStays marks errors after which the session is as good as before.
type errStays struct{ error }

// with calls f with the session. Whatever goes wrong, nobody knows what the session
// has: it is left, and with it all its locks. One that was there before may have
// ended since; then it is tried with a new one.
func (s *sessions) with(ctx context.Context, what string, f func(context.Context, *session) error) error {
	s.busy.Lock()
	defer s.busy.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.life, cancel)()
	old := s.now
	err := s.try(ctx, f)
	if err != nil && old != nil && s.now == nil && ctx.Err() == nil {
		err = s.try(ctx, f)
	}
	if s.life.Err() != nil {
		err = errors.New("the connection is closed")
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

func (s *sessions) try(ctx context.Context, f func(context.Context, *session) error) error {
	err := ctx.Err()
	if err == nil && s.now == nil {
		s.now, err = s.begin(ctx)
	}
	if err == nil {
		s.rows.db = s.now
		err = f(ctx, s.now)
	}
	if stays := (errStays{}); err != nil && !errors.As(err, &stays) {
		s.leave()
	}
	return err
}

// leave ends the session.
func (s *sessions) leave() {
	if s.now == nil {
		return
	}
	_ = s.now.close() // the server ends it anyway
	s.former = append(s.former[max(0, len(s.former)-3):], s.now.id)
	s.now = nil
}

// ask runs a statement about locks and returns the numbers by lock.
func (c *session) ask(ctx context.Context, statement func([]string) string, names []string) (map[string]int64, error) {
	found := make(map[string]int64, len(names))
	for part := range slices.Chunk(names, 200) {
		err := c.query(ctx, statement(part), nil, func(scan func(...any) error) error {
			var name []byte
			var n int64
			err := scan(&name, &n)
			found[string(name)] = n
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

// holders says which sessions have locks. It fails if that was not asked in this one.
func (s *sessions) holders(ctx context.Context, c *session, names []string) (map[string]int64, error) {
	found := make(map[string]int64, len(names))
	for part := range slices.Chunk(names, 200) {
		err := c.query(ctx, s.server.holders(part), nil, func(scan func(...any) error) error {
			var name []byte
			var n, me int64
			err := scan(&name, &n, &me)
			if err == nil && me != c.id {
				err = pooled("session %d is %d now", c.id, me)
			}
			found[string(name)] = n
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

// take takes the locks of leases, as far as nobody has them.
func (s *sessions) take(ctx context.Context, c *session, keys []string) (taken map[string]bool, err error) {
	names := make([]string, len(keys))
	for i, key := range keys {
		names[i] = s.lockName(c.scope, key)
	}
	got, err := c.ask(ctx, s.server.lock, names)
	if err != nil {
		return nil, err
	}
	taken = map[string]bool{}
	for i, key := range keys {
		if got[names[i]] == 1 {
			c.locked[key], taken[key] = 0, true
		}
	}
	return taken, nil
}

// free gives locks back.
func (s *sessions) free(ctx context.Context, c *session, keys []string) error {
	var names []string
	for _, key := range keys {
		if _, has := c.locked[key]; has {
			names = append(names, s.lockName(c.scope, key))
			delete(c.locked, key)
		}
	}
	_, err := c.ask(ctx, s.server.unlock, names)
	return err
}

// Take implements lease.Store.
func (s *sessions) Take(ctx context.Context, owner string, ttl time.Duration, asks []lease.Ask) (answers []lease.Answer, err error) {
	err = s.with(ctx, "take leases", func(ctx context.Context, c *session) error {
		found, err := s.rows.look(ctx, asks)
		if err != nil {
			return err
		}
		var keys []string
		var free []lease.Ask
		for _, ask := range asks {
			if row, there := found[ask.Key]; there && row.owner != owner && row.left > s.early() {
				continue
			}
			free = append(free, ask)
			if _, has := c.locked[ask.Key]; !has {
				keys = append(keys, ask.Key)
			}
		}
		if _, err = s.take(ctx, c, keys); err != nil {
			return err
		}
		free = slices.DeleteFunc(free, func(ask lease.Ask) bool { _, has := c.locked[ask.Key]; return !has })
		granted, err := s.grant(ctx, c, owner, ttl, free)
		if err != nil {
			return err
		}
		answers = make([]lease.Answer, len(asks))
		for i, ask := range asks {
			if a, asked := granted[ask.Key]; asked {
				answers[i] = a
			} else { // its lock may be free before it has run out
				row := found[ask.Key]
				answers[i] = lease.Answer{By: row.owner, Left: max(row.left-s.early(), soonest)}
			}
		}
		return nil
	})
	return answers, err
}

// grant asks for those rows whose locks this session has.
func (s *sessions) grant(ctx context.Context, c *session, owner string, ttl time.Duration, asks []lease.Ask) (map[string]lease.Answer, error) {
	if len(asks) == 0 {
		return nil, nil
	}
	answers, err := s.rows.take(ctx, owner, ttl, s.early(), asks)
	if err != nil {
		return nil, err
	}
	granted := map[string]lease.Answer{}
	var refused []string
	for i, ask := range asks {
		granted[ask.Key] = answers[i]
		if answers[i].Granted {
			c.locked[ask.Key] = answers[i].Token
		} else {
			refused = append(refused, ask.Key)
		}
	}
	return granted, s.free(ctx, c, refused)
}

// Renew implements lease.Store. A session that has followed another takes the locks
// anew: who has a lease by its row, and then its lock, has had it all the time.
func (s *sessions) Renew(ctx context.Context, owner string, ttl time.Duration, held []lease.Held) (ok []bool, err error) {
	err = s.with(ctx, "renew leases", func(ctx context.Context, c *session) error {
		blocked, err := s.relock(ctx, c, held)
		if err != nil {
			return err
		}
		var keep []lease.Held
		for _, h := range held {
			if !blocked[h.Key] {
				keep = append(keep, h)
			}
		}
		renewed := map[string]bool{}
		if len(keep) > 0 {
			yes, err := s.rows.Renew(ctx, owner, ttl, keep)
			if err != nil {
				return err
			}
			for i, h := range keep {
				renewed[h.Key] = yes[i]
			}
		}
		ok = make([]bool, len(held))
		var lost []string
		for i, h := range held {
			ok[i] = renewed[h.Key]
			if token, has := c.locked[h.Key]; has && ok[i] {
				c.locked[h.Key] = h.Token
			} else if has && (token == 0 || token == h.Token) {
				lost = append(lost, h.Key)
			}
		}
		if err := s.free(ctx, c, lost); err != nil || len(blocked) == 0 {
			return err
		}
		return s.contest(ctx, c, owner, held, blocked)
	})
	return ok, err
}

// relock sees to it that the session has the locks of leases, and returns those
// that somebody else has.
func (s *sessions) relock(ctx context.Context, c *session, held []lease.Held) (blocked map[string]bool, err error) {
	var missing, names []string
	for _, h := range held {
		if _, has := c.locked[h.Key]; has {
			names = append(names, s.lockName(c.scope, h.Key))
		} else {
			missing = append(missing, h.Key)
		}
	}
	who, err := s.holders(ctx, c, names)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if who[name] != c.id {
			return nil, pooled("session %d has lost a lock", c.id)
		}
	}
	taken, err := s.take(ctx, c, missing)
	blocked = map[string]bool{}
	for _, key := range missing {
		if !taken[key] {
			blocked[key] = true
		}
	}
	return blocked, err
}

// contest decides about leases whose locks another session has. Those that are not
// this host's any more by their rows are lost. Of the others nobody knows: the lock is
// that of an earlier session of this host, which the server believes to live, and
// which is ended here, or of a host that is just looking.
func (s *sessions) contest(ctx context.Context, c *session, owner string, held []lease.Held, blocked map[string]bool) error {
	var asks []lease.Ask
	for key := range blocked {
		asks = append(asks, lease.Ask{Key: key})
	}
	found, err := s.rows.look(ctx, asks)
	if err != nil {
		return err
	}
	var mine []string
	for _, h := range held {
		if row := found[h.Key]; blocked[h.Key] && row.owner == owner && row.epoch == h.Token {
			mine = append(mine, s.lockName(c.scope, h.Key))
		}
	}
	if len(mine) == 0 {
		return nil
	}
	who, err := s.holders(ctx, c, mine)
	if err != nil {
		return err
	}
	for _, id := range s.former {
		if slices.ContainsFunc(mine, func(name string) bool { return who[name] == id }) {
			_, _ = c.exec(ctx, s.server.kill(id), nil) // it ends by itself, if later
		}
	}
	return errStays{fmt.Errorf("session %d of the server still has locks of this host; it ends when it has not been heard of for %s", who[mine[0]], s.ttl)}
}

// Release implements lease.Store: the row first, as a lock that is free is looked at.
func (s *sessions) Release(ctx context.Context, owner string, held []lease.Held) error {
	return s.with(ctx, "release leases", func(ctx context.Context, c *session) error {
		if err := s.rows.Release(ctx, owner, held); err != nil {
			return err
		}
		var keys []string
		for _, h := range held {
			if c.locked[h.Key] == h.Token {
				keys = append(keys, h.Key)
			}
		}
		return s.free(ctx, c, keys)
	})
}

// List implements lease.Store. A lease that has not been renewed in time, and whose
// session has ended, is not listed any more.
func (s *sessions) List(ctx context.Context) (list []lease.Record, err error) {
	err = s.with(ctx, "list leases", func(ctx context.Context, c *session) error {
		list, err = s.rows.list(ctx, func(a *args) string {
			return fmt.Sprintf(" AND (expires > NOW + %d OR name >= %s AND name < %s OR %s)", s.early().Microseconds(),
				a.add([]byte(lease.OrderPrefix)), a.add([]byte("order0")), s.server.held(a.add([]byte(c.scope)), "name"))
		})
		return err
	})
	return list, err
}

// Claim implements lease.Store: it needs no lock, as nobody keeps it.
func (s *sessions) Claim(ctx context.Context, owner string, c lease.Claim) (by string, err error) {
	err = s.with(ctx, "claim", func(ctx context.Context, _ *session) error {
		by, err = s.rows.Claim(ctx, owner, c)
		return err
	})
	return by, err
}

// Close implements lease.Store. What the session has is free then, and still this
// host's for half a ttl.
func (s *sessions) Close() error {
	s.stop()
	s.busy.Lock()
	defer s.busy.Unlock()
	s.leave()
	return s.server.close()
}

// hexName is as much of a sum as fits into the 64 characters of MySQL's names.
func hexName(sum [sha256.Size]byte) string { return "qsuper:" + hex.EncodeToString(sum[:24]) }

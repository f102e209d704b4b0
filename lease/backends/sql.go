package backends

import (
	"context"
	"fmt"
	"strings"
	"time"

	"qsuper/lease"
)

// rows keeps leases as rows of one table: a row for each slot, which stays, so that
// its epoch only grows. Every statement commits by itself and judges time by the
// server's clock. That works through poolers, and a connection that is lost loses
// nothing.
//
// The epoch is at least the server's time in microseconds: a copy of the database
// that has missed the latest grants does not give their tokens again.
type rows struct {
	db      database
	ns      string
	dialect *dialect
	table   string
	swept   time.Time // when what has run out was deleted last
}

// dialect is what databases do not agree upon.
type dialect struct {
	create  string // one %s: the table
	now     string // microseconds since 1970
	arg     func(n int) string
	alias   string // of the table that is inserted into
	take    string // what follows the VALUES of an INSERT, with NOW for the time and FREE for when what runs out before may be taken
	noTable func(error) bool
	again   func(error) bool // a conflict with another host: to be tried once more
}

// database is one connection. A []byte is text; a blob is what it says.
type database interface {
	exec(ctx context.Context, text string, values []any) (changed int64, err error)
	query(ctx context.Context, text string, values []any, each func(scan func(...any) error) error) error
	close() error
}

type blob []byte

// conflicts is how often a statement is repeated that another host was in the way
// of.
const conflicts = 5

// sweepEvery is how often one host deletes what has run out.
const sweepEvery = 10 * time.Minute

// run runs f, makes the table if there is none, and repeats what came into
// conflict.
func (r *rows) run(ctx context.Context, f func() error) error {
	err := f()
	if err != nil && r.dialect.noTable(err) {
		if _, cerr := r.db.exec(ctx, fmt.Sprintf(r.dialect.create, r.table), nil); cerr != nil && !r.dialect.again(cerr) {
			return fmt.Errorf("there is no table %s, and it cannot be created (%w): have somebody run %s", r.table, cerr, fmt.Sprintf(r.dialect.create, r.table))
		}
		err = f()
	}
	for range conflicts {
		if err == nil || !r.dialect.again(err) || ctx.Err() != nil {
			break
		}
		err = f()
	}
	return err
}

// args collects the arguments of a statement.
type args struct {
	dialect *dialect
	values  []any
}

func (a *args) add(v any) string {
	a.values = append(a.values, v)
	return a.dialect.arg(len(a.values))
}

// expand puts table and time into a statement.
func (r *rows) expand(text string) string { return r.expandFor(text, 0) }

func (r *rows) expandFor(text string, early time.Duration) string {
	free := r.dialect.now
	if early > 0 {
		free = fmt.Sprintf("(%s + %d)", free, early.Microseconds())
	}
	return strings.NewReplacer("TABLE", r.table, "NOW", r.dialect.now, "FREE", free).Replace(text)
}

// Take implements lease.Store: a statement that takes what is free, and one that
// looks what has become of all.
func (r *rows) Take(ctx context.Context, owner string, ttl time.Duration, asks []lease.Ask) ([]lease.Answer, error) {
	return r.take(ctx, owner, ttl, 0, asks)
}

// take takes also what runs out within early.
func (r *rows) take(ctx context.Context, owner string, ttl, early time.Duration, asks []lease.Ask) ([]lease.Answer, error) {
	err := r.run(ctx, func() error {
		a := args{dialect: r.dialect}
		list := make([]string, len(asks))
		for i, ask := range asks {
			list[i] = fmt.Sprintf("(%s, %s, %s, NOW, 0, 0, %s, NOW, NOW + %s)",
				a.add([]byte(r.ns)), a.add([]byte(ask.Key)), a.add([]byte(owner)), a.add(blob(nonNil(ask.Value))), a.add(ttl.Microseconds()))
		}
		_, err := r.db.exec(ctx, r.expandFor("INSERT INTO TABLE"+r.dialect.alias+" (ns, name, owner, epoch, clean, was_clean, value, since, expires) VALUES "+
			strings.Join(list, ", ")+r.dialect.take, early), a.values)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("take leases: %w", err)
	}
	found, err := r.look(ctx, asks)
	if err != nil {
		return nil, fmt.Errorf("take leases: %w", err)
	}
	answers := make([]lease.Answer, len(asks))
	for i, ask := range asks {
		switch row := found[ask.Key]; row.owner {
		case owner:
			answers[i] = lease.Answer{Granted: true, Token: row.epoch, Clean: row.clean}
		default:
			answers[i] = lease.Answer{By: row.owner, Left: max(0, row.left)}
		}
	}
	return answers, nil
}

// row is a lease as it was found.
type row struct {
	owner string
	epoch uint64
	clean bool
	left  time.Duration // until it runs out; less than 0: it has
}

// look reads the rows that there are of what is asked for.
func (r *rows) look(ctx context.Context, asks []lease.Ask) (map[string]row, error) {
	a := args{dialect: r.dialect}
	names := make([]string, len(asks))
	ns := a.add([]byte(r.ns))
	for i, ask := range asks {
		names[i] = a.add([]byte(ask.Key))
	}
	found := map[string]row{}
	query := "SELECT name, owner, epoch, was_clean, expires - NOW FROM TABLE WHERE ns = " + ns + " AND name IN (" + strings.Join(names, ", ") + ")"
	err := r.run(ctx, func() error {
		clear(found)
		return r.query(ctx, query, a.values, func(scan func(...any) error) error {
			var name, by []byte
			var clean int
			var left int64
			var one row
			err := scan(&name, &by, &one.epoch, &clean, &left)
			one.owner, one.clean, one.left = string(by), clean != 0, micros(left)
			found[string(name)] = one
			return err
		})
	})
	return found, err
}

// which is the condition that names grants of an owner.
func (r *rows) which(a *args, owner string, held []lease.Held) string {
	list := make([]string, len(held))
	head := "ns = " + a.add([]byte(r.ns)) + " AND owner = " + a.add([]byte(owner))
	for i, h := range held {
		list[i] = "(" + a.add([]byte(h.Key)) + ", " + a.add(int64(h.Token)) + ")"
	}
	return head + " AND (name, epoch) IN (" + strings.Join(list, ", ") + ")"
}

// Renew implements lease.Store.
func (r *rows) Renew(ctx context.Context, owner string, ttl time.Duration, held []lease.Held) ([]bool, error) {
	var changed int64
	err := r.run(ctx, func() error {
		a := args{dialect: r.dialect}
		set := "expires = NOW + " + a.add(ttl.Microseconds())
		value := ""
		for _, h := range held {
			if h.Value != nil {
				value += " WHEN " + a.add([]byte(h.Key)) + " THEN " + a.add(blob(h.Value))
			}
		}
		if value != "" {
			set += ", value = CASE name" + value + " ELSE value END"
		}
		var err error
		changed, err = r.db.exec(ctx, r.expand("UPDATE TABLE SET "+set+" WHERE "+r.which(&a, owner, held)), a.values)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("renew leases: %w", err)
	}
	ok := make([]bool, len(held))
	if changed == int64(len(held)) {
		for i := range ok {
			ok[i] = true
		}
		return ok, nil
	}
	a := args{dialect: r.dialect}
	mine := map[string]bool{}
	err = r.query(ctx, "SELECT name FROM TABLE WHERE expires > NOW AND "+r.which(&a, owner, held), a.values, func(scan func(...any) error) error {
		var name []byte
		err := scan(&name)
		mine[string(name)] = true
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("renew leases: %w", err)
	}
	for i, h := range held {
		ok[i] = mine[h.Key]
	}
	return ok, nil
}

// Release implements lease.Store.
func (r *rows) Release(ctx context.Context, owner string, held []lease.Held) error {
	err := r.run(ctx, func() error {
		a := args{dialect: r.dialect}
		set := "owner = " + a.add([]byte{}) + ", expires = 0, clean = 1"
		_, err := r.db.exec(ctx, r.expand("UPDATE TABLE SET "+set+" WHERE "+r.which(&a, owner, held)), a.values)
		return err
	})
	if err != nil {
		return fmt.Errorf("release leases: %w", err)
	}
	return nil
}

// List implements lease.Store.
func (r *rows) List(ctx context.Context) ([]lease.Record, error) {
	return r.list(ctx, func(*args) string { return "" })
}

// list lists what a further condition holds of.
func (r *rows) list(ctx context.Context, further func(*args) string) ([]lease.Record, error) {
	var list []lease.Record
	err := r.run(ctx, func() error {
		list = nil
		a := args{dialect: r.dialect}
		query := "SELECT name, owner, epoch, value, since, expires - NOW FROM TABLE WHERE ns = " + a.add([]byte(r.ns)) +
			" AND expires > NOW AND (name < " + a.add([]byte(lease.JobPrefix)) + " OR name >= " + a.add([]byte("job0")) + ")" + further(&a)
		return r.query(ctx, query, a.values, func(scan func(...any) error) error {
			var rec lease.Record
			var name, owner []byte
			var since, left int64
			var value blob
			if err := scan(&name, &owner, &rec.Token, &value, &since, &left); err != nil {
				return err
			}
			rec.Value = value
			rec.Key, rec.Owner, rec.Since, rec.Left = string(name), string(owner), time.UnixMicro(since), micros(left)
			list = append(list, rec)
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("list leases: %w", err)
	}
	return list, nil
}

// Claim implements lease.Store: a lease that nobody renews.
func (r *rows) Claim(ctx context.Context, owner string, c lease.Claim) (string, error) {
	answers, err := r.Take(ctx, owner, c.Keep, []lease.Ask{{Key: c.Key, Value: c.Value}})
	if err != nil {
		return "", err
	}
	if time.Since(r.swept) > sweepEvery {
		r.swept = time.Now()
		r.sweep(ctx)
	}
	return claimant(owner, answers[0]), nil
}

// claimant is who has a claim that was made as a lease.
func claimant(owner string, a lease.Answer) string {
	if a.Granted {
		return owner
	}
	return a.By
}

// sweep deletes what has run out, apart from slots, whose epochs must stay. What it
// fails to delete does no harm.
func (r *rows) sweep(ctx context.Context) {
	a := args{dialect: r.dialect}
	_, _ = r.db.exec(ctx, r.expand("DELETE FROM TABLE WHERE ns = "+a.add([]byte(r.ns))+" AND expires < NOW AND (name < "+
		a.add([]byte(lease.SlotPrefix))+" OR name >= "+a.add([]byte("slot0"))+")"), a.values)
}

// Close implements lease.Store.
func (r *rows) Close() error { return r.db.close() }

func (r *rows) query(ctx context.Context, text string, values []any, each func(scan func(...any) error) error) error {
	return r.db.query(ctx, r.expand(text), values, each)
}

func micros(n int64) time.Duration { return time.Duration(n) * time.Microsecond }

func nonNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

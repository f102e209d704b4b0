package backends

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"qsuper/lease"
)

// zkLease is a lease as it was found.
type zkLease struct {
	key     string
	there   bool // the node that stays
	slot    zkSlot
	version int32
	held    bool // the ephemeral one
	token   uint64
	since   int64
	session int64
}

// look reads leases, with a write before, which only servers that agree can make.
func (z *zookeeper) look(ctx context.Context, keys []string) ([]zkLease, error) {
	if err := z.prepare(ctx); err != nil {
		return nil, err
	}
	r, err := z.do(ctx, z.lookOps(keys)...)
	if err != nil {
		return nil, err
	}
	return z.looked(keys, r)
}

func (z *zookeeper) lookOps(keys []string) []zkOp {
	ops := []zkOp{{op: zkMulti, parts: []zkOp{{op: zkCheck, path: z.leases(), version: -1}}}}
	for _, key := range keys {
		ops = append(ops, zkOp{op: zkGet, path: z.path(key)}, zkOp{op: zkGet, path: z.path(key) + hold})
	}
	return ops
}

// looked reads the replies to lookOps.
func (z *zookeeper) looked(keys []string, r []zkReply) (list []zkLease, err error) {
	if r[0].err != 0 {
		z.made = false
		return nil, r[0].err
	}
	list = make([]zkLease, len(keys))
	for i, key := range keys {
		if list[i], err = zkFound(key, r[1+2*i], r[2+2*i]); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func zkFound(key string, slot, holder zkReply) (zkLease, error) {
	l := zkLease{key: key}
	switch {
	case slot.err == zkNoNode:
		return l, nil
	case slot.err != 0:
		return l, slot.err
	case json.Unmarshal(slot.data, &l.slot) != nil:
		return l, errZooKeeperAnswer
	}
	l.there, l.version = true, slot.stat.version
	switch {
	case holder.err == zkNoNode:
		return l, nil
	case holder.err != 0:
		return l, holder.err
	}
	var h zkHold
	if json.Unmarshal(holder.data, &h) != nil {
		return l, errZooKeeperAnswer
	}
	l.held, l.session = true, holder.stat.session
	l.token, l.since = uint64(holder.stat.created), holder.stat.ctime
	if h.Token != 0 {
		l.token, l.since = uint64(h.Token), h.Since
	}
	return l, nil
}

// is says whether a lease is a grant of an owner.
func (l *zkLease) is(owner string, token uint64) bool {
	return l.held && l.slot.Owner == owner && l.token == token
}

// encodeNode makes what lies in a node; nothing in it can fail.
func encodeNode(v any) []byte {
	b, _ := json.Marshal(v)
	return b
}

func transaction(parts ...zkOp) zkOp { return zkOp{op: zkMulti, parts: parts} }

// grant takes a lease that nobody has, or that is owner's by a lost answer.
func (z *zookeeper) grant(l *zkLease, owner string, value []byte) zkOp {
	path, slot := z.path(l.key), encodeNode(zkSlot{Owner: owner, Value: value})
	parts := []zkOp{{op: zkCreate, path: path, data: slot}}
	if l.there {
		parts[0] = zkOp{op: zkSet, path: path, data: slot, version: l.version}
	}
	if l.held {
		parts = append(parts, zkOp{op: zkDelete, path: path + hold, version: -1})
	}
	return transaction(append(parts, zkOp{op: zkCreate, path: path + hold, data: encodeNode(zkHold{}), ephemeral: true})...)
}

// Take implements lease.Store: a look, and a transaction for each lease that is free.
func (z *zookeeper) Take(ctx context.Context, owner string, _ time.Duration, asks []lease.Ask) (answers []lease.Answer, err error) {
	defer func() {
		if err != nil {
			z.unsure, err = true, fmt.Errorf("take leases: %w", err)
		}
	}()
	keys := make([]string, len(asks))
	for i, a := range asks {
		keys[i] = a.Key
	}
	found, err := z.look(ctx, keys)
	if err != nil {
		return nil, err
	}
	answers = make([]lease.Answer, len(asks))
	var ops []zkOp
	var which []int
	for i := range found {
		if l := &found[i]; l.held && l.slot.Owner != owner {
			answers[i] = lease.Answer{By: l.slot.Owner, Left: time.Second} // nobody knows: it is asked again soon
			continue
		}
		ops, which = append(ops, z.grant(&found[i], owner, asks[i].Value)), append(which, i)
	}
	replies, err := z.do(ctx, ops...)
	if err != nil {
		return nil, err
	}
	for n, r := range replies {
		switch i := which[n]; r.err {
		case 0:
			l := &found[i]
			answers[i] = lease.Answer{Granted: true, Token: uint64(r.zxid), Clean: l.there && !l.held && l.slot.Owner == ""}
		case zkBadVersion, zkNodeExists, zkNoNode: // somebody was faster, and is seen at the next try
			answers[i] = lease.Answer{By: found[i].slot.Owner, Left: 10 * time.Millisecond}
		default:
			return nil, r.err
		}
	}
	return answers, nil
}

// Renew implements lease.Store. That it was answered has renewed the session.
func (z *zookeeper) Renew(ctx context.Context, owner string, _ time.Duration, held []lease.Held) ([]bool, error) {
	ok, err := z.renew(ctx, owner, held)
	if err != nil {
		return nil, fmt.Errorf("renew leases: %w", err)
	}
	if z.unsure && z.disown(ctx, owner, held) == nil {
		z.unsure = false
	}
	return ok, nil
}

func (z *zookeeper) renew(ctx context.Context, owner string, held []lease.Held) ([]bool, error) {
	keys := make([]string, len(held))
	for i, h := range held {
		keys[i] = h.Key
	}
	found, err := z.look(ctx, keys)
	if err != nil {
		return nil, err
	}
	ok := make([]bool, len(held))
	var ops []zkOp
	var which []int
	for i := range found {
		l, h := &found[i], held[i]
		if ok[i] = l.is(owner, h.Token); !ok[i] {
			continue
		}
		path := z.path(l.key)
		slot := zkOp{op: zkCheck, path: path, version: l.version}
		if h.Value != nil && !bytes.Equal(h.Value, l.slot.Value) {
			slot = zkOp{op: zkSet, path: path, data: encodeNode(zkSlot{Owner: owner, Value: h.Value}), version: l.version}
		}
		switch {
		case l.session != z.session.id: // of a connection before this one, or of an engine
			hand := zkOp{op: zkCreate, path: path + hold, data: encodeNode(zkHold{int64(l.token), l.since}), ephemeral: true}
			ops = append(ops, transaction(slot, zkOp{op: zkDelete, path: path + hold, version: -1}, hand))
		case slot.op == zkSet:
			ops = append(ops, transaction(slot))
		default:
			continue
		}
		which = append(which, i)
	}
	replies, err := z.do(ctx, ops...)
	if err != nil {
		return nil, err
	}
	for n, r := range replies {
		switch r.err {
		case 0:
		case zkBadVersion, zkNoNode, zkNodeExists:
			ok[which[n]] = false
		default:
			return nil, r.err
		}
	}
	return ok, nil
}

// disown gives back what this host has without knowing it: its Take was done and
// not answered, and nobody has asked again.
func (z *zookeeper) disown(ctx context.Context, owner string, held []lease.Held) error {
	list, _, err := z.all(ctx)
	if err != nil {
		return err
	}
	var ops []zkOp
	for i := range list {
		l := &list[i]
		if l.slot.Owner == owner && !slices.ContainsFunc(held, func(h lease.Held) bool { return h.Key == l.key }) {
			ops = append(ops, z.free(l))
		}
	}
	_, err = z.do(ctx, ops...)
	return err
}

// free gives a lease back. The node of a slot stays.
func (z *zookeeper) free(l *zkLease) zkOp {
	path := z.path(l.key)
	parts := []zkOp{{op: zkDelete, path: path + hold, version: -1}}
	if strings.HasPrefix(l.key, lease.SlotPrefix) {
		return transaction(append(parts, zkOp{op: zkSet, path: path, data: encodeNode(zkSlot{}), version: l.version})...)
	}
	return transaction(append(parts, zkOp{op: zkDelete, path: path, version: l.version})...)
}

// Release implements lease.Store.
func (z *zookeeper) Release(ctx context.Context, owner string, held []lease.Held) error {
	keys := make([]string, len(held))
	for i, h := range held {
		keys[i] = h.Key
	}
	found, err := z.look(ctx, keys)
	var ops []zkOp
	for i := range found {
		if found[i].is(owner, held[i].Token) {
			ops = append(ops, z.free(&found[i]))
		}
	}
	if err == nil {
		_, err = z.do(ctx, ops...)
	}
	if err != nil {
		return fmt.Errorf("release leases: %w", err)
	}
	return nil
}

// all lists the leases that somebody has, and the claims that are orders, and tidies
// up. Two round trips must do: on a slow network a third would take the time that
// there is for a request.
func (z *zookeeper) all(ctx context.Context) (held []zkLease, orders []lease.Record, err error) {
	if err := z.prepare(ctx); err != nil {
		return nil, nil, err
	}
	names, err := z.do(ctx, zkOp{op: zkChildren, path: z.leases()}, z.tick(lease.OrderPrefix), zkOp{op: zkChildren, path: z.claims(lease.OrderPrefix)})
	if err != nil {
		return nil, nil, err
	}
	now, err := z.told(names[1])
	if err != nil {
		return nil, nil, err
	}
	keys, claimed := names[0].keys(), names[2].keys()
	looks := z.lookOps(keys)
	r, err := z.do(ctx, append(looks, z.claimOps(claimed)...)...)
	if err != nil {
		return nil, nil, err
	}
	found, err := z.looked(keys, r)
	if err != nil {
		return nil, nil, err
	}
	var ops []zkOp
	for i := range found {
		if l := &found[i]; l.there && !l.held && !strings.HasPrefix(l.key, lease.SlotPrefix) { // a host that is gone
			ops = append(ops, zkOp{op: zkDelete, path: z.path(l.key), version: l.version})
		}
	}
	if _, err := z.do(ctx, ops...); err != nil {
		return nil, nil, err
	}
	return slices.DeleteFunc(found, func(l zkLease) bool { return !l.held }), ordersOf(zkClaims(claimed, r[len(looks):]), now), nil
}

// List implements lease.Store. How long a lease has left, only the servers know:
// not less than the length of one when its session was heard of.
func (z *zookeeper) List(ctx context.Context) ([]lease.Record, error) {
	found, orders, err := z.all(ctx)
	if err != nil {
		return nil, fmt.Errorf("list leases: %w", err)
	}
	list := make([]lease.Record, 0, len(found)+len(orders))
	for i := range found {
		l := &found[i]
		list = append(list, lease.Record{Key: l.key, Owner: l.slot.Owner, Token: l.token, Value: l.slot.Value, Since: time.UnixMilli(l.since), Left: z.ttl})
	}
	return append(list, orders...), nil
}

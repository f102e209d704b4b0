package backends

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"qsuper/lease"
)

// A claim is a node that stays. It has run out when the servers' clock says so,
// which is read by changing a node: who takes it then raises its version, so that of
// two only one does. Every host deletes what has run out now and then.

// claimBatch is how many claims are looked at in one round trip.
const claimBatch = 500

// zkClaim is a claim as it was found.
type zkClaim struct {
	key     string
	slot    zkSlot
	version int32
	until   int64 // Unix ms, by the servers' clock
}

// tick is a change that tells the servers' time.
func (z *zookeeper) tick(prefix string) zkOp {
	return zkOp{op: zkSet, path: z.claims(prefix), version: -1}
}

// told is the time that a tick has told, in Unix ms.
func (z *zookeeper) told(r zkReply) (int64, error) {
	if r.err != 0 {
		z.made = false
		return 0, r.err
	}
	return r.stat.mtime, nil
}

// prefixOf is how the key of a claim begins.
func prefixOf(key string) string {
	if strings.HasPrefix(key, lease.JobPrefix) {
		return lease.JobPrefix
	}
	return lease.OrderPrefix
}

func (z *zookeeper) claimPath(key string) string { return z.claims(prefixOf(key)) + "/" + zkName(key) }

func zkClaimOf(key string, r zkReply) (zkClaim, error) {
	c := zkClaim{key: key, version: r.stat.version}
	if r.err != 0 {
		return c, r.err
	}
	if json.Unmarshal(r.data, &c.slot) != nil {
		return c, errZooKeeperAnswer
	}
	c.until = r.stat.mtime + c.slot.Keep
	return c, nil
}

// Claim implements lease.Store.
func (z *zookeeper) Claim(ctx context.Context, owner string, c lease.Claim) (string, error) {
	by, err := z.claim(ctx, owner, c)
	if err != nil {
		return "", fmt.Errorf("claim: %w", err)
	}
	if time.Since(z.swept) > sweepEvery {
		z.swept = time.Now()
		_ = z.sweep(ctx) // what it fails to delete does no harm
	}
	return by, nil
}

func (z *zookeeper) claim(ctx context.Context, owner string, c lease.Claim) (string, error) {
	if err := z.prepare(ctx); err != nil {
		return "", err
	}
	path := z.claimPath(c.Key)
	data := encodeNode(zkSlot{Owner: owner, Value: c.Value, Keep: max(c.Keep.Milliseconds(), 1)})
	for range conflicts {
		r, err := z.do(ctx, zkOp{op: zkCreate, path: path, data: data}, z.tick(prefixOf(c.Key)), zkOp{op: zkGet, path: path})
		if err != nil {
			return "", err
		}
		if r[0].err == 0 {
			return owner, nil
		}
		if r[2].err == zkNoNode {
			continue // it was deleted in between
		}
		now, err := z.told(r[1])
		if err != nil {
			return "", err
		}
		old, err := zkClaimOf(c.Key, r[2])
		if err != nil {
			return "", err
		}
		if now <= old.until {
			return old.slot.Owner, nil
		}
		taken, err := z.do(ctx, zkOp{op: zkSet, path: path, data: data, version: old.version})
		if err != nil {
			return "", err
		}
		if taken[0].err == 0 {
			return owner, nil
		}
	}
	return "", zkBadVersion
}

// claimsOf reads the claims whose keys begin in a way, and the servers' clock.
func (z *zookeeper) claimsOf(ctx context.Context, prefix string) (list []zkClaim, now int64, err error) {
	r, err := z.do(ctx, z.tick(prefix), zkOp{op: zkChildren, path: z.claims(prefix)})
	if err != nil {
		return nil, 0, err
	}
	if now, err = z.told(r[0]); err != nil {
		return nil, 0, err
	}
	for part := range slices.Chunk(r[1].keys(), claimBatch) {
		replies, err := z.do(ctx, z.claimOps(part)...)
		if err != nil {
			return nil, 0, err
		}
		list = append(list, zkClaims(part, replies)...)
	}
	return list, now, nil
}

// keys are the names of children, as they were before zkName.
func (r *zkReply) keys() (keys []string) {
	for _, name := range r.children {
		if key, err := url.PathUnescape(name); err == nil {
			keys = append(keys, key)
		}
	}
	return keys
}

func (z *zookeeper) claimOps(keys []string) (ops []zkOp) {
	for _, key := range keys {
		ops = append(ops, zkOp{op: zkGet, path: z.claimPath(key)})
	}
	return ops
}

// zkClaims reads the replies to claimOps.
func zkClaims(keys []string, replies []zkReply) (list []zkClaim) {
	for i, r := range replies {
		if c, err := zkClaimOf(keys[i], r); err == nil { // else it was deleted meanwhile
			list = append(list, c)
		}
	}
	return list
}

// ordersOf are the commands to all hosts that still count.
func ordersOf(found []zkClaim, now int64) (list []lease.Record) {
	for _, c := range found {
		if c.until >= now {
			list = append(list, lease.Record{
				Key: c.key, Owner: c.slot.Owner, Token: uint64(c.version) + 1, Value: c.slot.Value,
				Since: time.UnixMilli(c.until - c.slot.Keep), Left: time.Duration(c.until-now) * time.Millisecond,
			})
		}
	}
	return list
}

// sweep deletes claims that have run out.
func (z *zookeeper) sweep(ctx context.Context) error {
	var ops []zkOp
	for _, prefix := range []string{lease.JobPrefix, lease.OrderPrefix} {
		found, now, err := z.claimsOf(ctx, prefix)
		if err != nil {
			return err
		}
		for _, c := range found {
			if c.until < now {
				ops = append(ops, zkOp{op: zkDelete, path: z.claimPath(c.key), version: c.version})
			}
		}
	}
	for part := range slices.Chunk(ops, claimBatch) {
		if _, err := z.do(ctx, part...); err != nil {
			return err
		}
	}
	return nil
}

package backends

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"

	"qsuper/lease"
)

// disown gives back what this host has without knowing it: its Take was done and
// not answered, and nobody has asked again. It would stay as long as the host, as
// all of its keys lie on one lease of etcd's.
func (e *etcd) disown(ctx context.Context, owner string, held []lease.Held) error {
	kvs, err := e.all(ctx)
	if err != nil {
		return err
	}
	var unwanted []lease.Held
	for _, kv := range kvs {
		var v etcdValue
		if kv.Lease != e.leaseID(owner) || json.Unmarshal(kv.Value, &v) != nil || v.Owner != owner {
			continue
		}
		key := e.keyOf(kv)
		if slices.ContainsFunc(held, func(h lease.Held) bool { return h.Key == key }) {
			continue
		}
		token, err := strconv.ParseUint(kv.Create, 10, 64)
		if err != nil {
			return errEtcdAnswer
		}
		unwanted = append(unwanted, lease.Held{Key: key, Token: token})
	}
	return e.free(ctx, owner, unwanted)
}

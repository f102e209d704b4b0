package backends

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"qsuper/internal/kind"
	"qsuper/lease"
)

// etcdConfig is `type: etcd`, version 3.4 or later. It is spoken to through its own
// JSON gateway: the client library would be the largest part of the whole binary.
type etcdConfig struct {
	Endpoints    []string    `yaml:"endpoints,required"` // http://host:2379; asked in turn
	User         string      `yaml:"user"`               // not set: no login
	Password     kind.Secret `yaml:"password"`           // of the user
	PasswordFile kind.Path   `yaml:"password_file"`      // file with the password, instead of one in the file
	TLS          kind.TLS    `yaml:"tls"`                // for a server with TLS
}

func init() {
	lease.Register(lease.Kind{Type: "etcd"}, etcdConfig{}, openEtcd)
}

// Validate says what is wrong with the endpoints.
func (c *etcdConfig) Validate() error {
	if len(c.Endpoints) == 0 {
		return errors.New("endpoints is empty: give one or more, such as http://127.0.0.1:2379")
	}
	for _, e := range c.Endpoints {
		u, err := url.Parse(e)
		switch {
		case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.User != nil:
			return errors.New("endpoints must look like http://host:2379 or https://host:2379; user and password are keys of their own")
		case u.Scheme == "http" && c.TLS.Enabled():
			return errors.New("tls needs endpoints that start with https://")
		}
	}
	return nil
}

func openEtcd(c etcdConfig, p lease.Place) (lease.Store, error) {
	e := &etcd{config: c, base: "qsuper/" + p.Namespace + "/", transport: &http.Transport{MaxConnsPerHost: 1, IdleConnTimeout: time.Hour}}
	e.life, e.stop = context.WithCancel(context.Background())
	return hide(e, e.secrets), nil
}

// etcd keeps leases as keys that vanish with a lease of etcd's own, of which a host
// has one. A key is made only if there is none, so that its create revision is the
// token. Beside it lies a note, which stays, of how its last holder has left.
type etcd struct {
	config    etcdConfig
	base      string
	transport *http.Transport
	dialled   bool
	at        int // endpoint that answered last
	token     string
	unsure    bool     // a Take was not answered: there may be leases that nobody wants
	read      []string // passwords that were read
	life      context.Context
	stop      context.CancelFunc
}

// etcdValue is what lies under a key.
type etcdValue struct {
	Owner string `json:"owner"`
	Since int64  `json:"since"` // Unix ms, by the host's clock
	Value []byte `json:"value,omitempty"`
}

type etcdKV struct {
	Key    []byte `json:"key"`
	Create string `json:"create_revision"`
	Lease  string `json:"lease"`
	Value  []byte `json:"value"`
}

type etcdResponse struct {
	Header struct {
		Revision string `json:"revision"`
	} `json:"header"`
	Succeeded bool         `json:"succeeded"`
	Responses []etcdAnswer `json:"responses"`
	KVs       []etcdKV     `json:"kvs"`
	TTL       string       `json:"TTL"`
	ID        string       `json:"ID"`
	Token     string       `json:"token"`
	Result    struct {
		TTL string `json:"TTL"`
	} `json:"result"`
	Error string `json:"error"`
	Code  int    `json:"code"`
}

type etcdAnswer struct {
	Txn   *etcdResponse `json:"response_txn"`
	Range *etcdResponse `json:"response_range"`
}

type object = map[string]any

func (e *etcd) secrets() []string {
	return append([]string{e.config.Password.Reveal(), e.token}, e.read...)
}

// leaseID is the number of this host's lease; the next engine has the same.
func (e *etcd) leaseID(owner string) string {
	h := fnv.New64a()
	h.Write([]byte(e.base + owner))
	return strconv.FormatUint(h.Sum64()>>1|1, 10)
}

func (e *etcd) key(name string) []byte  { return []byte(e.base + "lease/" + name) }
func (e *etcd) note(name string) []byte { return []byte(e.base + "note/" + name) }

const (
	clean = "clean"
	dirty = "dirty"
)

// perTxn bounds the leases of one transaction: servers take 128 operations.
const perTxn = 40

// txn makes one transaction of many, each of which stands for itself.
func (e *etcd) txn(ctx context.Context, parts []object) (*etcdResponse, error) {
	all := &etcdResponse{}
	for part := range slices.Chunk(parts, perTxn) {
		var ops []object
		for _, p := range part {
			ops = append(ops, object{"request_txn": p})
		}
		r, err := e.call(ctx, "kv/txn", object{"success": ops})
		if err != nil {
			return nil, err
		}
		if len(r.Responses) != len(part) {
			return nil, errEtcdAnswer
		}
		for _, a := range r.Responses {
			if a.Txn == nil {
				return nil, errEtcdAnswer
			}
			a.Txn.Header = r.Header
			all.Responses = append(all.Responses, a)
		}
	}
	return all, nil
}

var errEtcdAnswer = errors.New("the server gave an answer that makes no sense")

func (e *etcd) created(name string, revision uint64) object {
	return object{"key": e.key(name), "target": "CREATE", "result": "EQUAL", "create_revision": strconv.FormatUint(revision, 10)}
}

func put(key []byte, value any, leaseID string) object {
	p := object{"key": key, "value": value}
	if leaseID != "" {
		p["lease"] = leaseID
	}
	return object{"request_put": p}
}

func get(key []byte) object { return object{"request_range": object{"key": key}} }

func encode(owner string, since time.Time, value []byte) []byte {
	b, _ := json.Marshal(etcdValue{owner, since.UnixMilli(), value}) // nothing in it can fail
	return b
}

// grant makes sure that the host's lease lives, from now on for ttl.
func (e *etcd) grant(ctx context.Context, id string, ttl time.Duration) error {
	alive, err := e.keepAlive(ctx, id)
	if alive || err != nil {
		return err
	}
	_, err = e.call(ctx, "lease/grant", object{"ID": id, "TTL": seconds(ttl)})
	return err
}

func seconds(d time.Duration) string { return strconv.FormatInt(int64(math.Ceil(d.Seconds())), 10) }

// keepAlive renews a lease; false: there is none.
func (e *etcd) keepAlive(ctx context.Context, id string) (bool, error) {
	r, err := e.call(ctx, "lease/keepalive", object{"ID": id})
	if err != nil {
		return false, err
	}
	n, _ := strconv.ParseInt(r.Result.TTL, 10, 64)
	return n > 0, nil
}

// Take implements lease.Store.
func (e *etcd) Take(ctx context.Context, owner string, ttl time.Duration, asks []lease.Ask) (_ []lease.Answer, err error) {
	defer func() { e.unsure = e.unsure || err != nil }()
	id := e.leaseID(owner)
	if err := e.grant(ctx, id, ttl); err != nil {
		return nil, fmt.Errorf("take leases: %w", err)
	}
	var parts []object
	for _, a := range asks {
		parts = append(parts, object{
			"compare": []object{e.created(a.Key, 0)},
			"success": []object{get(e.note(a.Key)), put(e.key(a.Key), encode(owner, time.Now(), a.Value), id), put(e.note(a.Key), []byte(dirty), "")},
			"failure": []object{get(e.key(a.Key))},
		})
	}
	r, err := e.txn(ctx, parts)
	if err != nil {
		return nil, fmt.Errorf("take leases: %w", err)
	}
	answers := make([]lease.Answer, len(asks))
	left := map[string]time.Duration{}
	for i, a := range r.Responses {
		if answers[i], err = e.taken(ctx, a.Txn, owner, id, left); err != nil {
			return nil, fmt.Errorf("take leases: %w", err)
		}
	}
	return answers, nil
}

// remaining is how long a lease of etcd's own has left, in whole seconds and cut
// off. What is known of it is in known.
func (e *etcd) remaining(ctx context.Context, id string, known map[string]time.Duration) (time.Duration, error) {
	if left, is := known[id]; is {
		return left, nil
	}
	t, err := e.call(ctx, "lease/timetolive", object{"ID": id})
	if err != nil {
		return 0, err
	}
	n, _ := strconv.ParseInt(t.TTL, 10, 64)
	known[id] = time.Duration(max(n, 0)) * time.Second
	return known[id], nil
}

// soonest is the time between two looks at a key whose lease is about to run out:
// the server takes it away up to half a second after.
const soonest = 250 * time.Millisecond

func (e *etcd) taken(ctx context.Context, r *etcdResponse, owner, id string, known map[string]time.Duration) (lease.Answer, error) {
	if len(r.Responses) == 0 || r.Responses[0].Range == nil {
		return lease.Answer{}, errEtcdAnswer
	}
	kvs := r.Responses[0].Range.KVs
	if r.Succeeded {
		token, err := strconv.ParseUint(r.Header.Revision, 10, 64)
		return lease.Answer{Granted: true, Token: token, Clean: len(kvs) == 1 && string(kvs[0].Value) == clean}, err
	}
	if len(kvs) != 1 {
		return lease.Answer{}, errEtcdAnswer
	}
	var v etcdValue
	if err := json.Unmarshal(kvs[0].Value, &v); err != nil {
		return lease.Answer{}, errEtcdAnswer
	}
	if v.Owner == owner && kvs[0].Lease == id {
		token, err := strconv.ParseUint(kvs[0].Create, 10, 64)
		return lease.Answer{Granted: true, Token: token}, err
	}
	left, err := e.remaining(ctx, kvs[0].Lease, known)
	return lease.Answer{By: v.Owner, Left: max(left, soonest)}, err
}

// Renew implements lease.Store: the host's lease first, and then whether the keys
// are still what they were.
func (e *etcd) Renew(ctx context.Context, owner string, _ time.Duration, held []lease.Held) ([]bool, error) {
	ok := make([]bool, len(held))
	alive, err := e.keepAlive(ctx, e.leaseID(owner))
	if err != nil {
		return nil, fmt.Errorf("renew leases: %w", err)
	}
	if !alive {
		return ok, nil
	}
	var parts []object
	for _, h := range held {
		do := get(e.key(h.Key))
		if h.Value != nil {
			do = put(e.key(h.Key), encode(owner, time.Now(), h.Value), e.leaseID(owner))
		}
		lives := object{"key": e.key(h.Key), "target": "LEASE", "result": "EQUAL", "lease": e.leaseID(owner)}
		parts = append(parts, object{"compare": []object{e.created(h.Key, h.Token), lives}, "success": []object{do}})
	}
	r, err := e.txn(ctx, parts)
	if err != nil {
		return nil, fmt.Errorf("renew leases: %w", err)
	}
	for i, a := range r.Responses {
		ok[i] = a.Txn.Succeeded
	}
	if e.unsure && e.disown(ctx, owner, held) == nil {
		e.unsure = false
	}
	return ok, nil
}

// Release implements lease.Store.
func (e *etcd) Release(ctx context.Context, owner string, held []lease.Held) error {
	if err := e.free(ctx, owner, held); err != nil {
		return fmt.Errorf("release leases: %w", err)
	}
	return nil
}

func (e *etcd) free(ctx context.Context, owner string, held []lease.Held) error {
	var parts []object
	for _, h := range held {
		lives := object{"key": e.key(h.Key), "target": "LEASE", "result": "EQUAL", "lease": e.leaseID(owner)}
		do := []object{{"request_delete_range": object{"key": e.key(h.Key)}}, put(e.note(h.Key), []byte(clean), "")}
		if !strings.HasPrefix(h.Key, lease.SlotPrefix) {
			do[1] = object{"request_delete_range": object{"key": e.note(h.Key)}}
		}
		parts = append(parts, object{"compare": []object{e.created(h.Key, h.Token), lives}, "success": do})
	}
	_, err := e.txn(ctx, parts)
	return err
}

// all reads the keys of all leases.
func (e *etcd) all(ctx context.Context) ([]etcdKV, error) {
	prefix := e.key("")
	end := slices.Clone(prefix)
	end[len(end)-1]++
	r, err := e.call(ctx, "kv/range", object{"key": prefix, "range_end": end})
	if err != nil {
		return nil, err
	}
	return r.KVs, nil
}

func (e *etcd) keyOf(kv etcdKV) string { return strings.TrimPrefix(string(kv.Key), string(e.key(""))) }

// List implements lease.Store. How long a record has left is that of its host's lease.
func (e *etcd) List(ctx context.Context) ([]lease.Record, error) {
	kvs, err := e.all(ctx)
	if err != nil {
		return nil, fmt.Errorf("list leases: %w", err)
	}
	left := map[string]time.Duration{}
	var list []lease.Record
	for _, kv := range kvs {
		var v etcdValue
		if json.Unmarshal(kv.Value, &v) != nil {
			continue
		}
		remains, err := e.remaining(ctx, kv.Lease, left)
		if err != nil {
			return nil, fmt.Errorf("list leases: %w", err)
		}
		token, _ := strconv.ParseUint(kv.Create, 10, 64)
		list = append(list, lease.Record{
			Key: e.keyOf(kv), Owner: v.Owner, Token: token, Value: v.Value,
			Since: time.UnixMilli(v.Since), Left: remains + time.Second,
		})
	}
	return list, nil
}

// Claim implements lease.Store. Each has a lease of its own.
func (e *etcd) Claim(ctx context.Context, owner string, c lease.Claim) (string, error) {
	g, err := e.call(ctx, "lease/grant", object{"TTL": seconds(c.Keep)})
	if err != nil {
		return "", fmt.Errorf("claim: %w", err)
	}
	key := e.key(c.Key)
	if strings.HasPrefix(c.Key, lease.JobPrefix) {
		key = []byte(e.base + c.Key)
	}
	r, err := e.call(ctx, "kv/txn", object{
		"compare": []object{{"key": key, "target": "CREATE", "result": "EQUAL", "create_revision": "0"}},
		"success": []object{put(key, encode(owner, time.Now(), c.Value), g.ID)},
		"failure": []object{get(key)},
	})
	if err != nil {
		return "", fmt.Errorf("claim: %w", err)
	}
	if r.Succeeded {
		return owner, nil
	}
	_, _ = e.call(ctx, "lease/revoke", object{"ID": g.ID}) // else it ends by itself
	if len(r.Responses) != 1 || r.Responses[0].Range == nil || len(r.Responses[0].Range.KVs) != 1 {
		return "", fmt.Errorf("claim: %w", errEtcdAnswer)
	}
	var v etcdValue
	if err := json.Unmarshal(r.Responses[0].Range.KVs[0].Value, &v); err != nil {
		return "", fmt.Errorf("claim: %w", errEtcdAnswer)
	}
	return v.Owner, nil
}

// Close implements lease.Store.
func (e *etcd) Close() error {
	e.stop()
	e.transport.CloseIdleConnections()
	return nil
}

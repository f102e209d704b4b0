package backends

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	health "qsuper/health/backends"
	"qsuper/lease"
)

// redisConfig is `type: redis`.
type redisConfig struct {
	Connection string `yaml:"connection,required"` // an entry of `connections` of the same type
}

func init() {
	lease.Register(lease.Kind{Type: "redis", Forgets: true}, redisConfig{}, openRedis)
}

func openRedis(_ redisConfig, p lease.Place) (lease.Store, error) {
	client, secrets, err := health.Redis(p.Connection)
	if err != nil {
		return nil, err
	}
	// The braces keep all keys of a name space on one node of a cluster.
	base := "qsuper:{" + p.Namespace + "}:"
	return hide(&redisStore{client: client, base: base, hash: base + "leases"}, secrets), nil
}

// redisStore keeps leases as the fields of one hash, so that one script sees and
// changes all of them at once. A field is "owner|token|expires|since|clean|value",
// with times in microseconds of the server's clock. That of a slot stays when it is
// given back, so that its tokens only grow; as a token is at least the server's
// time, they grow even if the field is lost.
type redisStore struct {
	client  *redis.Client
	base    string
	hash    string
	checked time.Time // when the server was last seen to keep what it is given
}

// head is what the scripts have in common.
const head = `
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local function num(n) return string.format('%.0f', n) end
local function get(key)
  local s = redis.call('HGET', KEYS[1], key)
  if not s then return nil end
  local owner, token, expires, since, clean, value = string.match(s, '^([^|]*)|(%d+)|(%d+)|(%d+)|(%d)|(.*)$')
  return {owner = owner, token = tonumber(token), expires = tonumber(expires), since = tonumber(since), clean = clean, value = value}
end
local function put(key, r)
  redis.call('HSET', KEYS[1], key, r.owner .. '|' .. num(r.token) .. '|' .. num(r.expires) .. '|' .. num(r.since) .. '|' .. r.clean .. '|' .. r.value)
end
local owner = ARGV[1]
local out = {}
`

var (
	redisTake = redis.NewScript(head + `
for i = 3, #ARGV, 2 do
  local r = get(ARGV[i])
  if r and r.expires > now and r.owner ~= owner then
    out[#out + 1] = {'0', r.owner, num(r.expires - now)}
  else
    local token = now
    if r and r.token >= token then token = r.token + 1 end
    put(ARGV[i], {owner = owner, token = token, expires = now + ARGV[2], since = now, clean = '0', value = ARGV[i + 1]})
    out[#out + 1] = {'1', num(token), r and r.clean or '0'}
  end
end
return out`)

	// Each lease is three arguments: key, token and, behind a "=", its new value.
	redisRenew = redis.NewScript(head + `
for i = 3, #ARGV, 3 do
  local r = get(ARGV[i])
  if r and r.owner == owner and num(r.token) == ARGV[i + 1] then
    r.expires = now + ARGV[2]
    if ARGV[i + 2] ~= '' then r.value = string.sub(ARGV[i + 2], 2) end
    put(ARGV[i], r)
    out[#out + 1] = '1'
  else
    out[#out + 1] = '0'
  end
end
return out`)

	redisRelease = redis.NewScript(head + `
for i = 2, #ARGV, 2 do
  local r = get(ARGV[i])
  if r and r.owner == owner and num(r.token) == ARGV[i + 1] then
    if string.sub(ARGV[i], 1, 5) == 'slot/' then
      r.owner, r.expires, r.clean = '', 0, '1'
      put(ARGV[i], r)
    else
      redis.call('HDEL', KEYS[1], ARGV[i])
    end
  end
end
return out`)

	redisList = redis.NewScript(head + `
for _, key in ipairs(redis.call('HKEYS', KEYS[1])) do
  local r = get(key)
  if r.expires > now then
    out[#out + 1] = {key, r.owner, num(r.token), r.value, num(r.since), num(r.expires - now)}
  elseif string.sub(key, 1, 5) ~= 'slot/' then
    redis.call('HDEL', KEYS[1], key)
  end
end
return out`)

	redisClaim = redis.NewScript(`
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return ARGV[1] end
return redis.call('GET', KEYS[1])`)
)

// recheck is the time between two looks at how the server is set up.
const recheck = 10 * time.Minute

// check refuses a server that throws away what nobody has asked it to. Where it
// does not say, it is taken at its word.
func (r *redisStore) check(ctx context.Context) error {
	if !r.checked.IsZero() && time.Since(r.checked) < recheck {
		return nil
	}
	policy, err := r.client.ConfigGet(ctx, "maxmemory*").Result()
	var refused redis.Error
	if err != nil && !errors.As(err, &refused) {
		return err
	}
	if p := policy["maxmemory-policy"]; strings.HasPrefix(p, "allkeys-") && policy["maxmemory"] != "0" {
		return fmt.Errorf("the server may evict locks: its maxmemory-policy is %s; set it to noeviction, or use another server for locks", p)
	}
	r.checked = time.Now()
	return nil
}

// run runs a script on the hash.
func (r *redisStore) run(ctx context.Context, s *redis.Script, args ...any) ([]any, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := r.check(ctx); err != nil {
		return nil, err
	}
	return s.Run(ctx, r.client, []string{r.hash}, args...).Slice()
}

// words are the strings of one answer of a script.
func words(v any, n int) ([]string, error) {
	list, ok := v.([]any)
	if !ok || len(list) != n {
		return nil, errRedisAnswer
	}
	out := make([]string, n)
	for i, w := range list {
		if out[i], ok = w.(string); !ok {
			return nil, errRedisAnswer
		}
	}
	return out, nil
}

var errRedisAnswer = errors.New("the server gave an answer that makes no sense")

func microsOf(text string) time.Duration {
	n, _ := strconv.ParseInt(text, 10, 64)
	return time.Duration(n) * time.Microsecond
}

// Take implements lease.Store.
func (r *redisStore) Take(ctx context.Context, owner string, ttl time.Duration, asks []lease.Ask) ([]lease.Answer, error) {
	args := []any{owner, ttl.Microseconds()}
	for _, a := range asks {
		args = append(args, a.Key, string(a.Value))
	}
	list, err := r.run(ctx, redisTake, args...)
	if err == nil && len(list) != len(asks) {
		err = errRedisAnswer
	}
	if err != nil {
		return nil, fmt.Errorf("take leases: %w", err)
	}
	answers := make([]lease.Answer, len(asks))
	for i, v := range list {
		w, err := words(v, 3)
		if err != nil {
			return nil, fmt.Errorf("take leases: %w", err)
		}
		if w[0] == "1" {
			token, _ := strconv.ParseUint(w[1], 10, 64)
			answers[i] = lease.Answer{Granted: true, Token: token, Clean: w[2] == "1"}
		} else {
			answers[i] = lease.Answer{By: w[1], Left: microsOf(w[2])}
		}
	}
	return answers, nil
}

// Renew implements lease.Store.
func (r *redisStore) Renew(ctx context.Context, owner string, ttl time.Duration, held []lease.Held) ([]bool, error) {
	args := []any{owner, ttl.Microseconds()}
	for _, h := range held {
		value := ""
		if h.Value != nil {
			value = "=" + string(h.Value)
		}
		args = append(args, h.Key, strconv.FormatUint(h.Token, 10), value)
	}
	list, err := r.run(ctx, redisRenew, args...)
	if err == nil && len(list) != len(held) {
		err = errRedisAnswer
	}
	if err != nil {
		return nil, fmt.Errorf("renew leases: %w", err)
	}
	ok := make([]bool, len(held))
	for i, v := range list {
		ok[i] = v == "1"
	}
	return ok, nil
}

// Release implements lease.Store.
func (r *redisStore) Release(ctx context.Context, owner string, held []lease.Held) error {
	args := []any{owner}
	for _, h := range held {
		args = append(args, h.Key, strconv.FormatUint(h.Token, 10))
	}
	if _, err := r.run(ctx, redisRelease, args...); err != nil {
		return fmt.Errorf("release leases: %w", err)
	}
	return nil
}

// List implements lease.Store.
func (r *redisStore) List(ctx context.Context) ([]lease.Record, error) {
	list, err := r.run(ctx, redisList, "")
	if err != nil {
		return nil, fmt.Errorf("list leases: %w", err)
	}
	records := make([]lease.Record, len(list))
	for i, v := range list {
		w, err := words(v, 6)
		if err != nil {
			return nil, fmt.Errorf("list leases: %w", err)
		}
		token, _ := strconv.ParseUint(w[2], 10, 64)
		since := time.UnixMicro(microsOf(w[4]).Microseconds())
		records[i] = lease.Record{Key: w[0], Owner: w[1], Token: token, Value: []byte(w[3]), Since: since, Left: microsOf(w[5])}
	}
	return records, nil
}

// Claim implements lease.Store. Fires of jobs are keys of their own, which expire.
func (r *redisStore) Claim(ctx context.Context, owner string, c lease.Claim) (string, error) {
	if !strings.HasPrefix(c.Key, lease.JobPrefix) {
		answers, err := r.Take(ctx, owner, c.Keep, []lease.Ask{{Key: c.Key, Value: c.Value}})
		if err != nil {
			return "", err
		}
		return claimant(owner, answers[0]), nil
	}
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if err := r.check(ctx); err != nil {
		return "", err
	}
	by, err := redisClaim.Run(ctx, r.client, []string{r.base + c.Key}, owner, max(c.Keep.Milliseconds(), 1)).Text()
	if err != nil {
		return "", fmt.Errorf("claim: %w", err)
	}
	return by, nil
}

// Close implements lease.Store.
func (r *redisStore) Close() error { return r.client.Close() }

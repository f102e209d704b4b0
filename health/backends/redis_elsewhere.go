package backends

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"qsuper/health"
)

const (
	// scanStep and scanSteps bound how many keys are looked at: a million.
	scanStep  = 5000
	scanSteps = 200
	// scanTypes bounds how many keys of a fitting name are asked for what they are.
	scanTypes = 20
)

// Elsewhere implements health.Finder: Redis has no empty lists, and a wrong prefix is
// the usual reason why a queue never has anything. It looks for a key that is called as
// one of the queue's, behind another prefix.
func (r *redisConn) Elsewhere(ctx context.Context, q health.Queue) (string, error) {
	ctx, done := r.during(ctx)
	defer done()
	const mark = "\x00"
	other := q
	other.Prefix = mark
	var ends []string
	for _, key := range redisKeys(other) {
		ends = append(ends, strings.TrimPrefix(key, mark))
	}
	own := redisKeys(q)
	var cursor uint64
	asked := 0
	for range scanSteps {
		keys, next, err := r.client.Scan(ctx, cursor, "*"+globQuote(q.Name)+"*", scanStep).Result()
		if err != nil {
			return "", redisTrouble(ctx, err)
		}
		slices.Sort(keys)
		for _, key := range keys {
			prefix, is := cutEnd(key, ends)
			if !is || slices.Contains(own, key) || asked == scanTypes {
				continue
			}
			asked++
			if kind, err := r.client.Type(ctx, key).Result(); err == nil && slices.Contains([]string{"list", "zset", "stream"}, kind) {
				return fmt.Sprintf("there is %q, with another prefix: if that is the queue, give it `prefix: %q`", key, prefix), nil
			}
		}
		if cursor = next; cursor == 0 {
			break
		}
	}
	return "", nil
}

// redisKeys are the keys by which a queue is known that is not empty.
func redisKeys(q health.Queue) []string {
	keys := redisWakes(q)
	if q.Layout == "laravel" {
		keys = append(keys, keys[0]+":reserved")
	}
	return keys
}

// cutEnd cuts the first of ends that s ends with.
func cutEnd(s string, ends []string) (before string, found bool) {
	for _, end := range ends {
		if before, found = strings.CutSuffix(s, end); found {
			return before, true
		}
	}
	return "", false
}

// globQuote makes a pattern for SCAN that matches only s.
func globQuote(s string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`).Replace(s)
}

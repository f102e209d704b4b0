package backends

import (
	"context"

	"github.com/redis/go-redis/v9"

	"qsuper/health"
)

// redisMost is how much of a string is looked at, in bytes.
const redisMost = 64 << 10

// Tell implements health.Teller, by one round trip.
func (r *redisConn) Tell(ctx context.Context, questions []health.Question) ([]health.Answer, error) {
	ctx, done := r.during(ctx)
	defer done()
	list := make([]*redisQuestion, len(questions))
	for i, q := range questions {
		list[i] = &redisQuestion{}
		if q.Held != "" {
			list[i].add("EXISTS", q.Held)
		} else {
			list[i].add("GETRANGE", q.Key, 0, redisMost-1)
		}
	}
	got, err := r.ask(ctx, list)
	if err != nil {
		return nil, err
	}
	answers := make([]health.Answer, len(questions))
	for i, q := range questions {
		if answers[i] = redisString(got[i][0]); q.Held != "" {
			answers[i] = redisHeld(got[i][0])
		}
	}
	return answers, nil
}

// redisString is a string; an empty one is none.
func redisString(c *redis.Cmd) health.Answer {
	text, err := c.Text()
	switch {
	case err != nil:
		return health.Answer{State: health.Unknown, Err: err.Error()}
	case text == "":
		return health.Answer{State: health.Missing}
	}
	return health.Answer{State: health.OK, Text: text}
}

// redisHeld is whether a key is there.
func redisHeld(c *redis.Cmd) health.Answer {
	n, err := c.Int64()
	switch {
	case err != nil:
		return health.Answer{State: health.Unknown, Err: err.Error()}
	case n == 0:
		return health.Answer{State: health.Missing}
	}
	return health.Answer{State: health.OK, Text: "whoever has set it"}
}

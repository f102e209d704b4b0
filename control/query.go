package control

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// query reads parameters; the first that is wrong stays in err.
type query struct {
	values url.Values
	err    error
}

func newQuery(v url.Values, known ...string) (*query, error) {
	for key := range v {
		if !slices.Contains(known, key) {
			return nil, &Invalid{Problem: fmt.Sprintf("unknown parameter %q", clip(key)), Advice: "known are " + strings.Join(known, ", ")}
		}
	}
	q := &query{values: v}
	return q, validNames(v["name"])
}

func (q *query) names() []string { return q.values["name"] }

func (q *query) flag(key string) bool {
	text := q.values.Get(key)
	if text == "" {
		return false
	}
	on, err := strconv.ParseBool(text)
	if err != nil && q.err == nil {
		q.err = &Invalid{Problem: fmt.Sprintf("%s=%s is neither true nor false", key, clip(text))}
	}
	return on
}

func (q *query) number(key string, standard, most int) int {
	text := q.values.Get(key)
	if text == "" {
		return standard
	}
	n, err := strconv.Atoi(text)
	if (err != nil || n < 0 || n > most) && q.err == nil {
		q.err = &Invalid{Problem: fmt.Sprintf("%s=%s is no number from 0 to %d", key, clip(text), most)}
	}
	return n
}

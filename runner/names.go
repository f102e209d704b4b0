package runner

import (
	"path"
	"strconv"
	"strings"
)

// resolve finds the consumers and slots that names mean.
func (r *Runner) resolve(list []string) ([]target, error) {
	all := r.ordered()
	if len(list) == 0 {
		targets := make([]target, len(all))
		for i, c := range all {
			targets[i] = target{c: c}
		}
		return targets, nil
	}
	found := map[*consumer]*target{}
	var order []*consumer
	for _, name := range list {
		hit := false
		for _, c := range all {
			n, ok := matches(name, c)
			if !ok {
				continue
			}
			hit = true
			t := found[c]
			if t == nil {
				t = &target{c: c, slots: map[int]bool{}}
				found[c] = t
				order = append(order, c)
			}
			if n < 0 {
				t.slots = nil
			} else if t.slots != nil {
				t.slots[n] = true
			}
		}
		if !hit {
			return nil, &NotFoundError{Name: name, Known: consumerNames(all)}
		}
	}
	targets := make([]target, len(order))
	for i, c := range order {
		targets[i] = *found[c]
	}
	return targets, nil
}

func consumerNames(all []*consumer) []string {
	var list []string
	for _, c := range all {
		list = append(list, c.name)
	}
	return list
}

// matches says whether a name means a consumer, and which slot (-1: all).
func matches(name string, c *consumer) (int, bool) {
	if group, ok := strings.CutPrefix(name, "@"); ok {
		g := c.shared.Load().Group
		fits, err := path.Match(group, g)
		return -1, g != "" && err == nil && fits
	}
	n := -1
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		k, err := strconv.Atoi(name[i+1:])
		if err != nil || k < 0 || int64(k) >= c.slots.Load() {
			return 0, false
		}
		name, n = name[:i], k
	}
	fits, err := path.Match(name, c.name)
	return n, err == nil && fits
}

// owner is the consumer of a slot; nil: it is not in the file.
func (r *Runner) owner(key string) *consumer {
	name, _, ok := strings.Cut(key, "/")
	if !ok {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.consumers[name]
}

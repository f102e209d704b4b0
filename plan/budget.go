package plan

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"qsuper/slot"
)

// Limits bound what all consumers of a host have together; zero: no limit.
type Limits struct {
	Processes int
	Memory    int64 // bytes
}

// Bounded says whether there is a limit at all.
func (l Limits) Bounded() bool { return l.Processes > 0 || l.Memory > 0 }

// Claim is what one consumer, or job, wants of the limits.
type Claim struct {
	Name     string
	Priority int   // higher goes first
	Min      int   // instances that it gets before anybody gets more
	Want     int   // instances
	Memory   int64 // bytes that each may take
	Running  int   // for texts
}

// Shares divides limits among claims: first everybody's min, then what is left,
// both from the highest priority down; among equals one by one, so that no two of
// them differ by more than one while both want more. Who is first among equals
// changes with turn, so that a rest too small for all comes round.
func Shares(l Limits, claims []Claim, turn int) []int {
	shares := make([]int, len(claims))
	order := make([]int, len(claims))
	for i := range order {
		order[i] = (i + turn) % len(claims)
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(claims[b].Priority, claims[a].Priority) })
	left := l
	for _, bound := range []func(Claim) int{func(c Claim) int { return min(c.Min, c.Want) }, func(c Claim) int { return c.Want }} {
		for from := 0; from < len(order); {
			to := from
			for to < len(order) && claims[order[to]].Priority == claims[order[from]].Priority {
				to++
			}
			left.among(claims, order[from:to], shares, l, bound)
			from = to
		}
	}
	return shares
}

// among hands out one by one what is left to those of one priority, to everybody as
// many as bound says.
func (left *Limits) among(claims []Claim, equals []int, shares []int, all Limits, bound func(Claim) int) {
	for level, more := 0, true; more; level++ {
		more = false
		for _, i := range equals {
			c := claims[i]
			if shares[i] >= bound(c) {
				continue
			}
			if shares[i] > level { // it has that many from before
				more = true
				continue
			}
			if all.Processes > 0 && left.Processes < 1 || all.Memory > 0 && left.Memory < c.Memory {
				continue
			}
			left.Processes, left.Memory = left.Processes-1, left.Memory-c.Memory
			shares[i]++
			more = true
		}
	}
}

// Budget is what the host has left, and what a consumer may have of it.
type Budget struct {
	Limits   Limits
	Running  int   // instances of all consumers and jobs
	Promised int64 // bytes that those may take

	Shared   bool // Share is known
	Share    int  // instances that this consumer may have
	Wish     int  // that it would have
	Priority int
	Others   string // who has how many, for texts

	Available, Reserve int64 // bytes
	MemoryKnown        bool
}

// cut keeps a target to the consumer's share.
func (b *Budget) cut(r *Result, target int, rest slot.Reason) (int, slot.Reason) {
	if !b.Shared || target <= b.Share {
		return target, rest
	}
	why := slot.Reason{Code: slot.Budget, Text: b.shareText()}
	if b.Share == 0 {
		r.Reason, r.Able = why, false // other hosts may have what it takes
	}
	return b.Share, why
}

func (b *Budget) shareText() string {
	return fmt.Sprintf("its share of the host's %s is %s", b.Limits, plural(b.Share, "instance"))
}

// String says the limits.
func (l Limits) String() string {
	switch {
	case l.Memory == 0:
		return plural(l.Processes, "process")
	case l.Processes == 0:
		return fmt.Sprintf("%d MiB", l.Memory>>20)
	}
	return fmt.Sprintf("%s and %d MiB", plural(l.Processes, "process"), l.Memory>>20)
}

func plural(n int, what string) string {
	switch {
	case n == 1:
		return "1 " + what
	case what == "process":
		return fmt.Sprintf("%d processes", n)
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// used says what runs of the limits.
func (b *Budget) used() string {
	text := ""
	if b.Limits.Processes > 0 {
		text = fmt.Sprintf("%d of %d processes run", b.Running, b.Limits.Processes)
	}
	if b.Limits.Memory > 0 {
		if text != "" {
			text += ", "
		}
		text += fmt.Sprintf("%d of %d MiB are promised to what runs", b.Promised>>20, b.Limits.Memory>>20)
	}
	if b.Others != "" {
		text += ": " + b.Others
	}
	return text
}

// budgetGate shuts for want of free memory. What is shared out only informs: how
// many run of that is decided in share.
func budgetGate(_ Program, o Observed, _ time.Time) Gate {
	b := &o.Budget
	free := fmt.Sprintf("%d MiB available, %d MiB reserved", b.Available>>20, b.Reserve>>20)
	switch {
	case b.Reserve > 0 && !b.MemoryKnown:
		return Gate{"budget", Unknown, "available memory cannot be read", slot.Budget}
	case b.Reserve > 0 && b.Available < b.Reserve:
		return Gate{"budget", Closed, fmt.Sprintf("%d MiB available < %d MiB reserved", b.Available>>20, b.Reserve>>20), slot.Budget}
	case !b.Limits.Bounded() && b.Reserve == 0:
		return Gate{Name: "budget", State: Skipped, Evidence: "no budget is set"}
	case !b.Limits.Bounded():
		return Gate{Name: "budget", State: Open, Evidence: free}
	}
	g := Gate{Name: "budget", State: Open, Evidence: b.used()}
	if b.Reserve > 0 {
		g.Evidence += "; " + free
	}
	if b.Shared && b.Wish > b.Share {
		g.Evidence = fmt.Sprintf("%s of the %d it would have (priority %d); %s", b.shareText(), b.Wish, b.Priority, g.Evidence)
		if b.Share == 0 {
			g.State, g.code = Closed, slot.Budget
		}
	}
	return g
}

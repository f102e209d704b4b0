package plan

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func TestSharesByPriority(t *testing.T) {
	for name, tt := range map[string]struct {
		limits Limits
		claims []Claim
		turn   int
		want   []int
	}{
		"enough for all":              {Limits{Processes: 9}, []Claim{{Want: 4}, {Want: 5}}, 0, []int{4, 5}},
		"the higher first":            {Limits{Processes: 6}, []Claim{{Want: 5}, {Want: 5, Priority: 1}}, 0, []int{1, 5}},
		"min before priority":         {Limits{Processes: 6}, []Claim{{Want: 5, Min: 2}, {Want: 5, Priority: 1}}, 0, []int{2, 4}},
		"no more of min than wanted":  {Limits{Processes: 6}, []Claim{{Want: 0, Min: 2}, {Want: 6}}, 0, []int{0, 6}},
		"equals alike":                {Limits{Processes: 6}, []Claim{{Want: 9}, {Want: 9}, {Want: 1}}, 0, []int{3, 2, 1}},
		"the rest comes round":        {Limits{Processes: 6}, []Claim{{Want: 9}, {Want: 9}, {Want: 1}}, 1, []int{2, 3, 1}},
		"one for two":                 {Limits{Processes: 1}, []Claim{{Want: 9}, {Want: 9}}, 0, []int{1, 0}},
		"and then for the other":      {Limits{Processes: 1}, []Claim{{Want: 9}, {Want: 9}}, 1, []int{0, 1}},
		"too little for min":          {Limits{Processes: 2}, []Claim{{Want: 2, Min: 2}, {Want: 2, Min: 2, Priority: -1}}, 0, []int{2, 0}},
		"memory":                      {Limits{Memory: 10}, []Claim{{Want: 9, Memory: 4}, {Want: 9, Memory: 1}}, 0, []int{2, 2}},
		"both":                        {Limits{Processes: 4, Memory: 10}, []Claim{{Want: 9, Memory: 4}, {Want: 9, Memory: 1}}, 0, []int{2, 2}},
		"what is too large is passed": {Limits{Memory: 10}, []Claim{{Want: 3, Memory: 6, Priority: 1}, {Want: 9, Memory: 2}}, 0, []int{1, 2}},
		"no limit":                    {Limits{}, []Claim{{Want: 3}, {Want: 900}}, 0, []int{3, 900}},
	} {
		if got := Shares(tt.limits, tt.claims, tt.turn); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}

// TestSharesAlways checks over random claims: nobody gets more than it wants, all
// together no more than there is, nothing is left that somebody could have; min is
// kept where it fits, nobody waits for a lower priority, equals are alike, and each
// of them has its turn.
func TestSharesAlways(t *testing.T) {
	const seed = 5
	r := rand.New(rand.NewPCG(seed, 9))
	for round := range 20_000 {
		l := Limits{Processes: r.IntN(30)}
		claims := make([]Claim, 1+r.IntN(8))
		mins, wants := 0, 0
		for i := range claims {
			claims[i] = Claim{Priority: r.IntN(3), Min: r.IntN(4), Want: r.IntN(12)}
			mins, wants = mins+min(claims[i].Min, claims[i].Want), wants+claims[i].Want
		}
		got := Shares(l, claims, round)
		sum := 0
		for i, n := range got {
			sum += n
			c := claims[i]
			if n > c.Want || n < 0 || (l.Processes == 0 || mins <= l.Processes) && n < min(c.Min, c.Want) {
				t.Fatalf("seed %d: %+v of %+v: %d", seed, c, l, n)
			}
			for k, m := range got {
				o := claims[k]
				beyond := m > min(o.Min, o.Want) // it has more than its min
				if beyond && n < c.Want && (o.Priority < c.Priority || o.Priority == c.Priority && m > n+1) {
					t.Fatalf("seed %d: %+v has %d, and %+v %d of %+v", seed, o, m, c, n, l)
				}
			}
		}
		if l.Processes == 0 && sum != wants || l.Processes > 0 && sum != min(wants, l.Processes) {
			t.Fatalf("seed %d: %d given of %+v to %+v", seed, sum, l, claims)
		}
	}
	claims, served := slices.Repeat([]Claim{{Want: 5}}, 7), make([]int, 7)
	for turn := range 7 {
		for i, n := range Shares(Limits{Processes: 2}, claims, turn) {
			served[i] += n
		}
	}
	if slices.Min(served) != 2 || slices.Max(served) != 2 {
		t.Errorf("two places for seven, seven turns: %v", served)
	}
}

func TestMemoryIsNeverOverdrawn(t *testing.T) {
	const seed = 6
	r := rand.New(rand.NewPCG(seed, 9))
	for range 5_000 {
		l := Limits{Processes: r.IntN(20), Memory: 1 + r.Int64N(100)}
		claims := make([]Claim, 1+r.IntN(8))
		for i := range claims {
			claims[i] = Claim{Priority: r.IntN(3), Min: r.IntN(4), Want: r.IntN(12), Memory: 1 + r.Int64N(30)}
		}
		var bytes int64
		sum := 0
		got := Shares(l, claims, 0)
		for i, n := range got {
			bytes, sum = bytes+int64(n)*claims[i].Memory, sum+n
		}
		if bytes > l.Memory || l.Processes > 0 && sum > l.Processes {
			t.Fatalf("seed %d: %d bytes, %d instances of %+v", seed, bytes, sum, l)
		}
		for i, n := range got {
			if n < claims[i].Want && bytes+claims[i].Memory <= l.Memory && (l.Processes == 0 || sum < l.Processes) {
				t.Fatalf("seed %d: %+v has %d and there is room for one more", seed, claims[i], n)
			}
		}
	}
}

func TestBudgetIsExplained(t *testing.T) {
	p := Program{Name: "a", Min: 4, Max: 4}
	o := Observed{Budget: Budget{Limits: Limits{Processes: 10, Memory: 1 << 30}, Running: 10, Promised: 512 << 20, Shared: true, Share: 2, Wish: 4, Priority: -1, Others: "mails 6, a 2, orders 2"}}
	for _, g := range Gates(p, o, Memory{}, now) {
		if g.Name != "budget" {
			continue
		}
		want := "its share of the host's 10 processes and 1024 MiB is 2 instances of the 4 it would have (priority -1); " +
			"10 of 10 processes run, 512 of 1024 MiB are promised to what runs: mails 6, a 2, orders 2"
		if g.Evidence != want || g.State != Open {
			t.Errorf("%s: %s\nwant %s", g.State, g.Evidence, want)
		}
	}
	r := Decide(p, o, Memory{}, slots(4, nil), now)
	if up, hold, _ := wants(r); up != 2 || hold != 2 || r.Wish != 4 || r.Floor != 4 || !strings.Contains(r.Decisions[3].Reason.Text, "is 2 instances") {
		t.Errorf("%d up, %d hold, would have %d (%d guaranteed): %+v", up, hold, r.Wish, r.Floor, r.Decisions[3])
	}
}

package plan

import (
	"slices"
	"time"

	"qsuper/health"
)

// Times of the search for a safe point.
const (
	// safeSettle lies between the moment from which processes stand still and the first
	// look that counts: a statement with which one of them takes a message may be under way.
	safeSettle = 100 * time.Millisecond
	// safeOlder is by how much a message must have been taken earlier than a process
	// was started to be none of its own. It covers clocks that are corrected.
	safeOlder = time.Minute

	safeBeat     = 4 * time.Millisecond  // between two looks
	safeQuick    = time.Millisecond      // likewise, while the moment may be near
	safeSlow     = 20 * time.Millisecond // likewise, once a message takes long
	safeCheap    = 5 * time.Millisecond  // is a question that may be asked again at once
	safeGlimpses = 10                    // rounds in a row that may be given up at first sight
	safeRest     = 20 * time.Millisecond // for those that have stood still for nothing
	safePatience = 100 * time.Millisecond
	safeLong     = 10 * time.Second // is the most that others are waited for
	safeBlind    = time.Second      // after a look that saw nothing
	safeFreeze   = 5 * time.Second  // until processes stand still; the keeper says so earlier
	safeTries    = 3                // in a turn
	safeWait     = time.Second      // for the message of one whose turn it is, at least
)

// SafePoint is the search for moments at which processes that are to stop hold no
// message, on a queue that names what is in progress but not whose it is. The rule:
//
//	Who stands still neither takes nor finishes a message. So when everything that was
//	in progress a moment after it came to stand still has gone out of progress, it
//	holds nothing.
//
// All others go on meanwhile, or nothing would go. As those that work without pause
// hold nothing for an instant only, the search learns what a process seems to hold,
// which is what remained while it stood still, and has it stand still again in the
// moment when that is done. This is a guess that costs time when it is wrong; the
// rule alone lets a process be ended.
//
// It is one slot's turn at a time, except that now and then all of them stand still
// together, which ends idle ones at once. The zero value is a search that has not begun.
type SafePoint struct {
	next time.Time // of the next look

	round  []int           // slots that are looked at; nil: none, all go on
	awaits map[int]bool    // of round, those that do not stand still yet
	asked  time.Time       // since when they were to
	stood  time.Time       // since when all of them do
	before map[string]bool // what was in progress just before; nil: that does not count
	left   map[string]bool // what round may hold; nil: not looked at yet
	until  time.Time       // when the round ends

	guess    map[int]map[string]bool // what a slot seems to hold; none: not known
	ended    map[int]bool            // slots of which it has been said that they may end
	patience time.Duration           // for messages of which none has been seen to end
	seen     map[string]time.Time    // what is in progress, and since when
	last     map[string]bool         // what was, at the look before
	longest  time.Duration           // about the most that one has needed of late
	fails    int                     // rounds for nothing
	glimpses int                     // rounds in a row given up at first sight

	turn  int // the slot whose turn it is
	since time.Time
	tries int
	all   bool // all of them are to be looked at together next
}

// SafeSlot is a slot whose process is to stop at a safe point.
type SafeSlot struct {
	N    int
	Born time.Time // no later than the start of its process; zero: not known
}

// SafeLook is a look at the queue.
type SafeLook struct {
	Began  time.Time // when the queue was asked
	Taken  []health.Taken
	Failed bool // nothing is known
	Stop   []SafeSlot
	Others int // processes of the same consumer that are not to stop
}

// SafeMove is what is to happen after a look.
type SafeMove struct {
	Freeze, Thaw, End []int // slots
}

// Next is when to look again; zero: as soon as possible.
func (s *SafePoint) Next() time.Time { return s.next }

// Still notes that the process of a slot stands still.
func (s *SafePoint) Still(n int, now time.Time) {
	if s.awaits[n] {
		delete(s.awaits, n)
		s.stood = now
		if s.next = now.Add(safeSettle); s.before != nil {
			s.next = now
		}
	}
}

// Gone notes that the process of a slot has ended.
func (s *SafePoint) Gone(n int, now time.Time) {
	s.Still(n, now)
	s.round = slices.DeleteFunc(s.round, func(m int) bool { return m == n })
	if len(s.round) == 0 {
		s.round = nil
	}
	delete(s.guess, n)
	delete(s.ended, n)
}

// Abandon ends the round under way and returns the slots that are to go on.
func (s *SafePoint) Abandon(now time.Time) (thaw []int) {
	thaw, s.round = s.round, nil
	s.next = now.Add(safeBlind)
	return thaw
}

// Look judges what was seen of the queue.
func (s *SafePoint) Look(now time.Time, l SafeLook) (m SafeMove) {
	if s.guess == nil {
		s.guess, s.ended, s.turn, s.all = map[int]map[string]bool{}, map[int]bool{}, -1, true
		s.seen = map[string]time.Time{}
	}
	l.Stop = slices.DeleteFunc(slices.Clone(l.Stop), func(z SafeSlot) bool { return s.ended[z.N] })
	if !l.Failed {
		s.learn(now, l)
		defer func() { s.last = ids(l.Taken) }()
	}
	switch {
	case l.Failed:
		m.Thaw = s.Abandon(now)
	case s.round != nil:
		s.judge(now, l, &m)
	case len(l.Stop) > 0:
		s.choose(now, l, &m)
	default:
		s.next = now.Add(safeSlow)
	}
	return m
}

// learn notes how long messages are in progress.
func (s *SafePoint) learn(now time.Time, l SafeLook) {
	is := ids(l.Taken)
	for id, since := range s.seen {
		if is[id] {
			continue
		}
		took := now.Sub(since) // longer by rounds for nothing, which the others make up for
		s.longest = max(took, s.longest-(s.longest-took)/8)
		delete(s.seen, id)
	}
	for id := range is {
		if _, known := s.seen[id]; !known {
			s.seen[id] = now
		}
	}
}

// judge says whether the slots of the round hold nothing, or are to go on.
func (s *SafePoint) judge(now time.Time, l SafeLook, m *SafeMove) {
	s.next = s.beat(now, l, safeBeat)
	switch settled := s.stood.Add(safeSettle); {
	case len(s.awaits) > 0:
		if now.Sub(s.asked) > safeFreeze {
			m.Thaw = s.Abandon(now)
		}
		return
	case l.Began.Before(settled):
		s.next = settled
		if s.before != nil && !l.Began.Before(s.stood) {
			if s.glimpse(now, s.round[0], ids(l.Taken)) {
				m.Thaw, s.round = s.round, nil
			}
			s.before = nil
		}
		return
	case s.left == nil:
		s.left = s.theirs(now, l)
		s.until = now.Add(s.waits(now, l))
	default:
		is := ids(l.Taken)
		for id := range s.left {
			if !is[id] {
				delete(s.left, id)
			}
		}
	}
	if len(s.left) == 0 {
		m.End, s.round = s.round, nil
		for _, n := range m.End {
			s.ended[n] = true
			delete(s.guess, n)
		}
		return
	}
	if !now.Before(s.until) {
		s.fail(now, m)
	}
}

// glimpse says that a process is likely to hold a message that has come into progress
// since what it held has gone out of it.
func (s *SafePoint) glimpse(now time.Time, n int, is map[string]bool) bool {
	for id := range s.before {
		delete(is, id)
	}
	if len(is) == 0 || s.glimpses == safeGlimpses {
		return false
	}
	s.guess[n] = is
	s.glimpses++
	s.since, s.next = now, now.Add(safeQuick)
	return true
}

// theirs is what the slots of the round may hold.
func (s *SafePoint) theirs(now time.Time, l SafeLook) map[string]bool {
	var oldest time.Duration
	for _, z := range l.Stop {
		if slices.Contains(s.round, z.N) {
			if z.Born.IsZero() {
				return ids(l.Taken)
			}
			oldest = max(oldest, now.Sub(z.Born))
		}
	}
	left := map[string]bool{}
	for _, t := range l.Taken {
		if t.Age <= oldest+safeOlder { // it is not known, or may be theirs
			left[t.ID] = true
		}
	}
	return left
}

// waits is how long the others get to finish what they hold.
func (s *SafePoint) waits(now time.Time, l SafeLook) time.Duration {
	switch {
	case len(s.round) > 1:
		return 0 // it may well be theirs
	case l.Others == 0 && len(l.Stop) == 1 && s.fails%4 != 3:
		return 0 // only somebody unknown may go on
	}
	late := s.stood
	for id := range s.left {
		if since := s.seen[id]; since.After(late) {
			late = since
		}
	}
	return max(late.Add(s.need()).Sub(now), safeBeat)
}

// need is what a message of the others may take.
func (s *SafePoint) need() time.Duration {
	if s.longest == 0 {
		return max(s.patience, safePatience)
	}
	return min(s.longest+s.longest/4, safeLong)
}

// fail ends a round that has shown nothing, except what one slot may hold.
func (s *SafePoint) fail(now time.Time, m *SafeMove) {
	if len(s.round) == 1 {
		s.guess[s.round[0]] = s.left
		s.fails++
		s.tries++
		s.glimpses = 0
		if s.longest == 0 {
			s.patience = min(2*max(s.patience, safePatience), safeLong)
		}
	}
	m.Thaw, s.round = s.round, nil
	s.since, s.next = now, now.Add(safeRest)
	if s.guess[s.turn] != nil {
		s.next = now.Add(safeQuick) // what it waited for may have come while it stood still
	}
}

// choose begins a round, if it is the moment for one.
func (s *SafePoint) choose(now time.Time, l SafeLook, m *SafeMove) {
	s.next = s.beat(now, l, min(max(now.Sub(s.since)/500, safeQuick), safeSlow))
	here := slices.ContainsFunc(l.Stop, func(z SafeSlot) bool { return z.N == s.turn })
	if !here || s.tries >= safeTries || now.Sub(s.since) > max(safeWait, 2*s.need()) && len(l.Stop) > 1 {
		s.pass(now, l)
	}
	if s.all && len(l.Stop) > 1 {
		s.all = false
		for _, z := range l.Stop {
			m.Freeze = append(m.Freeze, z.N)
		}
		s.begin(now, m.Freeze)
		return
	}
	is := ids(l.Taken)
	for id := range s.guess[s.turn] {
		if !is[id] {
			delete(s.guess, s.turn) // now
		}
	}
	if s.guess[s.turn] != nil {
		return
	}
	if s.before = s.last; s.glimpse(now, s.turn, is) {
		return
	}
	m.Freeze = []int{s.turn}
	s.begin(now, m.Freeze)
	s.before = s.last
}

// pass gives the turn to the next slot.
func (s *SafePoint) pass(now time.Time, l SafeLook) {
	next, lowest := -1, l.Stop[0].N
	for _, z := range l.Stop {
		lowest = min(lowest, z.N)
		if z.N > s.turn && (next < 0 || z.N < next) {
			next = z.N
		}
	}
	if next < 0 {
		next = lowest
		s.all = true
	}
	s.turn, s.since, s.tries = next, now, 0
}

func (s *SafePoint) begin(now time.Time, round []int) {
	s.round, s.asked, s.before, s.left, s.awaits = slices.Clone(round), now, nil, nil, map[int]bool{}
	for _, n := range round {
		s.awaits[n] = true
	}
}

// beat is the time of the next look. No question that is dear takes more than a quarter
// of it; with one that is not, the moment between two messages is not to be missed.
func (s *SafePoint) beat(now time.Time, l SafeLook, pause time.Duration) time.Time {
	took := now.Sub(l.Began)
	if took <= safeCheap && s.round == nil {
		return now.Add(max(pause, took/4))
	}
	return now.Add(max(pause, 3*took))
}

func ids(taken []health.Taken) map[string]bool {
	set := make(map[string]bool, len(taken))
	for _, t := range taken {
		set[t.ID] = true
	}
	return set
}

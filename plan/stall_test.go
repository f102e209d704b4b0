package plan

import (
	"math/rand/v2"
	"testing"
	"time"

	"qsuper/health"
	"qsuper/slot"
)

// TestDeaf looks once a second at four instances of which all but a few details say that they are deaf.
func TestDeaf(t *testing.T) {
	up := []Conn{{Name: "broker", State: ConnUp}}
	type look struct {
		o     Observed
		slots []Slot
	}
	deafAfter := func(stall time.Duration, change func(sec int, l *look)) int {
		p := Program{Name: "a", Min: 4, Max: 4, Stall: stall}
		m := Memory{}
		for sec := range 1200 {
			l := look{Observed{Conns: append([]Conn{}, up...), Queue: depth(812, 4)}, slots(4, run(time.Hour))}
			for i := range l.slots {
				l.slots[i].Quiet, l.slots[i].Want = now, slot.Up
			}
			change(sec, &l)
			r := Decide(p, l.o, m, l.slots, now.Add(time.Duration(sec)*time.Second))
			m = r.Memory
			if len(r.Deaf) > 0 {
				return sec
			}
		}
		return -1
	}
	const never = -1
	all := func(f func(*Slot)) func(int, *look) {
		return func(_ int, l *look) {
			for i := range l.slots {
				f(&l.slots[i])
			}
		}
	}
	tests := []struct {
		name   string
		change func(sec int, l *look)
		want   int // second
	}{
		{"deaf", func(int, *look) {}, 300},
		{"more and more messages", func(sec int, l *look) { l.o.Queue.Ready += int64(sec) }, 300},
		{"one goes now and then", func(sec int, l *look) { l.o.Queue.Ready -= int64(sec / 200) }, never},
		{"one went", func(sec int, l *look) { l.o.Queue.Ready -= int64(min(sec/100, 1)) }, 400},
		{"all are taken", func(_ int, l *look) { l.o.Queue.Ready, l.o.Queue.InFlight = 0, 816 }, never},
		{"nothing waits", func(_ int, l *look) { l.o.Queue = depth(0, 0) }, never},
		{"the depth was unknown once", func(sec int, l *look) {
			if sec == 250 {
				l.o.Queue.State = health.Unknown
			}
		}, 551},
		{"the broker was down once", func(sec int, l *look) {
			if sec == 250 {
				l.o.Conns[0].State = ConnDown
			}
		}, 551},
		{"it was down, and nobody looked", func(sec int, l *look) {
			if sec > 250 {
				l.o.Conns[0].Back = now.Add(250 * time.Second)
			}
		}, 550},
		{"the broker is not known", func(_ int, l *look) { l.o.Conns[0].State = ConnUnknown }, never},
		{"in flight became unknown", func(sec int, l *look) {
			if sec >= 100 {
				l.o.Queue.InFlight = health.NotKnown
			}
		}, 400},
		{"busy", all(func(s *Slot) { s.Quiet = time.Time{} }), never},
		{"quiet for a short time only", all(func(s *Slot) { s.Quiet = now.Add(100 * time.Second) }), 400},
		{"young", all(func(s *Slot) { s.Started = now.Add(100 * time.Second) }), 400},
		{"stopped", func(_ int, l *look) { l.o.Stopped = "by root" }, never},
		{"one is on its way already", func(_ int, l *look) { l.slots[3].Phase, l.slots[3].Reason.Code = slot.Draining, slot.Stall }, never},
		{"no process", all(func(s *Slot) { s.Phase = slot.Waiting }), never},
	}
	for _, tt := range tests {
		if got := deafAfter(5*time.Minute, tt.change); got != tt.want {
			t.Errorf("%s: deaf after %d s, want %d", tt.name, got, tt.want)
		}
		if got := deafAfter(0, tt.change); got != never {
			t.Errorf("%s: deaf after %d s without `stall`", tt.name, got)
		}
	}
}

// TestDeafNeverEarly: over random histories, whenever an instance is called deaf, nothing had moved for a whole
// `stall`, and every connection had answered all the time.
func TestDeafNeverEarly(t *testing.T) {
	const stall = 20 * time.Second
	called := 0
	for seed := range uint64(300) {
		rnd := rand.New(rand.NewPCG(seed, 9))
		p := Program{Name: "a", Min: 3, Max: 3, Stall: stall}
		m, ready, moved, asked := Memory{}, int64(50), now, now.Add(-time.Hour)
		quiet := [3]time.Time{now, now, now}
		for sec := range 200 {
			at := now.Add(time.Duration(sec) * time.Second)
			o := Observed{Conns: []Conn{{Name: "broker", State: ConnUp}}, Queue: depth(ready, 2)}
			switch rnd.IntN(40) {
			case 0:
				ready--
				o.Queue.Ready, moved = ready, at
			case 1:
				ready += rnd.Int64N(5)
				o.Queue.Ready = ready
			case 2:
				o.Conns[0].State, moved = ConnDown, at
			case 3:
				o.Queue.State, moved = health.Unknown, at
			case 4:
				quiet[rnd.IntN(3)] = at
			}
			list := slots(3, func(i int, s *Slot) { run(time.Hour)(i, s); s.Quiet = quiet[i] })
			r := Decide(p, o, m, list, at)
			m = r.Memory
			for _, i := range r.Deaf {
				if at.Sub(moved) < stall || at.Sub(quiet[i]) < stall || at.Sub(asked) < stall {
					t.Fatalf("seed %d: slot %d is called deaf %v after a move, %v after it worked, %v after the last", seed, i, at.Sub(moved), at.Sub(quiet[i]), at.Sub(asked))
				}
			}
			if len(r.Deaf) > 0 {
				called++
				m.StalledAt, asked = at, at
			}
		}
	}
	if called < 300 {
		t.Errorf("called deaf %d times only: the test proves little", called)
	}
}

package alert

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"qsuper/config"
	"qsuper/control"
	"qsuper/internal/kind"
)

// office is a post whose sender is played by the test.
type office struct {
	*post
	mu      sync.Mutex
	letters []letter
	at      []time.Duration
	began   time.Time
	fail    func(n int) error // the nth attempt, from 0
	given   []error           // given up, or delivered: nil
}

func newOffice() *office {
	o := &office{began: time.Now()}
	o.post = &post{gather: gather, boxes: map[string]*box{}}
	o.sender = func(_ context.Context, _ *config.Alert, _ way, l letter) error {
		o.mu.Lock()
		defer o.mu.Unlock()
		n := len(o.letters)
		o.letters, o.at = append(o.letters, l), append(o.at, time.Since(o.began))
		if o.fail != nil {
			return o.fail(n)
		}
		return nil
	}
	o.tell = func(_ string, _ way, err error, final bool) {
		o.mu.Lock()
		defer o.mu.Unlock()
		if final {
			o.given = append(o.given, err)
		}
	}
	return o
}

func hook(name, url string) *config.Alert {
	return &config.Alert{Name: name, Webhook: &config.Webhook{URL: kind.NewSecret(url), Format: "json"}}
}

// TestNoticesTravelTogether: what comes within five seconds to one place is one
// letter, and another place has its own.
func TestNoticesTravelTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice()
		for i := range 3 {
			o.put(t.Context(), hook("a", "http://one/"), Notice{Alert: "a", Subject: fmt.Sprint(i)})
			time.Sleep(time.Second)
		}
		o.put(t.Context(), hook("b", "http://one/"), Notice{Alert: "b"})
		o.put(t.Context(), hook("c", "http://two/"), Notice{Alert: "c"})
		o.wg.Wait()
		if len(o.letters) != 2 || len(o.letters[0].Notices) != 4 || len(o.letters[1].Notices) != 1 || o.at[0] != 5*time.Second {
			t.Errorf("%+v at %v", o.letters, o.at)
		}
	})
}

// TestFailuresAreTriedAgain, with growing pauses, for an hour; meanwhile notices
// add up, and nothing is lost when it works again.
func TestFailuresAreTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice()
		o.fail = func(n int) error {
			if n < 4 {
				return errors.New("no")
			}
			return nil
		}
		o.put(t.Context(), hook("a", "http://one/"), Notice{Alert: "a"})
		time.Sleep(7 * time.Second)
		o.put(t.Context(), hook("a", "http://one/"), Notice{Alert: "a", State: Resolved})
		o.wg.Wait()
		want := []time.Duration{5 * time.Second, 10 * time.Second, 25 * time.Second, 70 * time.Second, 205 * time.Second}
		if fmt.Sprint(o.at) != fmt.Sprint(want) || len(o.letters[4].Notices) != 2 || fmt.Sprint(o.given) != "[<nil>]" {
			t.Errorf("at %v, %v", o.at, o.given)
		}
	})
}

func TestGivesUpAfterAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice()
		o.fail = func(int) error { return errors.New("no") }
		for range mostNotices + 20 {
			o.put(t.Context(), hook("a", "http://one/"), Notice{Alert: "a"})
		}
		o.wg.Wait()
		last := o.at[len(o.at)-1]
		if last < giveUp || last > giveUp+lastRetry || len(o.given) != 1 || o.letters[0].Left != 20 {
			t.Errorf("%d attempts, the last after %s: %v", len(o.at), last, o.given)
		}
		if len(o.boxes) != 0 || len(o.unsent()) != 0 {
			t.Error("something is left")
		}
	})
}

func TestAnswersThatDoNotHealAreNotRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice()
		o.fail = func(int) error { return permanent{errors.New("404")} }
		o.put(t.Context(), hook("a", "http://one/"), Notice{Alert: "a"})
		o.wg.Wait()
		if len(o.at) != 1 || len(o.given) != 1 {
			t.Errorf("at %v: %v", o.at, o.given)
		}
	})
}

type source struct{ st control.Status }

func (s *source) Status(control.StatusQuery) (control.Status, error) { return s.st, nil }
func (s *source) Watched(*config.Queue) control.QueueStatus          { return control.QueueStatus{} }

// TestAnEngineThatFollowsRepeatsNothing and loses nothing: what fired stays told,
// what had not arrived is sent.
func TestAnEngineThatFollowsRepeatsNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "alerts.json")
	ready := int64(500)
	s := &source{control.Status{Consumers: []control.ConsumerStatus{{Name: "orders", Queue: &control.QueueStatus{State: "ok", Ready: &ready}}}}}
	a := depth(100, 0)
	a.Webhook = hook("deep", "http://one/").Webhook
	life := func(fail error, f func(o *office)) {
		synctest.Test(t, func(t *testing.T) {
			o := newOffice()
			o.fail = func(int) error { return fail }
			d := New(Options{Source: s, Path: path, Log: slog.New(slog.DiscardHandler)}, []*config.Alert{a})
			d.post.sender = o.sender
			ctx, end := context.WithCancel(t.Context())
			over := make(chan struct{})
			go func() { d.Run(ctx); close(over) }()
			time.Sleep(30 * time.Second)
			end()
			<-over
			f(o)
		})
	}
	life(errors.New("no"), func(o *office) {
		if len(o.letters) == 0 {
			t.Error("nobody tried")
		}
	})
	if raw, err := os.ReadFile(path); err != nil || len(raw) == 0 {
		t.Fatal(err)
	}
	life(nil, func(o *office) {
		if len(o.letters) != 1 || len(o.letters[0].Notices) != 1 || o.letters[0].Notices[0].State != Firing {
			t.Errorf("%+v", o.letters)
		}
	})
	life(nil, func(o *office) {
		if len(o.letters) != 0 {
			t.Errorf("repeated: %+v", o.letters)
		}
	})
	ready = 0
	life(nil, func(o *office) {
		if len(o.letters) != 1 || o.letters[0].Notices[0].State != Resolved {
			t.Errorf("%+v", o.letters)
		}
	})
}

package health_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"qsuper/health"
)

// A wrong password is not tried every second: servers lock accounts out.
func TestLookAsksDeniedOnesRarely(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		reply := error(fmt.Errorf("connect: %w", &health.Denied{Err: errors.New("no such user")}))
		f := &fake{measure: func(context.Context, []health.Queue) ([]health.Reading, error) {
			asked++
			return nil, reply
		}, ping: func(context.Context) error { t.Error("pinged, too"); return nil }}
		p := health.NewProbe("c", f, time.Second)
		first := p.Look(t.Context(), two)
		if first.Up || !strings.Contains(first.Err, "no such user; asked again every 30s") || len(first.Readings) != 2 {
			t.Errorf("%+v", first)
		}
		for range 59 {
			time.Sleep(500 * time.Millisecond)
			if o := p.Look(t.Context(), two[:1]); o.Up || o.Err != first.Err || o.At != first.At || len(o.Readings) != 1 {
				t.Errorf("%+v", o)
			}
		}
		if asked != 1 {
			t.Errorf("asked %d times in 29.5 s", asked)
		}
		time.Sleep(500 * time.Millisecond)
		reply = errors.New("connection reset") // says nothing about the password
		p.Look(t.Context(), two)
		if o := p.Look(t.Context(), two); o.Up || o.Err != "connection reset" || asked != 3 {
			t.Errorf("asked %d times: %+v", asked, o)
		}
		closeProbe(t, p)
	})
}

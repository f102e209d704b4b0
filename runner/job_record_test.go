package runner

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"qsuper/config"
	"qsuper/trace"
)

// Why each fire was started, has waited or was skipped is in the decision log, once.
func TestDecisionsAboutFiresAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		long, queued, frail := jobConf(t, "long", "* * * * *"), jobConf(t, "queued", "0,1,2 1 * * *"), jobConf(t, "frail", "0 2 * * *")
		queued.Overlap = config.OverlapQueue
		frail.Retries = config.Retries{Times: 1}
		o := newRota(t)
		o.end()
		path := filepath.Join(o.dir, "decisions.jsonl")
		o.trace = trace.New(path, trace.Limit, func(err error) { t.Error(err) })
		o.cfg.Jobs = []*config.Job{long, queued, frail}
		o.k = newFakeKeeper(t)
		o.k.behave = func(key string, _ uint64) (time.Duration, int) {
			if key == "frail/0" {
				return time.Second, 1
			}
			return 90 * time.Second, 0
		}
		o.boot()
		defer o.end()
		o.until("00:03:10")
		o.do("stop", "long")
		o.until("02:30:00")
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		o.trace.Run(ctx)
		records, torn, err := trace.Read(path)
		if err != nil || torn > 0 {
			t.Fatalf("%d torn lines, %v", torn, err)
		}
		got := map[string][]string{}
		for _, r := range records {
			f := r.Job
			text := fmt.Sprintf("%s %s %s", f.At.Format("15:04"), f.Did, r.Was.Reason.Code)
			if f.Did == trace.FireStarted && f.Try > 1 {
				text += fmt.Sprint(" try ", f.Try)
			}
			got[r.Consumer] = append(got[r.Consumer], text)
		}
		want := map[string][]string{
			"long":   {"00:01 started due", "00:02 skipped overlap", "00:03 started due", "00:04 skipped stopped"},
			"queued": {"01:00 started due", "01:01 waits overlap", "01:01 started due", "01:02 waits overlap", "01:02 started due"},
			"frail":  {"02:00 started due", "02:00 waits backoff", "02:00 started due try 2"},
		}
		for name := range want {
			if !slices.Equal(got[name], want[name]) {
				t.Errorf("%s: %q\nwant %q", name, got[name], want[name])
			}
		}
		report := trace.Replay(records, func(string) (trace.Program, bool) {
			t.Error("a job is looked for among the consumers")
			return trace.Program{}, false
		})
		if report.Fires != len(records) || report.Consumers != 0 || len(report.Differences)+len(report.Gone) != 0 {
			t.Errorf("a replay: %+v", report)
		}
	})
}
